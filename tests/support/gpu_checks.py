"""Checks that hold, fail, die or never end: what the runner of `tests.gpu` has to outlive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.gpu.record import Report, SkippedError


def holds(report: Report) -> None:
    report.attempt("it holds", lambda: {"ms": 1.25, "<unit>": "a & b"})
    report.attempt("it says why", lambda: "because <b>")


def lacks(report: Report) -> None:
    def work() -> None:
        raise SkippedError("TensorRT is not installed here")

    report.attempt("it needs TensorRT", work)


def fails(report: Report) -> None:
    report.attempt("it divides", lambda: {"ms": 1 / 0})
    report.attempt("it goes on", lambda: None)


def crashes(report: Report) -> None:
    report.attempt("it holds so far", lambda: None)
    print("about to die", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def raises(report: Report) -> None:
    raise RuntimeError("outside of every attempt")


def hangs(report: Report) -> None:
    report.attempt("it holds so far", lambda: None)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    report.add("its child", "ok", str(child.pid))
    time.sleep(600)
