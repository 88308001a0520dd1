"""One process or several: PyTorch's own launcher and DistributedDataParallel."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


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
    """Where the process computes; joins the others where `torchrun` or its like started it."""
    cuda = torch.cuda.is_available()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return Place(torch.device("cuda" if cuda else "cpu"))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        torch.cuda.set_device(local)
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    return Place(device, dist.get_rank(), processes)


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
        return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)


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
