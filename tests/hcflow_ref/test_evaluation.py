"""The evaluation protocol, as a person and as a program reads it."""

import importlib.util
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import runtime
from export import tile_grid
from export.pipeline import Request, build
from export.precision import evaluation
from hcflow.cli.program import application
from hcflow.measure.evaluated import BundleModel, ReferenceModel
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.errors import CheckpointError
from hcflow_ref.evaluation import perceptual_metrics
from hcflow_ref.evaluation.metrics import bicubic_downscale, diversity, fidelity
from hcflow_ref.evaluation.perceptual_metrics import PerceptualMetrics
from hcflow_ref.evaluation.protocol import Settings, average, evaluate_image, sources
from hcflow_ref.evaluation.report import sheet_size, strip, table, to_json
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.likelihood import nll
from hcflow_ref.network.lr_image import quantise
from runtime.system import atomic, machine
from tests.support.bundles import remove_borders, write_bundle

BLIND = PerceptualMetrics()
SR = "tests/golden/sr_x4_small.safetensors"
RESCALING = "tests/golden/rescale_x4_small.safetensors"
IRN = "tests/golden/irn_x4_small.safetensors"


@pytest.fixture(autouse=True)
def _small_crops_and_no_tiles(monkeypatch):
    monkeypatch.setattr(evaluation, "PHOTOGRAPH_SIDE", 64)
    monkeypatch.setattr(tile_grid, "certify", lambda graphs, *_: graphs)  # has tests of its own


def crop():
    return np.ascontiguousarray(photograph("astronaut")[64:128, 160:240])


@pytest.mark.parametrize("path", [RESCALING, IRN])
def test_rescaling_is_measured_through_its_own_8_bit_lr(path):
    model = load(path).network
    row, outputs = evaluate_image(ReferenceModel(model), "crop", crop(), Settings(tau=0.0), BLIND)
    with torch.no_grad():
        lr = quantise(model(to_tensor(crop())).lr)
        expected = to_image(model.inverse(lr, model.zero_latents(lr)))
    assert (outputs.restored == expected).all()
    assert (outputs.lr == to_image(lr)).all()
    assert row.restored == fidelity(expected, crop(), 4)
    assert (row.sampled, row.diversity, row.bits_per_pixel) == (None, None, None)


def test_super_resolution_starts_from_the_bicubic_lr_and_its_samples_differ():
    settings = Settings(tau=0.9, samples=3)
    row, outputs = evaluate_image(ReferenceModel(load(SR).network), "crop", crop(), settings, BLIND)
    assert (outputs.lr == bicubic_downscale(crop(), 4)).all()
    assert row.lr_psnr == float("inf")
    assert row.diversity > 0
    assert row.sampled_consistency is not None
    assert np.isfinite(row.bits_per_pixel)


def test_the_same_seed_gives_the_same_figures_and_another_does_not():
    model = ReferenceModel(load(SR).network)
    rows = [
        evaluate_image(model, "crop", crop(), Settings(0.9, seed, 1), BLIND)[0]
        for seed in (0, 0, 1)
    ]
    assert rows[0] == rows[1]
    assert rows[0].sampled != rows[2].sampled


def test_one_sample_has_no_diversity_and_is_perceived_like_the_image_without_noise():
    differs = PerceptualMetrics(lambda made, truth: float((made != truth).mean()))
    model = ReferenceModel(load(SR).network)
    row, outputs = evaluate_image(model, "crop", crop(), Settings(0.9, samples=1), differs)
    assert row.diversity is None
    assert row.sampled_vif == (outputs.sample != crop()).mean()
    assert row.vif == (outputs.restored != crop()).mean()


def test_the_noise_of_the_likelihood_is_the_published_one_or_centred():
    network = load(SR).network
    hr, lr = to_tensor(crop()), to_tensor(bicubic_downscale(crop(), 4))
    noise = torch.rand(hr.shape, generator=torch.Generator().manual_seed(0))
    for kind, shift in (("official", 0.0), ("centred", -0.5)):
        settings = Settings(0.0, dequantisation=kind)
        row, _ = evaluate_image(ReferenceModel(network), "crop", crop(), settings, BLIND)
        assert row.bits_per_pixel == pytest.approx(nll(network, hr, lr, noise + shift).item())


