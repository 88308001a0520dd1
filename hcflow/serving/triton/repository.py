"""A model repository of Triton written from a bundle: files only."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import runtime
from hcflow.serving.triton import config
from runtime.bundle.reader import Bundle
from runtime.errors import FileError, ParameterError

_MODEL = Path(__file__).with_name("model.py")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "cpp")


def write(
    bundle: Bundle,
    repository: Path,
    *,
    name: str | None = None,
    parameters: Mapping[str, str],
    python_path: Sequence[str] = (),
    instances: int = 1,
) -> list[str]:
    """Write the models of a bundle into a repository, each whole or not at all.

    The first is a model of the Python backend with a copy of the bundle and of the runtime; then
    come one for every uint8 graph, and one for every TensorRT engine of such a graph.

    Args:
        bundle: the bundle.
        repository: the folder, made where missing.
        name: of the first model, and the start of the others' names; None is the bundle's.
        parameters: of the first model: `backend`, `precision`, and where given `threads`.
        python_path: folders on the server's machine that its Python imports from first.
        instances: of the first model.

    Returns:
        The models' names.

    Raises:
        FileError: a model of a name is there already.
        ParameterError: the name is none that Triton takes.
    """
    name = bundle.manifest.name if name is None else name
    if _NAME.fullmatch(name) is None:
        raise ParameterError(f"'{name}' is no name of a model: letters, digits, '_', '.' and '-'")
    native = config.native_models(name, bundle.manifest)
    names = [name, *(model.name for model in native)]
    for each in names:
        if os.path.lexists(repository / each):
            raise FileError(f"'{repository / each}' exists: give another repository, or --name")
    repository.mkdir(parents=True, exist_ok=True)
    # Hidden, and in the repository: on one disk with it, and no model to a server that polls.
    with tempfile.TemporaryDirectory(dir=repository, prefix=".hcflow-") as folder:
        work = Path(folder)
        version = work / name / "1"
        version.mkdir(parents=True)
        shutil.copytree(bundle.folder, version / "bundle", ignore=_reports)
        shutil.copytree(Path(runtime.__file__).parent, version / "runtime", ignore=_LEFT_OUT)
        shutil.copyfile(_MODEL, version / "model.py")
        if python_path:
            text = "".join(f"{folder}\n" for folder in python_path)
            (version / "python_path").write_text(text, encoding="utf-8")
        text = config.python_model(name, parameters, instances)
        (work / name / "config.pbtxt").write_text(text, encoding="utf-8")
        for model in native:
            version = work / model.name / "1"
            version.mkdir(parents=True)
            suffix = "onnx" if model.platform == "onnxruntime_onnx" else "plan"
            shutil.copyfile(bundle.folder / model.file, version / f"model.{suffix}")
            (work / model.name / "config.pbtxt").write_text(model.text, encoding="utf-8")
        for each in names:
            os.rename(work / each, repository / each)
    return names


def _reports(_: str, names: list[str]) -> list[str]:
    """What no one needs to run a bundle."""
    return [name for name in names if name.startswith(("report.", "."))]
