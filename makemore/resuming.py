"""Go on with a run, from its newest sound checkpoint, as if it had never stopped."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from makemore.batching import num_steps
from makemore.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from makemore.config import Config
from makemore.config_loading import config_from_dict, config_to_dict, dump_config
from makemore.corpus import Corpus
from makemore.errors import CheckpointError, UsageError
from makemore.job import Job, Progress, Report
from makemore.models import LanguageModel
from makemore.optim import misfit, num_bytes
from makemore.run import Run, both_damaged, load, open_checkpoint
from makemore.run_directory import RunDirectory
from makemore.runtime import own_generators, precision
from makemore.signals import Signals
from makemore.storage import require_space
from makemore.training import run_job


def resume_run(
    directory: RunDirectory,
    target: torch.device,
    overrides: Sequence[str],
    report: Report,
    signals: Signals,
) -> Run:
    """Go on with a run whose lock is held; see `makemore.launch.resume`."""
    with own_generators(target):
        with signals.at_once():
            state, has_best = _newest(directory, target, report)
            path, checkpoint = state.path, state.checkpoint
            resolved = _override_training(state.config, overrides)
            require_precision(resolved, target)
            _require_fitting_memory(path, checkpoint, state, resolved)
            if overrides:
                _require_more_steps(checkpoint.step, resolved, state)
        job = Job(
            config=resolved,
            vocabulary=state.vocabulary,
            split_digest=checkpoint.split_digest,
            corpora=state.corpora,
            model=state.model,
            device=target,
            directory=directory,
            report=report,
            signals=signals,
            started=time.perf_counter(),
        )
        directory.clear()
        # Those that are there are replaced, one after the other.
        most = 3 - len(directory.checkpoints())
        require_space_for(directory.path, resolved, state.model, state.corpora, most)
        directory.write_config(dump_config(resolved))
        # Both in the checkpoint and beside it: a kill must not bring the old config back.
        save_checkpoint(directory.last, checkpoint.with_config(config_to_dict(resolved)))
        progress = _recover_best(directory, checkpoint, has_best, report)
        description = job.description()
        kept = directory.rewind_records(checkpoint.step, description["num_steps"])
        job.started -= max((record.get("seconds", 0.0) for record in kept), default=0.0)
        started_with = kept[0].get("num_threads") if kept else None
        if started_with not in (None, description["num_threads"]):
            text = (
                f"started with {started_with} threads, resumed with {description['num_threads']}: "
                "the last digits will differ from those of a run that was not stopped"
            )
            _warn(report, text)
        best = {"best_loss": checkpoint.best_loss}
        report({"event": "resume", "step": checkpoint.step, **description, **best})
        run_job(job, progress, checkpoint)
    return load(directory.path, device=str(target))


def require_precision(config: Config, device: torch.device) -> None:
    if config.train is not None:
        precision(config.train.precision, device)


def _newest(directory: RunDirectory, device: torch.device, report: Report) -> tuple[Run, bool]:
    """The run as its newest sound checkpoint has it, and whether `best` is sound.

    That is `last`, unless a kill came after `best` was written and before `last` was, or `last` is
    damaged.
    """
    sound: list[Run] = []
    problems: list[CheckpointError] = []
    for path in reversed(directory.checkpoints()):
        try:
            sound.append(open_checkpoint(path, load_checkpoint(path), device))
        except CheckpointError as error:
            problems.append(error)
    if not sound:
        raise both_damaged(problems)
    newest = max(sound, key=lambda run: run.checkpoint.step)
    for problem in (problem for error in problems for problem in error.problems):
        _warn(report, f"{problem.where}: {problem.what}; going on from {newest.path}")
    return newest, directory.best in [run.path for run in sound]


def _recover_best(
    directory: RunDirectory, checkpoint: Checkpoint, has_best: bool, report: Report
) -> Progress:
    """Where a run stands that goes on from `checkpoint`.

    Where `best` is lost, it is that state, if it was the best one. If not, it is evaluated again,
    and is the best until there is a better one.
    """
    if not has_best and checkpoint.best_step == checkpoint.step:
        save_checkpoint(directory.best, checkpoint)
    elif not has_best and checkpoint.best_step is not None:
        what = f"the best state, of step {checkpoint.best_step}, is lost"
        _warn(report, f"{what}: that of step {checkpoint.step} is the best until there is a better")
        return Progress(checkpoint.step)
    return Progress(
        checkpoint.step,
        checkpoint.best_step,
        checkpoint.best_loss,
        checkpoint.evaluations_since_best,
        checkpoint.evaluated,
    )


def _warn(report: Report, text: str) -> None:
    report({"event": "message", "text": f"warning: {text}"})


def _override_training(config: Config, overrides: Sequence[str]) -> Config:
    for override in overrides:
        if not override.startswith("train."):
            key = override.partition("=")[0]
            what = f"{key}: cannot be changed in a run that has started"
            hint = "a resumed run takes changes under `train.` only; start a new run"
            raise UsageError(what, where=f"--set {key}", hint=hint)
    return config_from_dict(config_to_dict(config), "the run's config", overrides)


def _require_more_steps(step: int, resolved: Config, state: Run) -> None:
    """A change that changes nothing would leave a config that does not tell how it was trained."""
    if resolved.train is None:
        what, hint = "a closed-form model has no training to change", "start a new run"
    else:
        last_step = num_steps(resolved.train, state.corpora["train"])
        what = f"the run is at step {step} already, and would end at step {last_step}"
        hint = f"--set train.steps={2 * step} goes on with it"
        if resolved.train.steps > last_step:
            hint = (
                f"train.max_epochs={resolved.train.max_epochs:g} ends it: set that higher, or null"
            )
        patience, waited = resolved.train.patience, state.checkpoint.evaluations_since_best
        if patience is not None and waited >= patience and last_step > step:
            what = f"the run has ended: {waited} evaluations without a better loss"
            hint = f"--set train.patience={2 * waited} goes on with it"
        elif last_step > step:
            return
    raise UsageError(what, where="--resume", hint=hint)


def _require_fitting_memory(
    path: Path, checkpoint: Checkpoint, state: Run, resolved: Config
) -> None:
    """What training goes on from beside the model: fused kernels believe the shapes they get."""
    if state.config.train is None or resolved.train is None:
        return
    averaged = state.config.train.average_decay is not None
    expected = {k: (v.shape, v.dtype) for k, v in state.model.state_dict().items() if averaged}
    if {k: (v.shape, v.dtype) for k, v in checkpoint.trained.items()} != expected:
        hint = "the file was not written by makemore, or by another version"
        what = "its weights in training are not those that its config describes"
        raise CheckpointError(what, where=str(path), hint=hint)
    if (resolved.train.average_decay is not None) != averaged:
        what = "train.average_decay: an average cannot begin or end in a run that has started"
        hint = "it is the average since the first step; start a new run"
        raise UsageError(what, where="--set train.average_decay", hint=hint)
    if resolved.train.optimizer.kind != state.config.train.optimizer.kind:
        what = "train.optimizer.kind: cannot be changed in a run that has started"
        hint = "the state of one optimizer means nothing to another; start a new run"
        raise UsageError(what, where="--set train.optimizer.kind", hint=hint)
    wrong = misfit(state.config.train, state.model, checkpoint.optimizer, checkpoint.step)
    if wrong is not None:
        hint = "the file was not written by makemore, or by another version"
        what = f"its optimizer's state is not the one that its config describes: {wrong}"
        raise CheckpointError(what, where=str(path), hint=hint)
    if misfit(resolved.train, state.model, checkpoint.optimizer, checkpoint.step) is not None:
        before, after = (dict(config.optimizer) for config in (state.config.train, resolved.train))
        key = next(key for key in after if after[key] != before[key])
        what = f"train.optimizer.{key}: cannot be changed in a run that has started"
        hint = "the optimizer remembers something else then; start a new run"
        raise UsageError(what, where=f"--set train.optimizer.{key}", hint=hint)


def require_space_for(
    place: Path, config: Config, model: LanguageModel, corpora: dict[str, Corpus], most: int = 3
) -> None:
    """Raise StorageError where the disk has no room for the checkpoints of a run, of which there
    are at `most` this many at a time: `best`, `last`, and the one that replaces either."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    names = sum(corpus.tokens.nbytes for corpus in corpora.values())
    memory = 0
    if config.train is not None:
        memory = num_bytes(config.train, model)
        memory += weights if config.train.average_decay is not None else 0
    require_space(place, most * (weights + names + memory) + 2**20)
