"""An engine's entry: what is read of it, which machines and shapes it fits, which one is chosen."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bundle.engines.entry import Engine, Memory, Range
from runtime.bundle.engines.fit import Machine, command, fitting, misfit
from runtime.bundle.engines.program import Program
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
    program=Program({"fp16": 4}, 3, 2, 1000, {"fp16": 10}),
    form="pass-through",
)


def test_an_entry_read_again_is_the_same() -> None:
    assert Engine.from_field(Field(ENGINE.to_mapping(), "x")) == ENGINE
    assert Engine.from_json(json.dumps(ENGINE.to_mapping()), "x") == ENGINE


def test_an_entry_without_a_program_is_one_whose_kernels_are_unknown() -> None:
    entry = ENGINE.to_mapping()
    del entry["program"]
    assert Engine.from_field(Field(entry, "x")) == replace(ENGINE, program=None)


def test_an_entry_without_a_form_was_compiled_from_the_graph_as_it_is() -> None:
    entry = ENGINE.to_mapping()
    del entry["form"]
    assert Engine.from_field(Field(entry, "x")) == replace(ENGINE, form="flat")


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
        ("program", {"convolutions": {"fp16": 4}, "fused": 3}),
        ("form", "Nested!"),
        ("program", {"convolutions": {"fp16": -4}, "fused": 3, "others": 0}),
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


def test_the_engines_that_fit_come_smallest_first_and_of_equal_ones_the_newest(
    tmp_path: Path,
) -> None:
    large = replace(ENGINE, profiles=({"lr": Range((1, 3, 8, 8), (1, 3, 9, 9), (2, 3, 64, 64))},))
    older, newer = tmp_path / "older", tmp_path / "newer"
    for seconds, path in enumerate((older, newer)):
        path.touch()
        os.utime(path, (seconds, seconds))
    tf32 = replace(ENGINE, tf32=True), newer
    all_of_them = [(large, newer), tf32, (ENGINE, older), (ENGINE, newer)]
    wanted = [(ENGINE, newer), (ENGINE, older), (large, newer), tf32]
    assert fitting(all_of_them, RTX, "b") == wanted
    assert fitting(all_of_them, RTX, "b", tf32=True)[0] == tf32
    shapeless = replace(ENGINE, profiles=()), newer
    assert fitting([(ENGINE, newer), shapeless], RTX, "b")[0] == shapeless


@pytest.mark.parametrize(
    ("capability", "wanted"),
    [
        ("7.5", "--engine tensorrt-rtx --compute-capability 7.5"),
        ("12.1", "--engine tensorrt-rtx --compute-capability 12.1"),
        ("8.7", "--engine tensorrt (TensorRT-RTX serves no GPU of compute capability 8.7)"),
        ("9.0", "--engine tensorrt (TensorRT-RTX serves no GPU of compute capability 9.0)"),
    ],
)
def test_the_advice_is_a_command_that_works_for_this_gpu(capability: str, wanted: str) -> None:
    assert command("tensorrt-rtx", "b", capability) == f"hcflow compile 'b' {wanted}"
    assert command("tensorrt", "b", capability) == "hcflow compile 'b' --engine tensorrt"


def test_an_engine_that_does_not_fit_is_told_of_with_the_reason_and_what_to_run() -> None:
    old = replace(ENGINE, version="1.6")
    assert fitting([(old, Path("old")), (ENGINE, Path("new"))], RTX, "b")[0][0] == ENGINE
    wanted = "1.6, not 1.7.1.116; compile one: hcflow compile 'b'"
    with pytest.raises(BackendError, match=re.escape(wanted)):
        fitting([(old, Path("old"))], RTX, "b")
    with pytest.raises(BackendError, match="no TensorRT-RTX engine of this graph"):
        fitting([], RTX, "b")


def test_a_profile_holds_what_lies_between_its_ends() -> None:
    assert ENGINE.holds({"lr": (2, 3, 8, 32)}) == 0
    assert ENGINE.holds({"lr": (3, 3, 8, 8)}) is None
    assert ENGINE.holds({"lr": (1, 3, 8)}) is None
    assert ENGINE.holds({"hr": (1, 3, 8, 8)}) is None
