"""The exceptions of the runtime: one base, and one kind for each thing that can be wrong."""


class HcflowError(Exception):
    """Base of everything this project raises on purpose.

    Its text is one line for the user's terminal: what does not print, as in the name of a file, is
    escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class BundleError(HcflowError):
    """A bundle is missing, damaged, newer than this program, or lacks what was asked of it."""


class FileError(HcflowError):
    """A file or folder cannot be found, read or written, or another process is writing it."""


class TemporaryFolderError(FileError):
    """The folder of temporary files is full, missing or not writable; no image is at fault."""


class ImageError(HcflowError):
    """An image cannot be decoded, encoded or computed."""


class SizeError(ImageError):
    """An image has more pixels or bytes than the limit, or needs more memory than is free."""


class BackendError(HcflowError):
    """A backend is not installed, cannot run a graph, or returned NaN or infinity."""


class GpuMemoryError(BackendError):
    """The GPU has too little free memory: smaller images or tiles may fit."""


class ParameterError(HcflowError, ValueError):
    """An argument is out of its range; the message names it and the range."""


class Cancelled(HcflowError):  # noqa: N818 - nothing went wrong
    """The caller's `cancel` said that the call is to end."""


def printable(text: str) -> str:
    """A text whose characters all print: a terminal obeys none of them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException) -> str:
    """The text of an error on one line; of one without a text, the name of its type."""
    text = getattr(error, "detail", "") or error  # libvips keeps its text in `detail`
    return printable(" ".join(str(text).split())) or type(error).__name__
