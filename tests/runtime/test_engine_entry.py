"""An engine's entry: what is read of it, which machines and shapes it fits, which one is chosen."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle.engine_entry import Engine, Machine, Memory, Range, choose, misfit
from runtime.bundle.json_reader import Field
from runtime.errors import BackendError, BundleError

RTX = Machine("tensorrt-rtx", "1.7.1.116", "8.9")

ENGINE = Engine(
    file="inverse.fp16.tensorrt-rtx.abc.engine",
    sha256="1" * 64,
    bytes=3,
    graph="2" * 64,
    direction="inverse",
    precision="fp16",
    latents=False,
    library="tensorrt-rtx",
    version="1.7.1.116",
    compute_capabilities=("8.6", "8.9", "12.0"),
    profiles=({"lr": Range((1, 3, 8, 8), (1, 3, 16, 16), (2, 3, 32, 32))},),
    tf32=False,
    version_compatible=False,
    hardware="none",
    refittable=False,
    optimization_level=None,
    build_seconds=1.5,
    memory=Memory(1, 2, 3),
    layers={"fp16": 4},
)


def test_an_entry_read_again_is_the_same() -> None:
    assert Engine.from_field(Field(ENGINE.to_mapping(), "x")) == ENGINE
    assert Engine.from_json(json.dumps(ENGINE.to_mapping()), "x") == ENGINE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../../etc/passwd"),
        ("sha256", "1"),
        ("bytes", 0),
        ("library", "onnx"),
        ("version", "latest"),
        ("version", 5000 * "1"),
        ("compute_capabilities", ["sm89"]),
        ("profiles", [{"lr": {"smallest": [0], "best": [1], "largest": [1]}}]),
        ("memory", {"scratch": -1}),
        ("layers", {"fp16": -1}),
    ],
)
def test_an_entry_with_a_value_that_makes_no_sense_is_refused(key: str, value: object) -> None:
    with pytest.raises(BundleError, match=rf"\$\.{key}"):
        Engine.from_field(Field(ENGINE.to_mapping() | {key: value}, "the sidecar"))


@pytest.mark.parametrize(
    ("engine", "machine", "reason"),
    [
        (ENGINE, RTX, None),
        (ENGINE, replace(RTX, compute_capability="12.1"), None),  # newer of the same major
        (ENGINE, replace(RTX, compute_capability="8.7"), "8.6, 8.9, 12.0, this GPU has 8.7"),
        (ENGINE, replace(RTX, version="1.7.2"), "1.7.1.116, not 1.7.2"),
        (ENGINE, replace(RTX, library="tensorrt"), "a TensorRT-RTX engine, not TensorRT"),
        (
            replace(ENGINE, library="tensorrt", version_compatible=True, version="11.0"),
            Machine("tensorrt", "11.1", "8.9"),
            None,
        ),
        (
            replace(ENGINE, library="tensorrt", version_compatible=True, version="10.14.1.48"),
            Machine("tensorrt", "10.14.1", "8.9"),
            None,
        ),
        (
            replace(ENGINE, library="tensorrt", version_compatible=True, version="11.1"),
            Machine("tensorrt", "11.0", "8.9"),
            "11.1, not 11.0",
        ),
        (
            replace(ENGINE, library="tensorrt", version="11.1", hardware="ampere+"),
            Machine("tensorrt", "11.1", "9.0"),
            None,
        ),
        (
            replace(ENGINE, library="tensorrt", version="11.1"),
            Machine("tensorrt", "11.1", "9.0"),
            "this GPU has 9.0",
        ),
    ],
)
def test_an_engine_fits_its_version_and_gpus_alone(
    engine: Engine, machine: Machine, reason: str | None
) -> None:
    found = misfit(engine, machine)
    assert found is None if reason is None else reason in str(found)


def test_choosing_takes_the_first_that_fits_and_else_says_why_and_what_to_run() -> None:
    old = replace(ENGINE, version="1.6")
    fitting = ENGINE, Path("fitting")
    assert choose([(old, Path("old")), fitting], RTX, "b") == fitting
    wanted = "1.6, not 1.7.1.116; compile one: hcflow compile 'b'"
    with pytest.raises(BackendError, match=re.escape(wanted)):
        choose([(old, Path("old"))], RTX, "b")
    with pytest.raises(BackendError, match="no TensorRT-RTX engine of this graph"):
        choose([], RTX, "b")


def test_a_profile_holds_what_lies_between_its_ends() -> None:
    assert ENGINE.holds({"lr": (2, 3, 8, 32)}) == 0
    assert ENGINE.holds({"lr": (3, 3, 8, 8)}) is None
    assert ENGINE.holds({"lr": (1, 3, 8)}) is None
    assert ENGINE.holds({"hr": (1, 3, 8, 8)}) is None
