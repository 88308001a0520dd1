"""Pixels as arrays: colour, alpha and padding."""
