"""What `hcflow evaluate` measures: a checkpoint's reference network, or a bundle on a backend.

Both use the same latents, so a bundle's figures can be compared with its checkpoint's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hcflow_ref.evaluation.protocol import Noise
from hcflow_ref.images.pixels import Pixels
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.config import Task, quantisation
from hcflow_ref.network.hcflow import Encoding, HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.likelihood import bits_per_pixel, nll
from hcflow_ref.network.lr_image import encode_lr
from hcflow_ref.network.memory import bytes_per_pixel
from runtime.bundle.graph_entry import Graph
from runtime.errors import BundleError, ImageError
from runtime.inference import memory
from runtime.latents import draw
from runtime.model import Model


class ReferenceModel:
    """The PyTorch network of a checkpoint."""

    def __init__(self, network: HCFlow | IRN) -> None:
        self._network = network

    @property
    def scale(self) -> int:
        """HR size / LR size."""
        return self._network.config.scale

    @property
    def task(self) -> Task:
        """Rescaling or super-resolution."""
        return self._network.config.task

    @property
    def bytes_per_pixel(self) -> float:
        """PyTorch runs a whole image."""
        return bytes_per_pixel(self._network.config)

    @torch.inference_mode()
    def downscale(self, hr: Pixels) -> Pixels:
        """The network's own LR image."""
        return _picture(encode_lr(self._network, to_tensor(hr)), 0.0)

    @torch.inference_mode()
    def upscale(self, lr: Pixels, tau: float, seed: int, samples: int) -> list[Pixels]:
        """Samples of the inverse."""
        x = to_tensor(lr)
        shapes = self._network.config.latent_shapes(*lr.shape[:2])
        made = []
        for sample in range(samples):
            latents = draw(shapes, tau, seed=seed, sample=sample)
            image = self._network.inverse(x, list(map(torch.from_numpy, latents)))
            made.append(_picture(image, tau))
        return made

    @torch.inference_mode()
    def bits_per_pixel(self, hr: Pixels, lr: Pixels, noise: Noise) -> float | None:
        """NLL by the network's own forward flow."""
        assert isinstance(self._network, HCFlow)
        return nll(self._network, to_tensor(hr), to_tensor(lr), noise).item()


class BundleModel:
    """A bundle as users run it: 8-bit images in and out, clipped and rounded by the runtime."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def scale(self) -> int:
        """HR size / LR size."""
        return self._model.scale

    @property
    def task(self) -> Task:
        """Rescaling or super-resolution."""
        return self._model.task

    @property
    def bytes_per_pixel(self) -> float:
        """0 for tiles; a likelihood needs the forward graph on a whole image."""
        graph = self._likelihood_graph()
        if self.task != "sr" or graph is None:
            return 0.0
        return memory.needed(graph, 1) / self.scale**2

    def downscale(self, hr: Pixels) -> Pixels:
        """The forward graph's LR image."""
        lr: Pixels = self._model.downscale(hr)
        return lr

    def upscale(self, lr: Pixels, tau: float, seed: int, samples: int) -> list[Pixels]:
        """Samples of the inverse graph."""
        made = self._model.upscale(lr, tau=tau, seed=seed, samples=samples)
        images: Sequence[Pixels] = [made] if samples == 1 else made
        return list(images)

    def bits_per_pixel(self, hr: Pixels, lr: Pixels, noise: Noise) -> float | None:
        """NLL by the forward graph; None where no graph of the bundle computes it."""
        if self._likelihood_graph() is None:
            return None
        q = quantisation(self.scale)
        noisy = to_tensor(hr) + noise / q
        outputs = self._model.encode(noisy.numpy().astype(np.float32))
        levels = range(1, len(self._model.manifest.latents.levels) + 1)
        encoding = Encoding(
            torch.from_numpy(outputs["lr"]),
            tuple(torch.from_numpy(outputs[f"z{level}"]) for level in levels),
            torch.from_numpy(outputs["logp"]),
        )
        return bits_per_pixel(encoding, to_tensor(lr), q).item()

    def _likelihood_graph(self) -> Graph | None:
        """The forward graph of the chosen precision, with float input: bytes cannot hold noise."""
        try:
            graph = self._model.network.graph("forward", True)
        except BundleError:
            return None
        return graph if graph.io == "float32" and graph.latents else None


def _picture(x: torch.Tensor, tau: float) -> Pixels:
    try:
        return to_image(x)
    except ValueError as error:
        raise ImageError(f"the network's output is NaN or infinite at τ = {tau:g}") from error
