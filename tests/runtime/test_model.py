"""Models: any image in, the same kind of image out, and the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import runtime
from runtime import BackendError, BundleError, ImageError, Model, ParameterError
from runtime.checks.verify import check_graphs, round_trips
from runtime.images.pixels import arrays
from runtime.system import machine
from tests.support.bundles import INVERSE, reference_forward, reference_inverse, write_bundle

SIZES = st.tuples(st.integers(1, 11), st.integers(1, 11))
DTYPES = st.sampled_from([np.uint8, np.uint16, np.float16, np.float32, np.float64])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return runtime.load(write_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


def _noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    values = np.random.default_rng(seed).random(shape)
    kind = np.dtype(dtype)
    return (values * np.iinfo(kind).max if kind.kind == "u" else values).astype(kind)


@settings(max_examples=60)
@given(size=SIZES, dtype=DTYPES, axes=st.sampled_from(["HW", "HWC", "NHWC"]), c=st.integers(1, 4))
def test_what_goes_in_comes_out(
    model: Model, size: tuple[int, int], dtype: Any, axes: str, c: int
) -> None:
    height, width = size
    shape = {"HW": size, "HWC": (*size, c), "NHWC": (2, *size, c)}[axes]
    image = _noise(shape, dtype)
    small = model.downscale(image)
    large = model.upscale(image)
    back = model.upscale(small, size=(height, width))
    axis = 1 if axes == "NHWC" else 0

    def of(h: int, w: int) -> tuple[int, ...]:
        return (*shape[:axis], h, w, *shape[axis + 2 :])

    assert small.shape == of(-(-height // 4), -(-width // 4))
    assert large.shape == of(4 * height, 4 * width)
    assert back.shape == shape
    assert small.dtype == large.dtype == back.dtype == image.dtype


@settings(max_examples=30)
@given(size=SIZES, mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "F"]))
def test_pillow_images_come_back_as_pillow_images(
    model: Model, size: tuple[int, int], mode: str
) -> None:
    image = Image.fromarray(_noise((*size, 3))).convert("L" if mode == "F" else mode)
    if mode == "F":
        image = Image.fromarray(np.asarray(image, np.float32) / 255)
    expected = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}.get(mode, mode)
    small = model.downscale(image)
    assert (small.mode, small.size) == (expected, (-(-size[1] // 4), -(-size[0] // 4)))
    large = model.upscale(image)
    assert (large.mode, large.size) == (expected, (4 * size[1], 4 * size[0]))


def test_sixteen_bit_pillow_images_keep_their_bits(model: Model) -> None:
    image = Image.fromarray(_noise((8, 8), np.uint16))
    assert image.mode == "I;16"
    small = model.downscale(image)
    means = np.asarray(image, np.float64).reshape(2, 4, 2, 4).mean(axis=(1, 3))
    assert small.mode == "I;16"
    np.testing.assert_allclose(np.asarray(small), means, atol=1)


def test_palette_transparency_becomes_alpha(model: Model) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.info["transparency"] = 0
    assert model.upscale(image).mode == "RGBA"


def test_a_transparent_shade_of_a_bilevel_image_becomes_alpha(model: Model) -> None:
    image = Image.new("1", (4, 4), 1)
    image.info["transparency"] = 255
    large = model.upscale(image)
    assert large.mode == "LA"
    assert large.getextrema() == ((128, 128), (0, 0))  # invisible all over: mid gray


@settings(max_examples=30)
@given(size=SIZES, dtype=st.sampled_from([np.uint8, np.uint16]))
def test_with_its_latents_the_image_comes_back(
    model: Model, size: tuple[int, int], dtype: Any
) -> None:
    image = _noise((*size, 3), dtype)
    floats = image / np.float32(np.iinfo(dtype).max)
    small, latents = model.downscale(floats, return_latents=True)
    back = model.upscale(small, latents=latents, size=size)
    np.testing.assert_allclose(back, floats, atol=2e-6)


def test_numbers_are_those_of_the_network(model: Model) -> None:
    image = _noise((8, 12, 3), np.float32)
    planes = image.transpose(2, 0, 1)[None]
    lr = reference_forward(planes)["lr"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(model.downscale(image), lr, atol=1e-6)
    z = model.network.draw_latents(8, 12, 5, 0, 0.1)
    hr = np.clip(reference_inverse(planes, *z)[0].transpose(1, 2, 0), 0, 1)
    np.testing.assert_allclose(model.upscale(image, tau=0.1, seed=5), hr, atol=1e-6)


def test_padding_reflects_as_numpy_does_and_repeats_a_single_pixel(model: Model) -> None:
    image = _noise((3, 1), np.float32)
    padded = np.pad(image, ((0, 1), (0, 0)), mode="reflect").repeat(4, axis=1)
    np.testing.assert_allclose(model.downscale(image), padded.mean(keepdims=True), atol=1e-6)


def test_alpha_is_resized_and_colour_is_not_touched_where_it_is_opaque(model: Model) -> None:
    image = _noise((8, 8, 4))
    small = model.downscale(image)
    alpha = image[..., 3].astype(np.float64).reshape(2, 4, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small[..., 3], alpha, atol=1)
    opaque = image.copy()
    opaque[..., 3] = 255
    assert (model.upscale(opaque)[..., 3] == 255).all()
    for scaled in (model.downscale, model.upscale):
        np.testing.assert_array_equal(scaled(opaque)[..., :3], scaled(opaque[..., :3]))


def test_gray_is_the_luma_of_its_colours(model: Model) -> None:
    gray = _noise((4, 4))
    colour = model.upscale(np.repeat(gray[..., None], 3, axis=2) / np.float32(255), tau=0.1)
    expected = np.clip(colour @ np.array([0.299, 0.587, 0.114], np.float32), 0, 1) * 255
    np.testing.assert_allclose(model.upscale(gray, tau=0.1), expected, atol=1)


def test_one_seed_gives_one_picture_whatever_batch_sample_count_and_threads(
    model: Model, tmp_path: Path
) -> None:
    images = [_noise((5, 7, 3), seed=i) for i in range(4)]
    options = {"tau": 0.3, "seed": 9}
    alone = [model.upscale(image, **options) for image in images]
    assert all((a == b).all() for a, b in zip(model.upscale(images, **options), alone, strict=True))
    np.testing.assert_array_equal(model.upscale(np.stack(images), **options), np.stack(alone))
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda image: model.upscale(image, **options), images * 3))
    assert all((a == b).all() for a, b in zip(threaded, alone * 3, strict=True))
    for threads in (1, 2):
        other = runtime.load(write_bundle(tmp_path / str(threads)), threads=threads)
        np.testing.assert_array_equal(other.upscale(images[0], **options), alone[0])
    first, second = model.upscale(images[0], samples=2, **options)
    np.testing.assert_array_equal(first, alone[0])
    assert (first != second).any()


def test_a_drawn_seed_is_reported_and_gives_the_picture_again(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    image = _noise((4, 4, 3))
    with caplog.at_level(logging.INFO, logger="runtime"):
        drawn = model.upscale(image, tau=0.5, seed=None)
    found = re.search(r"seed (\d+)", caplog.text)
    assert found is not None
    np.testing.assert_array_equal(model.upscale(image, tau=0.5, seed=int(found[1])), drawn)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("photo.png", "an image cannot be a str"),
        (np.zeros((0, 5, 3), np.uint8), "has no pixels"),
        (np.zeros((0, 5, 5, 3), np.uint8), "has no pixels"),
        (Image.new("RGB", (0, 0)), "has no pixels"),
        (np.zeros((5, 5, 5), np.uint8), "it must be H×W, H×W×C or N×H×W×C with C from 1 to 4"),
        (np.zeros(5, np.uint8), "an array of shape (5,)"),
        (np.zeros((5, 5), np.int32), "pixels of type int32"),
        (np.zeros((5, 5), bool), "pixels of type bool"),
        (np.full((5, 5), 200.0), "they must be numbers in [0, 1] (divide 8-bit values by 255)"),
        (np.full((5, 5), np.nan), "float pixels from nan to nan"),
        (np.full((5, 5), np.inf, np.float16), "float pixels from inf"),
        (np.ma.masked_array(np.zeros((5, 5), np.uint8), mask=True), "an image cannot be a masked"),
    ],
)
def test_what_is_no_image_is_refused(model: Model, image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=re.escape(message)):
        model.upscale(image)
    with pytest.raises(ImageError, match=re.escape(message)):
        model.downscale(image)


def test_an_array_may_lie_in_memory_as_it_likes(model: Model) -> None:
    image = _noise((5, 7, 3), np.uint16)
    flipped = image[::-1, ::-1].copy()[::-1, ::-1]
    for same in (flipped, np.asfortranarray(image), image.astype(">u2")):
        same.flags.writeable = False
        large = model.upscale(same)
        assert large.dtype == same.dtype
        np.testing.assert_array_equal(large, model.upscale(image))
    gray = image[..., 0]
    matrix = gray.view(np.matrix)
    np.testing.assert_array_equal(model.upscale(matrix), model.upscale(gray))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": -0.5}, "τ is -0.5: it must be a finite number, 0 or more"),
        ({"tau": float("nan")}, "τ is nan"),
        ({"seed": -1, "tau": 1.0}, "seed is -1"),
        ({"samples": 0}, "samples is 0: it must be 1 or more"),
        ({"size": (8, 8)}, "width from 17 to 20, height from 9 to 12"),
        ({"size": (12, 21)}, "size 21×12 does not belong to a 5×3 image at scale 4"),
        ({"latents": []}, "0 latents given: this model takes z1 to z2"),
        (
            {"latents": [np.zeros((1, 6, 3, 5), np.float32), np.zeros((1, 21, 3, 5), np.float32)]},
            "latent z1 is float32 [1, 6, 3, 5]: it must be float32 [1, 6, 6, 10] for this image",
        ),
        (
            {"latents": [np.zeros((1, 6, 6, 10)), np.zeros((1, 21, 3, 5))]},
            "latent z1 is float64",
        ),
        (
            {
                "latents": [
                    np.full((1, c, 3 * f, 5 * f), np.nan, "f4") for c, f in ((6, 2), (21, 1))
                ]
            },
            "latent z1 has NaN or infinity in it",
        ),
        ({"latents": [np.zeros((2, 6, 6, 10), np.float32)]}, "latent z1 is for 2 images"),
        ({"latents": [], "tau": 1.0}, "latents replace tau and samples"),
    ],
)
def test_arguments_out_of_range_are_named(
    model: Model, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        model.upscale(_noise((3, 5, 3)), **options)


def test_load_names_its_wrong_options(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    for options in ({"backend": "abacus"}, {"precision": "fp64"}, {"threads": 0}):
        with pytest.raises(ParameterError, match=str(*options)):
            runtime.load(bundle, **options)  # type: ignore[arg-type]


def test_a_graph_for_tau_zero_says_so(tmp_path: Path) -> None:
    model = runtime.load(write_bundle(tmp_path / "calm", latents=False))
    assert model.upscale(_noise((2, 2, 3))).shape == (8, 8, 3)
    with pytest.raises(ParameterError, match="was built for τ = 0"):
        model.upscale(_noise((2, 2, 3)), tau=0.1)


def test_the_default_tau_is_the_manifests(tmp_path: Path) -> None:
    model = runtime.load(write_bundle(tmp_path / "lively", default_tau=0.4))
    image = _noise((3, 3, 3))
    np.testing.assert_array_equal(model.upscale(image), model.upscale(image, tau=0.4))
    assert (model.upscale(image) != model.upscale(image, tau=0)).any()


def test_another_latent_scheme_is_refused_where_latents_are_drawn(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("box-muller", "ziggurat"))
    model = runtime.load(folder)
    model.upscale(_noise((2, 2, 3)))
    with pytest.raises(BundleError, match=r"draws latents by .*ziggurat"):
        model.upscale(_noise((2, 2, 3)), tau=1.0)


def test_nan_from_a_graph_is_an_error_and_never_a_black_picture(tmp_path: Path) -> None:
    gain = 1e38 / np.abs(INVERSE).max() * 3
    model = runtime.load(write_bundle(tmp_path / "broken", gain=gain))
    white = np.full((1, 3, 2, 2), 1.0, np.float32)
    z = [np.full(shape, 100.0, np.float32) for shape in model.network.latent_shapes(1, 2, 2)]
    message = "gave NaN or infinity in 'hr' on tile 0,0"
    with pytest.raises(BackendError, match=message):
        model.upscale(white[0].transpose(1, 2, 0), latents=z)
    with pytest.raises(BackendError, match="gave NaN or infinity in 'hr'"):
        model.decode(white, z)


def test_too_little_memory_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = runtime.load(write_bundle(tmp_path / "huge", bytes_per_lr_pixel=1_000_000))
    monkeypatch.setattr(machine, "available_memory", lambda: 10_000_000)
    message = "size of 5×4 needs about 0.0 GB of memory and 0.0 GB are free: give a smaller image"
    with pytest.raises(ImageError, match=message):
        model.upscale(_noise((4, 5, 3)))
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    assert model.upscale(_noise((4, 5, 3))).shape == (16, 20, 3)


def test_a_damaged_graph_with_the_right_digest_is_a_bundle_error(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "odd")
    opened = runtime.Bundle.open(folder)
    graph = opened.graph("inverse", "fp32", True)
    (folder / graph.file).write_bytes(b"not onnx")
    text = (folder / "manifest.json").read_text()
    text = text.replace(graph.sha256, hashlib.sha256(b"not onnx").hexdigest())
    (folder / "manifest.json").write_text(text.replace(f'"bytes": {graph.bytes}', '"bytes": 8'))
    with pytest.raises(BundleError, match="is not an ONNX model"):
        runtime.load(folder).upscale(_noise((2, 2, 3)))


def test_raw_numbers_go_in_and_out_unclipped(tmp_path: Path) -> None:
    model = runtime.load(write_bundle(tmp_path / "sr", sr=True))
    hr = _noise((2, 3, 8, 12), np.float32)
    outputs = model.encode(hr)
    assert set(outputs) == {"lr", "z1", "z2", "logp"}
    assert outputs["logp"].shape == (2,)
    np.testing.assert_allclose(
        model.decode(outputs["lr"], [outputs["z1"], outputs["z2"]]), hr, atol=2e-6
    )
    zeros = [np.zeros_like(outputs["z1"]), np.zeros_like(outputs["z2"])]
    np.testing.assert_array_equal(model.decode(outputs["lr"]), model.decode(outputs["lr"], zeros))
    with pytest.raises(ParameterError, match="both sides must be multiples of 4"):
        model.encode(hr[:, :, :7])
    with pytest.raises(ParameterError, match=re.escape("lr is float64 [2, 3, 8, 12]")):
        model.decode(hr.astype(np.float64))


def test_verify_accepts_a_right_graph_and_rejects_a_wrong_one(tmp_path: Path) -> None:
    right = runtime.Bundle.open(write_bundle(tmp_path / "right"))
    checks = list(check_graphs(right, "onnxruntime"))
    assert {(c.graph.direction, c.case, c.output) for c in checks} == {
        ("inverse", "calm", "hr"),
        ("inverse", "lively", "hr"),
        *(("forward", "noise", output) for output in ("lr", "z1", "z2")),
    }
    assert all(check.comparison.ok for check in checks)
    wrong = runtime.Bundle.open(write_bundle(tmp_path / "wrong", gain=1.001))
    failed = {c.output for c in check_graphs(wrong, "onnxruntime") if not c.comparison.ok}
    assert failed == {"hr"}


def test_the_round_trip_goes_through_eight_bits(tmp_path: Path) -> None:
    opened = runtime.Bundle.open(write_bundle(tmp_path / "tiny"))
    (trip,) = round_trips(opened, "onnxruntime")
    assert trip.case == "noise"
    assert 10 < trip.psnr_db < 12  # the mean of each block is all that is left of noise


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (20, 31), (100, 30)])
def test_alpha_enlarged_in_bands_is_alpha_enlarged_at_once(shape: tuple[int, int]) -> None:
    alpha = np.random.default_rng(0).random(shape, np.float32)
    height = 4 * shape[0]
    size = 4 * shape[1], height
    whole = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC))
    for rows in (1, 5, 24):
        bands = [
            arrays.upscale_alpha(alpha, 4, top, min(rows, height - top))
            for top in range(0, height, rows)
        ]
        np.testing.assert_array_equal(np.concatenate(bands), whole)
