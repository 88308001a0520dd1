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
class Process:
    """A process of a run: its device, its rank, and how many processes train together."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def connect(repeatable: bool = True) -> Process:
    """Connect to the other processes where `torchrun` or the like started several.

    Args:
        repeatable: whether cuDNN has to give the same bits each time.

    Returns:
        This process.

    Raises:
        TrainingError: WORLD_SIZE, RANK or LOCAL_RANK of the environment do not fit together.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        _choose_convolutions(repeatable)
    try:
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return Process(torch.device("cuda" if cuda else "cpu"))
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
    return Process(device, dist.get_rank(), count)


def _choose_convolutions(repeatable: bool) -> None:
    """Keep cuDNN from TF32, which would round the flow's state, and let it time its algorithms."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = repeatable
    torch.backends.cudnn.benchmark = not repeatable


def disconnect() -> None:
    """End the connection to the other processes, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(module: nn.Module, process: Process) -> nn.Module:
    """The module, wrapped so that its gradients are averaged over several processes.

    Every phase of every objective gives every parameter a gradient: no search for unused ones.
    """
    if process.count == 1:
        return module
    # A 1×1 kernel's gradient has other strides in bfloat16, which costs a copy of a few numbers.
    warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
    ids = [process.device.index] if process.device.type == "cuda" else None
    with warnings.catch_warnings():
        # PyTorch 2.13 renames the option; earlier versions know only this name.
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        parallel = DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)
    if process.count > 2:  # the sum of two has only one order
        # A lambda: PyTorch checks a hook's annotations, and refuses those written as text.
        hook = lambda n, bucket: _mean_in_rank_order(n, bucket)  # noqa: E731, PLW0108
        parallel.register_comm_hook(process.count, hook)
    return parallel


def _mean_in_rank_order(count: int, bucket: Any) -> torch.futures.Future[Tensor]:
    """The mean of the processes' gradients, summed in the order of their ranks.

    PyTorch's own sum has an order that depends on a gradient's place in its bucket. Buckets are
    laid out anew after the first step, and so after a resumption: the bits would differ.
    """
    parts = [torch.empty_like(bucket.buffer()) for _ in range(count)]
    gathering = dist.all_gather(parts, bucket.buffer(), async_op=True)

    def mean(_: torch.futures.Future[list[Tensor]]) -> Tensor:
        total = parts[0]
        for part in parts[1:]:
            total += part
        return total / count

    future: torch.futures.Future[Tensor] = gathering.get_future().then(mean)
    return future


def in_any_process(condition: bool, process: Process) -> bool:
    """Whether the condition holds in any process; every process has to call this."""
    return bool(largest(float(condition), process))


def largest(value: float, process: Process) -> float:
    """The largest of the processes' values; every process has to call this."""
    if process.count == 1:
        return value
    flag = torch.tensor(value, device=process.device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return float(flag.item())


def broadcast_from_first(module: nn.Module, process: Process) -> None:
    """Give every process the first one's parameters and buffers."""
    if process.count > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)
