"""`hcflow serve` as a process: how it starts, how it ends, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hcflow.commands.serve import serve
from hcflow.serving import server as serving_server
from runtime.errors import BundleError, FileError, ParameterError
from tests.support.bundles import write_bundle
from tests.support.serving import PATIENCE, noise, pixels, png, running

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


def test_a_process_serves_until_sigterm_and_ends_with_0(
    started: tuple[subprocess.Popen[str], str],
) -> None:
    process, url = started
    answer = httpx.post(f"{url}/v1/upscale", content=png(noise(4, 4)), timeout=PATIENCE)
    assert pixels(answer.content).shape == (16, 16, 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_sigterm_finishes_what_runs_and_refuses_what_is_new(tmp_path: Path) -> None:
    with running(tmp_path / "tiny") as server, ThreadPoolExecutor(1) as threads:
        held, picture = server.hold(), noise(4, 4)
        answer = threads.submit(server.client.post, "/v1/upscale", content=png(picture))
        held.wait()
        server.server.handle_exit(signal.SIGTERM, None)
        with contextlib.suppress(httpx.TransportError):  # until it has been refused
            while httpx.get(f"{server.url}/health/ready").status_code == 503:
                pass
        held.go.set()
        assert np.array_equal(pixels(answer.result().content), server.model.upscale(picture))


def test_an_address_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = _fails(write_bundle(tmp_path / "tiny"), "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}: the address is in use" in said


def _serve(*bundles: object, **options: Any) -> None:
    given = {"backend": "onnxruntime", "precision": "fp32", "threads": 1, **options}
    serve([str(each) for each in bundles], port=0, **given)


def test_a_model_that_does_not_load_ends_the_start(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    for graph in folder.glob("inverse*.onnx"):
        graph.write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"inverse\.fp32"):
        _serve(folder)


def test_models_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    with pytest.raises(ParameterError, match="two models are named 'tiny_x4'"):
        _serve(folder, folder)
    with pytest.raises(BundleError, match="'nothing' is neither"):
        _serve("nothing")


def test_other_machines_need_a_token_or_a_plain_word() -> None:
    with pytest.raises(ParameterError, match="give --token-file, or --no-auth"):
        _serve("rescale_x4", host="0.0.0.0")


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
