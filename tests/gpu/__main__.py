"""`python3 -m tests.gpu --output DIR`: every check, `gpu.json` and `gpu.html`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.gpu import page
from tests.gpu.checks import CHECKS, MACHINE
from tests.gpu.processes import run_all
from tests.gpu.record import Record, Report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/gpu"), help="folder")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all checks together")
    parser.add_argument("--only", nargs="*", metavar="CHECK", help="checks by name")
    # One check, in the process that `processes` starts for it.
    for option in ("--check", "--name", "--records"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.check:
        module, function = given.check.split(":")
        getattr(importlib.import_module(module), function)(Report(given.name, Path(given.records)))
        return 0
    names = [check.name for check in CHECKS]
    if unknown := [name for name in given.only or () if name not in names]:
        parser.error(f"no check '{unknown[0]}'; there are: {', '.join(names)}")
    chosen = [check for check in CHECKS if not given.only or check.name in given.only]
    return report(given.output, run_and_say(chosen, given.minutes * 60))


def run_and_say(chosen: Sequence, seconds: float) -> list[Record]:
    found = []
    for record in run_all(chosen, seconds, MACHINE):
        figures = "  ".join(f"{name} {page.shown(value)}" for name, value in record.figures.items())
        line = f"{record.outcome:8}{record.check}: {record.name}  {record.detail}  {figures}"
        print(line.rstrip(), flush=True)
        found.append(record)
    return found


def report(folder: Path, found: Sequence[Record]) -> int:
    """Write the JSON and the page; 1 where a check failed, else 0."""
    folder.mkdir(parents=True, exist_ok=True)
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    text = json.dumps({"made": made, "records": [asdict(r) for r in found]}, indent=1, default=str)
    (folder / "gpu.json").write_text(text + "\n", encoding="utf-8")
    (folder / "gpu.html").write_text(page.page(made, found), encoding="utf-8")
    outcomes = Counter(record.outcome for record in found)
    print(
        f"{outcomes['ok']} ok, {outcomes['failed']} failed, {outcomes['skipped']} skipped: ", end=""
    )
    print(folder / "gpu.html")
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
