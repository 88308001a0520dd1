"""A bundle's default temperature is one that all of its graphs were made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from export import bundle_writer, pipeline
from export.errors import ExportError
from export.folded.fold import GraphSpec
from export.pipeline import Request
from hcflow_ref.checkpoint.load import load
from runtime import Bundle
from runtime.bundle.manifest import Loss, Manifest
from tests.support.bundles import write_bundle
from tests.support.golden_files import weights

SINGLE = {GraphSpec("inverse")}
FORWARD = {GraphSpec("forward")}


def half(folder: Path, *taus: float) -> Manifest:
    """A bundle of fp16 graphs whose losses were measured at these temperatures."""
    losses = tuple(Loss("astronaut", tau, 60.0, 0.01) for tau in taus)
    made = write_bundle(folder, default_tau=max(taus, default=0), precision="fp16", losses=losses)
    return Bundle.open(made).manifest


def test_a_graph_that_stays_is_not_run_at_a_tau_it_was_not_chosen_for(tmp_path: Path) -> None:
    calm = half(tmp_path / "b", 0.0)
    with pytest.raises(ExportError, match=r"inverse fp16 graph was chosen for τ up to 0 .* at 0.7"):
        bundle_writer.settle(calm, SINGLE, 0.7)
    assert bundle_writer.settle(calm, SINGLE, 0.0) == 0.0
    assert bundle_writer.settle(calm, SINGLE | {GraphSpec("inverse", "fp16")}, 0.7) == 0.7
    assert bundle_writer.settle(half(tmp_path / "c", 0.0, 0.8), SINGLE, 0.7) == 0.7


def test_a_build_without_an_inverse_with_latents_leaves_the_tau_of_one(tmp_path: Path) -> None:
    lively = half(tmp_path / "b", 0.0, 0.8)
    assert bundle_writer.settle(lively, FORWARD, 0.0) == 0.8
    assert bundle_writer.settle(lively, {GraphSpec("inverse", latents=False)}, 0.0) == 0.8
    assert bundle_writer.settle(None, FORWARD, 0.3) == 0.3


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request("mine", tau=0.9), r"chosen for τ up to 0\.8"),
        (
            Request("mine", ("forward",), tau=0.5),
            r"--tau 0\.5 sets the temperature of inverse .* τ = 0\.8",
        ),
    ],
)
def test_a_tau_that_does_not_go_with_what_stays_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: Request, message: str
) -> None:
    old = half(tmp_path / "b", 0.0, 0.8)
    monkeypatch.setattr(bundle_writer, "existing", lambda *_: old)
    lines: list[str] = []
    with pytest.raises(ExportError, match=message):
        pipeline.build(load(weights("rescale_x4")), tmp_path / "b", request_, lines.append)
    assert not lines
