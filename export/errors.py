"""The exceptions of export; both are `runtime.HcflowError`s, so one handler serves all."""

from runtime.errors import HcflowError


class ExportError(HcflowError):
    """A deploy module or graph breaks the contract, or cannot be built as asked."""


class BudgetError(ExportError):
    """A graph was built but misses the numeric budget; the message says by how much."""
