"""`hcflow serve` as a process: how it starts, how it ends, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hcflow.serving import server as serving_server
from runtime.errors import FileError
from tests.support.bundles import write_bundle
from tests.support.serving import PATIENCE, noise, pixels, png

ROOT = Path(__file__).parents[3]
_QUICK = ("--backend", "onnxruntime", "--precision", "fp32", "--threads", "1")


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "hcflow", "serve", *map(str, words), *_QUICK]


def _fails(*words: object) -> str:
    run = subprocess.run(_command(*words), cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = _command(write_bundle(tmp_path / "tiny"), "--port", "0")
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = re.fullmatch(
        r"hcflow: serving tiny_x4 on (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n",
        process.stderr.readline(),
    )
    assert said is not None
    yield process, said[1]
    process.kill()
    process.wait()
    process.stderr.close()


def test_sigterm_finishes_what_runs_refuses_what_is_new_and_ends_with_0(
    started: tuple[subprocess.Popen[str], str],
) -> None:
    process, url = started
    body = png(noise(700, 700))
    answers: list[httpx.Response] = []

    def post() -> None:
        answers.append(httpx.post(f"{url}/v1/upscale?png_level=9", content=body, timeout=PATIENCE))

    thread = threading.Thread(target=post)
    thread.start()
    while "hcflow_running 1.0" not in httpx.get(f"{url}/metrics").text:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    thread.join()
    assert pixels(answers[0].content).shape == (2800, 2800, 3)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_an_address_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = _fails(write_bundle(tmp_path / "tiny"), "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}: the address is in use" in said


def test_a_model_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    for graph in folder.glob("inverse*.onnx"):
        graph.write_bytes(b"damaged")
    assert "inverse.fp32" in _fails(folder, "--port", "0")


def test_a_model_that_is_not_there_is_one_line() -> None:
    assert "'nothing' is neither a bundle's folder nor a shipped model" in _fails(
        "nothing", "--port", "0"
    )


def test_other_machines_need_a_token_or_a_plain_word() -> None:
    said = _fails("rescale_x4", "--host", "0.0.0.0", "--port", "0")
    assert "give --token-file, or --no-auth" in said


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EACCES, "x"), "no permission: give a --port of 1024 or above"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "Cannot assign requested address"),
        (socket.gaierror(-2, "x"), "there is no such host"),
    ],
)
def test_why_a_port_is_refused_is_said(
    monkeypatch: pytest.MonkeyPatch, error: OSError, text: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(FileError, match=text):
        serving_server.listen("127.0.0.1", 80)


@pytest.mark.parametrize("host", ["", "no such host", "x" * 300, "::1", "localhost"])
def test_any_name_of_a_host_ends_in_a_socket_or_one_error(host: str) -> None:
    with contextlib.suppress(FileError):
        serving_server.listen(host, 0).close()
