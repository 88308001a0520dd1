"""The one exception of the reference, and what PyTorch has no one type for."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, unsafe, or of another architecture.

    The message names the file, the key, and what was expected there.
    """


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of a processor or a GPU."""
    said = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)
