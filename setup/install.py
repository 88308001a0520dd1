"""Make `.venv`: `python3 setup/install.py demo` or `all`, as `make demo` and `make test` do.

Runs on a bare Python (standard library alone). Locked versions with hashes come from `demo.lock`
and `all.lock`; PyTorch comes apart, since its CPU build is another file than the one on PyPI.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
MARK = VENV / "installed.json"
"""What stands in `.venv`, written last: without it the environment is incomplete."""

BEGUN = "begun-by-setup"
"""A file in `.venv`, written first: the folder is this program's own and may be made again."""

LOCKS = {"demo": ROOT / "setup" / "demo.lock", "all": ROOT / "setup" / "all.lock"}
TORCH = "2.13.0"
TORCH_HASHES = {
    ("x86_64", "3.11"): "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
}
"""SHA-256 of PyTorch's CPU wheels for Linux, where known."""

OLDEST = (3, 11)


class SetupError(Exception):
    """One line that says what is wrong and what to do."""


def main(words: list[str]) -> int:
    """Install a set of packages; returns the exit code."""
    if len(words) != 1 or words[0] not in LOCKS:
        print("usage: python3 setup/install.py demo|all", file=sys.stderr)
        return 2
    try:
        install(words[0])
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder of somebody else
        where = f": '{error.filename}'" if error.filename else ""
        print(f"setup: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the same command starts again", file=sys.stderr)
        return 130
    return 0


def install(wanted: str) -> None:
    """Bring `.venv` to a set of packages; does nothing where it is there already."""
    if sys.version_info < OLDEST:
        raise SetupError(
            f"Python {'.'.join(map(str, OLDEST))} or later is needed, this is "
            f"{platform.python_version()}: name another, for example `make demo PYTHON=python3.12`"
        )
    there = state()
    facts = {"root": str(ROOT), "python": sys.version, "torch": torch_requirement()}
    stale = there is not None and any(there.get(key) != value for key, value in facts.items())
    if there is None or stale:
        check_own()
    if stale:
        say("'.venv' was made elsewhere or for another Python: making it again")
        there = None
    elif there is None and VENV.exists():
        say("'.venv' is incomplete: making it again")
    digests = {name: digest(path) for name, path in LOCKS.items()}
    digests["project"] = digest(ROOT / "pyproject.toml")
    done = {} if there is None else there["done"]
    current = done.get("project") == digests["project"]
    if current and digests[wanted] == done.get(wanted):
        return
    if current and wanted == "demo" and done.get("all") == digests["all"]:
        return  # `all` holds it
    start = time.monotonic()
    if there is None:
        step("virtual environment", create)
        step(f"PyTorch {facts['torch']}", install_torch)
    begin()
    MARK.unlink(missing_ok=True)
    step(f"{count(LOCKS[wanted])} packages of {LOCKS[wanted].name}", lambda: install_lock(wanted))
    step("hcflow-deploy", install_project)
    kept = {key: value for key, value in done.items() if digests.get(key) == value}
    done = {**kept, "project": digests["project"], wanted: digests[wanted]}
    MARK.write_text(json.dumps({**facts, "done": done}), encoding="utf-8")
    say(f"set up in {time.monotonic() - start:.0f} s")


