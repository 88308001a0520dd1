"""What rendered pictures are made of: sentences, fonts for them, photographs, colours."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageFont

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.data import debian

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont
Random = np.random.Generator

PACKAGES = (
    *("fonts-dejavu-core", "fonts-dejavu-extra", "fonts-liberation", "fonts-hosny-amiri"),
    *("fonts-noto-core", "fonts-lato", "fonts-roboto-unhinted", "fonts-ebgaramond"),
    *("fonts-wqy-microhei", "fonts-lohit-deva", "fonts-comic-neue", "fonts-inconsolata"),
)
"""Debian's packages whose fonts the training pictures are written with."""

SENTENCES = (
    "All human beings are born free and equal in dignity and rights; 0123456789 (50 %) [#7] @ £€$",
    "The quick brown fox jumps over the lazy dog. Sphinx of black quartz, judge my vow! 1984-2026",
    "def total(items: list[int]) -> int: return sum(x * x for x in items if x >= 0)  # O(n) {ok}",
    "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg; voix ambiguë d'un cœur, ¿qué?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Все люди рождаются свободными",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι",
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "人人生而自由在尊严和权利上一律平等他们赋有理性和良心并应以兄弟关系的精神相对待",
    "すべての人間は生まれながらにして自由でありかつ尊厳と権利とについて平等である",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით",
)
"""Each is drawn only with fonts that have all its letters."""

SIZES = (9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 32, 48)
"""Of letters, in pixels."""

LATIN = 4
"""The first sentences, with which most pictures are written."""


@dataclass(frozen=True)
class Sources:
    """What pictures are made of.

    Attributes:
        fonts: for each of `SENTENCES`, the font files that have all its letters.
        photographs: image files.
    """

    fonts: tuple[tuple[Path, ...], ...]
    photographs: tuple[Path, ...]

    def sentence(self, rng: Random, size: int) -> tuple[str, Font]:
        """A sentence with its words shuffled, and a font of `size` pixels for it."""
        index = int(rng.integers(LATIN if rng.random() < 0.5 else len(SENTENCES)))
        index = index if self.fonts[index] else 0
        words = SENTENCES[index].split(" ")
        text = " ".join(words[i] for i in rng.permutation(len(words)))
        path = self.fonts[index][rng.integers(len(self.fonts[index]))]
        return text, ImageFont.truetype(path, size)


def has_letters(font: Font, text: str) -> bool:
    """Whether every letter looks other than what the font draws for one that it has not."""
    absent = bytes(font.getmask("\uffff"))
    return all(bytes(font.getmask(letter)) != absent for letter in set(text) - {" "})


def find_sources(fonts: Path, photographs: Path, leave_out: Path) -> Sources:
    """The font and image files below two folders, sorted; images below `leave_out` are none.

    Raises:
        TrainingError: no font has the letters of the first sentence.
    """
    files = (p for p in fonts.rglob("*") if p.suffix in {".ttf", ".otf", ".ttc"} and p.is_file())
    found = [(path, ImageFont.truetype(path, 20)) for path in sorted(files, key=lambda p: p.name)]
    usable = tuple(
        tuple(path for path, font in found if has_letters(font, text)) for text in SENTENCES
    )
    if not usable[0]:
        raise TrainingError(f"{fonts}: no font with Latin letters; --fetch brings some, on Debian")
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    images = sorted(path for path in photographs.rglob("*") if path.suffix.lower() in suffixes)
    return Sources(usable, tuple(path for path in images if leave_out not in path.parents))


def fetch_fonts(folder: Path, packages: Sequence[str] = PACKAGES) -> None:
    """Unpack Debian packages into `folder`, with their copyright files.

    Raises:
        TrainingError: `apt-get` or `dpkg-deb` is missing or fails.
    """
    for package in packages:
        with debian.unpacked(package) as (files, _):
            shutil.copytree(files, folder / package, symlinks=True, dirs_exist_ok=True)


def colour(rng: Random) -> Colour:
    """A colour: neutral, saturated or any, in equal shares."""
    kind = rng.integers(3)
    if kind == 0:
        level = int(rng.integers(256))
        return (level, level, level)
    red, green, blue = rng.integers(256, size=3)
    if kind == 1:
        red, green, blue = rng.permutation([rng.choice([0, 255]), rng.integers(256), 0])
    return (int(red), int(green), int(blue))


def two_colours(rng: Random) -> tuple[Colour, Colour]:
    """Ground and ink: black and white in half of all cases, else what can be told apart."""
    if rng.random() < 0.5:
        black, white = (0, 0, 0), (255, 255, 255)
        return (white, black) if rng.random() < 0.75 else (black, white)
    while True:
        ground, ink = colour(rng), colour(rng)
        if abs(np.dot(np.subtract(ground, ink), [0.30, 0.59, 0.11])) > 60:
            return ground, ink
