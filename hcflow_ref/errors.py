"""The exceptions of the reference networks and of training, and how their messages are written."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, unsafe, or of another architecture.

    The message names the file, the key, and what was expected there.
    """


class TrainingError(ValueError):
    """A run cannot start or go on; the message says what is wrong, where, and what to do."""


def out_of_memory(error: Exception) -> bool:
    """Whether the error says that a processor's or a GPU's memory ran out.

    PyTorch has no exception type for that which covers every device.
    """
    signs = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def one_line(error: BaseException) -> str:
    """The first line of the error's message, or its type where it has none.

    PyTorch's messages go on for a paragraph or a C++ stack trace after their first line.
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def printable(text: str) -> str:
    """The text with characters that do not print escaped: file names may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
