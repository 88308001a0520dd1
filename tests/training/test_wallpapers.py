"""Wallpaper packages become a folder of images with their licences listed."""

import json

import pytest
from PIL import Image

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.data import wallpapers


def image(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)


@pytest.fixture
def unpacked(tmp_path):
    share = tmp_path / "unpacked" / "usr" / "share"
    image(share / "wallpapers/Sea/contents/images/1920x1080.png", 1920, 1080)
    image(share / "wallpapers/Sea/contents/images/800x600.png", 800, 600)
    image(share / "wallpapers/Sea/contents/screenshot.png", 500, 400)
    image(share / "backgrounds/icon.png", 64, 64)
    image(share / "backgrounds/hill.jpg", 640, 480)
    image(share / "backgrounds/hill_900x700.jpg", 900, 700)
    (share / "backgrounds/broken.jpg").write_bytes(b"\xff\xd8 no more")
    (share / "doc/pictures").mkdir(parents=True)
    (share / "doc/pictures/copyright").write_text("License: CC-BY-SA-4.0")
    return tmp_path / "unpacked"


def test_the_largest_of_each_usable_picture_is_kept_with_its_licence(unpacked, tmp_path):
    folder = tmp_path / "data"
    entries = wallpapers.collect(unpacked, "pictures", "1.0-1", folder)
    assert sorted((e.width, e.height) for e in entries) == [(900, 700), (1920, 1080)]
    for entry in entries:
        assert Image.open(folder / entry.file).size == (entry.width, entry.height)
        assert "CC-BY-SA" in (folder / entry.licence).read_text()
        assert (entry.package, entry.version) == ("pictures", "1.0-1")


def test_a_package_without_a_licence_is_left_out(unpacked, tmp_path):
    with pytest.raises(TrainingError, match="no copyright file"):
        wallpapers.collect(unpacked, "other", "1", tmp_path / "data")


def test_the_list_names_what_was_fetched_and_a_failed_package_is_named(
    unpacked, tmp_path, monkeypatch
):
    def fetch(package, folder):
        if package == "gone":
            raise TrainingError("apt-get failed")
        return wallpapers.collect(unpacked, package, "1.0-1", folder)

    monkeypatch.setattr(wallpapers, "fetch", fetch)
    lines = []
    wallpapers.build(tmp_path / "data", ["gone", "pictures"], lines.append)
    assert lines == ["skipped gone: apt-get failed", "pictures: 2 images"]
    assert len(json.loads((tmp_path / "data" / "images.json").read_text())) == 2
    with pytest.raises(TrainingError, match="apt-get update"):
        wallpapers.build(tmp_path / "data", ["gone"], lines.append)
