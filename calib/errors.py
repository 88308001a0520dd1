"""The exception of calibration; a `runtime.HcflowError`, so one handler serves all."""

from runtime.errors import HcflowError


class CalibrationError(HcflowError):
    """Calibration images that will not do; the message says which, where and what to do."""
