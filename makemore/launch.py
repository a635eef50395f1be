"""Start a run, or go on with one: from a config to a trained `Run`."""

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from makemore.claiming import claim, claim_numbered, numbered_runs, prepare
from makemore.config import Config, ModelConfig, NgramConfig
from makemore.config_loading import dump_config, load_config
from makemore.corpus import Corpus
from makemore.data import load_corpus, split_corpus
from makemore.errors import ConfigError, DataError, LockedError, UsageError
from makemore.job import Job, Progress, Report
from makemore.messages import path_argument
from makemore.models import LanguageModel, build_model
from makemore.resuming import require_precision, require_space_for, resume_run
from makemore.run import Run, load
from makemore.run_directory import ROOT, RunDirectory, find_run
from makemore.runtime import derive_seed, own_generators, resolve_device, seed_generators
from makemore.shipped_files import resolve_preset
from makemore.signals import Announce, catch_signals
from makemore.strict_yaml import render_value
from makemore.training import run_job
from makemore.vocab import Vocabulary


def _warn(record: Mapping[str, object]) -> None:
    """What somebody hears of a run who does not ask: that something is wrong with it."""
    text = str(record.get("text", ""))
    if record["event"] == "message" and text.startswith("warning: "):
        warnings.warn(text.removeprefix("warning: "), stacklevel=2)


def train(
    model: str | None = None,
    *,
    config: str | Path | None = None,
    data: str | Path | None = None,
    run: str | Path | RunDirectory | None = None,
    seed: int | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    auto_resume: bool = False,
    report: Report = _warn,
) -> Run:
    """Train the preset `model` (by default mlp) or the YAML file `config`; return its best state.

    data: an embedded list or a file of names (see `load_names`); run: the run directory, by default
    the next free `runs/<preset>-<number>`; a RunDirectory is one that the caller has claimed;
    overrides: `key=value` strings, as after `--set`; they
    come last and win. auto_resume: where the same call has begun a run and not ended it, go on with
    that: with the one at `run`, or with the newest of its name. `report` is called with every
    record that goes to metrics.jsonl, with messages, and, from another thread, with signals.

    Raises the MakemoreError that says what is wrong; DivergedError and InterruptedRun leave a run
    that can be resumed.
    """
    if model is not None and config is not None:
        hint = "give a preset or a file, not both"
        raise UsageError("--model and --config exclude each other", hint=hint)
    with catch_signals(_announcing(report)) as signals, ExitStack() as held:
        directory = None
        if isinstance(run, RunDirectory):
            directory = run
        elif run is not None:
            directory = held.enter_context(claim(RunDirectory(Path(run)), again=auto_resume))
        with signals.at_once():
            target = resolve_device(device)
            path = Path(config) if config is not None else resolve_preset(model or "mlp")
            flags = [] if data is None else [f"data.source={render_value(str(data))}"]
            flags += [] if seed is None else [f"seed={seed}"]
            resolved = load_config(path, [*flags, *overrides])
            require_precision(resolved, target)
            vocabulary, corpora, digest = _load_splits(resolved, report)
        if directory is not None and directory.checkpoints():
            assert auto_resume, "what is claimed for a new run has no checkpoint"
            _require_same(directory, resolved, digest)
            return resume_run(directory, target, (), report, signals)
        if directory is None and auto_resume:
            begun = _begun(path.stem, resolved, digest, held)
            if begun is not None:
                return resume_run(begun, target, (), report, signals)
        with own_generators(target):
            with signals.at_once():
                seed_generators(derive_seed(resolved.seed, "initialization"), torch.device("cpu"))
                untrained = _build(resolved.model, vocabulary.size, target)
                place = ROOT if directory is None else directory.path
                require_space_for(place, resolved, untrained, corpora)
            if directory is None:
                directory = held.enter_context(claim_numbered(path.stem))
            prepare(directory)
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
                signals=signals,
                started=time.perf_counter(),
            )
            job.record("start", 0, **job.description())
            run_job(job, Progress())
        return load(directory.path, device=str(target))


def _announcing(report: Report) -> Announce:
    return lambda number, count: report({"event": "signal", "number": number, "count": count})


