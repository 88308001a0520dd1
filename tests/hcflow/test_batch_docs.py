"""The commands of docs/batch.md, run as far as plain processes go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.batches import files, outcomes, picture
from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
SHARDS = 16


def _block(section: str, kind: str) -> str:
    """The first block of a kind in a section."""
    (text,) = re.findall(rf"^## \d+\. {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)[0]


def _run(script: str, folder: Path, **environment: str) -> None:
    words = ["sh", "-ec", script]
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **environment}
    run = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures, and an `hcflow` on the path that has a tiny model."""
    for i in range(3):
        picture(tmp_path / "photos" / f"{i}.png", i)
    bundle = write_bundle(tmp_path / "tiny")
    program = tmp_path / "hcflow"
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = upscale ]; then set -- "$@" --exact --model {bundle}; fi\n'
        f'exec {sys.executable} -m hcflow "$@"\n'
    )
    program.chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_page_convert_every_image(folder: Path) -> None:
    (first,) = re.findall(r"```bash\n(.*?)```", PAGE.split("## 1.")[0], re.DOTALL)
    _run(first, folder)
    assert list(files(folder / "large")) == ["0.png", "1.png", "2.png"]


@pytest.mark.slow
def test_the_tasks_of_a_slurm_array_share_the_shards(folder: Path) -> None:
    _run(f"hcflow manifest photos -o list --shards {SHARDS}", folder)
    script = _block("Slurm", "bash")
    assert f"#SBATCH --array=0-{SHARDS - 1}" in script
    for task in range(2):
        _run(script, folder, SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_COUNT="2")
    assert list(files(folder / "large")) == ["0.png", "1.png", "2.png"]


@pytest.mark.slow
def test_the_pods_of_an_indexed_job_each_convert_their_shard(folder: Path) -> None:
    _run(f"hcflow manifest photos -o list --shards {SHARDS}", folder)
    script = _block("Kubernetes", "yaml")
    (command,) = re.findall(r'command: \[sh, -c, "(.*)"\]', script)
    assert f"completions: {SHARDS}\n" in script
    for index in (0, 2):
        _run(command, folder, JOB_COMPLETION_INDEX=str(index))
        assert [each["output"] for each in outcomes(folder / "large", f"{index:05d}-of-00016")] == [
            f"{index}.png"
        ]
    assert list(files(folder / "large")) == ["0.png", "2.png"]
