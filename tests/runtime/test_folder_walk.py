"""Which files of a folder are images to work on, and where each result goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from runtime.convert.folders.walk import PassedOver, Problem, Task, walk
from runtime.images.codecs import heic
from tests.support import heic_files


def test_two_images_never_share_a_result(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.tif", "b.bmp", ".hidden.png"):
        (tmp_path / name).touch()
    found = list(walk(str(tmp_path), str(tmp_path / "out"), "PNG"))
    names = [Path(t.output).name for t in found if isinstance(t, Task)]
    assert names == ["a.jpg.png", "a.tif.png", "b.png"]
    (tmp_path / "a.jpg.png").touch()
    (problem,) = [
        p for p in walk(str(tmp_path), str(tmp_path / "out"), "PNG") if isinstance(p, Problem)
    ]
    assert "another image's result already has the name 'a.jpg.png'" in problem.message


def test_results_in_the_folder_of_the_images_only_replace_them(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).touch()
    same = f"{tmp_path}/."
    task, problem = walk(str(tmp_path), same, "PNG")
    assert isinstance(task, Task)
    assert isinstance(problem, Problem)
    assert problem.relative == "b.jpg"
    assert (
        problem.message == "its PNG would be written among the images: give another output folder"
    )
    assert all(isinstance(each, Task) for each in walk(str(tmp_path), same, None))


def _goes(root: Path, output: Path) -> dict[str, str]:
    """Where the result of each image goes; images that are refused are missing."""
    reason = "its PNG would be written among the images: give another output folder"
    found = list(walk(str(root), str(output), None))
    assert all(each.message == reason for each in found if isinstance(each, Problem))
    return {each.relative: each.output for each in found if isinstance(each, Task)}


def test_a_folder_above_the_images_takes_all_results_that_do_not_fall_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "photos"
    (inside / "photos").mkdir(parents=True)
    (inside / "other").mkdir()
    for name in ("a.png", "photos/a.png", "photos/new.png", "other/a.png"):
        (inside / name).touch()
    goes = {"a.png": f"{tmp_path}/a.png", "other/a.png": f"{tmp_path}/other/a.png"}
    assert _goes(inside, tmp_path) == goes
    monkeypatch.chdir(tmp_path)
    assert _goes(Path("photos"), Path(".")) == {"a.png": "./a.png", "other/a.png": "./other/a.png"}
    (inside / "photos" / "a.png").unlink()
    (inside / "photos" / "new.png").unlink()
    assert _goes(inside, tmp_path) == goes


def test_links_lead_no_result_among_the_images(tmp_path: Path) -> None:
    inside, output, album = tmp_path / "in", tmp_path / "out", tmp_path / "album"
    for folder in (inside / "deep", output, album / "deep"):
        folder.mkdir(parents=True)
    for name in ("a.png", "deep/a.png"):
        (inside / name).touch()
        (album / name).touch()
    every = {"a.png", "deep/a.png"}
    assert _goes(inside, output).keys() == every
    (output / "deep").symlink_to(inside)  # where an image has the result's name
    assert _goes(inside, output).keys() == {"a.png"}
    (output / "a.png").symlink_to(inside / "deep" / "a.png")
    assert _goes(inside, output).keys() == set()
    assert _goes(inside, album).keys() == every
    (inside / "chosen.png").symlink_to(album / "a.png")
    assert _goes(inside, album).keys() == {"chosen.png", "deep/a.png"}
    (inside / "album").symlink_to(album / "deep")
    assert _goes(inside, album).keys() == {"chosen.png", "album/a.png"}


def test_an_output_inside_the_images_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a.png").touch()
    for name in ("small", "new", "new/er"):
        assert _goes(tmp_path, tmp_path / name)["a.png"] == str(tmp_path / name / "a.png")


def test_links_end_and_the_output_is_not_its_own_input(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "elsewhere"
    (inside / "out").mkdir(parents=True)
    outside.mkdir()
    (outside / "x.png").touch()
    (outside / "back").symlink_to(inside)
    (inside / "out" / "y.png").touch()
    (inside / "one").symlink_to(outside)
    (inside / "two").symlink_to(outside)
    found = list(walk(str(inside), str(inside / "out"), None))
    assert [t.relative for t in found if isinstance(t, Task)] == ["one/x.png"]
    reasons = {p.relative: p.message for p in found if isinstance(p, Problem)}
    assert set(reasons) == {"one/back", "two"}


def test_a_pipe_among_the_images_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dead.png").symlink_to("nowhere")
    pipe, dead = walk(str(tmp_path), str(tmp_path / "out"), None)
    assert isinstance(pipe, Problem)
    assert pipe.message == "is a pipe or device, not a file"
    assert isinstance(dead, Task)  # which fails for want of its file


def test_animations_and_pages_keep_a_format_that_holds_them(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 255)]
    for name in ("moving.gif", "pages.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    for name in ("still.gif", "page.tif"):
        frames[0].save(tmp_path / name)

    def results(**options: bool) -> list[str]:
        found = walk(str(tmp_path), str(tmp_path / "out"), None, **options)
        return [Path(task.output).name for task in found if isinstance(task, Task)]

    assert results() == ["moving.gif", "page.tif", "pages.tif", "still.png"]
    assert results(is_lossless=True) == ["moving.png", "page.png", "pages.tif", "still.png"]


def test_pictures_that_are_not_read_are_named_by_their_kind(tmp_path: Path) -> None:
    for name in ("a.psd", "B.PSD", "icon.ico", "new.jxl", "notes.txt", "empty"):
        (tmp_path / name).write_text("any", encoding="ascii")
    for name in ("picture", "old.bak", "read.png"):
        Image.new("L", (4, 4)).save(tmp_path / name, "PNG")
    os.mkfifo(tmp_path / "pipe")
    found = list(walk(str(tmp_path), str(tmp_path / "out"), None))
    kinds = {each.relative: each.kind for each in found if isinstance(each, PassedOver)}
    assert kinds == {
        "a.psd": ".psd",
        "B.PSD": ".psd",
        "icon.ico": ".ico",
        "new.jxl": ".jxl",
        "old.bak": ".bak (PNG)",
        "picture": "no suffix (PNG)",
    }
    assert [each.relative for each in found if isinstance(each, Task)] == ["read.png"]


def test_photographs_of_phones_are_read_where_there_is_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.HEIC").write_bytes(heic_files.TURNED)
    if heic.find() is not None:
        (task,) = walk(str(tmp_path), str(tmp_path / "out"), None)
        assert isinstance(task, Task)
        assert (Path(task.output).name, task.format_name) == ("a.png", "PNG")
    monkeypatch.setattr(heic, "find", lambda: None)
    assert list(walk(str(tmp_path), str(tmp_path / "out"), None)) == [PassedOver("a.HEIC", ".heic")]
