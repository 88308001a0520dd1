"""What every test runs under."""

import torch

# Small networks: handing their work round costs more than one thread needs for it.
torch.set_num_threads(1)
