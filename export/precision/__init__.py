"""Graphs in float16 and INT8, chosen by measurement."""