def state() -> dict | None:
    """What `.venv` holds; None where there is none or it is incomplete."""
    try:
        found = json.loads(MARK.read_text(encoding="utf-8"))
        return found if PYTHON.exists() and isinstance(found["done"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_own() -> None:
    """Refuse to replace what another program or a person put at `.venv`; an empty folder is none.

    Environments of earlier versions are known by `installed.json`.
    """
    if not os.path.lexists(VENV) or (VENV.is_dir() and not any(VENV.iterdir())):
        return
    if VENV.is_symlink():  # perhaps to another checkout's, which is in use
        raise SetupError(
            f"'.venv' must be made again, and is a symbolic link to '{os.readlink(VENV)}': remove "
            "the link, then run this again"
        )
    if not MARK.exists() and not (VENV / BEGUN).exists():
        raise SetupError(
            "'.venv' was not made by setup/install.py, or by an earlier one that was cut short: "
            "move it away or remove it, then run this again"
        )


def begin() -> None:
    """Mark `.venv` as this program's own."""
    (VENV / BEGUN).write_text("setup/install.py made this folder and may make it again.\n")


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def count(lock: Path) -> int:
    """How many packages a lock names."""
    return sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())


def create() -> None:
    """A virtual environment with pip alone; what `.venv` held is removed."""
    VENV.mkdir(exist_ok=True)
    begin()
    for each in VENV.iterdir():  # the mark stays: this may be cut short
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != BEGUN:
            each.unlink()
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        last = told(made)[-1].strip()
        if any(word in made.stderr + made.stdout for word in ("No module named", "not available")):
            raise SetupError(
                "Python's venv module is missing or broken: install it (Debian: `apt-get install "
                f"python3-venv`) or name another Python with `make PYTHON=…` ({last})"
            )
        more = " (is the disk full, or Python's ensurepip broken?)" if "ensurepip" in last else ""
        raise SetupError(f"'.venv' cannot be made: {last}{more}")


def has_gpu() -> bool:
    """Whether an NVIDIA driver is here, so that PyTorch with CUDA is of use."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def torch_requirement() -> str:
    """PyTorch's version: on Linux without a GPU the CPU build, which is 3 GB smaller."""
    return f"{TORCH}+cpu" if sys.platform == "linux" and not has_gpu() else TORCH


def install_torch() -> None:
    """PyTorch alone; what it needs stands in the locks, NVIDIA's libraries aside."""
    version = torch_requirement()
    if not version.endswith("+cpu"):
        pip("install", f"torch=={version}")
        return
    key = (platform.machine(), ".".join(map(str, sys.version_info[:2])))
    line = f"torch=={version}"
    if key in TORCH_HASHES:
        line += f" --hash=sha256:{TORCH_HASHES[key]}"
    listed = VENV / "torch.txt"
    listed.write_text(line, encoding="utf-8")
    try:
        pip("install", "--no-deps", "-r", str(listed))
    except SetupError:
        # Not among pip's own sources: uv knows where PyTorch keeps its CPU builds.
        try:
            pip("install", "uv")
            uv = [str(PYTHON), "-m", "uv", "pip", "install", "--no-deps"]
            run([*uv, "--python", str(PYTHON), "--torch-backend", "cpu", f"torch=={TORCH}"])
        except SetupError as error:
            raise SetupError(
                f"PyTorch's CPU build {version} cannot be fetched ({error}): check the network, or "
                "put its wheel where pip looks (PIP_FIND_LINKS)"
            ) from None


def install_lock(wanted: str) -> None:
    """The locked packages, every file checked by its hash."""
    pip("install", "--no-deps", "--require-hashes", "-r", str(LOCKS[wanted]))


def install_project() -> None:
    """The checkout itself, as it stands."""
    pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))


def pip(*words: str) -> None:
    """Run pip of `.venv`; compiled bytecode comes with the first import."""
    run(
        [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *words, "--no-compile", "--quiet"]
    )


def run(command: list[str]) -> None:
    """Run a command; an error is its last line of errors."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = told(done)
        errors = [line for line in lines if line.lower().startswith(("error", "×"))]
        last = (errors or lines)[-1].strip()
        offline = ("connection", "name resolution", "timed out", "unreachable", "Max retries")
        if any(word.lower() in done.stderr.lower() for word in offline):
            last += " (is there a network?)"
        raise SetupError(last)


def told(done: subprocess.CompletedProcess) -> list[str]:
    """The lines that a command has written, those on standard error if there are any."""
    text = done.stderr if done.stderr.strip() else done.stdout
    return [line for line in text.splitlines() if line.strip()] or ["no reason given"]


def step(what: str, action) -> None:
    """Say what is done, do it, say how long it took."""
    start = time.monotonic()
    print(f"setup: {what} …", end=" ", flush=True)
    try:
        action()
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def say(line: str) -> None:
    """A line to the terminal."""
    print(f"setup: {line}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
