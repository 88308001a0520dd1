"""`hcflow build` writes a bundle that is right, or none, and says in one line what is wrong."""

import json
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import runtime
from export import artifact, bundle_writer, pipeline, tile_grid
from export.errors import BudgetError, ExportError
from export.pipeline import Request, build
from export.precision import evaluation
from hcflow.cli.program import application
from hcflow_ref.checkpoint.load import Checkpoint, load, save
from runtime.bundle.manifest import Manifest
from runtime.bundle.reader import Bundle
from runtime.errors import FileError, ParameterError
from runtime.system import atomic
from tests.support.bundles import write_bundle
from tests.support.golden_files import arrays, latents, weights

CERTIFY = tile_grid.certify


@pytest.fixture(autouse=True)
def _small_crops_and_no_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PHOTOGRAPH_SIDE", 64)
    monkeypatch.setattr(tile_grid, "certify", lambda graphs, *_: graphs)  # has tests of its own


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load(weights("rescale_x4"))


def small(checkpoint: Checkpoint, folder: Path, **options: object) -> Manifest:
    return build(checkpoint, folder, Request("small", **options))  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("network", ["sr_x4", "sr_x8", "rescale_x4"])
def test_a_bundle_holds_checked_graphs_and_runs(network: str, tmp_path: Path) -> None:
    manifest = small(load(weights(network)), tmp_path / "bundle")
    assert [(g.direction, g.precision, g.latents) for g in manifest.graphs] == [
        ("inverse", "fp32", True),
        ("forward", "fp32", True),
        ("forward", "fp32", False),
    ]
    for graph in manifest.graphs:
        assert graph.within_budget
        cases = {(row.case, row.tau, row.output) for row in graph.parity}
        taus = (0.0, manifest.default_tau) if graph.direction == "inverse" else (0.0,)
        output = "hr" if graph.direction == "inverse" else "lr"
        for tau in taus:
            assert {("astronaut", tau, output), ("1x1", tau, output)} <= cases
    io = arrays(network)
    model = runtime.load(tmp_path / "bundle")
    hr = model.decode(io["lr"].numpy(), [z.numpy() for z in latents(io)])
    assert np.abs(hr - io["inverse_hr_raw"].numpy()).max() <= 1e-5


def test_fp16_graphs_stand_beside_the_fp32_ones(checkpoint: Checkpoint, tmp_path: Path) -> None:
    manifest = small(
        checkpoint, tmp_path / "b", precisions=("fp32", "fp16"), directions=["inverse"]
    )
    single, half = manifest.graphs
    assert (single.precision, half.precision) == ("fp32", "fp16")
    assert half.bytes < 0.7 * single.bytes
    assert any(row.case.endswith("rounded") for row in half.parity)


def test_a_later_build_adds_to_the_bundle(checkpoint: Checkpoint, tmp_path: Path) -> None:
    small(checkpoint, tmp_path / "b", directions=["inverse"])
    manifest = small(checkpoint, tmp_path / "b", directions=["forward"])
    assert {g.direction for g in manifest.graphs} == {"inverse", "forward"}
    opened = Bundle.open(tmp_path / "b")
    assert {key.split("/")[0] for key in opened.read_vectors()} == {"inverse", "forward"}
    assert files(tmp_path / "b").keys() == {
        "manifest.json",
        manifest.vectors.file,
        *(graph.file for graph in manifest.graphs),
    }


