"""Build the wheel and the sdist, check their size, and run the wheel outside the checkout.

`make release`. The wheel is installed with its extra `cpu` into an environment of its own, where it
upscales a photograph with both models that ship ready to run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_WHEEL_BYTES = 130_000_000

CHECK = """
import sys, hcflow
from importlib.util import find_spec
from hcflow_ref.images.photographs import photograph
assert find_spec("torch") is None, "PyTorch is not to be needed"
assert not hcflow.__file__.startswith(sys.argv[1]), "the checkout was imported, not the wheel"
image = photograph("chelsea")[:64, :96]
for name in ("rescale_x4", "sr_x4"):
    for precision in ("fp32", "auto"):
        model = hcflow.load(name, backend="auto", precision=precision)
        print(name, precision, model.upscale(image[::4, ::4].copy()).shape)
"""


def main() -> int:
    """Returns the exit code: 1 where the wheel is too large or does not run."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # stale files would go into the wheel
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(ROOT))
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    for path in (wheel, sdist):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    if wheel.stat().st_size > MOST_WHEEL_BYTES:
        print(f"release: the wheel is larger than {MOST_WHEEL_BYTES / 1e6:.0f} MB", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "venv", folder)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        run(str(python), "-m", "pip", "install", "--quiet", f"{wheel}[cpu]")
        run(str(python), "-c", CHECK, str(ROOT), folder=folder)
        run(str(python), "-m", "hcflow", "demo", "--output", f"{folder}/demo", folder=folder)
    return 0


def run(*command: str, folder: str | None = None) -> None:
    """Run a command, in a folder of its own where one is given; its error ends the release."""
    if done := subprocess.run(command, cwd=folder, check=False).returncode:
        raise SystemExit(done)


if __name__ == "__main__":
    raise SystemExit(main())
