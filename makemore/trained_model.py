"""What a run and an ensemble of runs have in common: they draw names, and are evaluated."""

import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TypedDict, Unpack

import torch

from makemore.corpus import Corpus
from makemore.data import SPLITS, Splits, load_names
from makemore.errors import DataError, UsageError
from makemore.evaluation import Evaluation, evaluate_split
from makemore.models import LanguageModel
from makemore.sampling import Chunk, Sample, Sampler, sample_chunks
from makemore.vocab import UnknownCharacterError, Vocabulary


class DrawOptions(TypedDict, total=False):
    """How names are drawn: the keyword arguments of `TrainedModel.draw_chunks`."""

    prompt: str
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    novel: bool
    unique: bool
    max_length: int | None
    seed: int | None


# Without eq: one is the same as itself alone, and can be a key.
@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel(ABC):
    """A model with its vocabulary and the names that it was trained on."""

    vocabulary: Vocabulary
    model: LanguageModel

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in messages and results."""

    @property
    @abstractmethod
    def training_names(self) -> frozenset[str]:
        """The names that are not novel."""

    @property
    @abstractmethod
    def max_name_length(self) -> int:
        """The longest name that it is evaluated on."""

    @abstractmethod
    def split(self, split: str) -> tuple[Corpus, str]:
        """The names of a split, which may be none, and the digest of all splits."""

    def sample(self, num_names: int = 20, **options: Unpack[DrawOptions]) -> list[str]:
        """New names; the options are those of `draw_chunks`."""
        return [name for chunk in self.draw_chunks(num_names, **options) for name in chunk.names]

    def draw(self, num_names: int = 20, **options: Unpack[DrawOptions]) -> Iterator[Sample]:
        """New names one by one, each with its log-probability and whether it is novel; the options
        are those of `draw_chunks`."""
        chunks = self.draw_chunks(num_names, **options)
        return chain.from_iterable(chunk.samples(self.training_names) for chunk in chunks)

    def draw_chunks(
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
    ) -> Iterator[Chunk]:
        """New names, many at a time, with their log-probabilities.

        temperature, top_k, top_p, min_p: see `Sampler`. novel: no training names. unique: no name
        twice. Either may yield fewer names than asked for. max_length: characters after which a
        name is ended, by default twice the longest training name. seed: the same seed gives the
        same names; by default another one each time. Raises UsageError for values out of range and
        for a prompt that the model cannot read.
        """
        max_length = max(2 * self._longest, len(prompt)) if max_length is None else max_length
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
        return sample_chunks(
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
            names = load_names(data, max_length=self.max_name_length, fewest=1)
            return self.evaluate_names(names, data)
        if split not in SPLITS:
            raise UsageError(f"unknown split `{split}`", where="split", hint="train, val or test")
        corpus, split_digest = self.split(split)
        if corpus.num_names == 0:
            hint = "its config's data.fractions leave it no names; another split, or another file"
            raise UsageError(f"the {split} split of {self.name} is empty", where="split", hint=hint)
        return evaluate_split(
            self.model,
            corpus,
            run=self.name,
            split=split,
            split_digest=split_digest,
            is_seen=None if split == "train" else self._is_seen(corpus),
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
        corpus = Corpus.of(tokens).to(next(self.model.parameters()).device)
        return evaluate_split(
            self.model,
            corpus,
            run=self.name,
            split=label,
            split_digest=Splits([], [], list(names)).digest,
            is_seen=self._is_seen(corpus),
        )

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.training_names))

    def _is_seen(self, corpus: Corpus) -> torch.Tensor:
        names = self.vocabulary.decode(corpus.tokens)
        return torch.tensor([name in self.training_names for name in names])


def _require(fine: bool, where: str, what: str, value: object) -> None:
    if not fine:
        hint = "`makemore sample --help` describes every option"
        raise UsageError(f"{what}, got {value}", where=f"--{where}", hint=hint)


def _alphabet(vocabulary: Vocabulary, most: int = 100) -> str:
    shown = "".join(vocabulary.characters[:most])
    rest = len(vocabulary.characters) - most
    return f"its alphabet: {shown}" + (f" and {rest} more" if rest > 0 else "")
