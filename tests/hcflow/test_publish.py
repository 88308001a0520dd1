"""The tables of README and cards are what the shipped weights were measured at."""

from pathlib import Path

import pytest

from benchmarks import publish, weights
from hcflow_ref.checkpoint.shipped import names


@pytest.mark.parametrize("name", names())
def test_a_card_holds_the_figures_of_its_evaluation(name: str) -> None:
    _, table, _ = publish.split(publish.card(name), name)
    assert table == weights.card(name).splitlines()


def test_the_readme_holds_the_figures_of_every_model() -> None:
    _, table, _ = publish.split(publish.README, "all models")
    assert table == weights.all_models().splitlines()


def test_the_table_of_precisions_has_a_row_for_every_graph_below_fp32() -> None:
    _, table, _ = publish.split(publish.PRECISION, "precisions")
    assert len(table) == 2 + 4 * len(names())


def test_rows_of_one_model_leave_those_of_others_be(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    marker = publish.MARKER.format("t")
    page.write_text(f"above\n{marker}\n| a |\n|---|\n| x | 1 |\n| y | 2 |\nbelow\n")
    publish.replace_rows(page, "t", ["| y | 3 |", "| z | 4 |"])
    table = "| a |\n|---|\n| x | 1 |\n| y | 3 |\n| z | 4 |"
    assert page.read_text() == f"above\n{marker}\n{table}\nbelow\n"
