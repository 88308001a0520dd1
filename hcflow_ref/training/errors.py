"""The one exception of training."""


class TrainingError(ValueError):
    """A run cannot start or go on; the message says what was wrong, where, and what to do."""
