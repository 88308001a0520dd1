"""`setup/install.py` makes `.venv` or says in one line what to do."""

from __future__ import annotations

import errno
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "setup" / "install.py"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, for a checkout of its own, with commands noted in `commands` in place of run."""
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]")
    locks = {name: tmp_path / f"{name}.lock" for name in ("demo", "all")}
    for path in locks.values():
        path.write_text("numpy==2.0 \\\n    --hash=sha256:0\n")
    venv = tmp_path / ".venv"
    places = {"ROOT": tmp_path, "VENV": venv, "MARK": venv / "installed.json", "LOCKS": locks}
    places["PYTHON"] = venv / "bin" / "python"
    for name, value in places.items():
        monkeypatch.setattr(module, name, value)
    module.commands = []  # type: ignore[attr-defined]

    def create() -> None:
        module.commands.append(["venv"])  # type: ignore[attr-defined]
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin" / "python").touch()

    module.really_create = module.create  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "create", create)
    monkeypatch.setattr(module, "run", module.commands.append)  # type: ignore[attr-defined]
    return module


def ran(install: Any) -> str:
    words = " ".join(word for command in install.commands for word in map(str, command))
    install.commands.clear()
    return words


def test_a_second_run_does_nothing(install: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert install.main(["demo"]) == 0
    assert "demo.lock" in ran(install)
    assert "PyTorch" in capsys.readouterr().out
    assert install.main(["demo"]) == 0
    assert (ran(install), capsys.readouterr().out) == ("", "")


def test_the_tests_complete_the_environment_of_the_demo(install: Any) -> None:
    install.main(["demo"])
    ran(install)
    install.main(["all"])
    completed = ran(install)
    assert "all.lock" in completed
    assert "venv" not in completed.split()
    assert "torch" not in completed
    install.main(["demo"])
    assert ran(install) == ""


def test_a_changed_lock_or_project_is_installed_again(install: Any) -> None:
    install.main(["all"])
    for path in (install.LOCKS["all"], install.ROOT / "pyproject.toml"):
        ran(install)
        path.write_text(path.read_text() + "\n")
        install.main(["all"])
        assert "all.lock" in ran(install)


def test_an_environment_that_was_cut_short_is_made_again(
    install: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    install.VENV.mkdir()
    assert install.main(["demo"]) == 0
    assert "'.venv' is incomplete: making it again" in capsys.readouterr().out
    assert ran(install).startswith("venv")


def test_an_environment_that_this_program_began_is_made_again(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*_: Any, **__: Any) -> None:
        (install.VENV / "bin").mkdir()  # fails where the first time's is still there
        (install.VENV / "pyvenv.cfg").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "create", install.really_create)
    monkeypatch.setattr(install.subprocess, "run", cut_short)
    for _ in range(2):
        assert install.main(["demo"]) == 130
    assert (install.VENV / "bin").is_dir()


def test_an_update_that_was_cut_short_is_made_again(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.main(["demo"])
    (install.VENV / install.BEGUN).unlink()  # as earlier versions left it
    install.LOCKS["all"].write_text("changed")
    with monkeypatch.context() as broken:
        broken.setattr(install, "install_lock", lambda _: install.run(1 / 0))
        with pytest.raises(ZeroDivisionError):
            install.main(["all"])
    ran(install)
    assert install.main(["all"]) == 0
    assert ran(install).startswith("venv")


@pytest.mark.parametrize("kind", ["another's", "a file", "a link", "a link to nothing"])
def test_what_another_program_put_there_is_never_removed(
    install: Any, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "a file":
        install.VENV.touch()
    elif kind == "another's":
        install.VENV.mkdir()
        (install.VENV / "pyvenv.cfg").touch()
    else:
        elsewhere = tmp_path / "elsewhere"
        install.VENV.symlink_to(elsewhere)
        if kind == "a link":  # to the environment of another checkout
            elsewhere.mkdir()
            (elsewhere / "bin").mkdir()
            (elsewhere / "bin" / "python").touch()
            install.MARK.write_text(json.dumps({"root": "/other", "done": {}}))
    before = sorted(tmp_path.rglob("*"))
    assert install.main(["demo"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("setup: '.venv' ")
    assert "run this again" in err
    assert ran(install) == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_behind_a_link_is_used(install: Any, tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir()
    install.VENV.symlink_to(tmp_path / "big-disk")
    assert install.main(["demo"]) == 0
    assert (tmp_path / "big-disk" / "installed.json").exists()


def test_an_error_of_the_system_is_told_in_one_line(
    install: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/full")

    monkeypatch.setattr(install, "create", full)
    assert install.main(["demo"]) == 1
    assert capsys.readouterr().err == "setup: No space left on device: '/full'\n"


def test_a_checkout_that_was_moved_gets_a_new_environment(
    install: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    install.main(["demo"])
    mark = json.loads(install.MARK.read_text())
    install.MARK.write_text(json.dumps({**mark, "root": "/elsewhere"}))
    ran(install)
    install.main(["demo"])
    assert "'.venv' was made elsewhere" in capsys.readouterr().out
    assert ran(install).startswith("venv")


def test_an_old_python_is_told_in_one_line(
    install: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install.sys, "version_info", (3, 10, 4))
    assert install.main(["demo"]) == 1
    assert capsys.readouterr().err.startswith("setup: Python 3.11 or later is needed, this is ")


def test_no_network_is_told_in_one_line(
    install: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    failing = [sys.executable, "-c"]
    code = "import sys; sys.exit('ERROR: Max retries exceeded: Name resolution failed')"
    with pytest.raises(install.SetupError, match=r"is there a network\?"):
        install.run([*failing, code])
    with pytest.raises(install.SetupError, match="No matching distribution"):
        install.run([*failing, "import sys; sys.exit('noise\\nERROR: No matching distribution')"])


def test_no_venv_module_is_told_in_one_line(
    install: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No module named venv' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(install.sys, "executable", str(broken))
    monkeypatch.setattr(install, "VENV", tmp_path / "none")
    with pytest.raises(install.SetupError, match="apt-get install python3-venv"):
        install.create()
    broken.write_text("#!/bin/sh\necho 'Error: [Errno 28] No space left on device' >&2\nexit 1\n")
    with pytest.raises(install.SetupError, match=r"cannot be made: .*No space left") as full:
        install.create()
    assert "apt-get" not in str(full.value)


def test_without_a_gpu_linux_gets_the_cpu_build_of_pytorch_and_nothing_of_nvidia(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.sys, "platform", "linux")
    monkeypatch.setattr(install, "has_gpu", lambda: False)
    assert install.torch_requirement() == f"{install.TORCH}+cpu"
    monkeypatch.setattr(install, "has_gpu", lambda: True)
    assert install.torch_requirement() == install.TORCH


def test_where_pip_has_no_cpu_build_uv_fetches_it_and_else_one_line_says_so(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "torch_requirement", lambda: "2.13.0+cpu")
    tried: list[list[str]] = []

    def run(command: list[str]) -> None:
        tried.append(command)
        if "torch" in " ".join(command):
            raise install.SetupError("ERROR: No matching distribution found")

    install.create()
    monkeypatch.setattr(install, "run", run)
    with pytest.raises(install.SetupError, match="put its wheel where pip looks"):
        install.install_torch()
    assert "--torch-backend" in tried[-1]
    assert not any("torch==2.13.0" in command and "pip" not in command for command in tried)


def test_wrong_usage_is_exit_code_2() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "everything"], check=False, capture_output=True)
    assert done.returncode == 2
