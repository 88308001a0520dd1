"""Small runs for the tests of training: images made on the spot, tiny networks."""

from dataclasses import replace

import numpy as np
from PIL import Image

from hcflow_ref.training.config.settings import (
    DataSettings,
    LossSettings,
    NetworkSettings,
    RunSettings,
    ScheduleSettings,
    TrainConfig,
)

ARCHITECTURE = {"nll": "sr", "nll+l1": "sr", "gan": "sr", "rescaling": "rescaling"}


def small_run(objective="rescaling", *, steps=4, architecture=None, loss=None, **changes):
    """A config of a network that trains in a second or so; `changes` go to its sections."""
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
        "loss": LossSettings(
            objective, tau=0.9, discriminator_first=1, discriminator_width=4, **(loss or {})
        ),
        "schedule": ScheduleSettings(steps=steps, lr=1e-3, halve_at=()),
        "data": DataSettings(patch=32, batch=2, validation=1),
        "run": RunSettings(save_every=2, validate_every=1000, log_every=1, threads=1),
    }
    for section, values in changes.items():
        sections[section] = replace(sections[section], **values)
    return TrainConfig(**sections)


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