def test_table_json_and_contact_sheet_hold_every_image(tmp_path):
    images = {"one": crop(), "two": crop()[::-1].copy()}
    settings = Settings(tau=0.9, samples=1)
    model = ReferenceModel(load(RESCALING).network)
    pairs = [evaluate_image(model, *named, settings, BLIND) for named in images.items()]
    rows = [row for row, _ in pairs]
    assert table(rows, settings).row_count == 3
    content = json.loads(to_json(rows, settings, {"checkpoint": "x"}))
    assert [image["name"] for image in content["images"]] == ["one", "two"]
    mean = (rows[0].restored.psnr + rows[1].restored.psnr) / 2
    assert content["average"]["restored"]["psnr"] == pytest.approx(mean)
    assert average(rows).restored.psnr == pytest.approx(mean)
    for row, outputs in pairs:
        assert strip(row.name, outputs).shape == (3 * 96 + 16, 4 * 3 * 96, 3)
    assert sheet_size(2, sampled=True) == (4 * 3 * 96, 2 * (3 * 96 + 16))


def test_a_folder_is_read_and_what_is_wrong_in_it_named(tmp_path):
    with pytest.raises(CheckpointError, match="contains no images"):
        sources(tmp_path, 4)
    with pytest.raises(CheckpointError, match="no such folder"):
        sources(tmp_path / "none", 4)
    Image.fromarray(crop()[:-1]).save(tmp_path / "a.png")
    (source,) = sources(tmp_path, 4)
    assert (source.name, source.read().shape) == ("a.png", (60, 80, 3))
    (tmp_path / "b.jpg").write_bytes(b"no image")
    Image.fromarray(crop()[:40]).save(tmp_path / "c.png")
    _, none, small = sources(tmp_path, 4)
    assert none.pixels == 0
    for source, complaint in ((none, "cannot be read"), (small, "too small to measure")):
        with pytest.raises(CheckpointError, match=complaint):
            source.read()


def test_folders_within_the_folder_are_read_as_well(tmp_path):
    (tmp_path / "inner").mkdir()
    Image.fromarray(crop()).save(tmp_path / "inner" / "a.png")
    assert [source.name for source in sources(tmp_path, 4)] == ["inner/a.png"]


def test_an_image_that_turns_out_damaged_is_left_out_and_the_rest_measured(tmp_path, folder):
    whole = (folder / "a.png").read_bytes()
    (folder / "0.png").write_bytes(b"")
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    done = cli(IRN, "--data", folder, "--json", tmp_path / "e.json")
    assert done.exit_code == 1
    for name in ("0.png", "b.png"):
        assert f"skipped {name}: cannot be read" in done.stderr
    assert [i["name"] for i in json.loads((tmp_path / "e.json").read_text())["images"]] == ["a.png"]
    (folder / "a.png").unlink()
    done = cli(IRN, "--data", folder)
    assert done.exit_code == 1
    assert "none of 2 images could be measured" in done.stderr


def test_what_fails_with_every_image_is_one_line(tmp_path, folder):
    build(load(IRN), tmp_path / "b", Request("small", ("inverse",)))
    for name in ("c.png", "d.png"):
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    done = cli(tmp_path / "b", "--data", folder)
    assert done.exit_code == 1
    assert done.stderr.count("has no forward graph") == 1


def test_diversity_is_the_mean_deviation_of_the_samples():
    samples = [np.random.default_rng(i).integers(0, 256, (5, 7, 3), np.uint8) for i in range(4)]
    expected = np.stack(samples).astype(float).std(0).mean()
    assert diversity(samples) == pytest.approx(expected, rel=1e-12)


def test_an_image_too_large_for_the_memory_is_refused_beforehand(folder, monkeypatch):
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000)
    done = cli(IRN, "--data", folder)
    assert done.exit_code == 1
    assert "a.png: its 0 megapixels need about" in done.stderr
    assert "`hcflow build`" in done.stderr


def test_a_long_strip_is_refused_for_the_matrices_of_its_bicubic(folder, monkeypatch):
    Image.new("RGB", (60_000, 44)).save(folder / "strip.png")
    monkeypatch.setattr(machine, "available_memory", lambda: 8_000_000_000)
    done = cli(IRN, "--data", folder, "--tau", "0")
    assert done.exit_code == 1
    assert "strip.png: its 3 megapixels need about 1" in done.stderr
    assert "a.png" in done.stdout


MEMORY = """
import sys
import numpy as np, torch
from hcflow.measure.evaluated import ReferenceModel
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from runtime.system import machine
torch.set_num_threads(1)
model = ReferenceModel(load(weights(sys.argv[1])).network)
image = np.random.default_rng(0).integers(64, 192, (384, 384, 3), np.uint8)
before = machine.peak_memory()
model.upscale(model.downscale(image) if model.task == "rescaling" else image[::4, ::4], 0, 0, 1)
print((machine.peak_memory() - before) / 384**2 / model.bytes_per_pixel)
"""


