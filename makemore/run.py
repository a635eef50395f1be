"""A run, read back: one checkpoint file is enough to sample and to evaluate anywhere."""

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from makemore.checkpoint import Checkpoint, load_checkpoint
from makemore.config import Config
from makemore.config_loading import config_from_dict
from makemore.corpus import Corpus
from makemore.data import SPLITS, Splits, is_refused, load_names
from makemore.errors import CheckpointError, ConfigError, DataError, UsageError
from makemore.evaluation import Evaluation, evaluate_split
from makemore.models import LanguageModel, build_model
from makemore.run_directory import RunDirectory, find_checkpoint
from makemore.runtime import resolve_device
from makemore.sampling import Sample, Sampler, sample_names
from makemore.vocab import UnknownCharacterError, Vocabulary


class DrawOptions(TypedDict, total=False):
    """How names are drawn: the keyword arguments of `Run.draw`."""

    prompt: str
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    novel: bool
    unique: bool
    max_length: int | None
    seed: int | None


# Without eq: a run is the same as itself, and can be a key.
@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained model with all that it needs: its vocabulary, its config and its data."""

    path: Path
    checkpoint: Checkpoint
    config: Config
    vocabulary: Vocabulary
    model: LanguageModel
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

    def sample(self, num_names: int = 20, **options: Unpack[DrawOptions]) -> list[str]:
        """New names; the options are those of `draw`."""
        return [sample.name for sample in self.draw(num_names, **options)]

    def draw(
        self,
        num_names: int = 20,
        *,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        novel: bool = False,
        unique: bool = False,
        max_length: int | None = None,
        seed: int | None = None,
    ) -> Iterator[Sample]:
        """New names one by one, each with its log-probability and whether it is novel.

        temperature, top_k, top_p, min_p: see `Sampler`. novel: no training names. unique: no name
        twice. Either may yield fewer names than asked for. max_length: characters after which a
        name is ended, by default twice the longest training name. seed: the same seed gives the
        same names; by default another one each time. Raises UsageError for values out of range and
        for a prompt that the model cannot read.
        """
        longest = self.corpora["train"].longest
        max_length = max(2 * longest, len(prompt)) if max_length is None else max_length
        _require(num_names >= 0, "count", "must not be negative", num_names)
        _require(
            0 <= temperature < math.inf, "temperature", "must be 0 or more, and finite", temperature
        )
        _require(top_k is None or top_k >= 1, "top-k", "must be 1 or more", top_k)
        _require(top_p is None or 0 < top_p <= 1, "top-p", "must be above 0, at most 1", top_p)
        _require(min_p is None or 0 <= min_p <= 1, "min-p", "must be from 0 to 1", min_p)
        _require(max_length >= 1, "max-length", "must be 1 or more", max_length)
        _require(seed is None or seed >= 0, "seed", "must not be negative", seed)
        if len(prompt) > max_length:
            what = f"{len(prompt)} characters, more than the maximum length, {max_length}"
            raise UsageError(what, where="--prompt", hint="a shorter prompt or a larger maximum")
        try:
            self.vocabulary.encode([prompt])
        except UnknownCharacterError as error:
            what = f"the character {error.character!r} is not in the model's alphabet"
            raise UsageError(what, where="--prompt", hint=_alphabet(self.vocabulary)) from error
        return sample_names(
            self.model,
            self.vocabulary,
            self.training_names,
            num_names=num_names,
            sampler=Sampler(temperature, top_k, top_p, min_p),
            prompt=prompt,
            novel=novel,
            unique=unique,
            max_length=max_length,
            seed=secrets.randbits(63) if seed is None else seed,
        )

    def evaluate(self, split: str = "val", *, data: str | None = None) -> Evaluation:
        """The exact loss on `train`, `val` or `test`, or on the names of `data` (see `load_names`).

        Raises UsageError for an unknown or empty split, DataError for a file that cannot be used.
        """
        if data is not None:
            max_length = self.config.data.max_name_length
            return self.evaluate_names(load_names(data, max_length=max_length, fewest=1), data)
        if split not in SPLITS:
            raise UsageError(f"unknown split `{split}`", where="split", hint="train, val or test")
        if self.corpora[split].num_names == 0:
            hint = "its config's data.fractions leave it no names; another split, or another file"
            raise UsageError(f"the {split} split of {self.name} is empty", where="split", hint=hint)
        return evaluate_split(
            self.model,
            self.corpora[split],
            run=self.name,
            split=split,
            split_digest=self.checkpoint.split_digest,
            is_seen=None if split == "train" else self._is_seen(self.corpora[split]),
        )

    def evaluate_names(self, names: Sequence[str], label: str) -> Evaluation:
        """The exact loss on other names, which `label` stands for in messages and results.

        Raises DataError for a character that the model does not know.
        """
        try:
            tokens = self.vocabulary.encode(names)
        except UnknownCharacterError as error:
            what = f"{error.name!r}: {error.character!r} is not in the model's alphabet"
            raise DataError(what, where=label, hint=_alphabet(self.vocabulary)) from error
        corpus = Corpus.of(tokens).to(self.corpora["train"].tokens.device)
        return evaluate_split(
            self.model,
            corpus,
            run=self.name,
            split=label,
            split_digest=Splits([], [], list(names)).digest,
            is_seen=self._is_seen(corpus),
        )

    def _is_seen(self, corpus: Corpus) -> torch.Tensor:
        names = self.vocabulary.decode(corpus.tokens)
        return torch.tensor([name in self.training_names for name in names])


def load(run: str | Path | None = None, *, device: str = "auto") -> Run:
    """The run at a directory or checkpoint file; by default the newest one under `runs/`.

    A directory stands for its best checkpoint. Raises CheckpointError for what is missing, damaged
    or does not fit together.
    """
    target = resolve_device(device)
    path = find_checkpoint(None if run is None else Path(run))
    return open_checkpoint(path, load_checkpoint(path), target)


def open_checkpoint(path: Path, checkpoint: Checkpoint, device: torch.device) -> Run:
    """The run in a checkpoint that was read from `path`."""
    try:
        config = config_from_dict(checkpoint.config, str(path))
    except ConfigError as error:
        hint = "it was written by another version of makemore, or altered"
        raise CheckpointError(f"its config: {error}", where=str(path), hint=hint) from error
    characters = checkpoint.vocabulary
    if list(characters) != sorted(set(characters)) or any(map(is_refused, characters)):
        raise _unfit(path, "its vocabulary is not one of names")
    vocabulary = Vocabulary(characters)
    with torch.device("meta"):
        model = build_model(config.model, vocabulary.size)
    expected = {name: (t.shape, t.dtype) for name, t in model.state_dict().items()}
    found = {name: (t.shape, t.dtype) for name, t in checkpoint.model.items()}
    if expected != found:
        names = sorted(n for n in expected | found if expected.get(n) != found.get(n))
        raise _unfit(path, f"its tensor `{names[0]}` is not the one that its config describes")
    model.load_state_dict(checkpoint.model, assign=True)
    model.to(device).eval()
    if checkpoint.corpora.keys() != set(SPLITS) or not len(checkpoint.corpora["train"]):
        raise _unfit(path, f"it does not hold the names of {', '.join(SPLITS)}")
    splits = Splits(*(vocabulary.decode(checkpoint.corpora[split]) for split in SPLITS))
    if splits.digest != checkpoint.split_digest:
        raise _unfit(path, "its names are not those of its split digest")
    corpora = {split: Corpus.of(checkpoint.corpora[split]).to(device) for split in SPLITS}
    return Run(path, checkpoint, config, vocabulary, model, corpora)


def _unfit(path: Path, what: str) -> CheckpointError:
    hint = "the file was not written by makemore, or by another version"
    return CheckpointError(what, where=str(path), hint=hint)


def _require(fine: bool, where: str, what: str, value: object) -> None:
    if not fine:
        hint = "`makemore sample --help` describes every option"
        raise UsageError(f"{what}, got {value}", where=f"--{where}", hint=hint)


def _alphabet(vocabulary: Vocabulary, most: int = 100) -> str:
    shown = "".join(vocabulary.characters[:most])
    rest = len(vocabulary.characters) - most
    return f"its alphabet: {shown}" + (f" and {rest} more" if rest > 0 else "")
