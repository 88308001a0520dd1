"""`hcflow demo` downscales and restores four photographs; README's commands exist as written."""

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer import Context
from typer.main import get_command
from typer.testing import CliRunner

from export.pipeline import Request, build
from hcflow.cli.program import application
from hcflow_ref.checkpoint.load import load
from hcflow_ref.images.photographs import PHOTOGRAPHS
from tests.support.golden_files import weights

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "small"
    build(load(weights("rescale_x4")), folder, Request("small"))
    return folder


def test_the_demo_writes_pictures_and_figures(bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        application(), ["demo", "--model", str(bundle), "--output", str(tmp_path), "--json"]
    )
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    rows = printed["photographs"]
    assert [row["photograph"] for row in rows] == list(PHOTOGRAPHS)
    assert rows[0]["bicubic"] == {"psnr": 25.34}
    with Image.open(tmp_path / "astronaut-small.png") as small:
        assert small.size == (128, 128)
    with Image.open(tmp_path / "astronaut-restored.png") as restored:
        assert restored.size == (512, 512)
    assert (tmp_path / "side-by-side.png").exists()
    assert printed["page"] == str(tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    found = re.search(r'id="scenes">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    scenes = json.loads(found[1])
    assert [scene["name"] for scene in scenes] == list(PHOTOGRAPHS)
    layers = scenes[0]["layers"]
    assert [layer["name"] for layer in layers] == ["downscaled", "bicubic", "small", "original"]
    assert layers[1]["figures"] == {"": "25.34 dB"}


def readme_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("|")]
    return [part for part in parts if part.startswith(("hcflow ", "python -m export.build "))]


@pytest.mark.parametrize("command", readme_commands())
def test_every_command_of_the_readme_has_the_options_it_shows(command: str) -> None:
    words = shlex.split(command.replace("python -m export.build", "hcflow build"))
    name, arguments = words[1], words[2:]
    group = get_command(application())
    subcommand = group.get_command(Context(group), name)  # type: ignore[attr-defined, arg-type]
    known = {option for parameter in subcommand.params for option in parameter.opts}
    assert {word for word in arguments if re.match(r"--?[a-z]", word)} <= known
