"""Which names, or windows of them, a step sees: a pure function of the seed and the step."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from makemore.config import TrainConfig
from makemore.corpus import Batch, Corpus
from makemore.runtime import derive_seed


def num_steps(config: TrainConfig, corpus: Corpus) -> int:
    """Updates of a whole run: `steps`, or fewer where `max_epochs` ends it earlier."""
    if config.max_epochs is None:
        return config.steps
    num_items = _num_items(config, corpus)
    steps_of_epochs = math.ceil(config.max_epochs * num_items / _size(config, num_items))
    return min(config.steps, steps_of_epochs)


def batch_of_step(config: TrainConfig, seed: int, step: int, corpus: Corpus) -> Batch:
    """The batch of update `step` (0-based); names by length, so that neighbors, padded together,
    are padded little."""
    indices = batch_indices(config, seed, step, _num_items(config, corpus))
    indices = indices.to(corpus.tokens.device)
    if config.batch_unit == "windows":
        return corpus.windows(indices)
    by_length = corpus.lengths.index_select(0, indices).argsort(stable=True)
    return corpus.batch(indices.index_select(0, by_length))


def batch_indices(config: TrainConfig, seed: int, step: int, num_items: int) -> Tensor:
    """(B,) int64: which of `num_items` are in the batch of update `step`. At most one epoch.

    Without replacement every epoch is a permutation of all items of its own, and a batch may reach
    over the end of one; with replacement every batch is drawn anew. A full batch is in file order.
    """
    size = _size(config, num_items)
    if config.batch_size is None:
        return torch.arange(num_items)
    if config.replacement:
        generator = torch.Generator().manual_seed(derive_seed(seed, "batch", step))
        return torch.randint(num_items, (size,), generator=generator)
    first = step * size
    parts = []
    while size:
        epoch, place = divmod(first, num_items)
        parts.append(_epoch_order(seed, epoch, num_items)[place : place + size])
        first += len(parts[-1])
        size -= len(parts[-1])
    return torch.cat(parts)


def _num_items(config: TrainConfig, corpus: Corpus) -> int:
    return corpus.num_names if config.batch_unit == "names" else corpus.num_chars


def _size(config: TrainConfig, num_items: int) -> int:
    return num_items if config.batch_size is None else min(config.batch_size, num_items)


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_items: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(num_items, generator=generator)