@pytest.mark.parametrize("name", ["rescale_x4", "sr_x4"])
def test_the_estimate_of_a_references_memory_holds(name):
    command = [sys.executable, "-c", MEMORY, name]  # a process whose peak nothing else has raised
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.3 < float(done.stdout) < 1


def cli(*arguments):
    return CliRunner().invoke(application(), ["evaluate", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "images"
    path.mkdir()
    Image.fromarray(crop()).save(path / "a.png")
    return path


def test_the_command_prints_a_table_and_writes_what_it_is_asked(tmp_path, folder):
    files = ["--json", tmp_path / "e.json", "--sheet", tmp_path / "sheet.webp"]
    done = cli(IRN, "--data", folder, *files)
    assert done.exit_code == 0, done.output
    assert "a.png" in done.stdout
    content = json.loads((tmp_path / "e.json").read_text())
    assert content["settings"]["seed"] == 0
    assert content["about"]["checkpoint"] == "irn_x4_small.safetensors"
    assert Image.open(tmp_path / "sheet.webp").width == 4 * 3 * 96


def test_names_that_no_terminal_shows_are_escaped_on_it_and_exact_in_the_json(tmp_path, folder):
    odd = "\udcff\x1b[2J\n.png"
    (folder / "a.png").rename(folder / odd)
    (folder / "b\x1b.png").write_bytes(b"")
    files = ["--json", tmp_path / "e.json", "--sheet", tmp_path / "sheet.png"]
    done = cli(IRN, "--data", folder, "--tau", "0", *files)
    assert done.exit_code == 1
    assert "\\udcff\\x1b[2J\\n.png" in done.stdout
    assert "skipped b\\x1b.png: cannot be read" in done.stderr
    assert "\x1b" not in done.output
    content = json.loads((tmp_path / "e.json").read_text())
    assert [image["name"] for image in content["images"]] == [odd]
    assert Image.open(tmp_path / "sheet.png").height == 3 * 96 + 16


def test_a_sheet_that_its_format_does_not_hold_is_refused_before_the_work(tmp_path, folder):
    for number in range(54):
        (folder / f"{number}.png").write_bytes(b"")
    done = cli(IRN, "--data", folder, "--sheet", tmp_path / "sheet.webp")
    assert done.exit_code == 1
    assert "WEBP holds 16383 pixels a side, the result would have 1152×16720" in done.output
    assert "skipped" not in done.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["none.pth"], "none.pth: cannot be read"),
        ([IRN, "--sheet", "sheet.doc"], "unknown image suffix"),
        ([IRN, "--json", "/nowhere/e.json"], "does not exist"),
        ([IRN, "--backend", "onnxruntime"], "--backend and --precision are for bundles"),
        ([IRN, "--tau", "nan"], "nan"),
        ([IRN, "--seed", str(2**64)], "--seed"),
        ([IRN, "--seed", "-1"], "--seed"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(folder, arguments, complaint):
    done = cli(*arguments, "--data", folder)
    assert done.exit_code != 0
    assert complaint in done.output
    assert "Traceback" not in done.output
    assert "fault of the program" not in done.output


def test_a_full_disk_keeps_the_older_report(tmp_path, folder, monkeypatch):
    (tmp_path / "e.json").write_text("older")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "write", full)
    assert cli(IRN, "--data", folder, "--json", tmp_path / "e.json").exit_code == 1
    assert (tmp_path / "e.json").read_text() == "older"


@pytest.mark.parametrize("path", [SR, RESCALING, IRN])
def test_a_bundle_has_the_figures_of_its_checkpoint(tmp_path, path):
    checkpoint = load(path)
    build(checkpoint, tmp_path / "bundle", Request("small"))
    remove_borders(tmp_path / "bundle")  # the reference pads nothing
    settings = Settings(tau=0.7, seed=5, samples=2)
    rows = [
        evaluate_image(model, "crop", crop(), settings, BLIND)[0]
        for model in (
            ReferenceModel(checkpoint.network),
            BundleModel(runtime.load(tmp_path / "bundle")),
        )
    ]
    for kind in ("bicubic", "restored", "sampled", "consistency", "sampled_consistency"):
        ours, theirs = (getattr(row, kind) for row in rows)
        assert theirs.psnr == pytest.approx(ours.psnr, abs=0.01), kind
        assert theirs.ssim == pytest.approx(ours.ssim, abs=1e-4), kind
    assert rows[1].diversity == pytest.approx(rows[0].diversity, abs=0.01)
    assert rows[1].lr_psnr == pytest.approx(rows[0].lr_psnr, abs=0.01)
    if checkpoint.config.task == "sr":
        assert rows[1].bits_per_pixel == pytest.approx(rows[0].bits_per_pixel, abs=1e-3)
    else:
        assert rows[1].bits_per_pixel is None


def test_the_command_measures_a_bundle_on_a_backend(tmp_path, folder):
    build(load(SR), tmp_path / "bundle", Request("small", directions=("inverse",)))
    arguments = ["--data", folder, "--json", tmp_path / "e.json", "--backend", "onnxruntime"]
    done = cli(tmp_path / "bundle", *arguments)
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "e.json").read_text())
    assert content["about"]["backend"] == "onnxruntime"
    assert content["settings"]["tau"] == 0.9
    assert content["average"]["bits_per_pixel"] is None


