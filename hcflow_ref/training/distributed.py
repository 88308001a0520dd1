"""One process or several: PyTorch's own launcher and DistributedDataParallel."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hcflow_ref.errors import TrainingError, one_line


@dataclass(frozen=True)
class Place:
    """Where this process computes, and which of how many it is."""

    device: torch.device
    rank: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def join() -> Place:
    """Where the process computes; joins the others where `torchrun` or its like started it.

    Raises:
        TrainingError: the environment's WORLD_SIZE, RANK or LOCAL_RANK lead nowhere.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        _exact_convolutions()
    try:
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if processes == 1:
            return Place(torch.device("cuda" if cuda else "cpu"))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if cuda:
            torch.cuda.set_device(local)
    except (ValueError, RuntimeError) as error:
        raise TrainingError(
            f"the processes cannot connect ({one_line(error)}): start them with torchrun, one per "
            "GPU, or unset WORLD_SIZE"
        ) from error
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    return Place(device, dist.get_rank(), processes)


def _exact_convolutions() -> None:
    """Let cuDNN neither round the flow's own 1×1 convolutions to TF32 nor choose by the clock."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def leave() -> None:
    """Take leave of the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(module: nn.Module, place: Place) -> nn.Module:
    """The module with gradients averaged over processes, where there are several.

    Every phase of every objective gives every parameter a gradient: none is searched for.
    """
    if place.processes == 1:
        return module
    ids = [place.device.index] if place.device.type == "cuda" else None
    with warnings.catch_warnings():
        # PyTorch 2.13 has another name for the option, which those before it do not know.
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        parallel = DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)
    if place.processes > 2:  # the sum of two has but one order
        # PyTorch reads a hook's annotations, and takes none that are written as text.
        hook = lambda n, bucket: _mean_in_order(n, bucket)  # noqa: E731, PLW0108
        parallel.register_comm_hook(place.processes, hook)
    return parallel


def _mean_in_order(processes: int, bucket: Any) -> torch.futures.Future[Tensor]:
    """The mean of the processes' gradients, summed in the order of their ranks.

    PyTorch's own sum has an order that hangs on a gradient's place in its bucket. Buckets are laid
    out anew after the first step, and so after a resumption: its bits would be others.
    """
    parts = [torch.empty_like(bucket.buffer()) for _ in range(processes)]
    gathering = dist.all_gather(parts, bucket.buffer(), async_op=True)

    def mean(_: torch.futures.Future[list[Tensor]]) -> Tensor:
        total = parts[0]
        for part in parts[1:]:
            total += part
        return total / processes

    future: torch.futures.Future[Tensor] = gathering.get_future().then(mean)
    return future


def anywhere(condition: bool, place: Place) -> bool:
    """Whether the condition holds in any process; all of them must ask."""
    if place.processes == 1:
        return condition
    flag = torch.tensor(float(condition), device=place.device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


def from_first(module: nn.Module, place: Place) -> None:
    """Give every process the first one's parameters and buffers."""
    if place.processes > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)
