"""What one training run is made of, and where it stands."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from makemore.batching import num_steps
from makemore.config import Config
from makemore.corpus import Corpus
from makemore.errors import DivergedError, InterruptedRun
from makemore.models import LanguageModel
from makemore.run_directory import RunDirectory
from makemore.runtime import StopSignal
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
    received_signal: StopSignal
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


def diverged(job: Job, step: int, what: str) -> DivergedError:
    hint = (
        "a lower train.learning_rate, or train.max_gradient_norm=1; "
        f"the last good checkpoint is {job.directory.last}"
    )
    return DivergedError(what, where=f"step {step}", hint=hint)


def interrupted(job: Job, step: int, signal_number: int) -> InterruptedRun:
    return InterruptedRun(
        f"stopped at step {step}, the checkpoint is saved",
        signal_number,
        hint=f"go on with `makemore train --resume {job.directory.path}`",
    )
