"""The manifest of a bundle: frozen dataclasses whose fields are the JSON's keys.

`Manifest.from_json` checks every type and range and names the JSON path of what is wrong; keys it
does not know are ignored, so that a later writer may add some without a new schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn, cast

from runtime.errors import BundleError
from runtime.fields import Field

FILE_NAME = "manifest.json"
SCHEMA = 1
"""The manifest schema this module reads and writes."""
CONTRACT = 1
"""The graph contract this runtime speaks: names, layouts and ranges of inputs and outputs."""

Task = Literal["rescaling", "sr"]
Direction = Literal["inverse", "forward"]
Precision = Literal["fp32", "fp16", "int8"]
TASKS: tuple[Task, ...] = ("rescaling", "sr")
DIRECTIONS: tuple[Direction, ...] = ("inverse", "forward")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

_DIGEST = (r"[0-9a-f]{64}", "a SHA-256: 64 lower-case hexadecimal digits")
_PLAIN_NAME = (r"[A-Za-z0-9][A-Za-z0-9._+-]*", "a plain file name inside the bundle")


@dataclass(frozen=True)
class Level:
    """Shape of one latent: z_l is [N, channels, H·factor, W·factor] for an LR of H×W."""

    channels: int
    factor: int


@dataclass(frozen=True)
class Latents:
    """The latent scheme (`runtime.latents.SCHEME`) and the levels, finest first."""

    scheme: str
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Checkpoint:
    """SHA-256 of the checkpoint file a bundle was made from, and where that came from."""

    sha256: str
    provenance: Mapping[str, str]


@dataclass(frozen=True)
class Numerics:
    """What a backend must do for the parity figures to hold."""

    tf32: bool
    accumulation: str
    openvino_precision_hint: str


@dataclass(frozen=True)
class Parity:
    """One output of one case against the float64 reference; figures as in `runtime.parity`.

    `psnr_db` is None where infinite (identical), `max_rel` where the reference is all zero; JSON
    has neither infinity nor NaN, so any such figure is written as null, and `ok` tells which.
    """

    case: str
    tau: float
    output: str
    psnr_db: float | None
    max_abs: float | None
    max_rel: float | None
    ok: bool


@dataclass(frozen=True)
class Deviation:
    """Worst absolute difference of tiled and whole on one picture, at the graph's tile and overlap.

    Of the image output after clipping to [0, 1]; the budget is 1/255 (DESIGN, section 6).
    """

    case: str
    tau: float
    max_abs: float


@dataclass(frozen=True)
class Loss:
    """What a precision below fp32 costs on one photograph.

    `psnr_fp32_db` is the output against the fp32 graph's (None: identical); `loss_db` is the fall
    of PSNR against the ground truth, in dB, negative for a gain.
    """

    case: str
    tau: float
    psnr_fp32_db: float | None
    loss_db: float


@dataclass(frozen=True)
class Graph:
    """One ONNX file of a bundle.

    `bytes_per_lr_pixel` is the peak of live activations by liveness analysis; `latents` says
    whether the graph takes (inverse) or gives (forward) z1 … zL. `tile` and `overlap` are LR pixels
    (`runtime.tiles`); None means that the graph runs images whole. `report` names the file of
    the bundle that tells how the precision was chosen.
    """

    direction: Direction
    precision: Precision
    latents: bool
    io: str
    contract: int
    opset: int
    file: str
    sha256: str
    bytes: int
    nodes: int
    bytes_per_lr_pixel: int
    numerics: Numerics
    within_budget: bool
    parity: tuple[Parity, ...]
    tile: int | None = None
    overlap: int | None = None
    deviations: tuple[Deviation, ...] = ()
    casts: int = 0
    losses: tuple[Loss, ...] = ()
    report: str | None = None


@dataclass(frozen=True)
class Vectors:
    """The test vectors' .npz file and its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything known of a bundle; immutable."""

    schema: int
    name: str
    task: Task
    scale: int
    default_tau: float
    latents: Latents
    checkpoint: Checkpoint
    tools: Mapping[str, str]
    graphs: tuple[Graph, ...]
    vectors: Vectors
    engines: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Parse and check a manifest; `where` names it in errors.

        Raises:
            BundleError: not JSON, a newer schema, or a value missing, of a wrong type or range.
        """
        try:
            root = Field(json.loads(text, parse_constant=_refuse_constant), where)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"{where} is not a manifest: {error}; build the bundle again"
            ) from None
        schema = root["schema"].integer(1)
        if schema > SCHEMA:
            raise BundleError(
                f"{where} was made by a newer hcflow-deploy "
                f"(schema {schema}, this one reads {SCHEMA}): upgrade"
            )
        manifest = cls(
            schema=schema,
            name=root["name"].text(r"[^/\\\x00-\x1f]+", "a name without slashes"),
            task=cast(Task, root["task"].choice(TASKS)),
            scale=root["scale"].integer(2),
            default_tau=root["default_tau"].number(0),
            latents=_latents(root["latents"]),
            checkpoint=Checkpoint(
                root["checkpoint"]["sha256"].text(*_DIGEST),
                _texts(root["checkpoint"]["provenance"]),
            ),
            tools=_texts(root["tools"]),
            graphs=tuple(_graph(g) for g in root["graphs"].items()),
            vectors=Vectors(
                root["vectors"]["file"].text(*_PLAIN_NAME),
                root["vectors"]["sha256"].text(*_DIGEST),
            ),
            engines=tuple(
                {k: v.value for k, v in e.members().items()} for e in root["engines"].items()
            ),
        )
        channels = 3 + sum(level.channels * level.factor**2 for level in manifest.latents.levels)
        if channels != 3 * manifest.scale**2:
            raise BundleError(
                f"{where}: $.latents.levels hold {channels - 3} values an LR pixel; "
                f"scale {manifest.scale} needs {3 * manifest.scale**2 - 3}"
            )
        return manifest

    def to_json(self) -> str:
        """The manifest as indented JSON; `from_json` of it gives an equal manifest."""
        return (
            json.dumps(_finite(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )


def _graph(field: Field) -> Graph:
    return Graph(
        direction=cast(Direction, field["direction"].choice(DIRECTIONS)),
        precision=cast(Precision, field["precision"].choice(PRECISIONS)),
        latents=field["latents"].flag(),
        io=field["io"].text(),
        contract=field["contract"].integer(1),
        opset=field["opset"].integer(1),
        file=field["file"].text(*_PLAIN_NAME),
        sha256=field["sha256"].text(*_DIGEST),
        bytes=field["bytes"].integer(1),
        nodes=field["nodes"].integer(1),
        bytes_per_lr_pixel=field["bytes_per_lr_pixel"].integer(0),
        numerics=Numerics(
            field["numerics"]["tf32"].flag(),
            field["numerics"]["accumulation"].text(),
            field["numerics"]["openvino_precision_hint"].text(),
        ),
        within_budget=field["within_budget"].flag(),
        parity=tuple(_parity(p) for p in field["parity"].items()),
        tile=_optional_integer(field["tile"]),
        overlap=_optional_integer(field["overlap"]),
        deviations=tuple(_deviation(d) for d in _optional_items(field, "deviations")),
        casts=casts.integer(0) if (casts := field.get("casts")) else 0,
        losses=tuple(_loss(row) for row in _optional_items(field, "losses")),
        report=report.text(*_PLAIN_NAME) if (report := field.get("report")) else None,
    )


def _deviation(field: Field) -> Deviation:
    return Deviation(field["case"].text(), field["tau"].number(0), field["max_abs"].number(0))


def _loss(field: Field) -> Loss:
    return Loss(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        psnr_fp32_db=_optional_number(field["psnr_fp32_db"]),
        loss_db=field["loss_db"].number(),
    )


def _optional_items(field: Field, key: str) -> list[Field]:
    found = field.get(key)
    return found.items() if found else []


def _parity(field: Field) -> Parity:
    return Parity(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        output=field["output"].text(),
        psnr_db=_optional_number(field["psnr_db"]),
        max_abs=_optional_number(field["max_abs"]),
        max_rel=_optional_number(field["max_rel"]),
        ok=field["ok"].flag(),
    )


def _latents(field: Field) -> Latents:
    levels = tuple(
        Level(level["channels"].integer(1), level["factor"].integer(1))
        for level in field["levels"].items()
    )
    return Latents(field["scheme"].text(), levels)


def _texts(field: Field) -> dict[str, str]:
    return {key: value.text() for key, value in field.members().items()}


def _optional_number(field: Field) -> float | None:
    return None if field.is_null() else field.number()


def _optional_integer(field: Field) -> int | None:
    return None if field.is_null() else field.integer(0)


def _finite(value: Any) -> Any:
    """The same tree with null for every float that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
