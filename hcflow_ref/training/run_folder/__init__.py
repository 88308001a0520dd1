"""The folder of a run: lock, logs, state."""
