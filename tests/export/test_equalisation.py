"""Equalised channels change nothing in floats, and give INT8 one range a group."""

import operator
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from export.folded.fold import GraphSpec, deploy
from export.graph import trace
from export.precision import equalisation
from export.precision.emulation import Quantised, Replay, emulate
from export.precision.evaluation import inputs_of
from export.precision.int8_candidates import convolutions
from hcflow_ref.checkpoint.load import load
from runtime.bundle.manifest import Direction
from tests.support.golden_files import weights

NETWORKS = ("rescale_x4", "sr_x4", "irn_x4")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def traced(network: str, direction: Direction) -> tuple[GraphModule, dict[str, np.ndarray], list]:
    model = load(weights(network)).network
    spec = GraphSpec(direction, "fp16")
    found = trace.trace(deploy(model, spec))
    truth = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    outputs = [str(i) for i in range(3 + (network == "sr_x4"))]
    if network == "irn_x4":
        outputs = outputs[:2]
    names = outputs if direction == "forward" else ["hr"]
    return found, inputs_of(model, spec, truth, 0.5).inputs, names


def half_convolutions(graph: GraphModule) -> list[str]:
    return [
        str(node.target)
        for node in graph.graph.nodes
        if node.op == "call_module"
        and graph.get_submodule(str(node.target)).weight.dtype == torch.float16
    ]


def reach(graph: GraphModule, found: list[equalisation.Group], inputs: dict, names: list) -> dict:
    """Largest magnitude of every channel of the groups' values."""
    values = {value.name for group in found for value in group.values}
    largest: dict[str, Tensor] = {}

    def note(node: Node, value: Tensor) -> None:
        if node.name in values:
            largest[node.name] = value.abs().amax((0, 2, 3))

    emulate(graph, names, inputs, observe=note)
    return largest


@pytest.mark.parametrize("direction", ["inverse", "forward"])
@pytest.mark.parametrize("network", NETWORKS)
def test_floats_do_not_notice_and_channels_come_to_one_range(
    network: str, direction: Direction
) -> None:
    graph, inputs, names = traced(network, direction)
    before = Replay(graph, names, inputs)({})
    convs = half_convolutions(graph)
    found = equalisation.groups(graph, convs)
    assert sorted(str(c.target) for g in found for c in g.convs) == sorted(convs)
    largest = reach(graph, found, inputs, names)
    equalisation.equalise(graph, found, largest)
    after = Replay(graph, names, inputs)({})
    for name in names:  # float16 weights that were tiny lose a bit, no more
        error = np.abs(after[name] - before[name]).max()
        assert error <= 2e-3 * np.abs(before[name]).max(), (name, error)

    again = equalisation.groups(graph, convs)
    assert len(again) == len(found)
    largest = reach(graph, again, inputs, names)
    for group in again:
        for value in group.values:
            if value.target in (F.relu, F.leaky_relu, operator.mul):
                top = max(float(largest[each.name].max()) for each in group.values)
                assert float((largest[value.name] / top).median()) > 0.3


def test_a_dense_block_is_one_group_and_so_are_the_readers_of_a_feature() -> None:
    graph, _, _ = traced("rescale_x4", "inverse")
    found = equalisation.groups(graph, half_convolutions(graph))
    group_of = {str(conv.target): i for i, g in enumerate(found) for conv in g.convs}
    rdb = {group_of[f"level0.cond.trunk0.0.rdb1.conv{k}"] for k in range(1, 6)}
    main = {group_of[f"level0.steps.0.coupling.net.conv{k}"] for k in range(1, 6)}
    feature = {v for k, v in group_of.items() if k.startswith("level0.cond.steps") and "conv1" in k}
    assert len(rdb) == len(main) == len(feature) == 1
    assert feature == {group_of["level0.cond.prior.conv"]}
    assert rdb != main != feature


def test_a_replay_computes_what_a_whole_run_does() -> None:
    graph, inputs, names = traced("rescale_x4", "inverse")
    found = equalisation.groups(graph, half_convolutions(graph))
    candidates = convolutions(graph, found)
    tables = {conv.path: Quantised(0.02, conv.weight.float()) for conv in candidates}
    late = candidates[-1].path
    replay = Replay(graph, names, inputs)
    for some in ({}, {late: tables[late]}, tables):
        whole = Replay(graph, names, inputs)
        assert np.array_equal(replay(some)["hr"], whole(some)["hr"])
    assert not np.array_equal(replay({})["hr"], replay({late: tables[late]})["hr"])