@pytest.mark.parametrize("change", [{"precision": "fp16"}, {"io": "uint8"}, {"latents": False}])
def test_a_bundle_is_measured_without_a_forward_graph_that_gives_a_likelihood(
    tmp_path, folder, change
):
    bundle = write_bundle(tmp_path / "b", sr=True, default_tau=0.5)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (forward,) = (g for g in manifest["graphs"] if g["direction"] == "forward")
    forward.update(change)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = cli(bundle, "--data", folder, "--json", tmp_path / "e.json")
    assert done.exit_code == 0, done.output
    (image,) = json.loads((tmp_path / "e.json").read_text())["images"]
    assert image["restored"]["psnr"] > 0
    assert image["bits_per_pixel"] is None


def test_perceptual_metrics_that_cannot_be_loaded_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    loaded = perceptual_metrics.load()
    assert loaded.vif(crop(), crop()) is None
    assert loaded.lpips(crop(), crop()) is None
    assert "VIF and LPIPS are not available" in loaded.missing[0]


def test_lpips_is_taken_where_its_backbone_loads_and_named_where_not(monkeypatch):
    image = SimpleNamespace(visual_information_fidelity=lambda made, truth: torch.ones(()))
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", image)
    network = lambda made, truth: (made - truth).abs().max()  # noqa: E731
    module = SimpleNamespace(LearnedPerceptualImagePatchSimilarity=lambda **_: network)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", module)
    loaded = perceptual_metrics.load()
    assert (loaded.vif(crop(), crop()), loaded.lpips(crop(), crop())) == (1.0, 0.0)
    assert loaded.missing == ()

    def offline(**_):
        raise OSError("no network\nat all")

    module.LearnedPerceptualImagePatchSimilarity = offline
    loaded = perceptual_metrics.load()
    assert loaded.lpips(crop(), crop()) is None
    assert loaded.missing == ("LPIPS is not available: no network",)


@pytest.mark.skipif(not importlib.util.find_spec("torchmetrics"), reason="torchmetrics is optional")
def test_vif_is_1_for_equal_images_and_falls_with_blur_and_more_with_noise():
    loaded = perceptual_metrics.load()
    small = Image.fromarray(crop()).resize((40, 32))
    blurred = np.asarray(small.resize((80, 64)))
    assert loaded.vif(crop(), crop()) == pytest.approx(1, abs=1e-4)
    noisy = crop() + np.random.default_rng(0).normal(0, 25, crop().shape)
    noisy = np.clip(noisy, 0, 255).astype(np.uint8)
    assert loaded.vif(noisy, crop()) < loaded.vif(blurred, crop()) < 0.9
    assert loaded.vif(crop()[:40], crop()[:40]) is None


SHIPPED_ON_CHELSEA = (33.60, 0.8968, 40.0)
"""PSNR, SSIM and LR PSNR of the published table of the shipped weights at τ = 0."""


def test_the_shipped_rescaling_weights_give_their_published_figures():
    model = ReferenceModel(load(weights("rescale_x4")).network)
    photo = photograph("chelsea", 4)
    row, _ = evaluate_image(model, "chelsea", photo, Settings(tau=0.0), BLIND)
    psnr, ssim, lr = SHIPPED_ON_CHELSEA
    assert row.restored.psnr == pytest.approx(psnr, abs=0.01)
    assert row.restored.ssim == pytest.approx(ssim, abs=0.0001)
    assert row.lr_psnr == pytest.approx(lr, abs=0.1)
