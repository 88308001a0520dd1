"""NVIDIA's Triton on 127.0.0.1: the server of the wheel `nvidia-pytriton`, without its Python.

Of the backends the wheel holds the one for Python models, so that native ones cannot be run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.system.cache import user_cache

WHEEL = "nvidia-pytriton==0.7.0"
_PYTHON = "/usr/bin/python3.11"
_READY_SECONDS = 240.0


@dataclass(frozen=True)
class Server:
    """A running server: its addresses, its process, and what it has said."""

    http: str
    grpc: str
    metrics: str
    process: subprocess.Popen[bytes]
    log: Path

    def stubs(self) -> list[int]:
        """The processes of its Python models."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                is_child = int(fields[1]) == self.process.pid and fields[0] != "Z"
                if is_child and words[0].endswith(b"triton_python_backend_stub"):
                    found.append(int(folder.name))
        return found


def installed() -> Path:
    """The unpacked wheel; fetched once, and the test skipped where that cannot be."""
    cache = user_cache()
    if cache is None:
        pytest.skip("there is no cache folder for the server")
    if not os.path.exists(_PYTHON):
        pytest.skip(f"Triton's process for Python models needs {_PYTHON}")
    folder = cache / "tests" / WHEEL.replace("==", "-")
    if folder.exists():
        return folder
    work = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(work)]
    fetched = subprocess.run([*pip, WHEEL], capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if fetched.returncode or not wheels:
        pytest.skip(f"{WHEEL} cannot be fetched: {fetched.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(work)
    wheels[0].unlink()
    server = work / "pytriton" / "tritonserver"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    shutil.copyfile(server / "python_backend_stubs" / "3.11" / stub.name, stub)
    for program in (stub, server / "bin" / "tritonserver"):
        program.chmod(0o755)
    work.rename(folder)
    return folder


@contextlib.contextmanager
def running(repository: Path, log: Path) -> Iterator[Server]:
    """Serve a repository, and wait until its models are loaded."""
    folder = installed()
    program = folder / "pytriton" / "tritonserver"
    http, grpc, metrics = (_free_port() for _ in range(3))
    words = [
        str(program / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={program / 'backends'}",
        "--model-control-mode=explicit",
        "--load-model=*",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=5",
    ]
    environment = {
        "LD_LIBRARY_PATH": str(folder / "nvidia_pytriton.libs"),
        "PATH": "/usr/bin:/bin",  # the Python that the stub was built for comes first
        "HOME": os.environ.get("HOME", "/"),
    }
    with log.open("wb") as file:
        process = subprocess.Popen(words, env=environment, stdout=file, stderr=file)
    try:
        _wait(process, http, log)
        address = "127.0.0.1"
        yield Server(
            f"{address}:{http}",
            f"{address}:{grpc}",
            f"http://{address}:{metrics}/metrics",
            process,
            log,
        )
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise AssertionError("the server was not ready: " + log.read_text(errors="replace")[-4000:])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
