"""Folded modules as ONNX graphs, and what can be read off a graph."""
