"""The map of the modules in docs/README.md is that of the modules there are."""

from benchmarks import module_map


def test_the_map_is_written_from_the_modules() -> None:
    text = module_map.PAGE.read_text(encoding="utf-8")
    assert text == module_map.page(), "run `python -m benchmarks.module_map`"
