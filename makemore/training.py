"""The loop: from a config to a run directory.

`train` starts a run and `resume` goes on with one. Every batch, dropout mask and sample is a pure
function of the seed and the step, so a run that was stopped and resumed ends bitwise like one that
was not (on the CPU), and evaluating more often changes nothing.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from makemore.checkpoint import Checkpoint, load_checkpoint, to_bytes
from makemore.config import (
    Config,
    TrainConfig,
    config_from_dict,
    config_to_dict,
    load_config,
    resolve_preset,
)
from makemore.corpus import Corpus
from makemore.data import SPLITS, load_names, split_names
from makemore.errors import DataError, DivergedError, InterruptedRun, UsageError
from makemore.evaluation import BATCH_SIZE, evaluate
from makemore.models import ClosedFormModel, LanguageModel, build_model
from makemore.models.batch_norm import recompute_statistics
from makemore.optim import (
    build_optimizer,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
)
from makemore.run import Run, load, open_checkpoint
from makemore.run_directory import RunDirectory, create_run, find_run
from makemore.runtime import (
    catch_signals,
    derive_seed,
    own_generators,
    resolve_device,
    seed_generators,
)
from makemore.sampling import Sampler, sample_names
from makemore.storage import write_file
from makemore.vocab import Vocabulary

Report = Callable[[Mapping[str, object]], None]


def train(
    model: str = "mlp",
    *,
    config: str | Path | None = None,
    data: str | None = None,
    run: str | Path | None = None,
    seed: int | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    report: Report = lambda record: None,
) -> Run:
    """Train the preset `model`, or the YAML file `config`, and return its best state.

    data: a list or file of names (see `load_names`); run: the run directory, by default the next
    free `runs/<preset>-<number>`; overrides: `key=value` strings, as after `--set`. `report` is
    called with every record that goes to metrics.jsonl, and with messages.

    Raises the MakemoreError that says what is wrong; DivergedError and InterruptedRun leave a run
    that can be resumed.
    """
    target = resolve_device(device)
    path = Path(config) if config is not None else resolve_preset(model)
    flags = [] if data is None else [f"data.source={json.dumps(data)}"]
    flags += [] if seed is None else [f"seed={seed}"]
    resolved = load_config(path, [*flags, *overrides])
    names = load_names(
        resolved.data.source,
        max_length=resolved.data.max_name_length,
        announce=lambda text: report({"event": "message", "text": text}),
    )
    splits = split_names(names, resolved.data)
    if not splits.train:
        hint = "more names, a larger share in data.fractions, or another data.seed"
        raise DataError("no names in the training split", where=resolved.data.source, hint=hint)
    vocabulary = Vocabulary.of(names)
    directory = create_run(None if run is None else Path(run), path.stem)
    with directory.lock(), own_generators(target):
        directory.write_config(resolved)
        seed_generators(derive_seed(resolved.seed, "initialization"), torch.device("cpu"))
        job = _Job(
            config=resolved,
            vocabulary=vocabulary,
            split_digest=splits.digest,
            corpora={
                split: Corpus.of(vocabulary.encode(splits.of(split))).to(target) for split in SPLITS
            },
            model=build_model(resolved.model, vocabulary.size).to(target),
            device=target,
            directory=directory,
            report=report,
            started=time.perf_counter(),
        )
        job.record("start", 0, **job.description())
        _fit_or_optimize(job, _Progress(), {})
    return load(directory.path, device=str(target))


def resume(
    run: str | Path,
    *,
    device: str = "auto",
    overrides: Sequence[str] = (),
    report: Report = lambda record: None,
) -> Run:
    """Go on with the run at `run` from its last checkpoint, as if it had never stopped.

    overrides: `train.*` keys to change (more steps, say); raises ConfigError for any other. A run
    that has finished stays as it is.
    """
    target = resolve_device(device)
    directory = find_run(Path(run))
    with directory.lock(), own_generators(target):
        checkpoint = load_checkpoint(directory.last)
        last = open_checkpoint(directory.last, checkpoint, target)
        resolved = _override_training(last.config, overrides)
        directory.write_config(resolved)
        kept = directory.rewind_records(checkpoint.step)
        seconds = max((float(str(record.get("seconds", 0))) for record in kept), default=0.0)
        job = _Job(
            config=resolved,
            vocabulary=last.vocabulary,
            split_digest=checkpoint.split_digest,
            corpora=last.corpora,
            model=last.model,
            device=target,
            directory=directory,
            report=report,
            started=time.perf_counter() - seconds,
        )
        report({"event": "resume", "step": checkpoint.step, **job.description()})
        progress = _Progress(
            checkpoint.step,
            checkpoint.best_step,
            checkpoint.best_loss,
            checkpoint.evaluations_since_best,
        )
        _fit_or_optimize(job, progress, checkpoint.optimizer)
    return load(directory.path, device=str(target))


def _override_training(config: Config, overrides: Sequence[str]) -> Config:
    for override in overrides:
        if not override.startswith("train."):
            key = override.partition("=")[0]
            what = f"{key}: cannot be changed in a run that has started"
            hint = "a resumed run takes changes under `train.` only; start a new run"
            raise UsageError(what, where=f"--set {key}", hint=hint)
    return config_from_dict(config_to_dict(config), "the run's config", overrides)


@dataclass(frozen=True)
class _Job:
    """What stays the same from the first step to the last."""

    config: Config
    vocabulary: Vocabulary
    split_digest: str
    corpora: dict[str, Corpus]
    model: LanguageModel
    device: torch.device
    directory: RunDirectory
    report: Report
    started: float

    def description(self) -> dict[str, object]:
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
        }

    def record(self, event: str, step: int, **values: object) -> None:
        seconds = round(time.perf_counter() - self.started, 3)
        record = {"event": event, "step": step, **values, "seconds": seconds}
        self.directory.append_record(record)
        self.report(record)


@dataclass
class _Progress:
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


def _fit_or_optimize(job: _Job, progress: _Progress, optimizer_state: dict[str, Tensor]) -> None:
    if isinstance(job.model, ClosedFormModel):
        job.model.fit(job.corpora["train"])
        _evaluate_and_save(job, progress, {})
        reason = "fitted"
    else:
        assert job.config.train is not None
        reason = _optimize(job, job.config.train, progress, optimizer_state)
    _finish(job, progress, reason)


def _optimize(
    job: _Job, config: TrainConfig, progress: _Progress, optimizer_state: dict[str, Tensor]
) -> str:
    """Take the steps that are left; the reason for which they ended."""
    model, corpus, seed = job.model, job.corpora["train"], job.config.seed
    last_step = num_steps(config, corpus.num_names)
    optimizer = build_optimizer(config, model)
    load_optimizer_tensors(model, optimizer, optimizer_state)
    parameters = list(model.parameters())
    model.train()
    with catch_signals() as received_signal:
        if progress.best_step is None:
            _evaluate_and_save(job, progress, {})
        num_chars, since = 0, time.perf_counter()
        while progress.step < last_step:
            if config.patience and progress.evaluations_since_best >= config.patience:
                return "patience"
            if (number := received_signal()) is not None:
                state = _checkpoint(job, progress, optimizer_tensors(model, optimizer))
                write_file(job.directory.last, to_bytes(state))
                raise _interrupted(job, progress.step, number)

            rate = learning_rate(config, progress.step, last_step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            indices = batch_indices(seed, progress.step, config.batch_size, corpus.num_names)
            batch = corpus.batch(indices.to(job.device))
            # Dropout draws from the default generator: seeded by the step, it needs no saving.
            seed_generators(derive_seed(seed, "step", progress.step), job.device)
            loss = functional.cross_entropy(model(batch), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            _require_finite(job, progress.step, loss, norm)
            if config.max_gradient_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, config.max_gradient_norm, norm)
            optimizer.step()

            progress.step += 1
            num_chars += batch.num_chars
            if progress.step % config.log_every == 0:
                job.record(
                    "train",
                    progress.step,
                    loss=loss.item(),
                    learning_rate=rate,
                    gradient_norm=norm.item(),
                    tokens_per_second=round(num_chars / (time.perf_counter() - since)),
                )
                num_chars, since = 0, time.perf_counter()
            if progress.step % config.evaluate_every == 0 or progress.step == last_step:
                paused = time.perf_counter()
                _evaluate_and_save(job, progress, optimizer_tensors(model, optimizer))
                since += time.perf_counter() - paused
    return "steps"


def _require_finite(job: _Job, step: int, loss: Tensor, norm: Tensor) -> None:
    """Before the update: the weights are still good, and so is the last checkpoint."""
    for quantity, value in (("loss", loss.item()), ("gradient", norm.item())):
        if not math.isfinite(value):
            hint = (
                "a lower train.learning_rate, or train.max_gradient_norm=1; "
                f"the last good checkpoint is {job.directory.last}"
            )
            raise DivergedError(f"the {quantity} is {value}", where=f"step {step + 1}", hint=hint)


def _interrupted(job: _Job, step: int, signal_number: int) -> InterruptedRun:
    return InterruptedRun(
        f"stopped at step {step}, the checkpoint is saved",
        signal_number=signal_number,
        hint=f"go on with `makemore train --resume {job.directory.path}`",
    )


def _evaluate_and_save(job: _Job, progress: _Progress, optimizer: dict[str, Tensor]) -> None:
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


def _look(job: _Job, step: int) -> list[str]:
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


def _finish(job: _Job, progress: _Progress, reason: str) -> None:
    """Give the best state its exact statistics, and record what it reaches."""
    checkpoint = load_checkpoint(job.directory.best)
    best = open_checkpoint(job.directory.best, checkpoint, job.device)
    num_recomputed = recompute_statistics(best.model, job.corpora["train"], BATCH_SIZE)
    split = "val" if job.corpora["val"].num_names else "train"
    loss = evaluate(best.model, job.corpora[split])
    if num_recomputed:
        best_loss = loss.nats_per_char if split == "val" else None
        exact = replace(checkpoint, model=best.model.state_dict(), best_loss=best_loss)
        write_file(job.directory.best, to_bytes(exact))
    job.record(
        "end",
        progress.step,
        reason=reason,
        best_step=checkpoint.step,
        split=split,
        loss=_finite(loss.nats_per_char),
        standard_error=_finite(loss.standard_error),
    )


def _checkpoint(job: _Job, progress: _Progress, optimizer: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(
        config=config_to_dict(job.config),
        vocabulary=job.vocabulary.characters,
        split_digest=job.split_digest,
        step=progress.step,
        best_step=progress.best_step,
        best_loss=progress.best_loss,
        evaluations_since_best=progress.evaluations_since_best,
        model=job.model.state_dict(),
        optimizer=optimizer,
        corpora={split: corpus.tokens for split, corpus in job.corpora.items()},
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None
