"""Start a run, or go on with one: from a config to a trained `Run`."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from makemore.batching import num_steps
from makemore.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from makemore.config import Config, ModelConfig, NgramConfig
from makemore.config_loading import config_from_dict, config_to_dict, dump_config, load_config
from makemore.data import load_corpus, split_corpus
from makemore.errors import CheckpointError, DataError, UsageError
from makemore.job import Job, Progress, Report
from makemore.models import LanguageModel, build_model
from makemore.optim import misfit
from makemore.run import Run, load, open_checkpoint
from makemore.run_directory import RunDirectory, create_run, find_run
from makemore.runtime import (
    catch_signals,
    derive_seed,
    own_generators,
    precision,
    resolve_device,
    seed_generators,
)
from makemore.shipped_files import resolve_preset
from makemore.strict_yaml import render_value
from makemore.training import run_job


def train(
    model: str | None = None,
    *,
    config: str | Path | None = None,
    data: str | Path | None = None,
    run: str | Path | None = None,
    seed: int | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    report: Report = lambda record: None,
) -> Run:
    """Train the preset `model` (by default mlp) or the YAML file `config`; return its best state.

    data: an embedded list or a file of names (see `load_names`); run: the run directory, by default
    the next free `runs/<preset>-<number>`; overrides: `key=value` strings, as after `--set`; they
    come last and win. `report` is called with every record that goes to metrics.jsonl, and with
    messages.

    Raises the MakemoreError that says what is wrong; DivergedError and InterruptedRun leave a run
    that can be resumed.
    """
    if model is not None and config is not None:
        hint = "give a preset or a file, not both"
        raise UsageError("--model and --config exclude each other", hint=hint)
    target = resolve_device(device)
    path = Path(config) if config is not None else resolve_preset(model or "mlp")
    flags = [] if data is None else [f"data.source={render_value(str(data))}"]
    flags += [] if seed is None else [f"seed={seed}"]
    resolved = load_config(path, [*flags, *overrides])
    _require_precision(resolved, target)
    vocabulary, corpus = load_corpus(
        resolved.data.source,
        max_length=resolved.data.max_name_length,
        announce=lambda text: report({"event": "message", "text": text}),
    )
    corpora, digest = split_corpus(vocabulary, corpus, resolved.data)
    del corpus  # as large as its splits together
    if not corpora["train"].num_names:
        hint = "more names, a larger share in data.fractions, or another data.seed"
        raise DataError("no names in the training split", where=resolved.data.source, hint=hint)
    tunes = isinstance(resolved.model, NgramConfig) and resolved.model.tune
    is_patient = resolved.train is not None and resolved.train.patience is not None
    if (tunes or is_patient) and not corpora["val"].num_names:
        option = "model.tune=false" if tunes else "train.patience=null"
        what = f"no names in the validation split, which {option.partition('=')[0]} is about"
        hint = f"more names, a larger share in data.fractions, or {option}"
        raise DataError(what, where=resolved.data.source, hint=hint)
    with catch_signals() as received_signal, own_generators(target):
        seed_generators(derive_seed(resolved.seed, "initialization"), torch.device("cpu"))
        untrained = _build(resolved.model, vocabulary.size, target)
        directory = create_run(None if run is None else Path(run), path.stem)
        with directory.lock():
            directory.write_config(dump_config(resolved))
            job = Job(
                config=resolved,
                vocabulary=vocabulary,
                split_digest=digest,
                corpora={split: part.to(target) for split, part in corpora.items()},
                model=untrained,
                device=target,
                directory=directory,
                report=report,
                received_signal=received_signal,
                started=time.perf_counter(),
            )
            job.record("start", 0, **job.description())
            run_job(job, Progress())
    return load(directory.path, device=str(target))


def _build(config: ModelConfig, vocabulary_size: int, device: torch.device) -> LanguageModel:
    try:
        return build_model(config, vocabulary_size).to(device)
    except RuntimeError as error:
        # torch's words for "no memory", and for a size that no integer holds.
        what = f"the model cannot be built: {str(error).splitlines()[0]}"
        raise UsageError(what, where="model", hint="a smaller model, or more memory") from error


def resume(
    run: str | Path,
    *,
    device: str = "auto",
    overrides: Sequence[str] = (),
    report: Report = lambda record: None,
) -> Run:
    """Go on with the run at `run` from its newest checkpoint, as if it had never stopped.

    overrides: `train.*` keys to change (more steps, say). Raises UsageError for any other key and
    for another optimizer. A run that has finished stays as it is.
    """
    target = resolve_device(device)
    directory = find_run(Path(run))
    with catch_signals() as received_signal, directory.lock(), own_generators(target):
        path, checkpoint = _newest(directory)
        state = open_checkpoint(path, checkpoint, target)
        resolved = _override_training(state.config, overrides)
        _require_precision(resolved, target)
        _require_fitting_memory(path, checkpoint, state, resolved)
        if overrides:
            _require_more_steps(checkpoint.step, resolved, state)
        if not directory.best.is_file():
            report({"event": "message", "text": f"{directory.best} is missing, {path} replaces it"})
            save_checkpoint(directory.best, checkpoint)
        directory.write_config(dump_config(resolved))
        # Both in the checkpoint and beside it: a kill must not bring the old config back.
        checkpoint = checkpoint.with_config(config_to_dict(resolved))
        save_checkpoint(directory.last, checkpoint)
        job = Job(
            config=resolved,
            vocabulary=state.vocabulary,
            split_digest=checkpoint.split_digest,
            corpora=state.corpora,
            model=state.model,
            device=target,
            directory=directory,
            report=report,
            received_signal=received_signal,
            started=time.perf_counter(),
        )
        description = job.description()
        kept = directory.rewind_records(checkpoint.step, description["num_steps"])
        job.started -= max((record.get("seconds", 0.0) for record in kept), default=0.0)
        started_with = kept[0].get("num_threads") if kept else None
        if started_with not in (None, description["num_threads"]):
            text = (
                f"started with {started_with} threads, resumed with {description['num_threads']}: "
                "the last digits will differ from those of a run that was not stopped"
            )
            report({"event": "message", "text": text})
        best = {"best_loss": checkpoint.best_loss}
        report({"event": "resume", "step": checkpoint.step, **description, **best})
        progress = Progress(
            checkpoint.step,
            checkpoint.best_step,
            checkpoint.best_loss,
            checkpoint.evaluations_since_best,
        )
        run_job(job, progress, checkpoint)
    return load(directory.path, device=str(target))


def _require_precision(config: Config, device: torch.device) -> None:
    if config.train is not None:
        precision(config.train.precision, device)


def _newest(directory: RunDirectory) -> tuple[Path, Checkpoint]:
    """`last`, unless a kill came after `best` was written and before `last` was."""
    read = [(path, load_checkpoint(path)) for path in reversed(directory.checkpoints())]
    return max(read, key=lambda item: item[1].step)


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
