"""Lists of images: every row is a name or an error, and no name leads out of the list's root."""

from __future__ import annotations

import json
import os
import posixpath
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcflow.batch import listing, manifest, rows, storage, urls
from runtime.errors import FileError
from tests.support.batches import picture, text_list

NAMES = ["/data/in/a.png", "/data/in/deep/b.jpg", "/data/in/c.tif"]


def _relative(images: manifest.ImageList, index: int = 0, shards: int = 1) -> list[str]:
    return [row.relative for row in images.shard(index, shards)]


def _written(folder: Path, kind: str) -> Path:
    path = folder / f"list.{kind}"
    if kind == "txt":
        return text_list(path, NAMES)
    if kind == "jsonl":
        return text_list(path, [json.dumps({"path": name, "label": 3}) for name in NAMES])
    pyarrow.parquet.write_table(pa.table({"path": NAMES}), path)
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_names_come_from_text_jsonl_and_parquet(tmp_path: Path, kind: str) -> None:
    images = manifest.open_list(str(_written(tmp_path, kind)))
    assert (images.root, images.rows) == ("/data/in", 3)
    assert _relative(images) == ["a.png", "deep/b.jpg", "c.tif"]
    assert _relative(images, 0, 2) + _relative(images, 1, 2) == ["a.png", "c.tif", "deep/b.jpg"]


def test_relative_names_lie_beside_their_list(tmp_path: Path) -> None:
    images = manifest.open_list(str(text_list(tmp_path / "list.txt", ["in/a.png", "./in/b.png"])))
    assert images.root == str(tmp_path / "in")
    assert [row.source for row in images.shard(0, 1)] == [
        str(tmp_path / "in" / "a.png"),
        str(tmp_path / "in" / "b.png"),
    ]


@pytest.mark.parametrize(
    ("names", "root", "relative"),
    [
        (["s3://one/a/1.png", "s3://one/b/2.png"], "s3://one", ["a/1.png", "b/2.png"]),
        (["s3://one/a/1.png", "s3://two/2.png"], "s3://", ["one/a/1.png", "two/2.png"]),
        (["https://h.org/a/1.png", "https://h.org/a/2.png"], "https://h.org/a", ["1.png", "2.png"]),
        (["/a/1.png", "/b/2.png"], "/", ["a/1.png", "b/2.png"]),
        (["s3://one//a.png"], "s3://one", ["a.png"]),
    ],
)
def test_the_root_is_the_folder_that_all_names_share(
    tmp_path: Path, names: list[str], root: str, relative: list[str]
) -> None:
    images = manifest.open_list(str(text_list(tmp_path / "list.txt", names)))
    assert (images.root, _relative(images)) == (root, relative)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"path": "../../etc/passwd"}', "has '..' in it"),
        ('{"path": "/data/in/../../etc/passwd"}', "has '..' in it"),
        ('{"path": "s3://bucket/in/../x.png"}', "has '..' in it"),
        ('{"path": "nowhere://x/y.png"}', "no storage is known as 'nowhere'"),
        ('{"path": "a\\u0000b.png"}', "zero byte"),
        ('{"path": "\\ud800.png"}', "is not Unicode"),
        ('{"path": 7}', "there is no name"),
        ('{"name": "a.png"}', "there is no name"),
        ("[1, 2]", "there is no name"),
        ("not JSON", "there is no name"),
        ("[" * 40_000, "there is no name"),
        ('{"path": "' + "x" * 100_000 + '"}', "there is no name"),
    ],
)
def test_a_bad_row_is_an_error_and_leaves_the_root_as_it_is(
    tmp_path: Path, line: str, error: str
) -> None:
    sound = json.dumps({"path": "/data/in/a.png"})
    path = text_list(tmp_path / "list.jsonl", [sound, line, sound])
    images = manifest.open_list(str(path))
    rows = list(images.shard(0, 1))
    assert images.root == "/data/in"
    assert [row.relative for row in rows] == ["a.png", "", "a.png"]
    assert error in str(rows[1].error)


