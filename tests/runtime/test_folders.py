"""A folder of ten thousand: nothing lost, everything named, and done once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hcflow.models.load import Models
from runtime.convert import file
from runtime.convert.folders import pool, worker
from runtime.convert.folders.resume import Finished
from runtime.convert.folders.walk import Task, walk
from runtime.convert.job import Job
from runtime.errors import FileError
from runtime.images.codecs import formats, vips
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import provenance
from runtime.images.codecs.metadata.provenance import Provenance
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@dataclass(frozen=True)
class Run:
    code: int
    report: dict[str, Any]
    err: str


def _folder(
    bundle: Path,
    source: Path,
    output: Path,
    *options: object,
    command: str = "downscale",
    **how: Any,
) -> Run:
    words = [command, source, "-o", output, "--model", bundle, "--json", *options]
    run = subprocess.run(
        [sys.executable, "-m", "hcflow", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=600,
        **how,
    )
    err = run.stderr.decode(errors="replace")
    assert "Traceback" not in err, err
    return Run(run.returncode, json.loads(run.stdout) if run.stdout else {}, err)


def _image(path: Path | bytes, seed: int = 0, size: tuple[int, int] = (9, 7)) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    with open(path, "wb") as file:
        Image.fromarray(values).save(file, "PNG")


def _results(output: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(output)): p.read_bytes()
        for p in sorted(output.rglob("*.*g"))
        if p.is_file()
    }


def test_every_image_is_done_whatever_its_name_and_bad_ones_are_listed(
    bundle: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    (source / "deep" / "er").mkdir(parents=True)
    _image(source / "a.png")
    _image(source / "deep" / "two\nlines.png")
    _image(os.fsencode(source / "deep" / "er") + b"/latin-\xe9.png")
    (source / "letter.png").write_text("Dear reader")
    (source / "notes.txt").write_text("no image")
    (source / "deep" / "loop").symlink_to(source)
    (source / "self.png").symlink_to("self.png")
    first = _folder(bundle, source, output)
    assert first.code == 1
    assert (first.report["done"], first.report["skipped"]) == (3, 0)
    failed = {each["input"]: each["error"] for each in first.report["failed"]}
    assert "is not an image" in failed.pop("letter.png")
    assert "symbolic links" in failed.pop("self.png")
    assert failed == {}
    assert "'deep/loop': a link back into the folder" in first.err
    assert os.path.exists(os.fsencode(output) + b"/deep/er/latin-\xe9.png")
    assert (output / "deep" / "two\nlines.png").exists()
    (source / "letter.png").unlink()
    _image(source / "a.png", seed=1)
    again = _folder(bundle, source, output)
    assert (again.report["done"], again.report["skipped"]) == (1, 2)


def test_what_is_passed_over_stands_in_the_last_line_and_in_json(
    bundle: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    _image(source / "a.png")
    for name in ("b.psd", "c.psd", "d.ico"):
        (source / name).touch()
    run = _folder(bundle, source, tmp_path / "out")
    assert (run.code, run.report["passed_over"]) == (0, {".ico": 1, ".psd": 2})
    words = [sys.executable, "-m", "hcflow", "downscale", source, "-o", tmp_path / "out"]
    again = subprocess.run([*words, "--model", bundle], cwd=ROOT, capture_output=True, check=True)
    last = again.stderr.decode().splitlines()[-1]
    assert last == "hcflow: 0 done, 1 done before, 0 failed; passed over: 1 .ico, 2 .psd"


def test_jobs_and_order_never_change_a_byte(bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for i in range(12):
        _image(source / f"{i}.png", i, (5 + i, 20 - i))
    runs = []
    for jobs in (1, 3):
        output = tmp_path / f"out{jobs}"
        assert _folder(bundle, source, output, "--jobs", jobs).code == 0
        runs.append(_results(output))
    assert runs[0] == runs[1]
    assert len(runs[0]) == 12


def test_other_options_are_other_results(bundle: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    _image(source / "a.png")
    assert _folder(bundle, source, output).report["done"] == 1
    assert _folder(bundle, source, output, "--threads", 1).report["skipped"] == 1
    assert _folder(bundle, source, output, "--no-round-trip").report["done"] == 1


def test_how_a_folder_was_drawn_is_in_its_report(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _image(tmp_path / "in" / "a.png")
    Image.new("L", (2, 2)).save(tmp_path / "map.png")
    options = ("--seed", "random", "--tau-map", tmp_path / "map.png")
    run = _folder(bundle, tmp_path / "in", tmp_path / "out", *options, command="upscale")
    assert run.code == 0, run.report["failed"]
    assert f"hcflow: seed {run.report['seed']}\n" in run.err
    assert run.report["tau"] is None
    assert "--tau-map has no effect at the model's default τ = 0" in run.err


def test_a_tau_map_of_colours_is_one_error_not_every_images(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    _image(tmp_path / "in" / "a.png")
    options = ("--tau", 1, "--tau-map", tmp_path / "in" / "a.png")
    run = _folder(bundle, tmp_path / "in", tmp_path / "out", *options, command="upscale")
    assert (run.code, run.report) == (1, {})
    assert "it must be a gray image without alpha" in run.err


def test_an_input_is_never_overwritten_without_force(bundle: Path, tmp_path: Path) -> None:
    _image(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    run = _folder(bundle, tmp_path, tmp_path)
    assert run.code == 2
    assert "--force" in run.err
    assert (tmp_path / "a.png").read_bytes() == before
    assert _folder(bundle, tmp_path, tmp_path, "--force").report["done"] == 1
    # A run that goes on must not make small images smaller still.
    assert _folder(bundle, tmp_path, tmp_path, "--force").report["skipped"] == 1


def test_an_output_that_is_not_writable_is_noticed_before_the_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hcflow.cli.conversion import folder  # noqa: PLC0415

    _image(tmp_path / "a.png")
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for a user who is not root
    job = Job("downscale", Models({}), "no-such-model")
    output = str(tmp_path / "out")
    with pytest.raises(FileError, match=r"cannot write into '.*out': the folder is not writable"):
        folder.convert_folder(str(tmp_path), output, job, format_name=None, jobs=1, as_json=False)
    assert not os.path.exists(output)


def test_a_half_written_list_of_results_costs_one_image(tmp_path: Path) -> None:
    source, output = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"in")
    output.write_bytes(b"out")
    finished = Finished(str(tmp_path), {"tau": 0})
    status = source.stat()
    finished.add("a.png", (status.st_size, status.st_mtime_ns), str(output))
    finished.close()
    path = tmp_path / ".hcflow-done"
    path.write_bytes(path.read_bytes() + b"12ab")
    finished = Finished(str(tmp_path), {"tau": 0})
    assert finished.has("a.png", str(source), str(output))
    assert not Finished(str(tmp_path), {"tau": 1}).has("a.png", str(source), str(output))
    finished.add("c.png", (1, 1), str(output))
    finished.close()
    assert len([x for x in path.read_text().split("\n") if len(x) == 32]) == 2
    output.write_bytes(b"else")
    assert not Finished(str(tmp_path), {"tau": 0}).has("a.png", str(source), str(output))


def test_a_file_that_is_being_written_is_named(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.png"
    _image(source)
    real = file.convert_file

    def slowly(*arguments: Any) -> Any:
        with source.open("ab") as file:
            file.write(b"more")
        return real(*arguments)

    monkeypatch.setattr(file, "convert_file", slowly)
    task = Task(str(source), str(tmp_path / "out.png"), "in.png", "PNG")
    job = Job("downscale", Models({"backend": "onnxruntime"}), str(bundle))
    warnings = worker._Warnings()
    warnings.start()
    outcome = worker._work(task, job, threading.Lock(), warnings)
    assert outcome.error == "was being written while it was read: run again"


@pytest.mark.parametrize("strips", [False, pytest.param(True, marks=needs_vips)])
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_what_ails_the_model_of_one_images_record_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, strips: bool
) -> None:
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path))
    theirs = write_bundle(tmp_path / "bundles" / "theirs")  # in fp32 alone
    for graph in theirs.glob("*.onnx"):
        graph.write_bytes(bytes(graph.stat().st_size))
    record = Provenance("theirs", "0" * 64, 4, 16, 16, "fp32", 0.0, None, None)
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    formats.write(Photo(Image.new("RGB", (4, 4)), xmp=provenance.embed(None, record)), source)
    task = Task(str(source), str(output), "in.png", "PNG")
    load = {"precision": precision}
    for model, stops in ((None, False), (str(theirs), True)):
        job = Job("upscale", Models(load), model, strips=strips)
        warnings = worker._Warnings()
        warnings.start()
        outcome = worker._work(task, job, threading.Lock(), warnings)
        assert outcome.stops == stops
        assert ("was made by model 'theirs': " in str(outcome.error)) != stops


def test_a_disk_that_fills_stops_the_run_and_says_what_is_left(
    bundle: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    output.mkdir()
    for i in range(8):
        _image(source / f"{i}.png", i, (300, 300))
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(output)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a small file system")
    try:
        run = _folder(bundle, source, output, "--no-round-trip")
        assert run.code == 1
        assert run.report["failed"][0]["error"] == "No space left on device"
        counts = run.report["done"] + len(run.report["failed"]) + run.report["left"]
        assert counts == 8
        assert run.report["left"] > 0
        assert not list(output.glob("*.tmp")) + list(output.glob(".*.tmp"))
    finally:
        subprocess.run(["umount", str(output)], check=True)


_CRASHES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def _killer(directory: Path, what: str) -> None:
    """A stand-in for a decoder that crashes or hangs: a module that Python runs at start."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(
        "from runtime.images.codecs import files\n"
        "read = files.read\n"
        "def deadly(path, *rest, **options):\n"
        f"    if 'deadly' in str(path): {what}\n"
        "    return read(path, *rest, **options)\n"
        "files.read = deadly\n"
    )


