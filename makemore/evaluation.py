"""Exact held-out loss and its standard error.

Every character of every name counts once: the sum of nats over the number of characters, in
float64, so that batches and padding cannot bias it. The characters of one name are not independent,
so the standard error treats names, not characters, as the sample (a ratio estimator; Cochran,
"Sampling Techniques", 1977, section 6.3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from makemore.corpus import Corpus
from makemore.models import LanguageModel

BATCH_SIZE = 1024


@dataclass(frozen=True)
class Loss:
    """A loss over some names: nats per predicted character, name ends included."""

    num_names: int
    num_chars: int
    nats_per_char: float
    standard_error: float

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf

    def to_dict(self) -> dict[str, object]:
        return {
            "num_names": self.num_names,
            "num_chars": self.num_chars,
            "nats_per_char": self.nats_per_char,
            "standard_error": self.standard_error,
            "bits_per_char": self.bits_per_char,
            "perplexity": self.perplexity,
        }


# Is called between two batches of a long pass, which it ends by raising.
Between = Callable[[], None]


def _go_on() -> None:
    pass


@torch.no_grad()
def char_nats(model: LanguageModel, corpus: Corpus, between: Between = _go_on) -> Tensor:
    """(num_chars,) float64 on the CPU: minus the log-probability of each character.

    The model's mode is left as it was found; in between it is eval mode.
    """
    was_training = model.training
    model.eval()
    nats = [torch.zeros(0, dtype=torch.float64)]
    try:
        for batch in corpus.batches(BATCH_SIZE):
            between()
            log_probabilities_NV = model(batch).double().log_softmax(1)
            nats.append(-log_probabilities_NV.gather(1, batch.targets[:, None]).squeeze(1).cpu())
    finally:
        model.train(was_training)
    return torch.cat(nats)


def name_nats(model: LanguageModel, corpus: Corpus, between: Between = _go_on) -> Tensor:
    """(num_names,) float64 on the CPU: minus the log-probability of each name, its end included."""
    nats_N = char_nats(model, corpus, between)
    name_B = torch.arange(corpus.num_names)
    name_N = name_B.repeat_interleave(corpus.offsets.diff().cpu(), output_size=corpus.num_chars)
    return nats_N.new_zeros(corpus.num_names).index_add_(0, name_N, nats_N)


def summarize(nats_B: Tensor, lengths_B: Tensor) -> Loss:
    """The loss over names of which each costs `nats_B` for `lengths_B` characters.

    The standard error is infinite for a single name; both are NaN for none.
    """
    num_names, num_chars = len(nats_B), int(lengths_B.sum())
    if num_names == 0:
        return Loss(0, 0, math.nan, math.nan)
    loss = float(nats_B.sum()) / num_chars
    if num_names == 1 or not math.isfinite(loss):
        return Loss(num_names, num_chars, loss, math.inf)
    residuals_B = nats_B - loss * lengths_B.double()
    variance = float(residuals_B.square().sum()) * num_names / (num_names - 1)
    return Loss(num_names, num_chars, loss, math.sqrt(variance) / num_chars)


def evaluate(model: LanguageModel, corpus: Corpus, between: Between = _go_on) -> Loss:
    """The loss of `model` on all names of `corpus`."""
    return summarize(name_nats(model, corpus, between), corpus.offsets.diff().cpu())


@dataclass(frozen=True)
class Evaluation:
    """The loss of a run on a split or a file (`split` is then its name).

    `unseen` is the loss on the names that are not in the training split; None on the training split
    itself and where there is no name that is.
    """

    run: str
    split: str
    split_digest: str
    loss: Loss
    unseen: Loss | None

    def to_dict(self) -> dict[str, object]:
        """JSON-ready; `unseen` is nested, or null."""
        head: dict[str, object] = {"run": self.run, "split": self.split}
        tail: dict[str, object] = {
            "split_digest": self.split_digest,
            "unseen": None if self.unseen is None else self.unseen.to_dict(),
        }
        return head | self.loss.to_dict() | tail


def evaluate_split(
    model: LanguageModel,
    corpus: Corpus,
    *,
    run: str,
    split: str,
    split_digest: str,
    is_seen: Tensor | None,
) -> Evaluation:
    """The loss on `corpus`, and on those of its names that `is_seen` (B,) bool does not mark."""
    nats_B, lengths_B = name_nats(model, corpus), corpus.offsets.diff().cpu()
    unseen = None
    if is_seen is not None and is_seen.any():
        unseen = summarize(nats_B[~is_seen], lengths_B[~is_seen])
    return Evaluation(run, split, split_digest, summarize(nats_B, lengths_B), unseen)
