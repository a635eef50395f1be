"""Which names a step sees: a pure function of the seed and the step."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from makemore.config import TrainConfig
from makemore.runtime import derive_seed


def num_steps(config: TrainConfig, num_names: int) -> int:
    """Updates of a whole run: `steps`, or fewer where `max_epochs` ends it earlier."""
    if config.max_epochs is None:
        return config.steps
    steps_of_epochs = math.ceil(config.max_epochs * num_names / _size(config, num_names))
    return min(config.steps, steps_of_epochs)


def batch_indices(config: TrainConfig, seed: int, step: int, num_names: int) -> Tensor:
    """(B,) int64: the names of the batch of update `step` (0-based). A batch is at most one epoch.

    Without replacement every epoch is a permutation of all names of its own, and a batch may reach
    over the end of one; with replacement every batch is drawn anew. A full batch is in file order.
    """
    size = _size(config, num_names)
    if config.batch_size is None:
        return torch.arange(num_names)
    if config.replacement:
        generator = torch.Generator().manual_seed(derive_seed(seed, "batch", step))
        return torch.randint(num_names, (size,), generator=generator)
    first = step * size
    parts = []
    while size:
        epoch, place = divmod(first, num_names)
        parts.append(_epoch_order(seed, epoch, num_names)[place : place + size])
        first += len(parts[-1])
        size -= len(parts[-1])
    return torch.cat(parts)


def _size(config: TrainConfig, num_names: int) -> int:
    return num_names if config.batch_size is None else min(config.batch_size, num_names)


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_names: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(num_names, generator=generator)
