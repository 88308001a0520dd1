"""Latents: by place, to the bit, and normal."""

from __future__ import annotations

import ctypes
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from runtime import latents
from runtime.errors import ParameterError
from tests.support import latents_ptx

DOCUMENT = Path(__file__).parents[2] / "docs" / "latents.md"


def drawn(*place: Any, **more: Any) -> NDArray[np.float32]:
    return latents.Region(*place, **more).values()[0]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            0xFFFFFFFF_FFFFFFFF,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0_A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: tuple[int, int, int, int], key: int, words: tuple[int, ...]
) -> None:
    assert tuple(int(w) for w in latents.philox4x32(counter, key)) == words


@settings(max_examples=40)
@given(
    field=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)),
    corner=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    size=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_a_region_is_the_crop_of_a_larger_one(
    field: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> None:
    whole = drawn(*field, 2, 3, 0, 0, 60, 60)
    (top, left), (height, width) = corner, size
    region = drawn(*field, 2, 3, top, left, height, width)
    np.testing.assert_array_equal(region, whole[:, top : top + height, left : left + width])


@pytest.mark.parametrize("border", [1, 2, 5, 8])
def test_a_border_counts_modulo_two_to_the_32_and_leaves_the_image_as_it_is(border: int) -> None:
    image = drawn(5, 1, 2, 3, 0, 0, 6, 7)
    padded = drawn(5, 1, 2, 3, -border, -border, 6 + 2 * border, 7 + 2 * border)
    np.testing.assert_array_equal(padded[:, border:-border, border:-border], image)
    end = 2**32 - border
    np.testing.assert_array_equal(
        padded[:, :border, :border], drawn(5, 1, 2, 3, end, end, border, border)
    )


def test_an_image_has_one_field_for_each_level() -> None:
    z1, z2 = latents.draw([(6, 8, 10), (21, 4, 5)], 0.9, seed=3, sample=2)
    np.testing.assert_array_equal(z1[0], drawn(3, 2, 1, 6, 0, 0, 8, 10, 0.9))
    np.testing.assert_array_equal(z2[0], drawn(3, 2, 2, 21, 0, 0, 4, 5, 0.9))


def test_chunks_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(5, 0, 1, 4, 3, 1, 33, 70)
    monkeypatch.setattr(latents, "_CHUNK_BLOCKS", 7)
    np.testing.assert_array_equal(drawn(5, 0, 1, 4, 3, 1, 33, 70), whole)


@pytest.mark.parametrize("change", ["seed", "sample", "level"])
def test_another_seed_sample_or_level_is_another_field(change: str) -> None:
    place = {"seed": 1, "sample": 0, "level": 1, "channels": 2} | {
        "top": 0, "left": 0, "height": 64, "width": 64,
    }  # fmt: skip
    one = drawn(**place)
    other = drawn(**place | {change: place[change] + 1})
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(one[0].ravel(), one[1].ravel())[0, 1]) < 0.05


