"""The exceptions of the runtime: one base, one kind for each thing that can be wrong."""


class HcflowError(Exception):
    """Base of everything this project raises on purpose; its text is one line for the user."""


class BundleError(HcflowError):
    """A bundle is missing, damaged, newer than this program, or lacks what was asked of it."""


class ImageError(HcflowError):
    """An image cannot be read, written or processed."""


class BackendError(HcflowError):
    """A backend is not installed, cannot run a graph, or returned values that are no numbers."""


class ParameterError(HcflowError, ValueError):
    """An argument is out of its range; the message names it and the range."""
