"""The command line `hcflow`: the commands, and what every one of them does with an error."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hcflow.cli.console import shown
from hcflow.models import extras
from hcflow.version import __version__
from runtime.errors import HcflowError, one_line
from runtime.images.codecs import notices
from runtime.system import atomic

COMMANDS = {
    "upscale": ("hcflow.commands.upscale", "upscale"),
    "downscale": ("hcflow.commands.downscale", "downscale"),
    "serve": ("hcflow.commands.serve", "serve"),
    "manifest": ("hcflow.commands.manifest", "manifest"),
    "triton": ("hcflow.commands.triton", "triton"),
    "web": ("hcflow.commands.web", "web"),
    "build": ("hcflow.commands.build", "build"),
    "verify": ("hcflow.commands.verify", "verify"),
    "info": ("hcflow.commands.info", "info"),
    "demo": ("hcflow.commands.demo", "demo"),
    "models": ("hcflow.commands.models", "models"),
    "train": ("hcflow.commands.train", "train"),
    "evaluate": ("hcflow.commands.evaluate", "evaluate"),
    "compare": ("hcflow.commands.compare", "compare"),
    "profile": ("hcflow.commands.profile", "profile"),
    "compile": ("hcflow.commands.compile", "compile_engines"),
    "selftest": ("hcflow.commands.selftest", "selftest"),
}
"""Every command: the module and the function that it is."""

FAILED = 1
INTERRUPTED = 130
TERMINATED = 143

_DEBUG = "HCFLOW_DEBUG"


class _Terminated(BaseException):
    """SIGTERM, raised in the main thread so that temporary files are removed."""


def main() -> None:
    """Run `hcflow` with the words of `sys.argv`; ends in `SystemExit`."""
    _start(application())


def program() -> NoReturn:
    """The installed command: `main`, and a quick end of the process."""
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _quick_end.code = end.code or 0
        raise
    raise SystemExit


class _QuickEnd:
    """The last exit handler: ends the process with `code`, where that is set.

    Handlers run in the reverse of the order in which they were registered, so that this one, made
    before a command's modules are imported, comes after theirs; threads have ended by then. Taking
    a backend's session and its modules apart takes a tenth of a second, a tenth of a small
    image's time: memory is left to the system.
    """

    code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        logging.shutdown()  # registered before this one
        try:
            if sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()
        except OSError as error:  # a full disk, a closed pipe
            _say(f"error: {_describe(error)}")
            self.code = FAILED
        with contextlib.suppress(OSError, ValueError):  # nobody is left to tell
            sys.stderr.flush()
        os._exit(self.code)


_quick_end = _QuickEnd()
atexit.register(_quick_end)


class _Commands(TyperGroup):
    """The commands by name; a command's module is imported when that command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        with _signals():  # the import takes most of a short run
            command = _single(getattr(importlib.import_module(module), function), cmd_name)
            return typer.main.get_command(command)


def application() -> typer.Typer:
    """The command line with all its commands."""
    return typer.Typer(
        cls=_Commands,
        help="Invertible image rescaling and super-resolution with HCFlow.",
        invoke_without_command=True,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        callback=guarded(_global_options),
    )


def run_command(command: Callable[..., None]) -> None:
    """Run one function as a whole program, with the errors and exit codes of `hcflow`."""
    _start(_single(command))


def _single(command: Callable[..., None], name: str | None = None) -> typer.Typer:
    """A program of one command."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command(name)(guarded(command))
    return app


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors end in one line on stderr and an exit code, never a traceback.

    1: the work failed. 130: Ctrl-C. 143: SIGTERM. `--debug` or HCFLOW_DEBUG=1 shows tracebacks.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with _signals():
                command(*args, **kwargs)
                sys.stdout.flush()  # here, where a full disk or closed pipe still counts
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(FAILED) from None
        except ModuleNotFoundError as error:
            if os.environ.get(_DEBUG):
                raise
            _say(f"error: this needs '{error.name}': {extras.to_have(error.name)}")
            raise typer.Exit(FAILED) from None
        except (HcflowError, OSError, MemoryError) as error:
            if os.environ.get(_DEBUG):
                raise
            _say(f"error: {_describe(error)}")
            raise typer.Exit(FAILED) from None
        except typer.BadParameter as error:
            error.message = shown(error.message)
            raise
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if os.environ.get(_DEBUG):
                raise
            _say(
                f"error: {type(error).__name__}: {_describe(error)}: this is a fault of the "
                "program; please report it with what HCFLOW_DEBUG=1 shows"
            )
            raise typer.Exit(FAILED) from None

    return run


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the program here, with a line and their exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _leave(INTERRUPTED, "interrupted; no file is half-written")
    except _Terminated:
        _leave(TERMINATED, "terminated; no file is half-written")


def _global_options(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if show_version:
        print(f"hcflow-deploy {__version__}")
        raise typer.Exit
    if debug:
        os.environ[_DEBUG] = "1"
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def _start(app: typer.Typer) -> None:
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # tests put others there
        sys.stdout.reconfigure(errors="backslashreplace")  # as Python opens standard error
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("hcflow: %(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    notices.capture()
    signal.signal(signal.SIGTERM, _terminate)
    app()


class _OneLine(logging.Formatter):
    """Messages may hold names of files, which may hold what a terminal obeys."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _open_closed_streams() -> None:
    """Give a standard stream that was closed to nothing, before a file gets its descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nothing = open(  # noqa: SIM115
                os.devnull, mode, encoding="utf-8", errors="backslashreplace"
            )
            setattr(sys, name, nothing)


def _terminate(signum: int, frame: object) -> NoReturn:
    raise _Terminated


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": '{error.filename}'" if error.filename else "")
    if isinstance(error, MemoryError):
        return "out of memory: give a smaller image or crop it"
    return one_line(error)


def _say(message: str) -> None:
    # A closed stderr leaves nobody to tell; the exit code still does.
    with contextlib.suppress(OSError):
        print(f"hcflow: {shown(message)}", file=sys.stderr, flush=True)


def _leave(code: int, message: str) -> NoReturn:
    """End at once: a worker thread may be deep in a backend, which no exit handler can wait for."""
    atomic.discard_unfinished()  # what such a thread is writing
    _say(message)
    os._exit(code)


def _drop_stdout() -> None:
    """Point stdout at nothing, so that its flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
