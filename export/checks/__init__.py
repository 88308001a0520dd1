"""Checks of a graph against the float64 reference."""
