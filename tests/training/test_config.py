"""A configuration is read whole, or refused in one line that names the key."""

from pathlib import Path

import pytest

from hcflow_ref.errors import TrainingError
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.irn import IRN_X4
from hcflow_ref.training.config.toml_file import read_config

MINIMAL = """
[network]
architecture = "sr"
[loss]
objective = "nll"
[schedule]
steps = 10
"""

CONFIGS = Path(__file__).parents[2] / "configs"


def written(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_minimal_config_is_the_official_general_network_at_official_settings(tmp_path):
    config = read_config(written(tmp_path, MINIMAL))
    assert config.network.build() == OFFICIAL["sr_x4"]
    assert (config.data.patch, config.data.batch) == (160, 16)
    assert config.schedule.halve_at == (0.5, 0.75, 0.9, 0.95)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("steps = 10", "stps = 10"), "unknown key 'schedule.stps'"),
        (("steps = 10", ""), "'schedule.steps' is missing"),
        (("steps = 10", "steps = 0"), "'schedule.steps' is 0"),
        (("steps = 10", 'steps = "ten"'), "'schedule.steps' is 'ten', expected int"),
        (('"nll"', '"mse"'), "'loss.objective' is 'mse', expected one of nll, nll\\+l1"),
        (('"nll"', '"rescaling"'), "does not train architecture 'sr'"),
        (("steps = 10", "steps = 10\nema = 1.0"), "'schedule.ema' is 1.0"),
        (("[loss]", "scale = 3\n[loss]"), "network.scale is 3"),
        (("[loss]", "hidden = [64, 64, 64]\n[loss]"), "network.hidden is \\[64, 64, 64\\]"),
        (("[loss]", "[data]\npatch = 30\n[loss]"), "'data.patch' is 30"),
        (('"nll"', '"gan"\n[data]\npatch = 40'), "'data.patch' is 40, expected a multiple of 32"),
        (("steps = 10", "steps = 10\nclip_norm = 0.0"), "'schedule.clip_norm' is 0.0"),
        (("steps = 10", "steps = 10\nclip_value = -1"), "'schedule.clip_value' is -1.0"),
        (("steps = 10", "steps = 10\nwarmup = -1"), "'schedule.warmup' is -1"),
        (("steps = 10", "steps = 10\nhalve_at = [50]"), "'schedule.halve_at' is \\[50.0\\]"),
        (('"nll"', '"nll"\ndiscriminator_width = 0'), "'loss.discriminator_width' is 0"),
        (('"nll"', '"nll"\ndiscriminator_first = -5'), "'loss.discriminator_first' is -5"),
        (('"nll"', '"nll"\ndefault_tau = 10'), "'loss.default_tau' is 10.0, expected less"),
        (("[loss]", f"[run]\nseed = {2**63}\n[loss]"), "'run.seed' is 9223372036854775808"),
        (("[loss]", "scale = 32\n[loss]"), "network.scale is 32, expected 2, 4, 8 or 16"),
        (('"sr"', '"irn"\nstart = "haar"'), "'network.start' is 'haar'"),
        (('"nll"', '"nll"\ndefault_tau = [0.0]'), "'loss.default_tau' is \\[0.0\\]"),
        (("[loss]", "blocks = [0, 1]\n[loss]"), "'network.blocks' is \\[0, 1\\]"),
        (
            ('"nll"\n[schedule]', '"nll+l1"\n[schedule]\nactnorm_steps = 0'),
            "'network.init' is empty",
        ),
        (("[schedule]", "[schedule"), "not a TOML file"),
        (("[schedule]", f"x = {'[' * 9999}{']' * 9999}\n[schedule]"), "not a TOML file"),
        (("steps = 10", f"steps = {'9' * 5000}"), "not a TOML file"),
        (("steps = 10", f"steps = 10\nlr = {10**400}"), "'schedule.lr' is 10+, expected float"),
        (("[schedule]", '"a\\nb" = 1\n[schedule]'), r"unknown key 'loss.a\\nb'"),
        (("[loss]", "hidden = 1000000000\n[loss]"), "expected 2 numbers from 1 to 16384"),
        (("[loss]", "blocks = [99999, 1]\n[loss]"), "'network.blocks' is \\[99999, 1\\]"),
        (("[loss]", "[data]\nbatch = 1000000000\n[loss]"), "'data.batch' is 1000000000"),
        (("[loss]", "[run]\nthreads = 100000\n[loss]"), "'run.threads' is 100000, expected less"),
        (("[network]", "network = 1\n[x]"), "unknown key 'x'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path, change, complaint):
    path = written(tmp_path, MINIMAL.replace(*change))
    with pytest.raises(TrainingError, match=complaint) as raised:
        read_config(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"none\.toml: cannot be read"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("hcflow_x4", OFFICIAL["sr_x4"]),
        ("hcflow_plus_x4", OFFICIAL["sr_x4"]),
        ("hcflow_plus_plus_x4", OFFICIAL["sr_x4"]),
        ("hcflow_face_x8", OFFICIAL["sr_x8"]),
        ("hcflow_rescaling_x4", OFFICIAL["rescale_x4"]),
        ("irn_x4", IRN_X4),
    ],
)
def test_the_official_configs_are_the_official_networks(name, architecture):
    assert read_config(CONFIGS / f"{name}.toml").network.build() == architecture


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_config_that_ships_is_valid(path):
    read_config(path)
