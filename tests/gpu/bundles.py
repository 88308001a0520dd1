"""Shipped bundles on a GPU: engines, ONNX Runtime's CUDA, the self-test, profiles."""

from __future__ import annotations

import functools
import itertools

from hcflow.models.shipped import of_shipped
from runtime import backends
from runtime.backends.cuda.device import Device
from runtime.bundle.engines.entry import LIBRARIES, Library
from runtime.bundle.engines.fit import rtx_serves
from runtime.bundle.reader import Bundle
from runtime.checks.selftest import selftest
from runtime.checks.verify import check_graphs
from runtime.errors import BundleError, one_line
from tests.gpu.checks import LIBRARIES as TITLES
from tests.gpu.checks import installed
from tests.gpu.record import Report, SkippedError, require

MODELS = ("rescale_x4", "sr_x4")
FRAME = (270, 480)
SECONDS = 1.0


def bundle_of(name: str) -> Bundle:
    """The bundle of a shipped model.

    Raises:
        BundleError: it is not in this checkout.
    """
    return Bundle.open(of_shipped(name))


def bundles_here(report: Report) -> list[tuple[str, Bundle]]:
    """The shipped bundles that are in this checkout, by name; the others are skipped."""
    found = []
    for name in MODELS:
        try:
            found.append((name, bundle_of(name)))
        except BundleError:
            report.add(f"the bundle of {name}", "skipped", f"{name} has no bundle in this checkout")
    return found


def served(library: Library) -> None:
    """Nothing where a library is here and serves this GPU.

    Raises:
        SkippedError: it is not, or does not.
    """
    module = library.replace("-", "_")
    if not installed(module):
        raise SkippedError(f"{TITLES[module]} is not installed here")
    here = Device.open().compute_capability
    if library == "tensorrt-rtx" and not rtx_serves(here):
        raise SkippedError(f"TensorRT-RTX does not serve this GPU, of compute capability {here}")


PRECISIONS_AND_FORMS = (("fp32", None), ("fp16", "flat"), ("fp16", "nested"), ("fp16", None))
"""Of engines; None is the form that this project takes, compiled last and so used afterwards."""


def check_engines(report: Report) -> None:
    """Engines of one model's inverse, compiled for this GPU in several forms, and timed."""
    for (name, bundle), library in itertools.product(bundles_here(report)[:1], LIBRARIES):
        for precision, form in PRECISIONS_AND_FORMS:
            report.attempt(
                f"{name} {library} inverse, {precision}, {form or 'the usual'} dense blocks",
                functools.partial(_compiled, bundle, library, precision, form),
            )


def _compiled(
    bundle: Bundle, library: Library, precision: str, form: str | None
) -> dict[str, object]:
    served(library)
    from export.engine import compilers  # noqa: PLC0415 - needs onnx
    from export.engine.bundle_engines import compile_bundle  # noqa: PLC0415
    from export.engine.options import EngineOptions  # noqa: PLC0415
    from export.engine.profile import Sizes  # noqa: PLC0415

    here = Device.open().compute_capability
    targets = (here,) if library == "tensorrt-rtx" else compilers.default_targets(library)
    sizes = Sizes((1, 1), FRAME, FRAME)
    options = EngineOptions(library, sizes, compute_capabilities=targets, form=form)
    (made,) = compile_bundle(bundle, options, directions=("inverse",), precisions=(precision,))
    figures = {"s to compile": made.engine.build_seconds, "MB": made.engine.bytes / 1e6}
    return figures | _timed(bundle, library, precision)


def check_onnxruntime(report: Report) -> None:
    """ONNX Runtime's CUDA backend: test vectors, and the time of a frame."""
    for name, bundle in bundles_here(report):
        report.attempt(f"{name}: test vectors are within budget", lambda b=bundle: _verified(b))
        for precision in ("fp32", "fp16"):
            report.attempt(
                f"{name}: a frame of 1080p in {precision}",
                lambda b=bundle, p=precision: _timed(b, "onnxruntime-cuda", p),
            )


def _verified(bundle: Bundle) -> dict[str, float]:
    _need("onnxruntime-cuda")
    found = list(check_graphs(bundle, "onnxruntime-cuda", None))
    bad = [c for c in found if not c.comparison.ok]
    require(not bad, f"{len(bad)} of {len(found)} outputs miss their budget")
    known = [c.comparison.psnr_db for c in found if c.comparison.psnr_db is not None]
    return {"outputs": len(found), "lowest dB": min(known)}


def _need(backend: str) -> None:
    if backend not in backends.available():
        raise SkippedError(f"{backend} is not installed here")


def _timed(bundle: Bundle, backend: str, precision: str) -> dict[str, object]:
    _need(backend)
    if backend in LIBRARIES:
        served(backend)
    from hcflow.measure.profile import Setting, profile  # noqa: PLC0415 - needs onnx

    setting = Setting(backend, "inverse", precision, *FRAME, 1)
    found = profile(bundle, setting, None, SECONDS)
    if found.skipped is not None or found.latency is None:
        raise SkippedError(found.skipped or "it was not measured")
    floor = found.floor
    return {
        "ms": found.latency.p50 * 1e3,
        "p99 ms": found.latency.p99 * 1e3,
        "host ms": (found.overhead or 0.0) * 1e3,
        "÷ floor": None if floor is None else found.latency.p50 / floor,
        "÷ predicted": found.latency.p50 / found.predicted if found.predicted else None,
        "ceiling": found.ceiling,
    }


def check_selftest(report: Report) -> None:
    """`hcflow selftest` of one model, with the engines that were compiled before."""
    for _, bundle in bundles_here(report)[:1]:
        try:
            for result in selftest(bundle):
                outcome = "skipped" if result.outcome == "not tried" else result.outcome
                report.add(result.name, outcome, result.detail)
        except Exception as error:  # none of its checks raises
            report.add("the self-test goes through", "failed", one_line(error))


def check_profile(report: Report) -> None:
    """`hcflow profile` of every GPU backend that is here, in every precision, of a frame."""
    for (name, bundle), backend in itertools.product(bundles_here(report), backends.ON_GPU):
        for precision in ("fp32", "fp16", "int8"):
            report.attempt(
                f"{name} {backend} {precision}",
                lambda b=bundle, e=backend, p=precision: _timed(b, e, p),
            )
