"""Calibration: photographs → value ranges → which convolutions become INT8."""
