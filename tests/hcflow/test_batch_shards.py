"""A shard: every row one outcome, every result whole and written once, whoever is killed."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hcflow.batch import listing, rows, shards, storage
from hcflow.batch import outcomes as outcomes_module
from hcflow.batch.shards import Batch
from hcflow.cli.program import application
from hcflow.models.load import load
from runtime.convert.folders import pool
from runtime.convert.folders.worker import Outcome
from runtime.convert.job import ON_GPUS
from runtime.errors import FileError
from runtime.system import lock
from tests.support.batches import InProcess, batch, files, job, outcomes, picture, text_list
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def worker(bundle: Path) -> InProcess:
    return InProcess(job(bundle))


def _six(folder: Path) -> Path:
    """A list of six pictures in `in`."""
    for i in range(6):
        picture(folder / "in" / f"{i}.png", i)
    return text_list(folder / "list.txt", [f"in/{i}.png" for i in range(6)])


def test_results_are_the_models_at_the_same_paths(
    tmp_path: Path, worker: InProcess, bundle: Path
) -> None:
    source = picture(tmp_path / "in" / "deep" / "a.png")
    picture(tmp_path / "in" / "b.png", 1)
    names = text_list(tmp_path / "list.txt", ["in/deep/a.png", "in/b.png"])
    count = batch(names, tmp_path / "out").run(0, worker)
    assert (count.done, count.failed) == (2, 0)
    assert list(files(tmp_path / "out")) == ["b.png", "deep/a.png"]
    local = load(bundle, backend="onnxruntime").upscale(np.asarray(Image.open(source)))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "deep" / "a.png")), local)
    assert [each["output"] for each in outcomes(tmp_path / "out")] == ["deep/a.png", "b.png"]
    assert sorted(os.listdir(tmp_path / "out" / "_done")) == ["00000-of-00001.jsonl"]


def test_what_is_wrong_with_a_row_is_its_outcome_and_the_rest_goes_on(
    tmp_path: Path, worker: InProcess
) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "a.jpg")
    picture(tmp_path / "in" / "_done" / "x.png")
    (tmp_path / "in" / "letter.png").write_text("Dear reader")
    listed = ["a.png", "../a.png", "none.png", "letter.png", "a.jpg", "a.png", "_done/x.png"]
    names = text_list(tmp_path / "in" / "list.txt", listed)
    count = batch(names, tmp_path / "out", form="PNG").run(0, worker)
    assert (count.done, count.failed) == (1, 6)
    told = {each["row"]: each.get("error") for each in outcomes(tmp_path / "out")}
    assert told[0] is None
    assert "has '..' in it" in told[1]
    assert told[2] == "No such file or directory"
    assert "is not an image" in told[3]
    assert told[4] == told[5] == "another row's result has the name 'a.png'"
    assert "is kept for the outcomes" in told[6]


def test_a_name_that_no_result_can_have_is_its_rows_error(
    tmp_path: Path, worker: InProcess
) -> None:
    long = "x" * 251 + ".jpg"
    picture(tmp_path / "in" / long)
    picture(tmp_path / "in" / "a.png" / "b.png")
    picture(tmp_path / "in" / "c.png")
    picture(tmp_path / "out" / "a.png")
    names = text_list(tmp_path / "in" / "list.txt", [long, "a.png/b.png", "c.png"])
    count = batch(names, tmp_path / "out", form="WEBP").run(0, worker)
    assert (count.done, count.failed) == (1, 2)
    told = [each.get("error") for each in outcomes(tmp_path / "out")]
    assert "name too long" in told[0].lower()
    assert "a file is in its folder's place" in told[1]
    assert told[2] is None


def test_bad_rows_are_told_in_bounded_memory(tmp_path: Path, worker: InProcess) -> None:
    names = text_list(tmp_path / "list.txt", (f"../{i}.png" for i in range(20_000)))
    tracemalloc.start()
    assert batch(names, tmp_path / "out").run(0, worker).failed == 20_000
    assert tracemalloc.get_traced_memory()[1] < 4 << 20  # as text alone the outcomes have 2 MB
    tracemalloc.stop()
    assert outcomes(tmp_path / "out")[-1]["row"] == 19_999


@pytest.mark.parametrize(
    ("relative", "asked", "result"),
    [
        ("a/b.jpg", None, ("a/b.jpg", "JPEG")),
        ("a/b.JPEG", "JPEG", ("a/b.JPEG", "JPEG")),
        ("a/b.jpg", "PNG", ("a/b.png", "PNG")),
        ("a/b.gif", None, ("a/b.png", "PNG")),
        ("a/b.tga", None, ("a/b.png", "PNG")),
        ("a.b/c", None, ("a.b/c.png", "PNG")),
        ("img?id=7", "WEBP", ("img?id=7.webp", "WEBP")),
    ],
)
def test_the_format_gives_a_result_its_suffix(
    relative: str, asked: str | None, result: tuple[str, str]
) -> None:
    assert rows.result_name(relative, asked) == result


def test_a_result_of_another_shard_is_never_overwritten(tmp_path: Path, worker: InProcess) -> None:
    picture(tmp_path / "in" / "a.png", 0)
    picture(tmp_path / "in" / "a.bmp", 1)
    names = text_list(tmp_path / "list.txt", ["in/a.png", "in/a.bmp"])
    whole = batch(names, tmp_path / "out", 2, "PNG")
    whole.run(0, worker)
    before = files(tmp_path / "out")
    assert whole.run(1, worker).failed == 1
    (outcome,) = outcomes(tmp_path / "out", "00001-of-00002")
    assert "a.png' is there already, and is not this image's result" in outcome["error"]
    assert files(tmp_path / "out") == before


def test_a_finished_shard_is_not_done_again(tmp_path: Path, worker: InProcess) -> None:
    names = _six(tmp_path)
    (tmp_path / "in" / "5.png").write_text("no picture")
    first = batch(names, tmp_path / "out").run(0, worker)
    worker.worked.clear()
    assert batch(names, tmp_path / "out").run(0, worker) == first
    assert (first.done, first.failed, worker.worked) == (5, 1, [])


@pytest.mark.parametrize("end", [-1, -20, 30, None, 0])
def test_outcomes_that_are_damaged_are_named_and_made_again(
    tmp_path: Path, worker: InProcess, end: int | None
) -> None:
    _six(tmp_path)
    listing.write(str(tmp_path / "in"), str(tmp_path / "list"), 1, pytest.fail)
    whole = batch(tmp_path / "list", tmp_path / "out")
    whole.run(0, worker)
    finished = tmp_path / "out" / "_done" / "00000-of-00001.jsonl"
    before = finished.read_bytes()
    if end == -1:  # the last line's end alone is missing
        finished.write_bytes(before[:end])
        assert whole.run(0, worker).done == 6
        return
    finished.write_bytes(bytes(len(before)) if end is None else before[:end])
    with pytest.raises(FileError, match=r"\.jsonl' is damaged: remove it and run the shard again"):
        whole.run(0, worker)
    finished.unlink()
    assert whole.run(0, worker).done == 6
    assert finished.read_bytes() == before


def test_a_damaged_list_leaves_its_shard_unfinished_until_it_is_written_again(
    tmp_path: Path, worker: InProcess
) -> None:
    _six(tmp_path)
    listing.write(str(tmp_path / "in"), str(tmp_path / "list"), 1, pytest.fail)
    shard = tmp_path / "list" / "00000-of-00001.jsonl"
    shard.write_bytes(shard.read_bytes()[:50])
    whole = batch(tmp_path / "list", tmp_path / "out")
    whole.begin({})
    with pytest.raises(FileError, match=r"is damaged, 2 of 6 rows are in it: write the list again"):
        whole.run(0, worker)
    shutil.rmtree(tmp_path / "list")
    listing.write(str(tmp_path / "in"), str(tmp_path / "list"), 1, pytest.fail)
    whole.begin({})
    assert whole.run(0, worker).done == 6


class _Ends(InProcess):
    """Ends after so many images, as by Ctrl-C."""

    left = 3

    def run(self, tasks: Any) -> Iterator[Outcome]:  # type: ignore[override]
        for outcome in super().run(tasks):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield outcome


def test_a_shard_goes_on_where_it_was_ended(
    tmp_path: Path, bundle: Path, worker: InProcess
) -> None:
    names = _six(tmp_path)
    batch(names, tmp_path / "whole").run(0, worker)
    with pytest.raises(KeyboardInterrupt):
        batch(names, tmp_path / "out").run(0, _Ends(job(bundle)))
    assert not (tmp_path / "out" / "_done" / "00000-of-00001.jsonl").exists()
    worker.worked.clear()
    count = batch(names, tmp_path / "out").run(0, worker)
    assert (count.done, count.failed) == (6, 0)
    assert 3 <= len(worker.worked) < 6
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path / "out" / "_done")) == ["00000-of-00001.jsonl"]


def test_a_result_that_a_killed_run_did_not_note_is_made_again_and_counts(
    tmp_path: Path, worker: InProcess
) -> None:
    names = _six(tmp_path)
    batch(names, tmp_path / "out").run(0, worker)
    before = files(tmp_path / "out")
    (tmp_path / "out" / "_done" / "00000-of-00001.jsonl").unlink()
    (tmp_path / "out" / "_done" / ".00000-of-00001.work").mkdir()
    (tmp_path / "out" / "_done" / ".00000-of-00001.work" / "half.png").write_text("half")
    (tmp_path / "out" / "_done" / ".00000-of-00001-x.work").mkdir()
    assert batch(names, tmp_path / "out").run(0, worker).done == 6
    assert files(tmp_path / "out") == before
    assert sorted(os.listdir(tmp_path / "out" / "_done")) == ["00000-of-00001.jsonl"]


def test_a_second_process_on_a_shard_is_refused(tmp_path: Path, worker: InProcess) -> None:
    names = _six(tmp_path)
    (tmp_path / "out" / "_done").mkdir(parents=True)
    with (tmp_path / "out" / "_done" / ".00000-of-00001.lock").open("ab") as held:
        lock.lock(held.fileno(), wait=False)
        with pytest.raises(FileError, match="another process works on shard 00000-of-00001"):
            batch(names, tmp_path / "out").run(0, worker)


def test_where_no_lock_is_heard_the_later_outcomes_are_refused(
    tmp_path: Path, worker: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes_module, "_PART_ROWS", 1)
    names = _six(tmp_path)
    parts = Path(outcomes_module.parts_of(str(tmp_path / "out"), "00000-of-00001"))
    real = outcomes_module.Outcomes._before

    def before(self: outcomes_module.Outcomes) -> Iterator[dict[str, Any]]:
        yield from real(self)
        parts.mkdir(parents=True, exist_ok=True)
        (parts / "00000000.jsonl").write_text("")  # the other's

    monkeypatch.setattr(outcomes_module.Outcomes, "_before", before)
    with pytest.raises(FileError, match="another process has worked on shard"):
        batch(names, tmp_path / "out").run(0, worker)


def _kept(folder: Path, name: str) -> outcomes_module.Outcomes:
    """The outcomes of a process of its own."""
    (folder / name).mkdir()
    return outcomes_module.Outcomes(str(folder / "out"), "00000-of-00001", folder / name)


def test_of_two_processes_without_a_lock_each_row_keeps_one_outcome(tmp_path: Path) -> None:
    first = _kept(tmp_path, "first")
    first.add({"row": 0, "output": "0.png"})
    first.flush()
    first.add({"row": 1, "output": "1.png"})
    second = _kept(tmp_path, "second")
    second.add({"row": 1, "output": "1.png", "warnings": ["its own"]})
    second.flush()
    first.add({"row": 2, "output": "2.png"})
    with pytest.raises(FileError, match="another process has worked on shard 00000-of-00001 too"):
        first.finish()
    second.add({"row": 2, "error": "there is no such file"})
    second.finish()
    assert [each["row"] for each in outcomes(tmp_path / "out")] == [0, 1, 2]
    count = outcomes_module.count_finished(str(tmp_path / "out"), "00000-of-00001", 3)
    assert count == second.count == outcomes_module.Count(2, 1)
    with pytest.raises(FileError, match="another process has worked on shard"):
        first.finish()
    assert os.listdir(tmp_path / "out" / "_done") == ["00000-of-00001.jsonl"]


def test_rows_that_two_processes_have_noted_are_told_once(tmp_path: Path) -> None:
    parts = Path(outcomes_module.parts_of(str(tmp_path / "out"), "00000-of-00001"))
    parts.mkdir(parents=True)
    for name, rows_in in {"00000000.jsonl": (0, 1), "00000002.jsonl": (1, 2)}.items():
        text_list(parts / name, [json.dumps({"row": row, "output": name}) for row in rows_in])
    (parts / ".nfs0001").write_text("a file that is open elsewhere")
    kept = _kept(tmp_path, "work")
    assert (kept.count.done, kept.has(2), kept.has(3)) == (3, True, False)
    kept.add({"row": 3, "output": "3.png"})
    kept.finish()
    assert [each["row"] for each in outcomes(tmp_path / "out")] == [0, 1, 2, 3]
    assert outcomes(tmp_path / "out")[1]["output"] == "00000000.jsonl"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_on_a_disk_without_locks_no_process_removes_what_another_works_on(
    tmp_path: Path, worker: InProcess, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    whole = batch(_six(tmp_path), tmp_path / "out")
    with shards._work_folder(whole.results.folder, "00000-of-00001") as theirs:
        (theirs / "3.png").write_text("half")

        def tell(_: object) -> None:
            assert (theirs / "3.png").exists()

        assert whole.run(0, worker, tell).done == 6
    assert sorted(os.listdir(tmp_path / "out" / "_done")) == ["00000-of-00001.jsonl"]


def test_a_disk_without_hard_links_has_whole_results_too(
    tmp_path: Path, worker: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    names = _six(tmp_path)
    picture(tmp_path / "out" / "3.png", 77)
    count = batch(names, tmp_path / "out").run(0, worker)
    assert (count.done, count.failed) == (5, 1)


def test_a_full_disk_stops_the_shard_and_nothing_is_lost(
    tmp_path: Path, worker: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = _six(tmp_path)
    real = storage.create

    def full(path: Path, name: str, **options: Any) -> None:
        if name.endswith("3.png"):
            raise storage.StorageError(f"cannot write '{name}': No space left on device")
        real(path, name, **options)

    monkeypatch.setattr(storage, "create", full)
    with pytest.raises(FileError, match="No space left on device"):
        batch(names, tmp_path / "out").run(0, worker)
    monkeypatch.setattr(storage, "create", real)
    assert batch(names, tmp_path / "out").run(0, worker).done == 6


def test_results_belong_to_one_list_and_one_job(tmp_path: Path) -> None:
    names = _six(tmp_path)
    batch(names, tmp_path / "out").begin({"tau": 0})
    batch(names, tmp_path / "out").begin({"tau": 0})
    with pytest.raises(FileError, match="was begun with other options or another model"):
        batch(names, tmp_path / "out").begin({"tau": 1})
    with pytest.raises(FileError, match="was begun with another number of shards"):
        batch(names, tmp_path / "out", 2).begin({"tau": 0})
    with names.open("a") as file:
        file.write("in/6.png\n")
    with pytest.raises(FileError, match="was begun with another list"):
        batch(names, tmp_path / "out").begin({"tau": 0})


def test_results_begun_before_a_job_named_its_graphs_on_gpus_go_on(tmp_path: Path) -> None:
    results = batch(_six(tmp_path), tmp_path / "out")
    results.begin({"tau": 0})
    results.begin({"tau": 0, ON_GPUS: {"inverse.fp16.onnx": "1" * 64}})
    with pytest.raises(FileError, match="was begun with other options or another model"):
        results.begin({"tau": 1, ON_GPUS: {"inverse.fp16.onnx": "1" * 64}})


def test_results_never_go_among_the_images(tmp_path: Path) -> None:
    names = _six(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for folder in ("in", "link"):
        with pytest.raises(FileError, match="is the folder of the images"):
            batch(names, tmp_path / folder).begin({})


def test_images_come_from_the_web_and_a_host_that_is_not_there_is_a_row(
    tmp_path: Path, worker: InProcess
) -> None:
    pytest.importorskip("aiohttp")
    picture(tmp_path / "web" / "a" / "x.png")
    handler = functools.partial(_Quiet, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{served.server_port}"
        listed = [f"{host}/a/x.png", f"{host}/a/none.png", "http://127.0.0.1:9/a/x.png"]
        names = text_list(tmp_path / "list.txt", listed)
        batch(names, tmp_path / "out").run(0, worker)
        served.shutdown()
    first, second, third = outcomes(tmp_path / "out")
    assert first["output"] == f"127.0.0.1:{served.server_port}/a/x.png"
    assert "there is no such file" in second["error"]
    assert "cannot read 'http://127.0.0.1:9/a/x.png'" in third["error"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _hcflow(*words: object) -> Any:
    return CliRunner().invoke(application(), [str(word) for word in words])


def test_the_command_refuses_what_it_cannot_do_in_one_line(tmp_path: Path, bundle: Path) -> None:
    names = _six(tmp_path)
    upscale = ("upscale", "--manifest", names, "--model", bundle)
    for words, reason in (
        ((*upscale, "-o", tmp_path / "out", "--shard", "2/2"), "there is no such shard"),
        ((*upscale, "-o", tmp_path / "out", "--shard", "1"), "give i/N"),
        ((*upscale, "-o", tmp_path / "out", "--shard", "-1/2"), "give i/N"),
        ((*upscale, "-o", tmp_path / "out", "--shard", "0/0"), "there is no such shard"),
        (upscale, "needs a folder or URL for the results"),
        ((*upscale, "-o", "-"), "needs a folder or URL for the results"),
        ((*upscale, "-o", tmp_path / "out", "--force"), "--force does not work with --manifest"),
        ((*upscale, "photo.png", "-o", tmp_path / "out"), "INPUT does not work with --manifest"),
        (("upscale", "photo.png", "--shard", "0/2"), "--shard needs --manifest LIST"),
        (("upscale", "photo.png", "--ray", "auto"), "--ray needs --manifest LIST"),
        (("upscale",), "Missing argument 'INPUT'"),
    ):
        run = _hcflow(*words)
        assert run.exit_code == 2, run.output
        assert reason in " ".join(run.output.replace("│", "").split()), run.output


def test_fewer_processes_than_shards_share_them(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _six(tmp_path)
    assert (
        _hcflow("manifest", tmp_path / "in", "-o", tmp_path / "list", "--shards", 3).exit_code == 0
    )
    done = list[int]()

    def note(self: Batch, index: int, *_: object) -> outcomes_module.Count:
        done.append(index)
        return outcomes_module.Count(2, 0)

    monkeypatch.setattr(Batch, "run", note)
    words = ("upscale", "--manifest", tmp_path / "list", "-o", tmp_path / "out", "--model", bundle)
    for shard in ("0/2", "1/2"):
        run = _hcflow(*words, "--shard", shard, "--json")
        assert run.exit_code == 0, run.output
    assert done == [0, 2, 1]
    assert "the list has 3 shards" in _hcflow(*words, "--shard", "0/4").output.replace("\n", " ")


def _deadly(folder: Path) -> dict[str, str]:
    """An environment in which a worker dies of every image named deadly."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from runtime.images.codecs import files\n"
        "read = files.read\n"
        "def deadly(path, *rest, **options):\n"
        f"    if 'deadly' in str(path):\n"
        f"        open({str(folder / 'tries')!r}, 'a').write('x')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return read(path, *rest, **options)\n"
        "files.read = deadly\n"
    )
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def test_an_image_that_ends_its_worker_three_times_is_named_and_the_rest_goes_on(
    tmp_path: Path, bundle: Path
) -> None:
    names = _six(tmp_path)
    picture(tmp_path / "in" / "deadly.png")
    with names.open("a") as file:
        file.write("in/deadly.png\n")
    words = ["upscale", "--manifest", names, "-o", tmp_path / "out", "--model", bundle, "--exact"]
    run = subprocess.run(
        [sys.executable, "-m", "hcflow", *map(str, words), "--json"],
        cwd=ROOT,
        env=_deadly(tmp_path / "site"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (json.loads(run.stdout)["done"], json.loads(run.stdout)["failed"]) == (6, 1)
    error = outcomes(tmp_path / "out")[-1]["error"]
    assert error == "the process that worked on it was ended by SIGKILL, on each of 3 tries"
    assert (tmp_path / "site" / "tries").read_text() == "xxx"


@pytest.mark.slow
def test_processes_that_are_killed_leave_what_others_finish(tmp_path: Path, bundle: Path) -> None:
    for i in range(60):
        picture(tmp_path / "in" / f"{i}.png", i, (40, 40))
    names = text_list(tmp_path / "list.txt", [f"in/{i}.png" for i in range(60)])

    def start(shard: str, results: Path) -> subprocess.Popen[bytes]:
        words = ["upscale", "--manifest", names, "--shard", shard, "-o", results]
        words += ["--model", bundle, "--exact"]
        return subprocess.Popen([sys.executable, "-m", "hcflow", *map(str, words)], cwd=ROOT)

    assert start("0/1", tmp_path / "whole").wait() == 0
    killed = [start(f"{i}/2", tmp_path / "out") for i in range(2)]
    while len(files(tmp_path / "out")) < 10:
        assert any(process.poll() is None for process in killed)
    for process in killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [start(f"{i}/2", tmp_path / "out").wait() for i in range(2)] == [0, 0]
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    told = outcomes(tmp_path / "out", "00000-of-00002")
    told += outcomes(tmp_path / "out", "00001-of-00002")
    assert sorted(each["row"] for each in told) == list(range(60))
    assert not any("error" in each for each in told)


@pytest.mark.slow
def test_the_pool_keeps_its_workers_from_run_to_run(tmp_path: Path, bundle: Path) -> None:
    names = _six(tmp_path)
    whole = batch(names, tmp_path / "out", 2)
    workers = pool.Pool(job(bundle), 1)
    try:
        assert whole.run(0, workers).done == 3
        (first,) = (each.process.pid for each in workers._workers)
        assert whole.run(1, workers).done == 3
        assert [each.process.pid for each in workers._workers] == [first]
        os.kill(first or 0, signal.SIGKILL)
        (tmp_path / "out2").mkdir()
        assert batch(names, tmp_path / "out2").run(0, workers).done == 6
    finally:
        workers.close()
