"""`hcflow` starts quickly: a command brings in what it needs and nothing of the others."""

import subprocess
import sys
from pathlib import Path

import typer
from rich.markup import render
from typer.testing import CliRunner

from hcflow.cli.program import COMMANDS, application
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]


def test_upscaling_loads_no_other_command_and_no_framework(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    image = ROOT / "docs" / "side-by-side.png"
    code = (
        "import sys\n"
        "from hcflow.cli.program import main\n"
        f"sys.argv = ['hcflow', 'upscale', {str(image)!r}, '-o', {str(tmp_path / 'o.png')!r},"
        f" '--model', {str(bundle)!r}, '--exact']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "names = 'torch onnx export hcflow_ref hcflow.commands.build hcflow.commands.train '\n"
        "names += 'openvino tensorrt '\n"
        "names += 'hcflow.commands.verify hcflow.commands.compare skimage scipy '\n"
        "names += 'rich.progress PIL.WebPImagePlugin PIL.AvifImagePlugin pydantic '\n"
        "names += 'runtime.convert.folders.pool hcflow.cli.conversion.video '\n"
        "names += 'runtime.bundle.engines.entry importlib.metadata'\n"
        "print([name for name in names.split() if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
    # The fastest backend is OpenVINO where it is installed; ONNX Runtime then stays away.
    code = code.replace(", '--exact'", "").replace("'openvino tensorrt '", "'onnxruntime '")
    code = code.replace("runtime.bundle.engines.entry importlib.metadata", "rich.table")
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


def test_every_command_is_there_and_in_the_help() -> None:
    help_ = CliRunner().invoke(application(), ["--help"]).output
    for name in COMMANDS:
        assert f" {name} " in help_
        assert CliRunner().invoke(application(), [name, "--help"]).exit_code == 0


def test_no_help_text_loses_what_rich_takes_for_markup() -> None:
    program = typer.main.get_group(application())
    for name in COMMANDS:
        command = program.get_command(typer.Context(program), name)
        assert command is not None
        texts = [command.help or "", *(getattr(p, "help", "") or "" for p in command.params)]
        for text in texts:
            assert render(text).plain == text, (name, text)


def test_debug_without_a_command_shows_the_help() -> None:
    done = CliRunner().invoke(application(), ["--debug"], env={"HCFLOW_DEBUG": ""})
    assert "upscale" in done.output


def test_the_program_ends_quickly_but_not_before_its_exit_handlers_and_threads(
    tmp_path: Path,
) -> None:
    code = (
        "import atexit, sys, threading, time\n"
        "from hcflow.cli import program\n"
        "atexit.register(lambda: print('handler'))\n"
        "def late(): time.sleep(0.2); print('thread')\n"
        "if sys.argv[1] == 'busy': threading.Thread(target=late).start()\n"
        "sys.argv[1:] = sys.argv[2:]\n"
        "program.program()"
    )

    def ran(*words: str) -> tuple[int, str]:
        run = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return run.returncode, run.stdout.split("\n", 1)[1]

    assert ran("idle", "--version") == (0, "handler\n")
    assert ran("busy", "--version") == (0, "thread\nhandler\n")
    assert ran("idle", "info", str(tmp_path / "none"))[0] == 1


def test_output_that_cannot_be_written_at_the_end_is_an_error() -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        run = subprocess.run(
            [sys.executable, "-m", "hcflow", "--version"],
            check=False,
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (run.returncode, run.stderr) == (1, "hcflow: error: No space left on device\n")
