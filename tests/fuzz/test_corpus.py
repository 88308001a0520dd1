"""What fuzzing has found stays mended: every file of its corpus ends in a result or one error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_no_file_of_the_corpus_raises_anything_else(name: str) -> None:
    cases = sorted((CORPUS / name).iterdir())
    assert cases
    for case in cases:
        TARGETS[name](case.read_bytes())
