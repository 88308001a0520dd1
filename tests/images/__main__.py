"""Judge every image of a folder: `python -m tests.images FOLDER [--convert] [--json FILE]`.

Each file is read by this program, whole and by strips, and compared with what Pillow and libvips
make of it: size, orientation, alpha, depth, mean colour and the means of an 8 × 8 grid. `--convert`
also upscales each by a tiny model. The exit code is 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.images.judge import Verdict
from tests.images.process import judged
from tests.support.bundles import write_bundle

_OUTCOMES = ("right", "clean error", "wrong")


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The account by kind as Markdown, a line for each file that is wrong below it."""
    yield "| kind | files | right | clean errors | wrong |"
    yield "|---|---|---|---|---|"
    for kind in (*sorted({each.kind for each in verdicts}), "all"):
        counts = Counter(each.outcome for each in verdicts if kind in (each.kind, "all"))
        yield f"| {kind} | {counts.total()} | {' | '.join(str(counts[o]) for o in _OUTCOMES)} |"
    for each in verdicts:
        if each.outcome == "wrong":
            yield f"\nwrong: {each.name}: {each.why}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the files of a folder; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--convert", action="store_true", help="also upscale each by a tiny model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all verdicts here")
    given = parser.parse_args(arguments)
    paths = sorted(path for path in given.folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / "tiny") if given.convert else None
        verdicts = list(judged(paths, bundle))
    print("\n".join(table(verdicts)))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(each) for each in verdicts], indent=1))
    return int(any(each.outcome == "wrong" for each in verdicts))


if __name__ == "__main__":
    sys.exit(main())
