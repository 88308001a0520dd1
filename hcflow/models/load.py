"""A model opened by its bundle's folder or its name, and several models opened once each."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import runtime
from hcflow.models import shipped
from runtime.bundle.reader import Bundle
from runtime.errors import BundleError, HcflowError
from runtime.inference import auto_precision
from runtime.model import Model
from runtime.system import machine

_logger = logging.getLogger(__name__)


def load(
    path_or_name: str | os.PathLike[str] | None = None,
    *,
    compile_engines: bool = False,
    **options: Any,
) -> Model:
    """Open a model by its bundle's folder or its name; None is the shipped default.

    Args:
        path_or_name: see `hcflow.models.shipped.resolve`; a default that is not built yet
            is built once, in INT8 too where `precision` takes that.
        compile_engines: first make, in the user's cache, the engines that a GPU backend or `auto`
            lacks on this machine.
        **options: `backend`, `precision`, `threads` and `io` of `runtime.load`.

    Raises:
        HcflowError: no such model, or it cannot be opened; see `runtime.load`.
    """
    path = shipped.resolve(None if path_or_name is None else os.fspath(path_or_name))
    model = runtime.load(path, **options)
    if _added_int8(path, model, options):
        model = runtime.load(path, **options)
    if compile_engines:
        from hcflow.models.engines import ensure

        precision = options.get("precision")
        ensure(
            Bundle.open(path),
            options.get("backend", "onnxruntime"),
            "fp32" if precision in (None, "auto") else precision,
        )
    return model


def _added_int8(path: Path, model: Model, options: dict[str, Any]) -> bool:
    """Build a shipped model in INT8 where that is asked for, or is what `auto` would take."""
    precision = options.get("precision")
    if precision not in ("int8", "auto") or options.get("io") == "uint8":
        return False
    if any(graph.precision == "int8" for graph in model.manifest.graphs):
        return False
    if precision == "int8":
        shipped.ensure_int8(path)
        return True
    from runtime.backends import auto  # needed by this case alone

    backend = auto.name(model.network.backend)
    if not auto_precision.prefers_int8(backend, machine.cpu_flags()):
        return False
    try:
        shipped.ensure_int8(path)
    except (HcflowError, OSError) as error:
        _logger.warning("%s; going on in fp32", error)
    return True


class Models:
    """Opens models with the same options, each once; may be asked from many threads.

    Pickled, it takes its options along, not what it has opened.

    Args:
        options: of `load`.
        check: called with every model that is opened, to refuse it.
    """

    def __init__(
        self, options: Mapping[str, Any], check: Callable[[Model], None] | None = None
    ) -> None:
        self.options: Mapping[str, Any] = dict(options)
        self._check = check
        self._opened: dict[str | None, Model] = {}
        self._opening = threading.Lock()

    def open(self, name: str | None) -> Model:
        """The model of a name or folder; None is the default.

        Raises:
            HcflowError: as `load`.
        """
        with self._opening:
            if name not in self._opened:
                self._opened[name] = load(name, **self.options)
        model = self._opened[name]
        if self._check is not None:
            self._check(model)
        return model

    def checked(self, check: Callable[[Model], None]) -> Models:
        """The same models, each shown to `check` when it is asked for."""
        models = Models(self.options, check)
        models._opened, models._opening = self._opened, self._opening
        return models

    def find(self, checkpoint: str) -> str | None:
        """The folder of a model that is here, by its checkpoint's SHA-256; a shipped one first.

        Shipped models are built where they are not yet; else only the user's cache is searched.

        Raises:
            BundleError: a shipped model, which cannot be built here.
        """
        for name, weights in shipped.shipped().items():
            if shipped.digest(weights) == checkpoint:
                return str(shipped.of_shipped(name))
        for folder in sorted(shipped.cache().glob("bundles/*/")):
            try:
                if Bundle.open(folder).manifest.checkpoint.sha256 == checkpoint:
                    return str(folder)
            except BundleError:
                continue  # one that is being built, or damaged
        return None

    def __reduce__(self) -> tuple[type[Models], tuple[Mapping[str, Any]]]:
        return Models, (self.options,)
