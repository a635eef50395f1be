"""The textbook way: the honest rival against which makemore's speed is measured.

What a good student writes: names padded to the longest, a DataLoader, AdamW at a constant rate, and
the whole prefix computed anew for each character that is sampled; the models are those of
`textbook_models.py`. With the same weights they give the same logits, which
`tests/test_textbook.py` shows; only batch normalization differs in training, where its statistics
are of pads, too. Nothing is slow on purpose.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat, takewhile

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from makemore.vocab import Vocabulary

PAD = -1  # the target of a pad, which the loss ignores


class TextbookDataset(Dataset[tuple[Tensor, Tensor]]):
    """(inputs (T,), targets (T,)) int64 of each name, T - 1 being the length of the longest.

    inputs are the boundary, the characters, and boundaries for pads; targets the characters, the
    boundary, and PAD.
    """

    def __init__(self, names: Sequence[str], vocabulary: Vocabulary) -> None:
        tokens = vocabulary.encode(names).long().split([len(name) + 1 for name in names])
        self.num_ids = vocabulary.size
        self.targets_BT = pad_sequence(list(tokens), batch_first=True, padding_value=PAD)
        self.inputs_BT = functional.pad(self.targets_BT[:, :-1].clamp(min=0), (1, 0))

    @property
    def longest(self) -> int:
        """Characters of the longest name, its end not included."""
        return self.targets_BT.shape[1] - 1

    def __len__(self) -> int:
        return len(self.targets_BT)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs_BT[index], self.targets_BT[index]


def cross_entropy(
    model: nn.Module, batch: tuple[Tensor, Tensor], reduction: str = "mean"
) -> Tensor:
    """Nats per real character of a batch (inputs (B, T), targets (B, T)), or their sum."""
    inputs_BT, targets_BT = batch
    logits_NV = model(inputs_BT).flatten(0, 1)
    return functional.cross_entropy(
        logits_NV, targets_BT.flatten(), ignore_index=PAD, reduction=reduction
    )


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    max_gradient_norm: float | None = None,
) -> float:
    """One update; the loss of the batch before it, in nats per real character."""
    loss = cross_entropy(model, batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if max_gradient_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
    optimizer.step()
    return loss.item()


@dataclass(frozen=True)
class Progress:
    """Where a training stands: updates made, the loss of the last batch, real characters (ends of
    names included, pads not) and seconds so far."""

    step: int
    loss: float
    num_chars: int
    seconds: float


def train(
    model: nn.Module,
    names: TextbookDataset,
    *,
    batch_size: int,
    learning_rate: float,
    num_steps: int,
    seed: int,
    max_gradient_norm: float | None = None,
) -> Iterator[Progress]:
    """Train for `num_steps` batches, and say after each where it stands.

    Seeds torch's default generator. What the caller does between two steps, such as an evaluation,
    takes no seconds.
    """
    torch.manual_seed(seed)
    loader = DataLoader(names, batch_size, shuffle=True)
    # Fused, an update of the transformer takes a quarter of the time.
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    num_chars, seconds = 0, 0.0
    batches = chain.from_iterable(repeat(loader))
    for step in range(1, num_steps + 1):
        model.train()
        started = time.perf_counter()
        batch = next(batches)
        loss = train_step(model, optimizer, batch, max_gradient_norm)
        seconds += time.perf_counter() - started
        num_chars += int((batch[1] != PAD).sum())
        yield Progress(step, loss, num_chars, seconds)


@torch.no_grad()
def evaluate(model: nn.Module, names: TextbookDataset, batch_size: int = 1024) -> float:
    """Exact nats per real character of all names. Leaves the model in eval mode."""
    model.eval()
    # No DataLoader, which would draw from the generator of a training that goes on.
    batches = zip(
        names.inputs_BT.split(batch_size), names.targets_BT.split(batch_size), strict=True
    )
    nats = sum(cross_entropy(model, batch, "sum").item() for batch in batches)
    return nats / int((names.targets_BT != PAD).sum())


@torch.no_grad()
def sample(
    model: nn.Module, num_names: int, max_length: int, generator: torch.Generator
) -> list[list[int]]:
    """The ids of `num_names` names of at most `max_length` characters, all drawn side by side.

    Each character costs a pass over the whole prefix, for finished names, too, until all have
    ended. Leaves the model in eval mode.
    """
    model.eval()
    ids_BT = torch.zeros(num_names, 1, dtype=torch.int64)
    has_ended_B1 = torch.zeros(num_names, 1, dtype=torch.bool)
    for _ in range(max_length):
        probabilities_BV = model(ids_BT)[:, -1].softmax(1)
        next_B1 = torch.multinomial(probabilities_BV, 1, generator=generator)
        ids_BT = torch.cat([ids_BT, next_B1], dim=1)
        has_ended_B1 |= next_B1 == 0
        if has_ended_B1.all():
            break
    return [list(takewhile(bool, row)) for row in ids_BT[:, 1:].tolist()]
