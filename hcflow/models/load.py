"""A model opened by its bundle's folder or its name, and several models opened once each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

import runtime
from hcflow.models import shipped
from runtime.bundle.manifest import Precision
from runtime.bundle.reader import Bundle
from runtime.errors import BundleError
from runtime.model import Model
from runtime.system.arguments import file_name
from runtime.system.cache import user_cache


def load(
    path_or_name: str | os.PathLike[str] | None = None,
    *,
    compile_engines: bool = False,
    **options: Any,
) -> Model:
    """Open a model by its bundle's folder or its name; None is the shipped default.

    Args:
        path_or_name: see `hcflow.models.shipped.resolve`.
        compile_engines: first make, in the user's cache, the engines that a GPU backend or `auto`
            lacks on this machine, in the precision that is then used.
        **options: `backend`, `precision`, `threads`, `io` and `device` of `runtime.load`; without
            `backend`, the fastest installed (`auto`).

    Raises:
        HcflowError: no such model, or it cannot be opened; see `runtime.load`.
    """
    path = shipped.resolve(None if path_or_name is None else file_name("the model", path_or_name))
    options = {"backend": "auto", **options}
    model = runtime.load(path, **options)
    if not compile_engines:
        return model
    from hcflow.models.engines import ensure

    # The options have been checked; what computes is chosen anew where there are new engines.
    precision: Precision | Literal["auto"] = options.get("precision") or "fp32"
    io, device = options.get("io"), options.get("device")
    made = ensure(Bundle.open(path), options["backend"], precision, io, device)
    return runtime.load(path, **options) if made else model


def computation(exact: bool = False) -> dict[str, str]:
    """Options of `load` for converting files: the fastest here within the model's budgets.

    Args:
        exact: fp32 in ONNX Runtime instead: the same bytes on every machine of one kind.
    """
    if exact:
        return {"backend": "onnxruntime", "precision": "fp32"}
    return {"backend": "auto", "precision": "auto"}


class Models:
    """Opens models with the same options, each once; may be asked from many threads.

    Pickled, it takes its options along, not what it has opened.

    Args:
        options: of `load`.
        default: the name or folder that None stands for.
        check: called with every model that is opened, to refuse it.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        default: str = shipped.DEFAULT,
        check: Callable[[Model], None] | None = None,
    ) -> None:
        self.options: Mapping[str, Any] = dict(options)
        self.default = default
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
                # The default is a shipped model, whatever folder here has its name.
                path = str(shipped.of_shipped(self.default)) if name is None else name
                self._opened[name] = load(path, **self.options)
        model = self._opened[name]
        if self._check is not None:
            self._check(model)
        return model

    def checked(self, check: Callable[[Model], None]) -> Models:
        """The same models, each shown to `check` when it is asked for."""
        models = Models(self.options, self.default, check)
        models._opened, models._opening = self._opened, self._opening
        return models

    def find(self, checkpoint: str) -> str | None:
        """The folder of a model here, by its checkpoint's SHA-256: shipped, or in the user's cache.

        Raises:
            BundleError: a shipped model whose bundle has not been built.
        """
        if (found := shipped.by_checkpoint(checkpoint)) is not None:
            return str(found)
        cache = user_cache()
        for folder in [] if cache is None else sorted(cache.glob("bundles/*/")):
            try:
                if Bundle.open(folder).manifest.checkpoint.sha256 == checkpoint:
                    return str(folder)
            except BundleError:
                continue  # damaged
        return None

    def with_options(self, **options: Any) -> Models:
        """The same models, opened anew with other options."""
        return Models({**self.options, **options}, self.default)

    def __reduce__(self) -> tuple[type[Models], tuple[Mapping[str, Any], str]]:
        return Models, (self.options, self.default)
