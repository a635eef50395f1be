"""A run, read back: one checkpoint file is enough to sample and to evaluate anywhere."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from makemore.checkpoint import Checkpoint, load_checkpoint
from makemore.config import Config
from makemore.config_loading import config_from_dict
from makemore.corpus import Corpus
from makemore.data import SPLITS, is_refused, split_digest
from makemore.errors import CheckpointError, ConfigError
from makemore.messages import printable
from makemore.models import ClosedFormModel, outline_model
from makemore.run_directory import RunDirectory, find_checkpoints
from makemore.runtime import resolve_device
from makemore.trained_model import TrainedModel
from makemore.vocab import Vocabulary


# Without eq, repr: see TrainedModel.
@dataclass(frozen=True, eq=False, repr=False)
class Run(TrainedModel):
    """A trained model with all that it needs: its vocabulary, its config and its data."""

    path: Path
    checkpoint: Checkpoint
    config: Config
    corpora: dict[str, Corpus]

    @property
    def name(self) -> str:
        """The run directory for its best checkpoint, the path of any other checkpoint."""
        directory = RunDirectory(self.path.parent.parent)
        return str(directory.path if self.path == directory.best else self.path)

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.config.model.kind}, step {self.checkpoint.step}>"

    @cached_property
    def training_names(self) -> frozenset[str]:
        return frozenset(self.vocabulary.decode(self.corpora["train"].tokens))

    @property
    def max_name_length(self) -> int:
        return self.config.data.max_name_length

    def split(self, split: str) -> tuple[Corpus, str]:
        return self.corpora[split], self.checkpoint.split_digest


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def load(
    run: str | Path | None = None,
    *,
    device: str = "auto",
    announce: Callable[[str], None] = _warn,
) -> Run:
    """The run at a directory or checkpoint file; by default the newest one under `runs/`.

    A directory stands for its best checkpoint, or for its last one where the best is damaged, which
    `announce` is told. Raises CheckpointError for what is missing, damaged or does not fit
    together.
    """
    target = resolve_device(device)
    problems: list[CheckpointError] = []
    for path in find_checkpoints(None if run is None else Path(run)):
        try:
            found = open_checkpoint(path, load_checkpoint(path), target)
        except CheckpointError as error:
            problems.append(error)
            continue
        for problem in (problem for error in problems for problem in error.problems):
            announce(f"{problem.where}: {problem.what}; using {path} instead")
        return found
    raise both_damaged(problems)


def both_damaged(problems: Sequence[CheckpointError]) -> CheckpointError:
    """The errors of all checkpoints of a run as one."""
    first, *others = problems
    for error in others:
        first.problems += error.problems
    first.args = ("\n".join(map(str, first.problems)),)
    return first


def open_checkpoint(path: Path, checkpoint: Checkpoint, device: torch.device) -> Run:
    """The run in a checkpoint that was read from `path`."""
    try:
        config = config_from_dict(checkpoint.config, str(path))
    except ConfigError as error:
        hint = "it was written by another version of makemore, or altered"
        what = f"its config: {error.problems[0].what}"
        raise CheckpointError(what, where=str(path), hint=hint) from error
    characters = checkpoint.vocabulary
    if list(characters) != sorted(set(characters)) or any(map(is_refused, characters)):
        raise _unfit(path, "its vocabulary is not one of names")
    vocabulary = Vocabulary(characters)
    try:
        model = outline_model(config.model, vocabulary.size)
    except RuntimeError as error:
        # A tensor of more numbers than torch can count.
        raise _unfit(path, "its config describes an impossible model") from error
    if isinstance(model, ClosedFormModel):
        try:
            model.load_tables(checkpoint.model)
        except ValueError as error:
            raise _unfit(path, str(error)) from error
    else:
        expected = {name: (t.shape, t.dtype) for name, t in model.state_dict().items()}
        found = {name: (t.shape, t.dtype) for name, t in checkpoint.model.items()}
        if expected != found:
            names = sorted(n for n in expected | found if expected.get(n) != found.get(n))
            what = f"its tensor `{printable(names[0])}` is not the one that its config describes"
            raise _unfit(path, what)
        model.load_state_dict(checkpoint.model, assign=True)
    model.to(device).eval()
    if checkpoint.corpora.keys() != set(SPLITS) or not len(checkpoint.corpora["train"]):
        raise _unfit(path, f"it does not hold the names of {', '.join(SPLITS)}")
    corpora = {split: Corpus.of(checkpoint.corpora[split]) for split in SPLITS}
    if split_digest(vocabulary, corpora) != checkpoint.split_digest:
        raise _unfit(path, "its names are not those of its split digest")
    corpora = {split: corpus.to(device) for split, corpus in corpora.items()}
    return Run(vocabulary, model, path, checkpoint, config, corpora)


def _unfit(path: Path, what: str) -> CheckpointError:
    hint = "the file was not written by makemore, or by another version"
    return CheckpointError(what, where=str(path), hint=hint)
