"""The loop: from a model and its data to checkpoints and records.

Every batch, dropout mask and sample is a pure function of the seed and the step, so a run that was
stopped and resumed ends bitwise like one that was not (on the CPU, with as many threads), and
evaluating more often changes nothing. It prints nothing: `report` is told every record.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional

from makemore.averaging import Average
from makemore.batching import batch_of_step, num_steps
from makemore.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, to_bytes
from makemore.clipping import Clipping
from makemore.config import Config, TrainConfig
from makemore.config_loading import config_to_dict
from makemore.corpus import Batch, Corpus
from makemore.errors import InterruptedRun
from makemore.evaluation import BATCH_SIZE, Between, evaluate
from makemore.job import Job, Progress, diverged, interrupted
from makemore.learning_rate import learning_rate
from makemore.messages import path_argument
from makemore.models import ClosedFormModel, LanguageModel, Mixture
from makemore.models.batch_norm import recompute_statistics
from makemore.optim import Optimizer
from makemore.regularization import penalty, share_of_zeros, shrink
from makemore.run import open_checkpoint
from makemore.runtime import compile_forward, derive_seed, precision, seed_generators
from makemore.sampling import Sampler, sample_chunks
from makemore.signals import StopRequested
from makemore.storage import write_file


@dataclass
class _Learner:
    """What changes with every update beside the model; nothing for a model in closed form."""

    optimizer: Optimizer | None = None
    average: Average | None = None

    @contextmanager
    def at_rest(
        self, corpus: Corpus | None, between: Between = lambda: None
    ) -> Iterator["_Memory"]:
        """Let the model be what the run keeps of it, its average where there is one; yields the
        rest that a checkpoint needs.

        corpus: what an average takes its statistics of batch normalization from; None where there
        is no time for that, and nobody will read them.
        """
        optimizer = {} if self.optimizer is None else self.optimizer.tensors()
        if self.average is None:
            yield _Memory(optimizer, {})
            return
        with self.average.in_place() as trained:
            if corpus is not None:
                recompute_statistics(self.average.model, corpus, BATCH_SIZE, between)
            yield _Memory(optimizer, trained)


@dataclass(frozen=True)
class _Memory:
    """What training needs to go on, beside the model that the run keeps."""

    optimizer: dict[str, Tensor]
    trained: dict[str, Tensor]


def run_job(job: Job, progress: Progress, checkpoint: Checkpoint | None = None) -> None:
    """Do what is left of a run, from where `progress` stands to its last record.

    checkpoint: what the run goes on from; its model is the job's already.
    """
    try:
        if job.config.train is not None:
            reason = _optimize(job, job.config.train, progress, checkpoint)
        else:
            reason = "fitted"
            if not progress.evaluated:
                _fit(job, progress)
        _finish(job, progress, reason)
    except StopRequested as stop:
        raise interrupted(job, progress.step, stop.number) from None
    if (number := job.signals.received) is not None:
        # Too late to stop this run, but not what the caller would do next.
        hint = f"sample from it with `makemore sample {path_argument(job.directory.path)}`"
        raise InterruptedRun("the run was at its end and is complete", number, hint=hint)


def _fit(job: Job, progress: Progress) -> None:
    """Fit a model in closed form, which has no state on the way that could be saved."""
    assert isinstance(job.model, ClosedFormModel)
    with job.signals.at_once():
        job.model.fit(job.corpora["train"], job.corpora["val"])
        num_parameters = job.model.num_parameters()
        job.record("fitted", 0, num_parameters=num_parameters, **job.model.description())
        _evaluate_and_save(job, progress, _Learner())


def _optimize(
    job: Job, config: TrainConfig, progress: Progress, checkpoint: Checkpoint | None
) -> str:
    """Take the steps that are left; the reason for which they ended. A stop is saved first."""
    optimizer = Optimizer(config, job.model)
    average = Average(config.average_decay, job.model) if config.average_decay else None
    if checkpoint is not None:
        optimizer.load_tensors(checkpoint.optimizer)
        if average is not None:
            average.load(checkpoint.trained)
    learner = _Learner(optimizer, average)
    if config.compile:
        _compile(job)
    try:
        return _take_steps(job, config, progress, learner)
    except StopRequested:
        with learner.at_rest(None) as memory:
            _require_finite(job, progress, memory)
            job.directory.sync_records()
            save_checkpoint(job.directory.last, _checkpoint(job, progress, memory))
        raise


def _take_steps(job: Job, config: TrainConfig, progress: Progress, learner: _Learner) -> str:
    """As `_optimize`. Raises StopRequested between two steps, and in an evaluation."""
    assert learner.optimizer is not None
    clipping = Clipping(config, _trained(job.model))
    last_step = num_steps(config, job.corpora["train"])
    job.model.train()
    num_chars, since = 0, time.perf_counter()
    while True:
        if not progress.evaluated:
            paused = time.perf_counter()
            _evaluate_and_save(job, progress, learner)
            since += time.perf_counter() - paused
        if progress.step >= last_step:
            return "steps"
        if config.patience and progress.evaluations_since_best >= config.patience:
            return "patience"
        job.signals.stop_if_asked()

        rate = learning_rate(config, progress.step, last_step)
        update = _update(job, config, learner.optimizer, clipping, progress.step, rate)
        progress.step += 1
        progress.evaluated = progress.step % config.evaluate_every != 0 and (
            progress.step < last_step
        )
        if learner.average is not None:
            learner.average.update(progress.step)
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


def _compile(job: Job) -> None:
    for member in _trained(job.model):
        if (reason := compile_forward(member, job.device)) is not None:
            job.report({"event": "message", "text": f"training without train.compile: {reason}"})
            return


@dataclass(frozen=True)
class _Update:
    """What one update saw: the loss of its batch, without penalties and label smoothing, in nats
    per character, and the norm of its gradient before clipping."""

    loss: float
    gradient_norm: float
    num_chars: int


def _update(
    job: Job, config: TrainConfig, optimizer: Optimizer, clipping: Clipping, step: int, rate: float
) -> _Update:
    """Update `step` (0-based). Raises DivergedError before it would spoil the weights.

    What is asked for being finite is what the record of the step needs anyway: no number is read
    from the device for the check alone, but where something is added to the loss.
    """
    seed = job.config.seed
    batch = batch_of_step(config, seed, step, job.corpora["train"])
    targets_N = batch.targets if batch.rows is None else batch.targets[batch.rows]

    def require_finite(quantity: str, value: float) -> None:
        if not math.isfinite(value):
            raise diverged(job, step + 1, f"the {quantity} is {value}", batch)

    def loss_and_gradient() -> tuple[Tensor, Tensor]:
        """The batch's loss, and what is minimized, whose gradient the parameters then hold."""
        # Dropout draws from the default generator: seeded by the step, it needs no saving.
        seed_generators(derive_seed(seed, "step", step), job.device)
        with precision(config.precision, job.device):
            loss, minimized = _losses(job.model, batch, targets_N, config.label_smoothing)
        added = penalty(config, job.model)
        minimized = minimized if added is None else minimized + added
        optimizer.zero_grad()
        minimized.backward()
        return loss, minimized

    def closure() -> Tensor:
        """For an optimizer that looks around itself, and would go where it found no number."""
        _, minimized = loss_and_gradient()
        require_finite("loss", minimized.item())
        return minimized

    loss, minimized = loss_and_gradient()
    update = _Update(loss.item(), clipping.clip(), len(targets_N))
    is_more = config.label_smoothing or config.l1_penalty or config.l2_penalty
    require_finite("loss", minimized.item() if is_more else update.loss)
    require_finite("gradient", update.gradient_norm)
    optimizer.step(rate, closure if optimizer.needs_closure else None)
    shrink(config, job.model, rate)
    return update


