"""Several runs as one: they draw names together, and are evaluated together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from makemore.corpus import Corpus
from makemore.errors import UsageError
from makemore.evaluation import char_nats
from makemore.messages import shown
from makemore.models.mixture import Mixture, fit_weights, normalize
from makemore.run import Run
from makemore.trained_model import TrainedModel
from makemore.vocab import Vocabulary


# Without eq, repr: see TrainedModel.
@dataclass(frozen=True, eq=False, repr=False)
class Ensemble(TrainedModel):
    """Runs whose probabilities are averaged, each with its weight; the weights have sum 1."""

    runs: tuple[Run, ...]
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        return f"ensemble of {', '.join(run.name for run in self.runs)}"

    def __repr__(self) -> str:
        return f"<Ensemble of {', '.join(run.name for run in self.runs)}>"

    @cached_property
    def training_names(self) -> frozenset[str]:
        return frozenset().union(*(run.training_names for run in self.runs))

    @property
    def max_name_length(self) -> int:
        return max(run.max_name_length for run in self.runs)

    def split(self, split: str) -> tuple[Corpus, str]:
        """Raises UsageError where the runs were trained on different splits."""
        _require_one_split(self.runs)
        return self.runs[0].split(split)


def mix(runs: Sequence[Run], weights: str | Sequence[float] = "equal") -> Ensemble:
    """Runs as one, whose probabilities are the weighted mean of theirs.

    weights: `equal`; `tuned`, which makes the validation names likeliest (see `fit_weights`); or a
    number for each run, in any scale: they are divided by their sum. Raises UsageError for weights
    that are none of these, for fewer than two runs, and for runs that cannot be mixed: of different
    alphabets or devices, or, to be tuned, of different splits.
    """
    if len(runs) < 2:
        what = f"at least two are needed for a mixture, got {len(runs)}"
        raise UsageError(what, where="runs", hint="name two or more")
    for run in runs[1:]:
        _require_one_alphabet(runs[0], run)
    devices = sorted({str(run.corpora["train"].tokens.device) for run in runs})
    if len(devices) > 1:
        what = f"they are on different devices: {', '.join(devices)}"
        raise UsageError(what, where="runs", hint="load all of them to the same device")
    shares = _shares(runs, weights)
    mixture = Mixture([run.model for run in runs], shares).eval()
    return Ensemble(runs[0].vocabulary, mixture, tuple(runs), tuple(shares))


def parse_weights(text: str) -> str | list[float]:
    """What `mix` takes, from what somebody typed: numbers between commas, or a word."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return text


def _shares(runs: Sequence[Run], weights: str | Sequence[float]) -> list[float]:
    """A weight of each run, of sum 1."""
    if isinstance(weights, str):
        if weights == "equal":
            return normalize([1.0] * len(runs))
        if weights == "tuned":
            return _tune(runs)
        what = f"expected numbers, `equal` or `tuned`, got {shown(weights)}"
    elif len(weights) != len(runs):
        what = f"{len(weights)} for {len(runs)} runs"
    elif not all(math.isfinite(weight) for weight in weights):
        what = f"must be finite, got {', '.join(f'{weight:g}' for weight in weights)}"
    elif min(weights) < 0:
        what = f"must not be negative, got {min(weights):g}"
    elif max(weights) == 0:
        what = "must not all be 0"
    else:
        return normalize(weights)
    hint = "a number for each run, as in 0.7,0.3, or `equal`, or `tuned`"
    raise UsageError(what, where="weights", hint=hint)


def _tune(runs: Sequence[Run]) -> list[float]:
    _require_one_split(runs)
    corpus, _ = runs[0].split("val")
    if corpus.num_names == 0:
        hint = "their config's data.fractions leave none; give the weights as numbers"
        raise UsageError("no validation names to tune them on", where="weights", hint=hint)
    log_probabilities_MN = -torch.stack([char_nats(run.model, corpus) for run in runs])
    weights: list[float] = fit_weights(log_probabilities_MN).tolist()
    return weights


def _require_one_alphabet(first: Run, other: Run) -> None:
    if first.vocabulary == other.vocabulary:
        return
    differences = [
        f"{run.name} alone knows {characters}"
        for run, characters in (
            (first, _surplus(first.vocabulary, other.vocabulary)),
            (other, _surplus(other.vocabulary, first.vocabulary)),
        )
        if characters
    ]
    what = f"their alphabets differ: {', '.join(differences)}"
    hint = "only runs with the same characters can be mixed; train them on the same names"
    raise UsageError(what, where="runs", hint=hint)


def _surplus(vocabulary: Vocabulary, other: Vocabulary, most: int = 10) -> str:
    """The characters that only `vocabulary` has, for people; empty where it has none."""
    surplus = sorted(set(vocabulary.characters) - set(other.characters))
    rest = len(surplus) - most
    return " ".join(map(repr, surplus[:most])) + (f" and {rest} more" if rest > 0 else "")


def _require_one_split(runs: Sequence[Run]) -> None:
    if len({run.checkpoint.split_digest for run in runs}) > 1:
        digests = ", ".join(f"{run.name} has {run.checkpoint.split_digest}" for run in runs)
        what = f"they were trained on different splits: {digests}"
        hint = (
            "only runs of one split can be tuned or evaluated on it; `eval --data FILE` takes any"
        )
        raise UsageError(what, where="runs", hint=hint)
