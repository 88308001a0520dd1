"""A folder of images is the dataset; what cannot be used is named."""

import numpy as np
import pytest
from PIL import Image

from hcflow_ref.errors import CheckpointError, TrainingError
from hcflow_ref.evaluation.protocol import sources
from hcflow_ref.images.files import read_image
from hcflow_ref.training.config.settings import DataSettings
from hcflow_ref.training.data.patches import Patches, detail, hold_out, list_images
from tests.support.odd_files import tiff
from tests.support.training_runs import write_images

SETTINGS = DataSettings(patch=32, batch=3)


def test_images_of_any_format_are_found_in_subfolders(tmp_path):
    write_images(tmp_path / "a" / "b", 4)
    Image.new("L", (50, 40), 7).save(tmp_path / "grey.tif")
    Image.new("P", (50, 40)).save(tmp_path / "palette.gif")
    (tmp_path / "readme.txt").write_text("not an image")
    lines = []
    assert len(list_images(tmp_path, 32, lines.append)) == 6
    assert lines == []


def test_corrupt_and_small_files_are_named_and_left_out(tmp_path):
    write_images(tmp_path, 2)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    Image.new("RGB", (31, 500)).save(tmp_path / "narrow.png")
    lines = []
    assert len(list_images(tmp_path, 32, lines.append)) == 2
    assert any("broken.png: cannot be read" in line for line in lines)
    assert any("narrow.png: 31×500 is smaller than the patch of 32" in line for line in lines)


@pytest.mark.parametrize("error", [RuntimeError("of libavif"), MemoryError(), EOFError("cut")])
def test_whatever_a_decoder_raises_the_file_is_named_and_left_out(tmp_path, monkeypatch, error):
    whole, odd = sorted(write_images(tmp_path, 2).iterdir())
    really = Image.open

    def opened(path, **options):
        if path == odd:
            raise error
        return really(path, **options)

    monkeypatch.setattr(Image, "open", opened)
    lines = []
    assert list_images(tmp_path, 32, lines.append) == [whole]
    assert [f"skipped {odd}: cannot be read" in line for line in lines] == [True]
    (first, second) = sources(tmp_path, 4)
    assert (first.pixels > 0, second.pixels) == (True, 0)
    with pytest.raises(CheckpointError, match="cannot be read"):
        second.read()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_and_32_bits_are_refused(tmp_path, suffix):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / f"ramp.{suffix}")
    read = read_image(tmp_path / f"ramp.{suffix}")
    assert read.shape == (64, 64, 3)
    assert np.abs(read - ramp[..., None] / 257).max() <= 0.51
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="32 bits per channel"):
        read_image(tmp_path / "float.tif")


def test_deep_gray_is_read_by_what_its_white_is(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    expected = np.repeat((ramp / 257).round()[..., None], 3, axis=2)
    twelve = [int(v) for v in (ramp >> 4).ravel()]
    packed = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
        for a, b in zip(twelve[::2], twelve[1::2], strict=True)
    )
    contents = {
        "twelve.tif": tiff(64, 64, [12], 1, [packed]),
        "negative.tif": tiff(64, 64, [16], 0, [(65535 - ramp).astype("<u2").tobytes()]),
        "deep.pgm": b"P5 64 64 65535\n" + ramp.astype(">u2").tobytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        read = read_image(tmp_path / name)
        assert np.abs(read - expected).max() <= 1, name


def test_what_is_too_large_for_pillow_is_told_as_such(tmp_path, monkeypatch):
    Image.new("1", (64, 64)).save(tmp_path / "large.png")
    write_images(tmp_path, 1, size=32)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    lines = []
    list_images(tmp_path, 32, lines.append)
    (line,) = (line for line in lines if "large.png" in line)
    assert line.endswith("cannot be read (more than 0 megapixels: split it)")


def test_a_file_cut_off_in_the_middle_is_named_when_it_is_read_and_replaced(tmp_path):
    paths = list_images(write_images(tmp_path, 4), 32, print)
    paths[1].write_bytes(paths[1].read_bytes()[:-1000])
    lines = []
    batches = [Patches(paths, SETTINGS, 0, lines.append).batch(step) for step in range(5)]
    assert all(batch.shape == (3, 3, 32, 32) for batch in batches)
    assert [str(paths[1]) in line for line in lines] == [True]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()])
def test_no_folder_and_an_empty_one_are_one_clear_line(tmp_path, make):
    folder = tmp_path / "photos"
    make(folder)
    with pytest.raises(TrainingError, match=r"photos: no (such folder|usable image)"):
        list_images(folder, 32, print)


def test_patches_follow_from_seed_step_and_index_alone(tmp_path):
    paths = list_images(write_images(tmp_path), 32, print)
    one, two = Patches(paths, SETTINGS, 5), Patches(paths, SETTINGS, 5)
    one.batch(0)
    assert (one.batch(7) == two.batch(7)).all()
    assert not (one.batch(7) == one.batch(8)).all()
    assert not (one.batch(7) == Patches(paths, SETTINGS, 6).batch(7)).all()


def test_processes_share_a_batch_without_overlap(tmp_path):
    patches = Patches(list_images(write_images(tmp_path), 32, print), SETTINGS, 0)
    whole = patches.batch(3)
    shares = [patches.batch(3, rank, 2) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 1]
    assert (shares[0] == whole[0::2]).all()
    assert (shares[1] == whole[1::2]).all()


def test_batches_read_ahead_are_the_batches_of_their_steps(tmp_path):
    patches = Patches(list_images(write_images(tmp_path), 32, print), SETTINGS, 0)
    stream = patches.batches(4)
    assert (next(stream) == patches.batch(4)).all()
    assert (next(stream) == patches.batch(5)).all()
    stream.close()


def test_short_sides_add_downscaled_versions_and_candidates_prefer_detail(tmp_path):
    paths = list_images(write_images(tmp_path, 4, 128), 32, print)
    settings = DataSettings(patch=32, batch=8, short_sides=(64, 40), candidates=4)
    patches = Patches(paths, settings, 0)
    assert len(patches.sources) == 8
    plain = Patches(paths, DataSettings(patch=32, batch=8, short_sides=(64, 40)), 0)
    detailed = np.mean([detail(patches.patch(0, i)) for i in range(30)])
    assert detailed > np.mean([detail(plain.patch(0, i)) for i in range(30)])


def test_held_out_images_are_never_trained_on(tmp_path):
    paths = list_images(write_images(tmp_path, 8), 32, print)
    training, validation = hold_out(paths, 3)
    assert sorted(training + validation) == paths
    assert len(validation) == 3
    with pytest.raises(TrainingError, match="holds out 8 of 8"):
        hold_out(paths, 8)
