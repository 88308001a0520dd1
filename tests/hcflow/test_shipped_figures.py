"""The bundle of every shipped model has the figures that its checkpoint was published with."""

import json
from pathlib import Path

import pytest

from benchmarks.weights import all_models, card
from export.pipeline import Request, build
from hcflow.measure.evaluated import BundleModel
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import names, weights
from hcflow_ref.evaluation.perceptual_metrics import PerceptualMetrics
from hcflow_ref.evaluation.protocol import Settings, evaluate_image
from hcflow_ref.images.photographs import photographs
from runtime import load as open_bundle
from runtime.images.pixels import neutral
from tests.support.bundles import remove_borders

README = Path(__file__).parents[2] / "README.md"


def published(name):
    return json.loads(weights(name).with_suffix(".json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_the_graphs_have_the_published_figures_of_their_checkpoint(tmp_path, name, monkeypatch):
    monkeypatch.setattr(neutral, "pull", lambda *_: None)  # neither does the reference
    checkpoint = load(weights(name))
    figures = published(name)
    assert figures["about"]["sha256"] == checkpoint.sha256
    build(checkpoint, tmp_path / "bundle", Request(name))
    remove_borders(tmp_path / "bundle")  # the reference pads nothing
    model = BundleModel(open_bundle(tmp_path / "bundle"))
    settings = Settings(**figures["settings"])
    truths = photographs(model.scale)
    for image in figures["images"]:
        truth = truths[image["name"]]
        row, _ = evaluate_image(model, image["name"], truth, settings, PerceptualMetrics())
        for kind in ("restored", "sampled", "consistency", "sampled_consistency"):
            if image[kind] is not None:
                ours = getattr(row, kind)
                assert ours.psnr == pytest.approx(image[kind]["psnr"], abs=0.01), kind
                assert ours.ssim == pytest.approx(image[kind]["ssim"], abs=1e-4), kind
        if image["lr_psnr"] is not None:
            assert row.lr_psnr == pytest.approx(image["lr_psnr"], abs=0.01)
        if image["bits_per_pixel"] is not None:
            assert row.bits_per_pixel == pytest.approx(image["bits_per_pixel"], abs=1e-3)


@pytest.mark.parametrize("name", names())
def test_a_card_states_what_was_measured(name):
    assert card(name) in weights(name).with_suffix(".md").read_text(encoding="utf-8")


def test_the_readme_holds_the_table_of_all_models():
    assert all_models() in README.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "dashes"), [("sr_x4", 6), ("rescale_x4", 2)])
def test_a_card_shows_a_dash_for_what_was_not_measured(tmp_path, name, dashes):
    figures = published(name)
    flat = figures["images"][0]
    flat["restored"]["psnr"] = None
    flat |= dict.fromkeys(("sampled", "sampled_consistency", "lr_psnr", "diversity"))
    flat |= {"consistency": None, "bits_per_pixel": None}
    path = tmp_path / "e.json"
    path.write_text(json.dumps(figures), encoding="utf-8")
    heading, _, row, *_ = card(str(path)).splitlines()
    assert row.count("–") == dashes
    assert row.count("|") == heading.count("|")