def _with_a_deadly_image(
    bundle: Path, tmp_path: Path, sound: int, *options: object, what: str
) -> Run:
    """A folder of so many sound images and `4-deadly.png`, at which a worker does `what`."""
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for i in range(sound):
        _image(source / f"{i}.png", i)
    _image(source / "4-deadly.png")
    _killer(tmp_path / "site", what)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"}
    return _folder(bundle, source, output, *options, env=env)


def test_a_worker_that_dies_costs_only_the_image_that_kills_it(
    bundle: Path, tmp_path: Path
) -> None:
    run = _with_a_deadly_image(bundle, tmp_path, 10, "--jobs", 2, what=_CRASHES)
    assert run.code == 1
    assert run.report["done"] == 10
    assert run.report["failed"] == [
        {"input": "4-deadly.png", "error": "the process that worked on it was ended by SIGSEGV"}
    ]


@pytest.mark.slow
def test_an_image_that_never_ends_costs_only_itself_with_a_timeout(
    bundle: Path, tmp_path: Path
) -> None:
    # Long enough that no other image is late on a busy machine.
    hangs = "import time; time.sleep(3600)"
    run = _with_a_deadly_image(bundle, tmp_path, 5, "--timeout", 30, what=hangs)
    assert run.code == 1
    assert run.report["done"] == 5
    error = "took longer than --timeout 30 s"
    assert run.report["failed"] == [{"input": "4-deadly.png", "error": error}]


