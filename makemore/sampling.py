"""Names out of a model.

The uniform number that decides character t of name i is a hash of (seed, i, t), not the next one of
a generator: names do not depend on how many are drawn at a time, nor on the order of drawing.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from makemore.models import LanguageModel, State
from makemore.runtime import derive_seed
from makemore.vocab import BOUNDARY, Vocabulary

# Names drawn at a time: few at first, so that a reader sees some at once, then many, for speed.
_FIRST_CHUNK, _LAST_CHUNK = 32, 4096
# With `novel` or `unique`, candidates a wanted name before giving up.
_MAX_CANDIDATES_PER_NAME, _MIN_CANDIDATES = 100, 10_000


@dataclass(frozen=True)
class Sampler:
    """How to choose the next character from its probabilities, in this order:

    temperature divides the logits (0: always the likeliest, the first one of equals); top_k keeps
    the k likeliest; top_p the fewest that hold that share of the probability (Holtzman et al.
    2020); min_p those at least that share as likely as the likeliest (Nguyen et al. 2024).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def probabilities(self, logits_BV: Tensor) -> Tensor:
        """(B, V) float64, the chances of each next character. Not for temperature 0."""
        logits_BV = logits_BV.double()
        # The likeliest at 0: whatever the temperature, no quotient is plus infinity.
        logits_BV = logits_BV - logits_BV.amax(1, keepdim=True)
        probabilities_BV = (logits_BV / self.temperature).softmax(1)
        if self.top_k is not None or self.top_p is not None:
            sorted_BV, order_BV = probabilities_BV.sort(dim=1, descending=True, stable=True)
            kept_BV = torch.ones_like(sorted_BV, dtype=torch.bool)
            if self.top_k is not None:
                kept_BV[:, self.top_k :] = False
                sorted_BV = sorted_BV * kept_BV
                sorted_BV = sorted_BV / sorted_BV.sum(1, keepdim=True)
            if self.top_p is not None:
                before_BV = sorted_BV.cumsum(1) - sorted_BV
                kept_BV &= before_BV < self.top_p
            kept_BV = torch.zeros_like(kept_BV).scatter(1, order_BV, kept_BV)
            probabilities_BV = probabilities_BV * kept_BV
        if self.min_p is not None:
            floor_B1 = self.min_p * probabilities_BV.amax(1, keepdim=True)
            probabilities_BV = probabilities_BV * (probabilities_BV >= floor_B1)
        return probabilities_BV / probabilities_BV.sum(1, keepdim=True)

    def choose(self, logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        """(B,) ids: the inverse of the cumulative distribution at `uniform_B`, from [0, 1)."""
        if self.temperature == 0:
            return logits_BV.argmax(1)
        cumulative_BV = self.probabilities(logits_BV).cumsum(1)
        threshold_B1 = uniform_B[:, None] * cumulative_BV[:, -1:]
        return (cumulative_BV <= threshold_B1).sum(1)


@dataclass(frozen=True)
class Sample:
    """A drawn name, the model's log-probability of it in nats (its end included; temperature and
    the other filters do not count), and whether it is absent from the training names."""

    name: str
    log_probability: float
    novel: bool


def sample_names(
    model: LanguageModel,
    vocabulary: Vocabulary,
    training_names: Set[str],
    *,
    num_names: int,
    sampler: Sampler,
    prompt: str = "",
    novel: bool = False,
    unique: bool = False,
    max_length: int,
    seed: int,
) -> Iterator[Sample]:
    """Draw `num_names` names that begin with `prompt`, in chunks.

    A name has at least one character, and ends at `max_length` if it has not ended before. `novel`
    passes over training names, `unique` over names that were drawn before; both may yield fewer
    names than asked for, after a hundred candidates for each wanted name. Raises
    UnknownCharacterError for a prompt with a character that the vocabulary lacks.
    """
    device = next(model.parameters()).device
    prompt_ids = vocabulary.encode([prompt])[:-1].tolist()
    assert len(prompt_ids) <= max_length
    limit = num_names
    if novel or unique:
        limit = max(_MAX_CANDIDATES_PER_NAME * num_names, _MIN_CANDIDATES)
    seed = derive_seed(seed, "sample")
    drawn: set[str] = set()
    first, chunk, missing = 0, _FIRST_CHUNK, num_names
    while missing and first < limit:
        size = min(chunk, limit - first)
        index_B = torch.arange(first, first + size, device=device)
        rows_BL, log_probability_B = draw(model, index_B, prompt_ids, sampler, max_length, seed)
        # Rows are padded with boundaries; a stream keeps the first of them.
        lengths_B1 = (rows_BL != BOUNDARY).sum(1, keepdim=True)
        stream = rows_BL[torch.arange(rows_BL.shape[1], device=device) <= lengths_B1]
        names = vocabulary.decode(stream)
        for name, log_probability in zip(names, log_probability_B.tolist(), strict=True):
            sample = Sample(name, log_probability, name not in training_names)
            if (novel and not sample.novel) or (unique and name in drawn):
                continue
            if unique:
                drawn.add(name)
            yield sample
            missing -= 1
            if not missing:
                return
        first += size
        chunk = min(chunk * 4, _LAST_CHUNK)


@torch.no_grad()
def draw(
    model: LanguageModel,
    index_B: Tensor,
    prompt_ids: list[int],
    sampler: Sampler,
    max_length: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The names of numbers `index_B`: ids (B, L) padded with boundaries, log-probabilities (B,).

    One step of the model a character, for the names that have not ended.
    """
    was_training = model.training
    model.eval()
    num_names, device = len(index_B), index_B.device
    log_probability_B = torch.zeros(num_names, dtype=torch.float64, device=device)
    columns: list[Tensor] = []
    alive_A = torch.arange(num_names, device=device)
    ids_A = torch.full_like(alive_A, BOUNDARY)
    state: State = model.start(num_names)
    for position in range(max_length + 1):
        logits_AV, state = model.step(ids_A, state)
        log_probabilities_AV = logits_AV.double().log_softmax(1)
        if position < len(prompt_ids):
            ids_A = torch.full_like(alive_A, prompt_ids[position])
        elif position == max_length:
            ids_A = torch.full_like(alive_A, BOUNDARY)
        else:
            if position == 0:
                logits_AV = logits_AV.clone()
                logits_AV[:, BOUNDARY] = -torch.inf
            ids_A = sampler.choose(logits_AV, uniforms(seed, index_B[alive_A], position))
        log_probability_B[alive_A] += log_probabilities_AV.gather(1, ids_A[:, None]).squeeze(1)
        column_B = torch.full_like(index_B, BOUNDARY)
        column_B[alive_A] = ids_A
        columns.append(column_B)
        going_A = ids_A != BOUNDARY
        alive_A, ids_A = alive_A[going_A], ids_A[going_A]
        if len(alive_A) == 0:
            break
        state = tuple(part[going_A] for part in state)
    model.train(was_training)
    return torch.stack(columns, dim=1), log_probability_B


def uniforms(seed: int, index_B: Tensor, position: int) -> Tensor:
    """(B,) float64 in [0, 1): a hash of (seed, name number, position), alike on every device.

    The finalizer of SplitMix64 (Steele, Lea & Flood 2014), applied after each of the three numbers
    went in. 52 bits, so that u * x < x for every x > 0.
    """
    state_B = _mix(_mix(index_B.new_full(index_B.shape, seed)) + index_B)
    return ((_mix(state_B + position) >> 12) & (2**52 - 1)).double() * 2.0**-52


def _mix(x: Tensor) -> Tensor:
    # Multiplication wraps around; int64 has no logical shift, so the sign's copies are masked out.
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _signed(0x94D049BB133111EB)
    return x ^ ((x >> 31) & (2**33 - 1))


def _signed(x: int) -> int:
    """An unsigned 64-bit number as the int64 with the same bits."""
    return x - 2**64 if x >= 2**63 else x
