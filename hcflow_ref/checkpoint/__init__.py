"""Checkpoint files: loading, saving, and the architecture read off their keys."""
