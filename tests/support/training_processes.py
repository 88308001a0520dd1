"""Several processes train as under `torchrun`, forked from one that has imported PyTorch once.

`python -m tests.support.training_processes CONFIG DATA FOLDER` writes two runs of three processes:
FOLDER/together, and FOLDER/resumed, whose processes all die once before they end it.
"""

import os
import sys
from pathlib import Path

import torch.distributed as dist

from hcflow_ref.training import trainer
from hcflow_ref.training.config.toml_file import read_config

COUNT = 3
DIES_AT = 3


def train(config, data, out, dies):
    """Train in forked processes; their exit codes."""
    meeting = out.with_suffix(f".{dies}")
    children = []
    for rank in range(COUNT):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                train_one(config, data, out, dies, rank, meeting)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def train_one(config, data, out, dies, rank, meeting):
    os.environ.update(WORLD_SIZE=str(COUNT), RANK=str(rank), LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=COUNT)
    real = trainer.take_step

    def take_step(state, *rest):
        if dies and state.step == DIES_AT:
            os._exit(9)
        return real(state, *rest)

    trainer.take_step = take_step
    trainer.train(read_config(config), data, out, lambda line: None)


def main():
    config, data, folder = map(Path, sys.argv[1:])
    assert train(config, data, folder / "together", dies=False) == [0] * COUNT
    assert train(config, data, folder / "resumed", dies=True) == [9] * COUNT
    assert train(config, data, folder / "resumed", dies=False) == [0] * COUNT


if __name__ == "__main__":
    main()