def test_two_builds_into_one_bundle_at_the_same_time_lose_no_graph(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, ready = bundle_writer.write, list[Callable[[], Manifest]]()

    def later(*arguments: Any) -> Manifest:
        ready.append(lambda: write(*arguments))
        return write(tmp_path / "other", *arguments[1:])

    monkeypatch.setattr(bundle_writer, "write", later)
    for direction in ("inverse", "forward"):
        small(checkpoint, tmp_path / "b", directions=[direction])
    commit = bundle_writer._commit

    def slowly(*arguments: Any) -> None:
        time.sleep(0.5)  # the other would have read the old manifest by now
        commit(*arguments)

    monkeypatch.setattr(bundle_writer, "_commit", slowly)
    with ThreadPoolExecutor() as builders:
        for done in [builders.submit(each) for each in ready]:
            done.result()
    manifest = Bundle.open(tmp_path / "b").manifest
    assert {graph.direction for graph in manifest.graphs} == {"inverse", "forward"}
    assert len(files(tmp_path / "b")) == 5


def test_building_again_changes_no_byte(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_grid, "certify", CERTIFY)
    small(checkpoint, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    small(checkpoint, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_default_tau_is_the_checkpoints_or_the_users(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    assert small(checkpoint, tmp_path / "a", directions=["inverse"]).default_tau == 1.0
    assert small(checkpoint, tmp_path / "b", directions=["inverse"], tau=0.3).default_tau == 0.3
    without = small(checkpoint, tmp_path / "c", directions=["inverse"], with_latents=False)
    assert without.default_tau == 0.0
    assert not without.graphs[0].latents


@pytest.mark.parametrize("tau", [-0.1, float("nan")])
def test_a_tau_that_makes_no_sense_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, tau: float
) -> None:
    with pytest.raises(ParameterError):
        small(checkpoint, tmp_path / "b", tau=tau)
    assert not (tmp_path / "b").exists()


def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the deploy modules wrong by a thousandth in one weight."""
    right = artifact.deploy

    def wrong(*args: object, **options: object) -> torch.nn.Module:
        module = right(*args, **options)  # type: ignore[arg-type]
        module.level0.steps[0].linear.weight.data *= 1.001
        return module

    monkeypatch.setattr(artifact, "deploy", wrong)


def test_out_of_budget_leaves_no_bundle_behind(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch)
    with pytest.raises(BudgetError, match=r"inverse fp32, astronaut, τ 0, hr: max error .* dB"):
        small(checkpoint, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_over_budget_can_be_kept_and_is_marked(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch)
    small(checkpoint, tmp_path / "b", accept_over_budget=True)
    assert not any(g.within_budget for g in Bundle.open(tmp_path / "b").manifest.graphs)


@pytest.mark.parametrize("moment", ["first file", "manifest"])
def test_a_build_that_dies_leaves_the_old_bundle_or_none(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder = tmp_path / "b"
    small(checkpoint, folder, directions=["inverse"])
    before = files(folder)
    write = atomic.write

    def full_disk(path: Path, data: bytes) -> None:
        if moment == "first file" or path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(atomic, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        small(checkpoint, folder, directions=["forward"])
    after = files(folder)
    assert {name: after[name] for name in before} == before
    assert Bundle.open(folder).manifest.graphs[0].direction == "inverse"
    assert files(folder).keys() == before.keys()
    (tmp_path / "empty").mkdir()
    for fresh in ("new", "empty"):
        with pytest.raises(OSError, match="No space left"):
            small(checkpoint, tmp_path / fresh, directions=["inverse"])
    assert not (tmp_path / "new").exists()
    assert not any((tmp_path / "empty").iterdir())


def test_a_forward_graph_gives_latents_also_beside_an_inverse_without(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    manifest = small(checkpoint, tmp_path / "b", with_latents=False)
    assert [(g.direction, g.latents) for g in manifest.graphs] == [
        ("inverse", False),
        ("forward", True),
        ("forward", False),
    ]


@pytest.mark.parametrize("network", ["sr_x4", "rescale_x4"])
def test_downscaling_without_latents_runs_a_graph_that_computes_none(
    network: str, tmp_path: Path
) -> None:
    manifest = small(load(weights(network)), tmp_path / "b", directions=["forward"])
    full, alone = manifest.graphs
    assert (full.latents, alone.latents) == (True, False)
    assert alone.nodes < full.nodes
    assert alone.bytes_per_lr_pixel <= full.bytes_per_lr_pixel
    assert (alone.tile, alone.overlap, alone.border) == (full.tile, full.overlap, full.border)
    assert {row.output for row in alone.parity} == {"lr"}
    model = runtime.load(tmp_path / "b")
    assert model.network.graph("forward", latents=False) == alone
    hr = np.random.default_rng(0).random((1, 3, 24, 32), np.float32)
    encoded = model.network.encode(hr)
    assert encoded.keys() > {"lr"}
    small_image = model.network.encode(hr, latents=False)
    assert small_image.keys() == {"lr"}
    np.testing.assert_allclose(small_image["lr"], encoded["lr"], atol=1e-6)


def test_a_damaged_bundle_is_named_and_left_alone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    small(checkpoint, tmp_path / "b", directions=["inverse"])
    (tmp_path / "b" / "manifest.json").write_text("{")
    with pytest.raises(ExportError, match="damaged bundle"):
        small(checkpoint, tmp_path / "b", directions=["inverse"])


def test_building_every_graph_again_mends_damaged_vectors(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    vectors = small(checkpoint, tmp_path / "b", directions=["inverse"]).vectors.file
    (tmp_path / "b" / vectors).write_bytes(b"damaged")
    with pytest.raises(ExportError, match="damaged bundle"):
        small(checkpoint, tmp_path / "b", directions=["forward"])
    small(checkpoint, tmp_path / "b", directions=["inverse"])
    assert Bundle.open(tmp_path / "b").read_vectors()


def test_a_folder_of_something_else_is_left_alone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ExportError, match="is not a bundle"):
        small(checkpoint, tmp_path)
    assert files(tmp_path).keys() == {"letter.txt"}


def test_a_place_that_cannot_be_written_to_is_named_before_any_work(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    lines: list[str] = []
    with pytest.raises(FileError, match=r"cannot write into .*not writable"):
        build(checkpoint, tmp_path / "b", Request("small"), lines.append)
    assert not lines


def test_a_bundle_of_another_checkpoint_is_left_alone(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    small(checkpoint, tmp_path / "b", directions=["inverse"])
    other = tmp_path / "other.safetensors"
    save(checkpoint.model, other, {"note": "same weights, another file"})
    with pytest.raises(ExportError, match="another checkpoint"):
        small(load(other), tmp_path / "b")


def cli(*arguments: object) -> Result:
    return CliRunner().invoke(application(), ["build", *map(str, arguments)])


@pytest.mark.parametrize("verbose", [False, True])
def test_the_command_prints_a_line_a_graph_and_tables_when_asked(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verbose: bool
) -> None:
    manifest = small(checkpoint, tmp_path / "b", directions=["inverse"])
    monkeypatch.setattr(pipeline, "build", lambda *_: manifest)
    words = ["--checkpoint", weights("sr_x4"), "--direction", "inverse", "--output", tmp_path / "b"]
    result = cli(*words, *(["--verbose"] if verbose else []))
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("inverse fp32: ")]
    assert re.fullmatch(r"inverse fp32: \d+\.\d dB, within budget", line)
    assert ("astronaut" in result.stdout) == verbose


def test_the_command_prints_the_manifest_as_json(tmp_path: Path) -> None:
    result = cli("--checkpoint", weights("sr_x4"), "--output", tmp_path / "b", "--json")
    assert json.loads(result.stdout)["task"] == "sr"


@pytest.mark.parametrize("stem", ["raw\udcff", "\x1b[2J", "a\\b"])
def test_a_checkpoint_may_have_any_name_of_a_file(
    stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []

    def noting(_: object, folder: Path, request: Request, *rest: object) -> None:
        asked.append(request)
        raise ExportError("enough")

    monkeypatch.setattr(pipeline, "build", noting)
    file = tmp_path / f"{stem}.safetensors"
    shutil.copy(weights("sr_x4"), file)
    assert "enough" in cli("--checkpoint", file).output
    manifest = Bundle.open(write_bundle(tmp_path / "b")).manifest
    text = replace(manifest, name=asked[0].name).to_json()
    assert Manifest.from_json(text.encode().decode(), "it").name == asked[0].name


@pytest.mark.parametrize("terminal", ["", "1"])
def test_the_command_keeps_notes_in_sight_and_prints_names_as_they_are(
    monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    def noting(*arguments: Any) -> None:
        *_, progress, note = arguments
        progress("folding")
        note("skipped: '[red]a\x1b[2J.png' is no image")
        progress("writing [/red]")
        raise ExportError("enough")

    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setattr(pipeline, "build", noting)
    result = cli("--checkpoint", weights("rescale_x4"))
    lines = [line.removeprefix("\x1b[2K") for line in result.stderr.splitlines()]
    assert "skipped: '[red]a\\x1b[2J.png' is no image" in lines
    assert "hcflow: error: enough" in lines[-1]
    assert ("folding" in lines) == (not terminal)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--int8", "--checkpoint", "x.pth"], "--int8 needs --calibration DIR"),
        (["--engine", "tensorrt"], "tensorrt cannot be imported"),
        (["--max", "64x64", "--tf32"], "--max, --tf32 can only be used with --engine"),
        (["--engine", "tensorrt-rtx", "--min", "9x9", "--max", "8x8"], "not in order"),
        (["--model", "nonsense"], "no shipped model is called 'nonsense'"),
        (["--checkpoint", "/nowhere.pth"], "No such file"),
        (["--checkpoint", "/nowhere.pth", "--model", "rescale_x4"], "not both"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = cli(*arguments, "--output", tmp_path / "b")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "b").exists()
