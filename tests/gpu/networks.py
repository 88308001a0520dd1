"""Deploy modules in real float32, float16 and bfloat16: how exact, and how fast, beside others."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from export.folded.couplings import LowPrecision
from export.folded.fold import GraphSpec, deploy
from hcflow_ref.checkpoint import shipped
from hcflow_ref.checkpoint.load import load
from hcflow_ref.images import bicubic
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.lr_image import quantise
from runtime.bundle.manifest import Direction
from tests.gpu.record import Report, SkippedError, require

MODELS = ("rescale_x4", "sr_x4")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LEAST_DB = {"float32": 90.0, "float16": 30.0, "bfloat16": 20.0}
"""float32 has the budget of a build; in the others a build keeps what needs float32, and here
nothing is kept, so that only what is plainly wrong fails."""

FRAME = (270, 480)
"""LR height and width of a frame of 1080p."""

SECONDS = 1.0
"""How long each setting is timed."""


def cuda() -> torch.device:
    """The GPU, with float32 as float32: without TF32.

    Raises:
        SkippedError: PyTorch finds none.
    """
    if not torch.cuda.is_available():
        raise SkippedError("PyTorch finds no GPU")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda")


def models_here(report: Report) -> list[str]:
    """The models whose weights are in this checkout; the others are skipped."""
    for name in set(MODELS) - set(shipped.names()):
        report.add(f"the weights of {name}", "skipped", f"{name} is not in this checkout")
    return [name for name in MODELS if name in shipped.names()]


def check(report: Report) -> None:
    device = cuda()
    for name in models_here(report):
        network = load(shipped.weights(name)).network
        check_exactness(report, name, network, device)
        check_times(report, name, network, device)


def check_exactness(
    report: Report,
    name: str,
    network: HCFlow | IRN,
    device: torch.device,
    side: int = 256,
    dtypes: Sequence[str] = tuple(DTYPES),
) -> None:
    """PSNR in dB (peak 1) against the reference network in float64, both directions, τ 0 and 1."""
    exact = copy.deepcopy(network).double().to(device)
    scale = network.config.scale
    hr = to_tensor(photograph("astronaut", scale)[:side, :side]).to(device)
    with torch.no_grad():
        lr = quantise(bicubic.downscale(hr.double(), scale)).float()
        made = exact(hr.double())
    random = torch.Generator().manual_seed(0)
    shapes = network.config.latent_shapes(*lr.shape[2:])
    drawn = [torch.randn(1, *shape, generator=random).to(device) for shape in shapes]
    for dtype in dtypes:
        for tau in (0.0, 1.0):
            latents = tuple(tau * z for z in drawn)

            def inverse(dtype: str = dtype, latents: tuple[Tensor, ...] = latents) -> Any:
                with torch.no_grad():
                    want = exact.inverse(lr.double(), [z.double() for z in latents])
                    got = lowered(network, "inverse", dtype, device)(lr, latents)
                return _judged(got, want, dtype)

            report.attempt(f"{name} inverse, τ = {tau:g}, {dtype}", inverse)

        def forward(dtype: str = dtype) -> Any:
            with torch.no_grad():
                got = lowered(network, "forward", dtype, device)(hr)
            worst = max(
                float((z - w).abs().max() / w.abs().max())
                for z, w in zip(got[1 : 1 + len(shapes)], made.latents, strict=True)
            )
            return _judged(got[0], made.lr, dtype) | {"latents, relative": worst}

        report.attempt(f"{name} forward, {dtype}", forward)


def decibels(got: Tensor, want: Tensor) -> float:
    """PSNR, peak 1; 300 dB where they are equal."""
    return float(-10 * torch.log10((got.double() - want.double()).square().mean() + 1e-30))


def _judged(got: Tensor, want: Tensor, dtype: str) -> dict[str, float]:
    require(bool(torch.isfinite(got).all()), "the output is not finite")
    db = decibels(got, want)
    require(db >= LEAST_DB[dtype], f"{db:.1f} dB, and {LEAST_DB[dtype]:.0f} dB are the least")
    return {"dB": db, "largest error × 255": float((got - want).abs().max() * 255)}


@functools.cache
def _deployed(network: HCFlow | IRN, direction: Direction) -> nn.Module:
    """The deploy module in float32; folding takes a second or more."""
    return deploy(network, GraphSpec(direction, "fp32"))


def lowered(
    network: HCFlow | IRN, direction: Direction, dtype: str, device: torch.device
) -> nn.Module:
    """The deploy module with all its networks in `dtype`."""
    module = copy.deepcopy(_deployed(network, direction))
    for part in module.modules():
        if isinstance(part, LowPrecision):
            part.lower(DTYPES[dtype])
    return module.to(device)


def check_times(
    report: Report,
    name: str,
    network: HCFlow | IRN,
    device: torch.device,
    size: tuple[int, int] = FRAME,
    seconds: float = SECONDS,
    dtypes: Sequence[str] = tuple(DTYPES),
) -> None:
    """Milliseconds of a frame: the reference, and deploy modules by dtype and memory layout."""
    inputs = frame(network, size, device)
    reference = copy.deepcopy(network).to(device)
    report.attempt(
        f"{name}, the reference, eager, float32",
        lambda: measured(lambda: reference.inverse(*inputs), device, seconds),
    )
    for dtype in dtypes:
        for layout in (torch.contiguous_format, torch.channels_last):
            shown = "channels last" if layout == torch.channels_last else "channels first"

            def one(dtype: str = dtype, layout: torch.memory_format = layout) -> dict[str, Any]:
                module = lowered(network, "inverse", dtype, device).to(memory_format=layout)
                given = tuple(x.contiguous(memory_format=layout) for x in (inputs[0], *inputs[1]))
                return measured(lambda: module(given[0], given[1:]), device, seconds)

            report.attempt(f"{name} inverse, eager, {dtype}, {shown}", one)
    if device.type == "cuda":
        report.attempt(
            f"{name} inverse, captured as a CUDA graph, float16",
            lambda: _captured(lowered(network, "inverse", "float16", device), inputs, seconds),
        )


Inputs = tuple[Tensor, tuple[Tensor, ...]]


def frame(network: HCFlow | IRN, size: tuple[int, int], device: torch.device) -> Inputs:
    """An LR image of noise and latents."""
    random = torch.Generator().manual_seed(1)
    lr = torch.rand(1, 3, *size, generator=random)
    shapes = network.config.latent_shapes(*size)
    latents = tuple(torch.randn(1, *shape, generator=random).to(device) for shape in shapes)
    return lr.to(device), latents


def measured(
    run: Callable[[], object], device: torch.device, seconds: float = SECONDS
) -> dict[str, Any]:
    """The median time of a run in ms, after a warm-up, and the most memory PyTorch held."""

    def finished() -> None:
        with torch.no_grad():
            run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        finished()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 200):
        begun = time.perf_counter()
        finished()
        times.append(time.perf_counter() - begun)
    figures: dict[str, Any] = {"ms": 1e3 * sorted(times)[len(times) // 2], "runs": len(times)}
    if device.type == "cuda":
        figures["MB"] = torch.cuda.max_memory_allocated() / 1e6
    return figures


def _captured(module: nn.Module, inputs: Inputs, seconds: float) -> dict[str, Any]:
    stream = torch.cuda.Stream()
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(3):
                plain = module(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = module(*inputs)
    graph.replay()
    torch.cuda.synchronize()
    db = decibels(output, plain)  # cuDNN may choose other kernels while a graph is captured
    require(db > 60, f"the replay is {db:.1f} dB from the plain run")
    return measured(graph.replay, torch.device("cuda"), seconds) | {"dB to plain": db}


def check_compiled(report: Report) -> None:
    device = cuda()
    for name in models_here(report):
        network = load(shipped.weights(name)).network
        inputs = frame(network, FRAME, device)
        for mode in ("default", "reduce-overhead"):

            def one(mode: str = mode, network: Any = network, inputs: Inputs = inputs) -> Any:
                return compiled(network, inputs, device, mode)

            report.attempt(f"{name} inverse, torch.compile, {mode}, float16", one)


def compiled(
    network: HCFlow | IRN, inputs: Inputs, device: torch.device, mode: str
) -> dict[str, Any]:
    """The time of a compiled deploy module, and how far it is from the eager one."""
    module = lowered(network, "inverse", "float16", device)
    run = torch.compile(module, mode=mode)
    begun = time.perf_counter()
    with torch.no_grad():
        want = module(*inputs)
        got = run(*inputs).clone()
    seconds = time.perf_counter() - begun
    db = decibels(got, want)
    require(db > LEAST_DB["float16"], f"{db:.1f} dB to the eager module")
    figures = measured(lambda: run(*inputs), device, SECONDS)
    return figures | {"s to compile": seconds, "dB to eager": db}