def test_what_no_worker_can_do_is_one_line(bundle: Path, tmp_path: Path) -> None:
    _image(tmp_path / "a.png")
    run = _folder(bundle, tmp_path, tmp_path / "out", "--precision", "fp16")
    assert run.code == 1
    assert run.err.strip().splitlines()[-1].startswith("hcflow: error: bundle 'tiny_x4' has")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no image in it" in _folder(bundle, empty, tmp_path / "out").err


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_and_a_second_run_end_in_the_same_files(bundle: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for i in range(80):
        _image(source / f"{i}.png", i)
    words = ["downscale", source, "-o", output, "--model", bundle]
    process = subprocess.Popen(
        [sys.executable, "-m", "hcflow", *map(str, words)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        preexec_fn=_default_interrupt,  # noqa: PLW1509 - no thread holds a lock here
    )
    deadline = time.monotonic() + 300
    while len(list(output.glob("*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (130, b"hcflow: interrupted; no file is half-written\n")
    assert not list(output.glob(".*.tmp"))
    done = len(list(output.glob("*.png")))
    assert 0 < done < 80
    run = _folder(bundle, source, output)
    assert run.code == 0, run.report["failed"]
    assert run.report["done"] + run.report["skipped"] == 80
    assert run.report["skipped"] >= done - 3


# In a process of its own: backends that other tests have loaded handle signals, too.
_INTERRUPTED_START = """
import signal, subprocess, sys, threading
from runtime.convert.folders import pool

name = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` ignores it
try:
    with pool._interrupts_held():
        print(subprocess.check_output([sys.executable, "-c", name], text=True).strip())
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        print("held")
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_ctrl_c_reaches_no_worker_that_still_starts() -> None:
    said = subprocess.check_output([sys.executable, "-c", _INTERRUPTED_START], cwd=ROOT, text=True)
    assert said.splitlines() == ["True", "held", "interrupted False"]


def _memory_and_descriptors(process: int) -> tuple[int, int]:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{process}/fd"))


@pytest.mark.slow
def test_ten_thousand_images_leak_neither_memory_nor_descriptors(
    bundle: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    _image(source / "0.png")
    for i in range(1, 10_000):
        os.link(source / "0.png", source / f"{i}.png")
    job = Job("downscale", Models({"threads": 1}), str(bundle), round_trip=False)
    tasks = (t for t in walk(str(source), str(output), None) if isinstance(t, Task))
    seen = []
    for count, outcome in enumerate(pool.run(tasks, job, 2), start=1):
        assert outcome.error is None
        if count in (2_000, 9_900):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            workers = [p for p in map(int, children) if _is_worker(p)]
            seen.append([_memory_and_descriptors(p) for p in (os.getpid(), *workers)])
    assert count == 10_000
    for (before, opened), (after, open_now) in zip(*seen, strict=True):
        assert after - before < 20e6
        assert open_now <= opened + 2  # an image may be open at the moment


def _is_worker(process: int) -> bool:
    command = Path(f"/proc/{process}/cmdline").read_bytes()
    return b"spawn_main" in command
