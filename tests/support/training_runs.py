"""Small training runs: images made on the spot, tiny networks, and what their states hold."""

import json
from dataclasses import asdict, replace

import numpy as np
import torch
from PIL import Image

from hcflow_ref.training import trainer
from hcflow_ref.training.config.settings import (
    DataSettings,
    LossSettings,
    NetworkSettings,
    RunSettings,
    ScheduleSettings,
    TrainConfig,
)
from hcflow_ref.training.losses.vgg import VGGFeatures

ARCHITECTURE = {"nll": "sr", "nll+l1": "sr", "gan": "sr", "rescaling": "rescaling"}
SMALL_VGG = (4, 0, 8)


def small_run(objective="rescaling", *, steps=4, architecture=None, loss=None, **changes):
    """A config of a network that trains in a second or so; `changes` go to its sections."""
    losses = {"tau": 0.9, "discriminator_first": 1, "discriminator_width": 4} | (loss or {})
    sections = {
        "network": NetworkSettings(
            architecture or ARCHITECTURE[objective],
            steps=2,
            hidden=8,
            cond_steps=2,
            cond_hidden=8,
            features=8,
            growth=4,
            blocks=(1, 1),
        ),
        "loss": LossSettings(objective, **losses),
        "schedule": ScheduleSettings(steps=steps, lr=1e-3, halve_at=()),
        "data": DataSettings(patch=32, batch=2, validation=1),
        "run": RunSettings(save_every=2, validate_every=1000, log_every=1, threads=1),
    }
    for section, values in changes.items():
        sections[section] = replace(sections[section], **values)
    return TrainConfig(**sections)


def write_config(config, path):
    """The config as a TOML file."""
    lines = []
    for section, values in asdict(config).items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(v)}" for key, v in values.items() if v is not None]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_images(folder, count=4, size=64, seed=0):
    """Images with edges and texture at every scale, in several formats."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        coarse = rng.integers(0, 255, (size // 8, size // 8, 3), dtype=np.uint8)
        big = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
        noise = rng.normal(0, 8, big.shape)
        image = Image.fromarray(np.clip(big + noise, 0, 255).astype(np.uint8))
        image.save(folder / f"image{i}.{('png', 'jpg', 'bmp', 'webp')[i % 4]}")
    return folder


def small_features():
    torch.manual_seed(0)
    return VGGFeatures(SMALL_VGG).eval().requires_grad_(False)


def run(config, data, out, features=None):
    """Train; the state reached and the lines reported."""
    lines = []
    state = trainer.train(config, data, out, lines.append, features)
    return state, lines


def after_step(monkeypatch, step, act):
    """Call `act` in the run once `step` is reached, before anything is saved for it."""
    real = trainer.take_step

    def take_step(state, *rest):
        values = real(state, *rest)
        if state.step == step:
            act()
        return values

    monkeypatch.setattr(trainer, "take_step", take_step)


def before_step(monkeypatch, step, act):
    """Call `act` with the state before the step that leads on from `step`."""
    real = trainer.take_step

    def take_step(state, *rest):
        if state.step == step:
            with torch.no_grad():
                act(state)
        return real(state, *rest)

    monkeypatch.setattr(trainer, "take_step", take_step)


def saved(out):
    return torch.load(out / "state.pt", weights_only=True)


def same(a, b):
    """Whether two parts of a state are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def same_run(a, b):
    """Whether two runs' states are equal to the bit, the time they took aside."""
    one, two = saved(a), saved(b)
    parts = one.keys() - {"seconds"}
    return one.keys() == two.keys() and all(same(one[part], two[part]) for part in parts)
