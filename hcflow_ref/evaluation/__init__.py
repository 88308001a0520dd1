"""Image metrics and the evaluation protocol."""
