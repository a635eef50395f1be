"""Start a run, or go on with one: from a config to a trained `Run`."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from makemore.checkpoint import load_checkpoint
from makemore.config import Config
from makemore.config_loading import (
    config_from_dict,
    config_to_dict,
    load_config,
)
from makemore.corpus import Corpus
from makemore.data import SPLITS, load_names, split_names
from makemore.errors import DataError, UsageError
from makemore.models import build_model
from makemore.run import Run, load, open_checkpoint
from makemore.run_directory import create_run, find_run
from makemore.runtime import (
    catch_signals,
    derive_seed,
    own_generators,
    resolve_device,
    seed_generators,
)
from makemore.shipped_files import resolve_preset
from makemore.training import Job, Progress, Report, fit_or_optimize
from makemore.vocab import Vocabulary


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
    with catch_signals() as received_signal, directory.lock(), own_generators(target):
        directory.write_config(resolved)
        seed_generators(derive_seed(resolved.seed, "initialization"), torch.device("cpu"))
        job = Job(
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
            received_signal=received_signal,
            started=time.perf_counter(),
        )
        job.record("start", 0, **job.description())
        fit_or_optimize(job, Progress(), {})
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
    with catch_signals() as received_signal, directory.lock(), own_generators(target):
        checkpoint = load_checkpoint(directory.last)
        last = open_checkpoint(directory.last, checkpoint, target)
        resolved = _override_training(last.config, overrides)
        directory.write_config(resolved)
        kept = directory.rewind_records(checkpoint.step)
        seconds = max((float(str(record.get("seconds", 0))) for record in kept), default=0.0)
        job = Job(
            config=resolved,
            vocabulary=last.vocabulary,
            split_digest=checkpoint.split_digest,
            corpora=last.corpora,
            model=last.model,
            device=target,
            directory=directory,
            report=report,
            received_signal=received_signal,
            started=time.perf_counter() - seconds,
        )
        report({"event": "resume", "step": checkpoint.step, **job.description()})
        progress = Progress(
            checkpoint.step,
            checkpoint.best_step,
            checkpoint.best_loss,
            checkpoint.evaluations_since_best,
        )
        fit_or_optimize(job, progress, checkpoint.optimizer)
    return load(directory.path, device=str(target))


def _override_training(config: Config, overrides: Sequence[str]) -> Config:
    for override in overrides:
        if not override.startswith("train."):
            key = override.partition("=")[0]
            what = f"{key}: cannot be changed in a run that has started"
            hint = "a resumed run takes changes under `train.` only; start a new run"
            raise UsageError(what, where=f"--set {key}", hint=hint)
    return config_from_dict(config_to_dict(config), "the run's config", overrides)