def _trained(model: LanguageModel) -> list[nn.Module]:
    """What is trained, each on its own loss: the model, or the members of a mixture."""
    return list(model.members) if isinstance(model, Mixture) else [model]


def _losses(
    model: LanguageModel, batch: Batch, targets_N: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """The mean nats per character, and what is minimized; over members, their mean and sum."""
    logits = [member(batch) for member in _trained(model)]
    plain = [functional.cross_entropy(logits_NV, targets_N) for logits_NV in logits]
    smoothed = plain
    if label_smoothing:
        smoothed = [
            functional.cross_entropy(logits_NV, targets_N, label_smoothing=label_smoothing)
            for logits_NV in logits
        ]
    minimized = sum(smoothed[1:], start=smoothed[0])
    return sum(plain[1:], start=plain[0]).detach() / len(plain), minimized


def _evaluate_and_save(job: Job, progress: Progress, learner: _Learner) -> None:
    """Evaluate on the validation names, update `progress`, write `last`, and `best` if it is.

    Without validation names there is nothing to choose by: the newest state is the best.
    """
    between = job.signals.stop_if_asked
    with learner.at_rest(job.corpora["train"], between) as memory:
        _require_finite(job, progress, memory)
        loss = evaluate(job.model, job.corpora["val"], between)
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
        progress.evaluated = True
        job.record(
            "evaluation",
            progress.step,
            loss=_finite(loss.nats_per_char),
            standard_error=_finite(loss.standard_error),
            best=improved,
            samples=_look(job, progress.step),
            **_sparsity(job.config, job.model),
        )
        data = to_bytes(_checkpoint(job, progress, memory))
    # A checkpoint that survives a power cut has its records beside it.
    job.directory.sync_records()
    if improved:
        write_file(job.directory.best, data)
    write_file(job.directory.last, data)


def _sparsity(config: Config, model: LanguageModel) -> dict[str, float]:
    """With an L1 penalty, the share of the weights that it has brought to zero."""
    has_penalty = config.train is not None and config.train.l1_penalty > 0
    return {"share_of_zeros": share_of_zeros(model)} if has_penalty else {}


def _look(job: Job, step: int) -> list[str]:
    """A few names as the model writes them now."""
    chunks = sample_chunks(
        job.model,
        job.vocabulary,
        frozenset(),
        num_names=job.config.train.num_samples if job.config.train else 0,
        sampler=Sampler(),
        max_length=2 * job.corpora["train"].longest,
        seed=derive_seed(job.config.seed, "look", step),
    )
    return [name for chunk in chunks for name in chunk.names]


def _finish(job: Job, progress: Progress, reason: str) -> None:
    """Give the best state its exact statistics, and record what it reaches."""
    checkpoint = load_checkpoint(job.directory.best)
    best = open_checkpoint(job.directory.best, checkpoint, job.device)
    between = job.signals.stop_if_asked
    num_recomputed = recompute_statistics(best.model, job.corpora["train"], BATCH_SIZE, between)
    split = "val" if job.corpora["val"].num_names else "train"
    loss = evaluate(best.model, job.corpora[split], between)
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
        **_sparsity(job.config, best.model),
    )
    job.directory.sync_records()


def _require_finite(job: Job, progress: Progress, memory: _Memory) -> None:
    """Raise DivergedError where an update overflowed the weights."""
    tensors = (*job.model.state_dict().values(), *memory.trained.values())
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise diverged(job, progress.step, "the weights are not finite")


def _checkpoint(job: Job, progress: Progress, memory: _Memory) -> Checkpoint:
    """The state as it stands, its tensors not copied: to be written before the next update."""
    return Checkpoint(
        config=config_to_dict(job.config),
        vocabulary=job.vocabulary.characters,
        split_digest=job.split_digest,
        step=progress.step,
        best_step=progress.best_step,
        best_loss=progress.best_loss,
        evaluations_since_best=progress.evaluations_since_best,
        evaluated=progress.evaluated,
        model=job.model.state_dict(),
        optimizer=memory.optimizer,
        trained=memory.trained,
        corpora={split: corpus.tokens for split, corpus in job.corpora.items()},
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None
