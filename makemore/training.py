"""The loop: from a model and its data to checkpoints and records.

Every batch, dropout mask and sample is a pure function of the seed and the step, so a run that was
stopped and resumed ends bitwise like one that was not (on the CPU, with as many threads), and
evaluating more often changes nothing. It prints nothing: `report` is told every record.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from makemore.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, to_bytes
from makemore.config import Config, TrainConfig
from makemore.config_loading import config_to_dict
from makemore.corpus import Corpus
from makemore.errors import DivergedError, InterruptedRun
from makemore.evaluation import BATCH_SIZE, evaluate
from makemore.models import ClosedFormModel, LanguageModel
from makemore.models.batch_norm import recompute_statistics
from makemore.optim import (
    build_optimizer,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
)
from makemore.run import open_checkpoint
from makemore.run_directory import RunDirectory
from makemore.runtime import StopSignal, derive_seed, seed_generators
from makemore.sampling import Sampler, sample_names
from makemore.storage import write_file
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
            "num_steps": num_steps(train, num_names["train"]) if train else 0,
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


def num_steps(config: TrainConfig, num_names: int) -> int:
    """Updates of a whole run: `steps`, or fewer where `max_epochs` ends it earlier."""
    if config.max_epochs is None:
        return config.steps
    steps_of_epochs = math.ceil(config.max_epochs * num_names / min(config.batch_size, num_names))
    return min(config.steps, steps_of_epochs)


def batch_indices(seed: int, step: int, batch_size: int, num_names: int) -> Tensor:
    """(B,) names of the batch of update `step` (0-based), a pure function of its arguments.

    Every epoch is a permutation of all names of its own; a batch may reach over the end of one. A
    batch is at most one epoch.
    """
    missing = min(batch_size, num_names)
    first = step * missing
    parts = []
    while missing:
        epoch, place = divmod(first, num_names)
        parts.append(_epoch_order(seed, epoch, num_names)[place : place + missing])
        first += len(parts[-1])
        missing -= len(parts[-1])
    return torch.cat(parts)


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_names: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(num_names, generator=generator)


def run_job(job: Job, progress: Progress, optimizer_state: dict[str, Tensor]) -> None:
    """Do what is left of a run, from where `progress` stands to its last record."""
    if job.config.train is not None:
        reason = _optimize(job, job.config.train, progress, optimizer_state)
    else:
        assert isinstance(job.model, ClosedFormModel)
        reason = "fitted"
        if progress.best_step is None:
            job.model.fit(job.corpora["train"])
            _evaluate_and_save(job, progress, {})
    _finish(job, progress, reason)
    if (number := job.received_signal()) is not None:
        # Too late to stop this run, but not what the caller would do next.
        hint = f"sample from it with `makemore sample {job.directory.path}`"
        raise InterruptedRun("the run was at its end and is complete", number, hint=hint)


def _optimize(
    job: Job, config: TrainConfig, progress: Progress, optimizer_state: dict[str, Tensor]
) -> str:
    """Take the steps that are left; the reason for which they ended."""
    model, corpus = job.model, job.corpora["train"]
    last_step = num_steps(config, corpus.num_names)
    optimizer = build_optimizer(config, model)
    load_optimizer_tensors(model, optimizer, optimizer_state)
    model.train()
    if progress.best_step is None:
        _evaluate_and_save(job, progress, {})
    num_chars, since = 0, time.perf_counter()
    while progress.step < last_step:
        if config.patience and progress.evaluations_since_best >= config.patience:
            return "patience"
        if (number := job.received_signal()) is not None:
            state = _checkpoint(job, progress, optimizer_tensors(model, optimizer))
            save_checkpoint(job.directory.last, state)
            raise _interrupted(job, progress.step, number)

        rate = learning_rate(config, progress.step, last_step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        update = _update(job, config, optimizer, progress.step)

        progress.step += 1
        num_chars += update.num_chars
        if progress.step % config.log_every == 0:
            job.record(
                "train",
                progress.step,
                loss=update.loss,
                learning_rate=rate,
                gradient_norm=update.gradient_norm,
                tokens_per_second=round(num_chars / (time.perf_counter() - since)),
            )
            num_chars, since = 0, time.perf_counter()
        if progress.step % config.evaluate_every == 0 or progress.step == last_step:
            paused = time.perf_counter()
            _evaluate_and_save(job, progress, optimizer_tensors(model, optimizer))
            since += time.perf_counter() - paused
    return "steps"


@dataclass(frozen=True)
class _Update:
    """What one update saw: the loss of its batch, and its gradient's norm before clipping."""

    loss: float
    gradient_norm: float
    num_chars: int


