"""The exception of calibration; a `runtime.HcflowError`, so one handler serves all."""

from runtime.errors import HcflowError


class CalibrationError(HcflowError):
    """Calibration images cannot be used; the message says which and what to do."""