def _load_splits(config: Config, report: Report) -> tuple[Vocabulary, dict[str, Corpus], str]:
    """The names of a run. Raises DataError for a split that is empty and has to have names."""
    vocabulary, corpus = load_corpus(
        config.data.source,
        max_length=config.data.max_name_length,
        announce=lambda text: report({"event": "message", "text": text}),
    )
    corpora, digest = split_corpus(vocabulary, corpus, config.data)
    if not corpora["train"].num_names:
        hint = "more names, a larger share in data.fractions, or another data.seed"
        raise DataError("no names in the training split", where=config.data.source, hint=hint)
    tunes = isinstance(config.model, NgramConfig) and config.model.tune
    is_patient = config.train is not None and config.train.patience is not None
    if (tunes or is_patient) and not corpora["val"].num_names:
        option = "model.tune=false" if tunes else "train.patience=null"
        what = f"no names in the validation split, which {option.partition('=')[0]} is about"
        hint = f"more names, a larger share in data.fractions, or {option}"
        raise DataError(what, where=config.data.source, hint=hint)
    return vocabulary, corpora, digest


def _begun(name: str, config: Config, split_digest: str, held: ExitStack) -> RunDirectory | None:
    """The newest run of this name, config and names that has not ended, its lock in `held`.

    One that is being trained by another process has not been stopped.
    """
    for directory in numbered_runs(name):
        has_ended = any(record["event"] == "end" for record in directory.records())
        if has_ended or not directory.checkpoints():
            continue
        with ExitStack() as trying, suppress(LockedError):
            trying.enter_context(directory.lock())
            if _difference(directory, config, split_digest) is None:
                held.enter_context(trying.pop_all())
                return directory
    return None


def _require_same(directory: RunDirectory, config: Config, split_digest: str) -> None:
    """Raise UsageError where a run is not one of this config and these names."""
    if (difference := _difference(directory, config, split_digest)) is not None:
        place = path_argument(directory.path)
        hint = f"choose another --run, or go on with that one: --resume {place}"
        raise UsageError(f"another run: {difference}", where=str(directory.path), hint=hint)


def _difference(directory: RunDirectory, config: Config, split_digest: str) -> str | None:
    """What another run differs in; None for a run of this config and these names."""
    if os.path.islink(directory.config):
        return "its config.yaml is a link"
    try:
        begun = load_config(directory.config)
    except (ConfigError, UsageError) as error:
        return f"its config.yaml: {error.problems[0].what}"
    if begun != config:
        pairs = zip(dump_config(begun).splitlines(), dump_config(config).splitlines(), strict=False)
        before, now = next((pair for pair in pairs if pair[0] != pair[1]), ("more", "less"))
        return f"its config has `{before.strip()}` where this one has `{now.strip()}`"
    starts = [record for record in directory.records() if record["event"] == "start"]
    if not starts or starts[0].get("split_digest") != split_digest:
        return "its records do not say that its names are those of the file now"
    return None


def _build(config: ModelConfig, vocabulary_size: int, device: torch.device) -> LanguageModel:
    try:
        return build_model(config, vocabulary_size).to(device)
    except RuntimeError as error:
        # torch's words for "no memory", and for a size that no integer holds.
        what = f"the model cannot be built: {str(error).splitlines()[0]}"
        raise UsageError(what, where="model", hint="a smaller model, or more memory") from error


def resume(
    run: str | Path | RunDirectory,
    *,
    device: str = "auto",
    overrides: Sequence[str] = (),
    report: Report = _warn,
) -> Run:
    """Go on with `run` from its newest sound checkpoint, as if it had never stopped.

    run: a run directory, by itself, by its name under `runs/`, or by a checkpoint in it; a
    RunDirectory is one that the caller holds the lock of. overrides: `train.*` keys to change
    (more steps, say). Raises UsageError for any other key and for another optimizer. A run that has
    finished stays as it is.
    """
    with catch_signals(_announcing(report)) as signals, ExitStack() as held:
        with signals.at_once():
            target = resolve_device(device)
        if isinstance(run, RunDirectory):
            directory = run
        else:
            directory = find_run(Path(run))
            held.enter_context(directory.lock())
        return resume_run(directory, target, overrides, report, signals)
