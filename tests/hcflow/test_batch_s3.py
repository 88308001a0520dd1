"""S3, served on 127.0.0.1: the same shards over a bucket, and what a bucket can refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from hcflow.batch import listing, manifest, storage
from hcflow.batch.outcomes import Outcomes, count_finished
from hcflow.batch.ray import _Shards
from hcflow.models.load import Models
from runtime.convert.job import Job
from runtime.errors import FileError
from tests.support.batches import InProcess, batch, files, job, outcomes, picture, text_list
from tests.support.bundles import write_bundle

s3fs = pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")
EndpointConnectionError = pytest.importorskip("botocore.exceptions").EndpointConnectionError


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> InProcess:
    return InProcess(job(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    served = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    yield f"http://{host}:{port}"
    served.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A bucket of its own, with six pictures under `in`."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem(use_listings_cache=False)
    name = f"bucket-{abs(hash(tmp_path))}"
    system.mkdir(name)
    for i in range(6):
        system.put_file(str(picture(tmp_path / "local" / f"{i}.png", i)), f"{name}/in/a/{i}.png")
    system.pipe_file(f"{name}/in/notes.txt", b"no image")
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


def _bytes(folder: str) -> dict[str, bytes]:
    found = (name for name in storage.walk(folder) if not name.startswith("_done/"))
    return {name: storage.read(f"{folder}/{name}") for name in found}


def test_a_bucket_is_listed_and_its_shards_give_the_bytes_of_files_here(
    bucket: str, tmp_path: Path, worker: InProcess
) -> None:
    listing.write(f"{bucket}/in", f"{bucket}/list", 2, pytest.fail)
    for results in (f"{bucket}/out", str(tmp_path / "out")):
        whole = batch(f"{bucket}/list", results, 2)
        whole.begin({})
        assert [whole.run(i, worker).done for i in range(2)] == [3, 3]
    local = batch(
        text_list(tmp_path / "list.txt", [f"local/{i}.png" for i in range(6)]),
        tmp_path / "expected",
    )
    local.run(0, worker)
    expected = {f"a/{name}": data for name, data in files(tmp_path / "expected").items()}
    assert _bytes(f"{bucket}/out") == files(tmp_path / "out") == expected
    assert [each["path"] for each in outcomes(f"{bucket}/out", "00001-of-00002")] == [
        f"{bucket}/in/a/{i}.png" for i in (3, 4, 5)
    ]
    worker.worked.clear()
    assert batch(f"{bucket}/list", f"{bucket}/out", 2).run(0, worker).done == 3
    assert worker.worked == []


def test_a_second_writer_of_an_object_is_refused(bucket: str, tmp_path: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / "file").write_text(text)
        if text == "first":
            storage.create(tmp_path / "file", f"{bucket}/x.png")
        else:
            with pytest.raises(FileExistsError):
                storage.create(tmp_path / "file", f"{bucket}/x.png")
    assert storage.read(f"{bucket}/x.png") == b"first"
    assert not storage.is_same(tmp_path / "file", f"{bucket}/x.png")


def test_a_put_whose_reply_was_lost_meets_its_own_file(
    bucket: str, worker: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = s3fs.S3FileSystem._call_s3

    async def twice(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        told = await real(self, method, *arguments, **options)
        return await real(self, method, *arguments, **options) if method == "put_object" else told

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", twice)
    monkeypatch.setattr("hcflow.batch.outcomes._PART_ROWS", 2)
    listing.write(f"{bucket}/in", f"{bucket}/list", 1, pytest.fail)
    whole = batch(f"{bucket}/list", f"{bucket}/out")
    whole.begin({})
    assert whole.run(0, worker).done == 6


@pytest.mark.parametrize("failure", [EndpointConnectionError, OSError])
def test_a_connection_that_ends_while_a_file_is_read_is_the_storages_failure(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    for kind in ("txt", "jsonl"):
        text_list(tmp_path / f"list.{kind}", ['{"path": "a.png"}'])
    pyarrow.parquet.write_table(pa.table({"path": ["a.png"]}), tmp_path / "list.parquet")
    listing.write(f"{bucket}/in", f"{bucket}/list", 1, pytest.fail)
    whole = batch(f"{bucket}/list", f"{bucket}/out")
    system, path = storage._remote(f"{bucket}/in")
    for kind in ("txt", "jsonl", "parquet"):
        system.put_file(str(tmp_path / f"list.{kind}"), f"{path}/list.{kind}")
    for name in ("00000-of-00001.jsonl", "00000-of-00001.parts/00000000.jsonl"):
        system.pipe_file(f"{path.removesuffix('/in')}/out/_done/{name}", b'{"row": 0}\n')

    def fail(*_: object, **__: object) -> None:
        if failure is OSError:
            raise OSError(5, "Input/output error")
        raise EndpointConnectionError(endpoint_url="http://storage")

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", fail)
    for kind in ("txt", "jsonl", "parquet"):
        with pytest.raises(storage.StorageError, match=rf"cannot read '{bucket}/in/list\.{kind}'"):
            manifest.open_list(f"{bucket}/in/list.{kind}")
    with pytest.raises(storage.StorageError, match=r"cannot read .*00000-of-00001\.jsonl'"):
        count_finished(f"{bucket}/out", "00000-of-00001")
    with pytest.raises(storage.StorageError, match=r"cannot read .*00000000\.jsonl'"):
        Outcomes(f"{bucket}/out", "00000-of-00001", tmp_path)
    with pytest.raises(storage.StorageError, match="cannot read"):
        list(whole.images.shard(0, 1))
    told = _Shards(whole, Job("upscale", Models({}), None), 1, None)({"shard": [0]})
    assert "cannot read" in told["error"][0]


def test_a_shard_that_was_killed_goes_on_in_a_bucket(
    bucket: str, tmp_path: Path, worker: InProcess
) -> None:
    names = text_list(tmp_path / "list.txt", [f"{bucket}/in/a/{i}.png" for i in range(6)])
    whole = batch(names, f"{bucket}/out")
    whole.run(0, worker)
    before = _bytes(f"{bucket}/out")
    system, path = storage._remote(f"{bucket}/out/_done/00000-of-00001.jsonl")
    first = storage.read(f"{bucket}/out/_done/00000-of-00001.jsonl").splitlines()[0]
    system.pipe_file(f"{path.removesuffix('.jsonl')}.parts/00000000.jsonl", first + b"\n")
    system.rm_file(path)
    worker.worked.clear()
    assert batch(names, f"{bucket}/out").run(0, worker).done == 6
    assert len(worker.worked) == 5
    assert _bytes(f"{bucket}/out") == before
    assert not storage.exists(f"{bucket}/out/_done/00000-of-00001.parts")


def test_what_is_missing_in_a_bucket_is_a_row_with_its_own_name(
    bucket: str, tmp_path: Path, worker: InProcess
) -> None:
    listed = [f"{bucket}/in/a/0.png", f"{bucket}/in/a/none.png", f"{bucket}/in/notes.txt"]
    listed += [f"{bucket}/in/../x.png", f"{bucket}/in/a/_/../0.png"]
    count = batch(text_list(tmp_path / "list.txt", listed), tmp_path / "out").run(0, worker)
    assert (count.done, count.failed) == (1, 4)
    told = outcomes(tmp_path / "out")
    assert told[1]["error"] == f"'{bucket}/in/a/none.png': there is no such file"
    assert told[2]["error"].startswith(f"'{bucket}/in/notes.txt' is not an image")


def test_a_bucket_that_does_not_exist_is_one_line(
    bucket: str, tmp_path: Path, worker: InProcess
) -> None:
    names = text_list(tmp_path / "list.txt", [f"{bucket}/in/a/0.png"])
    with pytest.raises(FileError, match=r"cannot write into 's3://nowhere-at-all/out'.*bucket"):
        batch(names, "s3://nowhere-at-all/out").begin({})
    with pytest.raises(FileError, match="there is no such folder, bucket or list"):
        listing.write("s3://nowhere-at-all/in", str(tmp_path / "out"), 1, pytest.fail)
    with pytest.raises(FileError, match=r"cannot read|no such file"):
        manifest.open_list("s3://nowhere-at-all/list.txt")


def test_credentials_that_are_missing_stop_the_run_and_fail_no_row(
    bucket: str, tmp_path: Path, worker: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = text_list(tmp_path / "list.txt", [f"{bucket}/in/a/{i}.png" for i in range(2)])
    whole = batch(names, tmp_path / "out")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(storage.StorageError, match="redentials"):
        whole.run(0, worker)
    with pytest.raises(FileError, match=r"cannot write into.*redentials|cannot read.*redentials"):
        batch(names, f"{bucket}/out").begin({})
    assert not (tmp_path / "out" / "_done" / "00000-of-00001.jsonl").exists()


def test_a_list_itself_may_lie_in_a_bucket(bucket: str) -> None:
    system, path = storage._remote(f"{bucket}/in/list.txt")
    system.pipe_file(path, b"a/0.png\na/1.png\n")
    images = manifest.open_list(f"{bucket}/in/list.txt")
    assert [row.source for row in images.shard(0, 1)] == [f"{bucket}/in/a/{i}.png" for i in (0, 1)]


def test_an_object_larger_than_any_image_of_the_limit_is_not_fetched(
    bucket: str, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match="bytes, and 10 are the limit"):
        storage.fetch(f"{bucket}/in/a/0.png", str(tmp_path / "x"), 10)
