"""What one training run is made of, and where it stands."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from makemore.batching import num_steps
from makemore.config import Config
from makemore.corpus import Batch, Corpus
from makemore.errors import DivergedError, InterruptedRun
from makemore.messages import path_argument, printable
from makemore.models import LanguageModel
from makemore.run_directory import RunDirectory
from makemore.signals import Signals
from makemore.vocab import Vocabulary

Report = Callable[[Mapping[str, object]], None]


@dataclass
class Job:
    """What stays the same from the first step to the last."""

    config: Config
    vocabulary: Vocabulary
    split_digest: str
    corpora: dict[str, Corpus]
    model: LanguageModel
    device: torch.device
    directory: RunDirectory
    report: Report
    signals: Signals
    started: float

    def description(self) -> dict[str, Any]:
        train = self.config.train
        num_names = {split: corpus.num_names for split, corpus in self.corpora.items()}
        return {
            "run": str(self.directory.path),
            "model": self.config.model.kind,
            "num_parameters": self.model.num_parameters(),
            "num_steps": num_steps(train, self.corpora["train"]) if train else 0,
            "num_names": num_names,
            "split": self.config.data.split,
            "split_digest": self.split_digest,
            "device": str(self.device),
            "num_threads": torch.get_num_threads(),
        }

    def record(self, event: str, step: int, **values: object) -> None:
        seconds = round(time.perf_counter() - self.started, 3)
        record = {"event": event, "step": step, **values, "seconds": seconds}
        self.directory.append_record(record)
        self.report(record)


@dataclass
class Progress:
    """Where the loop stands; with the tensors, all that a checkpoint has to hold."""

    step: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    evaluations_since_best: int = 0
    evaluated: bool = False
    """Whether the state at `step` has been evaluated, if the step asks for that."""


def diverged(job: Job, step: int, what: str, batch: Batch | None = None) -> DivergedError:
    """The error of a number that is not finite; `batch` is what update `step` was computed on."""
    hint = (
        "a lower train.learning_rate, or train.max_gradient_norm=1; "
        f"the last good checkpoint is {job.directory.last}"
    )
    seen = "" if batch is None else f" on its batch of {_described(batch, job.vocabulary)}"
    return DivergedError(f"{what}{seen}", where=f"step {step}", hint=hint)


def _described(batch: Batch, vocabulary: Vocabulary, most: int = 5) -> str:
    """How many names, or windows, and the first of them, in the order in which the model sees
    them."""
    if batch.rows is None:
        num_items, kind = batch.num_names, "names"
        indices = torch.arange(min(most, num_items), device=batch.offsets.device)
    else:
        num_items, kind = len(batch.rows), "windows, in the names"
        indices = torch.searchsorted(batch.offsets, batch.rows[:most], right=True) - 1
    bounds = [batch.offsets[indices].tolist(), batch.offsets[indices + 1].tolist()]
    names = [
        printable(vocabulary.decode(batch.targets[start:end])[0], 20)
        for start, end in zip(*bounds, strict=True)
    ]
    rest = ", ..." if num_items > most else ""
    return f"{num_items} {kind}: {', '.join(names)}{rest}"


def interrupted(job: Job, step: int, signal_number: int) -> InterruptedRun:
    return InterruptedRun(
        f"stopped at step {step}, the checkpoint is saved",
        signal_number,
        hint=f"go on with `makemore train --resume {path_argument(job.directory.path)}`",
    )