def test_lists_of_any_editor_are_read(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf/in/a.png\r\n\r\n/in/caf\xc3\xa9.png\r\n/in/latin-\xe9.png")
    rows = list(manifest.open_list(str(path)).shard(0, 1))
    assert [(row.number, row.relative) for row in rows] == [
        (0, "a.png"),
        (2, "café.png"),
        (3, "latin-\udce9.png"),
    ]


def test_storage_of_two_kinds_has_no_root(tmp_path: Path) -> None:
    path = text_list(tmp_path / "list.txt", ["/in/a.png", "s3://bucket/a.png"])
    with pytest.raises(FileError, match="have no folder in common: make two lists"):
        manifest.open_list(str(path))


def test_bad_rows_take_no_memory_however_many(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    with path.open("w") as file:
        for start in range(0, 20_000, 1000):
            file.writelines(f"../{i}.png\n" for i in range(start, start + 1000))
    images = manifest.open_list(str(path))
    assert images.rows == 20_000
    tracemalloc.start()
    assert sum(row.error is not None for row in images.shard(0, 1)) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_is_no_list_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such file"):
        manifest.open_list(str(tmp_path / "none.txt"))
    with pytest.raises(FileError, match=r"has no list\.json: `hcflow manifest` writes lists"):
        manifest.open_list(str(tmp_path))
    (tmp_path / "list.json").write_text('{"root": 3}')
    with pytest.raises(FileError, match="is damaged"):
        manifest.open_list(str(tmp_path))
    (tmp_path / "a.parquet").write_text("no Parquet")
    with pytest.raises(FileError, match="cannot be read as Parquet"):
        manifest.open_list(str(tmp_path / "a.parquet"))
    pyarrow.parquet.write_table(pa.table({"name": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(FileError, match="has no column 'path'"):
        manifest.open_list(str(tmp_path / "b.parquet"))


def test_a_folder_is_listed_once_in_shards_of_equal_size(tmp_path: Path) -> None:
    for i in range(7):
        picture(tmp_path / "in" / f"{i % 2}" / f"{i}.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "line\nbreak.png").write_text("a picture by its name")
    written = listing.write(str(tmp_path / "in"), str(tmp_path / "list"), 3, pytest.fail)
    images = manifest.open_list(str(tmp_path / "list"))
    assert images == written
    assert (images.rows, images.files, images.root) == (8, 3, str(tmp_path / "in"))
    shards = [_relative(images, index, 3) for index in range(3)]
    assert [len(shard) for shard in shards] == [3, 3, 2]
    assert shards == [
        ["line\nbreak.png", "0/0.png", "0/2.png"],
        ["0/4.png", "0/6.png", "1/1.png"],
        ["1/3.png", "1/5.png"],
    ]
    with pytest.raises(FileError, match="is a list already"):
        listing.write(str(tmp_path / "in"), str(tmp_path / "list"), 3, pytest.fail)
    (tmp_path / "list" / "list.json").unlink()  # as of a run that was killed
    listing.write(str(tmp_path / "in"), str(tmp_path / "list"), 2, pytest.fail)


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    synced, fsync = set[int](), os.fsync

    def sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def named(path: Path, name: str) -> None:
        assert os.stat(path).st_ino in synced
        (tmp_path / name).write_bytes(path.read_bytes())

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", named)
    monkeypatch.setattr(os, "replace", named)
    (tmp_path / "file").write_text("rows")
    storage.create(tmp_path / "file", str(tmp_path / "out" / "name"), replace=replace)
    assert (tmp_path / "out" / "name").read_text() == "rows"


@pytest.mark.parametrize(
    ("end", "there"), [(0, 0), (12, 0), (-1, 2), (-18, 2), (-19, 1), (None, 4)]
)
def test_a_shard_that_has_not_all_its_rows_is_damaged(
    tmp_path: Path, end: int | None, there: int
) -> None:
    names = text_list(tmp_path / "list.txt", [f"/in/{i}.png" for i in range(5)])
    listing.write(str(names), str(tmp_path / "list"), 2, pytest.fail)
    shard = tmp_path / "list" / manifest.shard_file(0, 2)
    data = shard.read_bytes()
    shard.write_bytes(data + data.splitlines(True)[0] if end is None else data[:end])
    images = manifest.open_list(str(tmp_path / "list"))
    message = f"00000-of-00002.jsonl' is damaged, {there} of 3 rows are in it: write the list again"
    with pytest.raises(FileError, match=message):
        list(images.shard(0, 2))
    assert _relative(images, 1, 2) == ["3.png", "4.png"]


def test_a_shard_of_more_shards_than_rows_is_empty_and_sound(tmp_path: Path) -> None:
    names = text_list(tmp_path / "list.txt", ["/in/a.png"])
    listing.write(str(names), str(tmp_path / "list"), 2, pytest.fail)
    images = manifest.open_list(str(tmp_path / "list"))
    assert [_relative(images, i, 2) for i in range(2)] == [["a.png"], []]


def test_a_list_is_cut_into_shards_with_its_bad_rows(tmp_path: Path) -> None:
    table = pa.table({"uri": ["/in/a.png", None, "/in/../b.png", "/in/c/d.png"]})
    pyarrow.parquet.write_table(table, tmp_path / "names.parquet")
    listing.write(
        str(tmp_path / "names.parquet"), str(tmp_path / "list"), 2, pytest.fail, column="uri"
    )
    images = manifest.open_list(str(tmp_path / "list"))
    rows = [row for index in range(2) for row in images.shard(index, 2)]
    assert [row.source for row in rows] == ["/in/a.png", None, None, "/in/c/d.png"]
    assert [bool(row.error) for row in rows] == [False, True, True, False]


def test_a_row_of_a_folder_of_shards_cannot_leave_its_root(tmp_path: Path) -> None:
    facts = {"root": str(tmp_path / "in"), "rows": 2, "shards": 1, "digest": ""}
    (tmp_path / "list.json").write_text(json.dumps(facts))
    names = [json.dumps({"path": name}) for name in ("/etc/passwd", "../a.png")]
    text_list(tmp_path / manifest.shard_file(0, 1), names)
    errors = [row.error for row in manifest.open_list(str(tmp_path)).shard(0, 1)]
    assert "does not lie under" in str(errors[0])
    assert "has '..' in it" in str(errors[1])


@settings(max_examples=200)
@given(
    root=st.sampled_from(["/data/in", "s3://bucket/in", "/", "s3://", "https://host/a"]),
    name=st.text("./ab\\:~s3\0\n\udcff", max_size=14),
)
def test_no_name_whatever_leads_out_of_the_results(root: str, name: str) -> None:
    row = manifest.row_under(root, 0, name)
    assert (row.source is None) == (row.error is not None)
    if row.source is not None:
        output, _ = rows.result_name(row.relative, "PNG")
        for results in ("/out", "s3://other/out"):
            name = urls.join(results, output)
            assert posixpath.normpath(name).startswith(posixpath.normpath(results) + "/")


def test_nothing_to_list_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(FileError, match="has no image in it"):
        listing.write(str(tmp_path / "in"), str(tmp_path / "list"), None, pytest.fail)
    with pytest.raises(FileError, match="there is no such folder, bucket or list"):
        listing.write(str(tmp_path / "none"), str(tmp_path / "list"), None, pytest.fail)
