"""How a command ends: on a signal, a full disk, a closed stream, and with which exit code."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hcflow.cli import program
from runtime.system import atomic
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (10, 13, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "message"),
    [
        ("<&-", "- -o out.png", 1, "standard input is empty"),
        (">&-", "in.png -o -", 2, "standard output is closed"),
        (">&-", "in.png -o out.png --json", 0, ""),
        ("2>&-", "folder -o out", 0, ""),
        ("<&- >&- 2>&-", "in.png -o out.png", 0, ""),
        ("> /dev/full", "in.png -o out.png --json", 1, "No space left on device"),
    ],
)
def test_a_standard_stream_may_be_closed(
    bundle: Path,
    picture: Path,
    tmp_path: Path,
    closed: str,
    arguments: str,
    code: int,
    message: str,
) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("in.png", "folder/in.png"):
        (tmp_path / name).write_bytes(picture.read_bytes())
    command = f"'{sys.executable}' -m hcflow upscale {arguments} --model '{bundle}' {closed}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, check=False, cwd=tmp_path, env=environment, capture_output=True
    )
    assert done.returncode == code, done.stderr
    assert message in done.stderr.decode()
    if code == 0:
        files = [*tmp_path.glob("out.png"), *tmp_path.glob("out/*.png")]
        assert [Image.open(file).size[0] // 4 for file in files] == [Image.open(picture).size[0]]


def _start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hcflow", *map(str, arguments)]
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, b"hcflow: interrupted; no file is half-written\n"),
        (signal.SIGTERM, 143, b"hcflow: terminated; no file is half-written\n"),
    ],
)
def test_signals_end_the_work_at_once_and_leave_nothing(
    bundle: Path, picture: Path, number: signal.Signals, code: int, message: bytes
) -> None:
    output = picture.with_name("out.png")
    # A hundred thousand samples keep it busy far beyond this test.
    arguments = ["upscale", picture, "-o", output, "--model", bundle, "--samples", 10**5]
    arguments += ["--tau", 1, "--seed", "random"]
    process = _start(*arguments, preexec_fn=_default_interrupt)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"hcflow: seed ")  # it has begun
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (code, message)
    assert [p.name for p in picture.parent.iterdir()] == ["in.png"]


def test_ctrl_c_removes_what_another_thread_was_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    with contextlib.suppress(FileNotFoundError), atomic.replacement(tmp_path / "out.png"):
        assert len(list(tmp_path.iterdir())) == 1
        with pytest.raises(SystemExit), program._signals():
            raise KeyboardInterrupt
        assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(bundle: Path, picture: Path) -> None:
    output = picture.with_name("out.png")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    process = _start("upscale", picture, "-o", output, "--model", bundle, preexec_fn=limit)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (1, b"hcflow: error: File too large\n")
    assert [p.name for p in picture.parent.iterdir()] == ["in.png"]


def test_an_image_on_standard_outputs_other_name_has_nothing_after_it(
    bundle: Path, picture: Path
) -> None:
    words = ("-o", "/dev/stdout", "--format", "PNG", "--model", bundle)
    out, err = _start("downscale", picture, *words).communicate(timeout=300)
    assert out[-8:-4] == b"IEND"
    assert err.count(b"\n") == 1  # what was done, which stands on standard error


def test_a_reader_that_leaves_early_is_no_traceback(bundle: Path, picture: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "hcflow", "upscale", picture, "-o", "-", "--model", bundle]
    process = subprocess.run(
        command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, check=False, timeout=300
    )
    os.close(write_end)
    assert process.returncode == 1
    assert process.stderr == b""