def test_the_kernels_source_compiled_for_the_host_agrees_to_the_bit(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    library = tmp_path / "latents.so"
    flags = ["-O3", "-march=native", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC"]
    source = ["-x", "c", str(latents_ptx.SOURCE)]
    subprocess.run([compiler, *flags, *source, "-o", str(library), "-lm"], check=True)
    kernel = ctypes.CDLL(str(library)).hcflow_latents
    for place in [
        (0, 0, 1, 6, 0, 0, 300, 300),
        (2**64 - 1, 2**32 - 1, 2, 45, 17, 3, 31, 29),
        (1234567890123, 7, 3, 2, 2**32 - 5, 2**32 - 9, 5, 9),
        (1234567890123, 7, 3, 2, -5, -9, 11, 21),
        *((5, 0, 1, 2, 3, left, 2, width) for left in range(4) for width in range(1, 6)),
    ]:
        for tau in (1.0, 0.9, 0.0):
            region = latents.Region(*place, tau)
            theirs = np.full(region.shape, np.nan, np.float32)
            words = region.words()
            kernel(ctypes.c_void_p(words.ctypes.data), ctypes.c_void_p(theirs.ctypes.data))
            assert np.array_equal(region.values().view(np.uint32), theirs.view(np.uint32))


def test_the_shipped_kernel_is_what_nvrtc_makes_of_the_source() -> None:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python")
    try:
        _, *version = nvrtc.nvrtcVersion()
    except RuntimeError as error:
        pytest.skip(f"no NVRTC: {error}")
    if version != [13, 0]:
        pytest.skip(f"NVRTC {version}: the kernel is shipped for drivers of CUDA 13.0")
    assert latents_ptx.compiled() == latents_ptx.SHIPPED.read_text(encoding="utf-8")


def test_the_shipped_kernel_fuses_no_multiply_and_add() -> None:
    text = latents_ptx.SHIPPED.read_text(encoding="utf-8")
    arithmetic = set(re.findall(r"\t((?:add|sub|mul|div|sqrt|fma|mad)\.\S*f32)", text))
    # Rounded to nearest by name: what has no rounding in its name an assembler may fuse.
    assert arithmetic == {"add.rn.f32", "sub.rn.f32", "mul.rn.f32", "div.rn.f32", "sqrt.rn.f32"}
    assert ".version 9.0" in text
    assert ".target sm_75" in text


def test_values_are_standard_normal() -> None:
    values = drawn(11, 0, 1, 6, 0, 0, 500, 500).astype(np.float64)
    n = values.size
    assert abs(values.mean()) < 4 / math.sqrt(n)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs(stats.skew(values, axis=None)) < 4 * math.sqrt(6 / n)
    assert abs(stats.kurtosis(values, axis=None)) < 4 * math.sqrt(24 / n)
    for quarter in range(4):  # each place in a block of four by itself
        assert stats.kstest(values[..., quarter::4].ravel(), "norm").pvalue > 1e-3
    neighbours = np.corrcoef(values[..., :-1].ravel(), values[..., 1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(n)


@pytest.mark.parametrize("sigma", [4.0, 4.5, 5.0, 5.5, 6.0])
def test_tails_hold_their_exact_probability(sigma: float) -> None:
    # Every radius beyond σ, weighted by the share of angles that keep a coordinate beyond σ.
    word = np.arange(int(2**32 * math.exp(-(sigma**2) / 2)) + 1, dtype=np.uint32)
    radius = latents._radius(word).astype(np.float64)
    radius = radius[radius > sigma]
    tail = np.arccos(sigma / radius).sum() / math.pi / 2**32
    assert tail == pytest.approx(stats.norm.sf(sigma), rel=0.03)


def test_radius_and_angle_are_precise_to_float32() -> None:
    edges = np.concatenate([np.arange(1 << 16), 2**32 - 1 - np.arange(1 << 16)])
    random = np.random.default_rng(0).integers(0, 2**32, 1 << 18)
    word = np.concatenate([edges, random]).astype(np.uint32)
    radius = np.sqrt(-2 * np.log((word + 0.5) / 2**32))
    common = word < 0.99 * 2**32  # nearer 1, u itself is coarse: r is absolutely precise to 3e-4
    np.testing.assert_allclose(latents._radius(word)[common], radius[common], rtol=2e-6)
    np.testing.assert_allclose(latents._radius(word), radius, atol=3e-4)
    cosine, sine = latents._cosine_sine(word)
    angle = ((word >> 2) + 0.5) / 2**30 * math.pi / 2
    np.testing.assert_allclose(np.abs(cosine), np.cos(angle), rtol=3e-7)
    np.testing.assert_allclose(np.abs(sine), np.sin(angle), rtol=3e-7)


def test_tau_multiplies_in_float32_and_zero_gives_zeros() -> None:
    place = (3, 0, 1, 2, 0, 0, 9, 9)
    expected = drawn(*place) * np.float32(0.9)
    np.testing.assert_array_equal(drawn(*place, tau=0.9), expected)
    zeros = drawn(*place, tau=0.0)
    assert not zeros.view(np.uint32).any()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, "seed is -1: it must be from 0 to 18446744073709551615"),
        ({"seed": 2**64}, "seed is"),
        ({"sample": 2**32}, "sample is"),
        ({"level": 1 << 16}, "level is"),
        ({"left": 2**32 - 4, "width": 5}, "width is 5"),
        ({"top": -(2**31) - 1}, "top is -2147483649"),
        ({"left": -4, "width": 2**32 + 1}, "width is"),
        ({"tau": -0.1}, "τ is -0.1: it must be a finite number, 0 or more"),
        ({"tau": math.nan}, "τ is nan"),
        ({"tau": 1e39}, "τ is 1e+39: it must be 1e+06 or less"),
        ({"seed": 1.5}, "seed is 1.5: it must be a whole number"),
        ({"seed": "3"}, "seed is '3': it must be a whole number"),
    ],
)
def test_values_out_of_range_are_named(changed: dict[str, float], message: str) -> None:
    place = {"seed": 0, "sample": 0, "level": 1, "channels": 1} | {
        "top": 0, "left": 0, "height": 1, "width": 4,
    }  # fmt: skip
    with pytest.raises(ParameterError, match=re.escape(message)):
        latents.Region(**place | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64, np.uint64])
def test_a_seed_of_numpy_is_the_same_seed(kind: type[np.integer]) -> None:
    place = 0, 1, 1, 0, 0, 1, 4
    np.testing.assert_array_equal(drawn(kind(7), *place), drawn(7, *place))


def test_the_document_and_the_code_agree() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert latents.SCHEME in text
    row = re.compile(
        r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) "
        r"\| (-?[\d.]+(?:e-\d+)?) \| `([0-9a-f]{8})` \|$",
        re.MULTILINE,
    )
    rows = row.findall(text)
    assert len(rows) >= 12
    for *place, value, bits in rows:
        seed, sample, level, channel, y, x = map(int, place)
        number = drawn(seed, sample, level, channel + 1, y, x, 1, 1)[-1, 0, 0]
        assert f"{number.view(np.uint32):08x}" == bits
        assert np.float32(value) == number
