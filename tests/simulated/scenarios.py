"""Every scenario, in a process where `libcuda.so.1` is the simulated driver.

`python -m tests.simulated.scenarios FOLDER [NAME ...]` prints one JSON line a scenario; called by
`tests/simulated/test_scenarios.py`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path

from runtime.backends.cuda.device import Device
from tests.simulated import (
    behaviour,
    captures,
    choosing,
    compiling,
    drawing,
    gpu_arrays,
    gpu_kit,
    gpu_memory,
    mistakes,
    refitting,
    refusals,
    runtime_caches,
    selftesting,
    several_gpus,
    tensorrt_module,
    uint8_images,
)
from tests.simulated.rig import DRIVER, SCENARIOS

MODULES = (
    *(behaviour, captures, choosing, compiling, drawing, gpu_arrays, gpu_kit, gpu_memory),
    *(mistakes, refitting, refusals, runtime_caches, selftesting, several_gpus, uint8_images),
)
"""Importing them has filled `SCENARIOS`."""


def main() -> None:
    base = Path(sys.argv[1])
    tensorrt_module.make("tensorrt_rtx", "1.7.1.116", DRIVER)
    tensorrt_module.make("tensorrt", "11.1.0.106", DRIVER)
    for name in sys.argv[2:] or SCENARIOS:
        function = SCENARIOS[name]
        folder = base / name
        folder.mkdir(mode=0o755)
        os.environ["HCFLOW_CACHE"] = str(folder / "cache")
        gc.collect()
        DRIVER.cuCtxSynchronize()  # what an earlier scenario left, mistakes among it
        DRIVER.sim_reset()
        try:
            Device.open().use()  # as in a program that uses the GPU by itself
            function(folder)
            problem = None
        except BaseException:
            problem = traceback.format_exc()
        print(json.dumps({"scenario": name, "problem": problem}), flush=True)


if __name__ == "__main__":
    main()