def _update(job: Job, config: TrainConfig, optimizer: torch.optim.Optimizer, step: int) -> _Update:
    """Update `step` (0-based). Raises DivergedError before it would spoil the weights."""
    model, corpus, seed = job.model, job.corpora["train"], job.config.seed
    indices = batch_indices(seed, step, config.batch_size, corpus.num_names)
    batch = corpus.batch(indices.to(job.device))
    # Dropout draws from the default generator: seeded by the step, it needs no saving.
    seed_generators(derive_seed(seed, "step", step), job.device)
    loss = functional.cross_entropy(model(batch), batch.targets)
    optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    update = _Update(loss.item(), norm.item(), batch.num_chars)
    for quantity, value in (("loss", update.loss), ("gradient", update.gradient_norm)):
        if not math.isfinite(value):
            raise _diverged(job, step + 1, f"the {quantity} is {value}")
    if config.max_gradient_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), config.max_gradient_norm, norm)
    optimizer.step()
    return update


def _diverged(job: Job, step: int, what: str) -> DivergedError:
    hint = (
        "a lower train.learning_rate, or train.max_gradient_norm=1; "
        f"the last good checkpoint is {job.directory.last}"
    )
    return DivergedError(what, where=f"step {step}", hint=hint)


def _interrupted(job: Job, step: int, signal_number: int) -> InterruptedRun:
    return InterruptedRun(
        f"stopped at step {step}, the checkpoint is saved",
        signal_number,
        hint=f"go on with `makemore train --resume {job.directory.path}`",
    )


def _evaluate_and_save(job: Job, progress: Progress, optimizer: dict[str, Tensor]) -> None:
    """Evaluate on the validation names, update `progress`, write `last`, and `best` if it is.

    Without validation names there is nothing to choose by: the newest state is the best.
    """
    loss = evaluate(job.model, job.corpora["val"])
    improved = (
        progress.best_step is None
        or loss.num_names == 0
        or loss.nats_per_char < (math.inf if progress.best_loss is None else progress.best_loss)
    )
    if improved:
        progress.best_step = progress.step
        progress.best_loss = loss.nats_per_char if math.isfinite(loss.nats_per_char) else None
        progress.evaluations_since_best = 0
    else:
        progress.evaluations_since_best += 1
    job.record(
        "evaluation",
        progress.step,
        loss=_finite(loss.nats_per_char),
        standard_error=_finite(loss.standard_error),
        best=improved,
        samples=_look(job, progress.step),
    )
    data = to_bytes(_checkpoint(job, progress, optimizer))
    if improved:
        write_file(job.directory.best, data)
    write_file(job.directory.last, data)


def _look(job: Job, step: int) -> list[str]:
    """A few names as the model writes them now."""
    samples = sample_names(
        job.model,
        job.vocabulary,
        frozenset(),
        num_names=job.config.train.num_samples if job.config.train else 0,
        sampler=Sampler(),
        max_length=2 * job.corpora["train"].longest,
        seed=derive_seed(job.config.seed, "look", step),
    )
    return [sample.name for sample in samples]


def _finish(job: Job, progress: Progress, reason: str) -> None:
    """Give the best state its exact statistics, and record what it reaches."""
    checkpoint = load_checkpoint(job.directory.best)
    best = open_checkpoint(job.directory.best, checkpoint, job.device)
    num_recomputed = recompute_statistics(best.model, job.corpora["train"], BATCH_SIZE)
    split = "val" if job.corpora["val"].num_names else "train"
    loss = evaluate(best.model, job.corpora[split])
    if num_recomputed:
        best_loss = loss.nats_per_char if split == "val" else None
        exact = replace(checkpoint, model=best.model.state_dict(), best_loss=best_loss)
        save_checkpoint(job.directory.best, exact)
    job.record(
        "end",
        progress.step,
        reason=reason,
        best_step=checkpoint.step,
        split=split,
        loss=_finite(loss.nats_per_char),
        standard_error=_finite(loss.standard_error),
    )


def _checkpoint(job: Job, progress: Progress, optimizer: dict[str, Tensor]) -> Checkpoint:
    """The state as it stands. Raises DivergedError where an update overflowed the weights."""
    state = job.model.state_dict()
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise _diverged(job, progress.step, "the weights are not finite")
    return Checkpoint(
        config=config_to_dict(job.config),
        vocabulary=job.vocabulary.characters,
        split_digest=job.split_digest,
        step=progress.step,
        best_step=progress.best_step,
        best_loss=progress.best_loss,
        evaluations_since_best=progress.evaluations_since_best,
        model=state,
        optimizer=optimizer,
        corpora={split: corpus.tokens for split, corpus in job.corpora.items()},
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None
