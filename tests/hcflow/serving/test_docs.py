"""The commands of docs/serving.md work as they are written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hcflow.models import extras
from hcflow.serving.access import Access, read_token
from tests.support.serving import Running, noise, png, running

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def _commands(start: str) -> list[str]:
    lines = "\n".join(_blocks("bash")).splitlines()
    return [line for line in lines if line.startswith(start)]


def _run(command: str, folder: Path) -> None:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"no {command.split(maxsplit=1)[0]} here")
    subprocess.run(["bash", "-c", command], cwd=folder, check=True, capture_output=True)


def test_curl_sends_an_image_and_gets_one(server: Running, tmp_path: Path) -> None:
    Image.fromarray(noise(12, 8)).save(tmp_path / "photo.jpg")
    commands = [line for line in _commands("curl") if "127.0.0.1" in line]
    assert len(commands) == 3
    sizes = []
    for command in commands:
        _run(command.replace("http://127.0.0.1:8000", server.url), tmp_path)
        sizes.append(Image.open(tmp_path / command.split()[-1]).size)
    assert sizes == [(32, 48), (16, 24), (2, 3)]


def test_a_token_is_made_and_sent(tmp_path: Path) -> None:
    Image.fromarray(noise(4, 4)).save(tmp_path / "photo.jpg")
    _run(_commands("openssl")[0], tmp_path)
    access = Access(read_token(str(tmp_path / "token")))
    (command,) = (line for line in _commands("curl") if "Bearer" in line)
    with running(tmp_path / "tiny", access=access) as guarded:
        assert guarded.client.post("/v1/upscale", content=png(noise(4, 4))).status_code == 401
        _run(command.replace("http://HOST:8000", guarded.url), tmp_path)
    assert Image.open(tmp_path / "large.png").size == (16, 16)


def test_tritons_client_works_as_written(server: Running) -> None:
    (code,) = _blocks("python")
    code = code.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    names: dict[str, object] = {}
    exec(code.replace("sr_x4", "tiny_x4"), names)
    large = names["large"]
    assert isinstance(large, np.ndarray)
    assert large.shape == (128, 128, 3)


def test_what_serving_needs_is_named_where_it_is_missing() -> None:
    assert extras.to_have("uvicorn.protocols") == "pip install 'hcflow-deploy[serve]'"
    assert extras.to_have("torch") == extras.to_have(None) == extras.to_build()
