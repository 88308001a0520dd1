"""The GPU backend on a simulated driver: the real `cuda-python`, host memory behind it.

`libcuda.c` is the driver, `tensorrt_module.py` the library, and the modules of `SCENARIOS` contain
what is tried. They run in a process of their own, since a process has one `libcuda.so.1`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "simulated" / "libcuda.c"
SCENARIOS = (
    *("behaviour", "captures", "choosing", "compiling", "drawing", "gpu_arrays", "gpu_kit"),
    *(
        "gpu_memory",
        "mistakes",
        "refitting",
        "refusals",
        "runtime_caches",
        "selftesting",
        "several_gpus",
        "uint8_images",
    ),
)
NAMES = [
    name
    for module in SCENARIOS
    for name in re.findall(
        r"^@scenario\ndef (\w+)",
        (SOURCE.parent / f"{module}.py").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
]

pytest.importorskip("cuda.bindings", reason="cuda-python")
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libcuda.so.1"
    flags = ["-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-w"]
    subprocess.run(["cc", *flags, "-o", library, SOURCE, "-ldl", "-lpthread", "-lm"], check=True)
    (folder / "runs").mkdir(mode=0o755)
    run = subprocess.run(
        [sys.executable, "-m", "tests.simulated.scenarios", folder / "runs"],
        cwd=ROOT,
        env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert lines, run.stderr
    found = {line["scenario"]: line["problem"] for line in lines}
    return found | {name: f"did not end: {run.stderr}" for name in NAMES if name not in found}


@pytest.mark.parametrize("name", NAMES)
def test_on_the_simulated_device(name: str, outcomes: dict[str, str | None]) -> None:
    assert outcomes[name] is None, outcomes[name]
