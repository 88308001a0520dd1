"""The one exception of the reference."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, unsafe, or of another architecture.

    The message names the file, the key, and what was expected there.
    """
