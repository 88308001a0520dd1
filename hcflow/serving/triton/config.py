"""Configurations of Triton's models, as the text of `config.pbtxt`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.bundle.engines.entry import Engine, of_manifest
from runtime.bundle.manifest import Graph, Manifest

MOST_BATCH = 8
"""Tiles of one shape that a native model takes together."""

_QUEUE = 16
_WAIT_SECONDS = 60
_WARM_UP = 64  # LR pixels of a graph that has no grid of tiles

_LATEST = """\
# The highest version alone is loaded; another number serves older ones beside it.
version_policy: { latest { num_versions: 1 } }
"""
_CACHE = """\
# Off: a cache compares and keeps whole images; true needs a server with --cache-config.
response_cache { enable: false }
"""


@dataclass(frozen=True)
class Native:
    """A model that Triton runs without Python: a graph or an engine with bytes at its boundary.

    Attributes:
        name: of the model.
        platform: of Triton's, `onnxruntime_onnx` or `tensorrt_plan`.
        file: the graph's or engine's name in the bundle.
        text: its configuration.
    """

    name: str
    platform: str
    file: str
    text: str


def python_model(name: str, parameters: Mapping[str, str], instances: int) -> str:
    """The configuration of a model of the Python backend that runs a bundle.

    Args:
        name: of the model.
        parameters: of `model.py`.
        instances: processes, or on a machine with GPUs processes on each.
    """
    given = "".join(
        f"parameters {{ key: {_text(key)} value: {{ string_value: {_text(value)} }} }}\n"
        for key, value in parameters.items()
    )
    return f"""\
name: {_text(name)}
backend: "python"
# A request is one image of any size: no batch, in which it would wait for others of its size.
max_batch_size: 0
# uint8 [H, W, C], of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 channels (RGB, alpha).
input [
  {{ name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] }},
  {{ name: "TAU" data_type: TYPE_FP32 dims: [ 1 ] optional: true }},
  {{ name: "SEED" data_type: TYPE_UINT64 dims: [ 1 ] optional: true }}
]
output [ {{ name: "UPSCALED" data_type: TYPE_UINT8 dims: [ -1, -1, -1 ] }} ]
{_instances(instances)}\
{_LATEST}\
{_queue("")}\
{_CACHE}\
{given}"""


def native_models(name: str, manifest: Manifest) -> list[Native]:
    """The models of a bundle's uint8 graphs, and of their TensorRT engines."""
    found = []
    listed = of_manifest(manifest, f"bundle '{manifest.name}'")
    engines = {e.graph: e for e in listed if e.library == "tensorrt"}
    for graph in manifest.graphs:
        if graph.io != "uint8":
            continue
        stem = f"{name}_{graph.direction}_{graph.precision}"
        if graph.is_of_schema_1:  # no graph for one library alone, which ONNX Runtime is not
            found.append(_native(f"{stem}_onnx", graph, manifest))
        if (engine := engines.get(graph.sha256)) is not None:
            found.append(_native(f"{stem}_trt", graph, manifest, engine))
    return found


def _native(name: str, graph: Graph, manifest: Manifest, engine: Engine | None = None) -> Native:
    platform = "onnxruntime_onnx" if engine is None else "tensorrt_plan"
    is_inverse = graph.direction == "inverse"
    image, result = ("lr", "hr") if is_inverse else ("hr", "lr")
    window = _WARM_UP if graph.window is None else graph.window
    most = MOST_BATCH
    if engine is not None:
        ranges = engine.profiles[-1]  # the largest
        window = min(window, ranges["lr"].best[1]) if "lr" in ranges else window
        most = min(most, ranges[image].largest[0])
    inputs = [(image, "TYPE_UINT8", "-1, -1, 3")]
    side = window if is_inverse else window * manifest.scale
    warm = [(image, "TYPE_UINT8", f"{side}, {side}, 3")]
    if is_inverse and graph.latents:
        for level, z in enumerate(manifest.latents.levels, start=1):
            inputs.append((f"z{level}", "TYPE_FP32", f"{z.channels}, -1, -1"))
            shape = f"{z.channels}, {window * z.factor}, {window * z.factor}"
            warm.append((f"z{level}", "TYPE_FP32", shape))
    listed = ",\n".join(
        f'  {{ name: "{name}" data_type: {kind} dims: [ {dims} ] }}' for name, kind, dims in inputs
    )
    zeros = "".join(
        f'  inputs {{ key: "{name}" value: {{ data_type: {kind} dims: [ {dims} ] '
        "zero_data: true } }\n"
        for name, kind, dims in warm
    )
    text = f"""\
name: {_text(name)}
platform: "{platform}"
# Tiles of one shape, at most so many together.
max_batch_size: {most}
input [
{listed}
]
# health is one number an image: above 0 there were NaN, infinity or pixels far from [0, 1].
output [
  {{ name: "{result}" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] }},
  {{ name: "health" data_type: TYPE_FP32 dims: [ 1 ] reshape: {{ shape: [ ] }} }}
]
# Ready once a tile of the size that the model was made for has been computed.
model_warmup [ {{
  name: "one tile"
  batch_size: 1
{zeros}}} ]
{_instances(1)}\
{_LATEST}\
{_queue(" max_queue_delay_microseconds: 500")}\
{_CACHE}"""
    return Native(name, platform, graph.file if engine is None else engine.file, text)


def _instances(number: int) -> str:
    return f"""\
# Processes or sessions with the model: on each GPU where there are some, else on the processors.
instance_group [ {{ count: {number} kind: KIND_AUTO }} ]
"""


def _queue(batching: str) -> str:
    return f"""\
# At most {_QUEUE} requests wait, none above {_WAIT_SECONDS} s: the rest gets 503 at once.
dynamic_batching {{{batching}
  default_queue_policy {{
    max_queue_size: {_QUEUE}
    timeout_action: REJECT
    default_timeout_microseconds: {_WAIT_SECONDS * 1_000_000}
  }}
}}
"""


def _text(value: str) -> str:
    """A text in quotes, as protobuf's text format has it."""
    return json.dumps(value)
