"""Rendered training pictures: seeded, of every kind, and neutral where they are to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.data import rendered
from hcflow_ref.training.data.rendering_materials import SENTENCES, Sources, find_sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Pillow's own font and one photograph."""
    folder = tmp_path_factory.mktemp("sources")
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    (folder / "font.ttf").write_bytes(font.font_bytes)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    others = ((),) * (len(SENTENCES) - 1)
    return Sources(((folder / "font.ttf",), *others), (folder / "photo.png",))


def test_the_same_seed_gives_the_same_pictures_and_a_list_of_them(
    sources: Sources, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        rendered.build(tmp_path / name, sources, 3, 6)
    listed = json.loads((tmp_path / "one" / "images.json").read_text())["images"]
    assert len(listed) == 6
    for entry in listed:
        first, second = (Image.open(tmp_path / name / entry["file"]) for name in ("one", "other"))
        assert first.size == (entry["width"], entry["height"])
        assert first.mode == "RGB"
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_other_pictures(sources: Sources) -> None:
    first, second = (
        rendered.DRAWN["text"](np.random.default_rng(seed), (200, 100), sources) for seed in (1, 2)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", rendered.KINDS)
def test_every_kind_has_the_size_that_is_asked_for(kind: str, sources: Sources) -> None:
    image = rendered.DRAWN[kind](np.random.default_rng(0), (300, 200), sources)
    assert (image.size, image.mode) == ((300, 200), "RGB")


def test_gray_photographs_are_neutral(sources: Sources) -> None:
    pixels = np.asarray(rendered.gray_photograph(np.random.default_rng(0), (64, 48), sources))
    assert (pixels == pixels[..., :1]).all()
    assert pixels.std() > 0


def test_kinds_have_their_shares() -> None:
    kinds = rendered.kinds(sum(rendered.KINDS.values()))
    assert {kind: kinds.count(kind) for kind in rendered.KINDS} == rendered.KINDS
    assert len(rendered.kinds(7)) == 7


def test_a_folder_without_fonts_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no font with Latin letters; --fetch brings some"):
        find_sources(tmp_path, tmp_path, tmp_path / "none")
