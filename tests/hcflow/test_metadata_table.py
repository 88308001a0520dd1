"""The table of docs/files.md says which metadata a result keeps: it is found by converting."""

from benchmarks import metadata_table


def test_the_table_is_what_becomes_of_metadata() -> None:
    text = metadata_table.PAGE.read_text(encoding="utf-8")
    assert text == metadata_table.page(), "run `python -m benchmarks.metadata_table`"


def test_what_describes_a_picture_is_kept_and_what_one_format_holds_is_dropped() -> None:
    rows = [line.strip("| ").split(" | ") for line in metadata_table.lines()]
    kept = {row[0]: "kept" in row[1:] for row in rows[2:]}
    described = ("colour profile", "density", "XMP", "EXIF: maker", "EXIF: exposure", "EXIF: place")
    assert {name for name, is_kept in kept.items() if is_kept} == {
        name for name in kept if name.startswith(described)
    }
