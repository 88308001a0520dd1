"""The map of the modules in docs/README.md: `python -m benchmarks.module_map` writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "README.md"
HEADING = "## Map of the modules\n"
PACKAGES = ("hcflow", "export", "calib", "hcflow_ref", "runtime", "benchmarks")


def lines() -> Iterator[str]:
    """The map as Markdown: a table a folder, a row a module."""
    yield HEADING
    yield "`python -m benchmarks.module_map` writes it from the modules' docstrings."
    for package in PACKAGES:
        folders = {path.parent for path in (ROOT / package).rglob("*.py")}
        for folder in sorted(folders):
            yield from _folder(folder)


def _folder(folder: Path) -> Iterator[str]:
    name = folder.relative_to(ROOT).as_posix()
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    about = summary(folder / "__init__.py")
    yield f"\n**`{name}/`** {about}".rstrip()
    if modules:
        yield "\n| module | |\n|---|---|"
    for path in modules:
        yield f"| [{path.stem}](../{path.relative_to(ROOT).as_posix()}) | {summary(path)} |"


def summary(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    if not path.is_file():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def page() -> str:
    """docs/README.md with the map as it is now."""
    text = PAGE.read_text(encoding="utf-8")
    return text[: text.index(HEADING)] + "\n".join(lines()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
