"""Certification runs no more than it needs: small runs side by side, and the cheapest graph."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export import artifact, border, tile_grid
from export.artifact import Artifact
from export.checks import parallel
from export.checks.parallel import parallel_map
from export.checks.reference_cases import cases
from export.folded.fold import GraphSpec
from export.precision import evaluation, lower
from export.precision.evaluation import Evaluator
from hcflow_ref.checkpoint.load import load
from hcflow_ref.network.lr_image import quantise
from runtime import Bundle
from runtime.backends import open_session
from runtime.bundle.manifest import Graph
from tests.support.bundles import write_bundle
from tests.support.golden_files import weights


@pytest.fixture(scope="module")
def forward(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The forward graph of a small HCFlow network."""
    found = load(weights("rescale_x4"))
    exact = load(weights("rescale_x4")).network.double()
    answers = list(cases(exact, "forward", (0.0,)))[1:2]
    return artifact.build(found.network, found.sha256, GraphSpec("forward"), answers)


def graph_of(folder: Path) -> Graph:
    return Bundle.open(write_bundle(folder)).graph("forward", "fp32", None)


def test_results_come_in_the_items_order_from_as_many_threads_as_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel.machine, "usable_cpus", lambda: 3)
    meeting = threading.Barrier(3, timeout=30)  # breaks unless three run at the same time

    def work(item: int) -> int:
        meeting.wait()
        return item * item

    assert parallel_map(work, range(6), graph_of(tmp_path / "b"), 1) == [0, 1, 4, 9, 16, 25]


def test_runs_that_would_not_fit_into_memory_together_follow_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel.machine, "usable_cpus", lambda: 3)
    monkeypatch.setattr(parallel.machine, "available_memory", lambda: 1_000_000)
    graph = replace(graph_of(tmp_path / "b"), bytes_per_lr_pixel=1000)
    threads = set[str]()
    parallel_map(lambda _: threads.add(threading.current_thread().name), range(6), graph, 200)
    assert threads == {threading.current_thread().name}


def test_a_forward_graph_is_certified_by_the_one_that_gives_the_same_lr_image_for_less(
    forward: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forward.image_graph != forward.data
    hr = np.random.default_rng(0).random((1, 3, 64, 48), np.float32)
    full, alone = (
        open_session("onnxruntime", data, artifact.NUMERICS, 1).run({"hr": hr})
        for data in (forward.data, forward.image_graph)
    )
    assert alone.keys() == {"lr"}
    np.testing.assert_array_equal(alone["lr"], full["lr"])
    opened: list[tuple[bytes, int]] = []

    def note(_: str, data: bytes, __: object, threads: int) -> None:
        opened.append((data, threads))
        raise InterruptedError

    monkeypatch.setattr(border, "open_session", note)
    monkeypatch.setattr(tile_grid, "open_session", note)
    with pytest.raises(InterruptedError):
        border.choose([forward], (), 4, print)
    with pytest.raises(InterruptedError):
        tile_grid.certify([forward], (), 4, (0.0,), tile_grid.Options(), print)
    assert opened == [(forward.image_graph, 1)] * 2


def test_the_fp32_graph_runs_once_on_a_photograph_that_a_precision_is_judged_by(
    forward: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "PHOTOGRAPH_SIDE", 32)
    runs: list[bool] = []
    run = Evaluator.run

    def counted(self: Evaluator, *args: object, **options: bool) -> object:
        runs.append(options.get("exact", False))
        return run(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Evaluator, "run", counted)
    again: list[object] = []
    monkeypatch.setattr(Evaluator, "exact_image", lambda *args: again.append(args))
    model = load(weights("rescale_x4")).network
    spec = GraphSpec("forward", "fp16")
    given = model, spec, (0.0,), lower.Calibration(), None, lambda _: None, forward.traced
    made = lower.lower(*given)
    assert (runs, again) == ([True] * len(evaluation.PHOTOGRAPHS), [])
    monkeypatch.undo()
    monkeypatch.setattr(evaluation, "PHOTOGRAPH_SIDE", 32)
    photographs = [
        (name, evaluation.inputs_of(model, spec, truth, 0.0))
        for name, truth in evaluation.photograph_trials(4)
    ]
    graph = evaluation.evaluator(model, spec, made.traced)
    assert evaluation.losses(graph, evaluation.compare(graph, photographs)) == made.losses


def test_the_lr_image_of_a_photograph_costs_no_conditional_flow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = load(weights("rescale_x4")).network
    truth = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    spec = GraphSpec("inverse", latents=False)
    with torch.no_grad():
        expected = quantise(model(torch.from_numpy(truth)).lr).numpy()
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("the whole flow ran"))
    np.testing.assert_array_equal(
        evaluation.inputs_of(model, spec, truth, 0.0).inputs["lr"], expected
    )
