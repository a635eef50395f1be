"""Names out of a model.

The uniform number that decides character t of name i is a hash of (seed, i, t), not the next one of
a generator: names do not depend on how many are drawn at a time, nor on the order of drawing.

Names that have begun alike are one to the model: as long as that saves a tenth of the work, a step
is made once for each beginning, not for each name. Names that have ended leave. A model of few
contexts is asked once for each of them, before any name is drawn.

Shape suffixes, beside those of `makemore.models.base`: A names that have not ended, R rows of the
model's state, S contexts, P pairs of a context and a character, L columns of ids.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from makemore.models import FiniteContextModel, LanguageModel
from makemore.runtime import derive_seed
from makemore.vocab import BOUNDARY, Vocabulary

# Names drawn at a time: few at first, so that a reader sees some at once, then many, for speed.
_FIRST_CHUNK, _LAST_CHUNK = 256, 8192
# From tables, where 16384 names take no longer than a few of most models.
_TABLE_CHUNK = 16384
# Of a uniform number, which a float64 holds with a bit to spare.
_HASH_BITS = 52
_GUIDE_BITS = 8
# The most contexts, with the two of a table, whose numbers fit before such a hash in 63 bits.
_MAX_CONTEXTS = 2 ** (63 - _HASH_BITS)
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
        """(B, V) float64, the chances of each next character."""
        logits_BV = logits_BV.double()
        if self.temperature == 0:
            likeliest_B1 = logits_BV.argmax(1, keepdim=True)
            return torch.zeros_like(logits_BV).scatter(1, likeliest_B1, 1.0)
        if self.temperature != 1:
            # The likeliest at 0: whatever the temperature, no quotient is plus infinity.
            logits_BV = (logits_BV - logits_BV.amax(1, keepdim=True)) / self.temperature
        probabilities_BV = logits_BV.softmax(1)
        if self.top_k is None and self.top_p is None and self.min_p is None:
            return probabilities_BV
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

    def choose(self, logits_RV: Tensor, uniform_A: Tensor, row_A: Tensor | None = None) -> Tensor:
        """(A,) ids: the inverse of the cumulative distribution at `uniform_A`, from [0, 1).

        row_A: which row of logits each chooses by, where they are not as many as rows.
        """
        cumulative_AV = self.probabilities(logits_RV).cumsum(1)
        if row_A is not None:
            cumulative_AV = cumulative_AV.index_select(0, row_A)
        threshold_A1 = uniform_A[:, None] * cumulative_AV[:, -1:]
        return torch.searchsorted(cumulative_AV, threshold_A1, right=True).squeeze(1)


class Sample(NamedTuple):
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
    filters = novel or unique
    limit = num_names
    if filters:
        limit = max(_MAX_CANDIDATES_PER_NAME * num_names, _MIN_CANDIDATES)
    seed = derive_seed(seed, "sample")
    table = None
    chunk, last_chunk = _FIRST_CHUNK, _LAST_CHUNK
    if isinstance(model, FiniteContextModel) and model.num_contexts <= _MAX_CONTEXTS - 2:
        table = ContextTable.of(model, sampler)
        chunk = last_chunk = _TABLE_CHUNK
    drawn: set[str] = set()
    first, missing = 0, num_names
    while missing and first < limit:
        size = min(chunk, limit - first)
        index_B = torch.arange(first, first + size, device=device)
        if table is not None:
            found = draw_from_table(table, index_B, prompt_ids, max_length, seed)
        else:
            found = draw(model, index_B, prompt_ids, sampler, max_length, seed)
        ids_BL, log_probability_B = found
        names = vocabulary.decode(_stream(ids_BL))
        are_novel = [name not in training_names for name in names]
        samples = map(Sample._make, zip(names, log_probability_B.tolist(), are_novel, strict=True))
        if not filters:
            yield from samples
            missing -= size
        for sample in samples if filters else ():
            if (novel and not sample.novel) or (unique and sample.name in drawn):
                continue
            if unique:
                drawn.add(sample.name)
            yield sample
            missing -= 1
            if not missing:
                return
        first += size
        chunk = last_chunk


def _stream(ids_BL: Tensor) -> Tensor:
    """Rows that are padded with boundaries as a token stream, which keeps the first of them."""
    ids_BL = ids_BL.contiguous()
    kept_BL = torch.ones_like(ids_BL, dtype=torch.bool)
    # No name is empty, so what is kept is the first column and whatever follows a character.
    kept_BL[:, 1:] = ids_BL[:, :-1] != BOUNDARY
    return ids_BL.masked_select(kept_BL)


@torch.inference_mode()
def draw(
    model: LanguageModel,
    index_B: Tensor,
    prompt_ids: list[int],
    sampler: Sampler,
    max_length: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The names of numbers `index_B`: ids (B, L) padded with boundaries, log-probabilities (B,)."""
    was_training = model.training
    model.eval()
    num_names, device = len(index_B), index_B.device
    ids_LB = index_B.new_full((max_length + 1, num_names), BOUNDARY)
    log_probability_B = torch.zeros(num_names, dtype=torch.float64, device=device)
    hash_A = name_hashes(seed, index_B)
    alive_A = torch.arange(num_names, device=device)
    # All names begin alike: one row.
    row_A: Tensor | None = torch.zeros_like(alive_A)
    ids_R = index_B.new_full((1,), BOUNDARY)
    state = model.start(1)
    position = 0
    while True:
        logits_RV, state = model.step(ids_R, state)
        log_probabilities_RV = logits_RV.double().log_softmax(1)
        if position < len(prompt_ids):
            ids_A = torch.full_like(alive_A, prompt_ids[position])
        elif position == max_length:
            ids_A = torch.full_like(alive_A, BOUNDARY)
        else:
            if position == 0:
                logits_RV = logits_RV.clone()
                logits_RV[:, BOUNDARY] = -torch.inf
            ids_A = sampler.choose(logits_RV, uniforms(hash_A, position), row_A)
        size = logits_RV.shape[1]
        pair_A = (torch.arange(len(alive_A), device=device) if row_A is None else row_A) * size
        pair_A += ids_A
        log_probability_B[alive_A] += log_probabilities_RV.flatten()[pair_A]
        ids_LB[position, alive_A] = ids_A
        position += 1
        going_A = ids_A != BOUNDARY
        alive_A, hash_A, pair_A = alive_A[going_A], hash_A[going_A], pair_A[going_A]
        if len(alive_A) == 0:
            break
        pair_R = pair_A
        if row_A is not None:
            pair_R, row_A = pair_A.unique(return_inverse=True)
            if len(pair_R) > 0.9 * len(pair_A):
                pair_R, row_A = pair_A, None
        parent_R, ids_R = pair_R // size, pair_R % size
        state = tuple(part.index_select(0, parent_R) for part in state)
    model.train(was_training)
    return ids_LB[:position].T, log_probability_B


@dataclass(frozen=True)
class ContextTable:
    """What a model of few contexts says with a sampler: V pairs (context, character) in a row for
    each context.

    After the model's S contexts there are two more: S, where a name begins, which is the first
    context without the end; S + 1, where a name is when it has ended.
    """

    thresholds: Tensor  # (P,) int64, context * 2**52 + where the share of the pair ends
    guide: Tensor  # (256 (S + 2),) the pair that has all of a 256th of a context, -1 if several do
    log_probabilities: Tensor  # (P,) float64
    next_contexts: Tensor  # (P,) int64, context * 2**52
    ids: Tensor  # (P,)
    vocabulary_size: int
    num_contexts: int
    first_context: int

    @classmethod
    @torch.inference_mode()
    def of(cls, model: FiniteContextModel, sampler: Sampler) -> "ContextTable":
        num_contexts, device = model.num_contexts, next(model.parameters()).device
        context_S = torch.arange(num_contexts, device=device)
        logits_SV = model.context_logits(context_S).double()
        size = logits_SV.shape[1]
        ids_P = torch.arange(size, device=device).repeat(num_contexts + 2)
        boundary_1 = ids_P[BOUNDARY : BOUNDARY + 1]
        first_1 = model.next_context(torch.full_like(boundary_1, model.first_context), boundary_1)
        before_end_SV = torch.cat([logits_SV, logits_SV[first_1]])
        choice_SV = before_end_SV.clone()
        choice_SV[num_contexts, BOUNDARY] = -torch.inf
        # After the end the boundary alone is left, and costs nothing.
        ended_1V = torch.full_like(logits_SV[:1], -torch.inf)
        ended_1V[:, BOUNDARY] = 0
        cumulative_SV = sampler.probabilities(torch.cat([choice_SV, ended_1V])).cumsum(1)
        thresholds_SV = (cumulative_SV / cumulative_SV[:, -1:] * 2**_HASH_BITS).ceil().long()
        thresholds_SV += torch.arange(num_contexts + 2, device=device)[:, None] << _HASH_BITS
        context_P = torch.cat([context_S, first_1]).repeat_interleave(size)
        next_P = model.next_context(context_P, ids_P[: len(context_P)])
        next_SV = torch.cat([next_P, ids_P[:size]]).view(-1, size)
        next_SV[:, BOUNDARY] = next_SV[-1] = num_contexts + 1
        thresholds_P = thresholds_SV.flatten()
        lowest_Q = torch.arange((num_contexts + 2) << _GUIDE_BITS, device=device)
        lowest_Q <<= _HASH_BITS - _GUIDE_BITS
        highest_Q = lowest_Q + (2 ** (_HASH_BITS - _GUIDE_BITS) - 1)
        guide_Q = torch.searchsorted(thresholds_P, lowest_Q, right=True)
        guide_Q[guide_Q != torch.searchsorted(thresholds_P, highest_Q, right=True)] = -1
        return cls(
            thresholds_P,
            guide_Q,
            torch.cat([before_end_SV, ended_1V]).log_softmax(1).flatten(),
            next_SV.flatten() << _HASH_BITS,
            ids_P.to(torch.uint8 if size <= 2**8 else torch.int32),
            size,
            num_contexts,
            int(first_1),
        )

    def find(self, wanted_A: Tensor) -> Tensor:
        """(A,) the pair of each context and 52 bits of a uniform number below it."""
        # Most need no search, of which each step is a branch that no processor can foresee.
        pair_A = self.guide.index_select(0, wanted_A >> (_HASH_BITS - _GUIDE_BITS))
        open_A = (pair_A < 0).nonzero().squeeze(1)
        found_A = torch.searchsorted(self.thresholds, wanted_A[open_A], right=True)
        return pair_A.index_copy_(0, open_A, found_A)


@torch.inference_mode()
def draw_from_table(
    table: ContextTable, index_B: Tensor, prompt_ids: list[int], max_length: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The same as `draw`, without a model."""
    num_names, size = len(index_B), table.vocabulary_size
    end = table.num_contexts + 1
    pairs_LB = index_B.new_full((max_length + 1, num_names), end * size + BOUNDARY)
    log_probability_B = torch.zeros(num_names, dtype=torch.float64, device=index_B.device)
    log_probability_A = log_probability_B.clone()
    alive_A, hash_A = torch.arange(num_names, device=index_B.device), name_hashes(seed, index_B)
    start = table.first_context if prompt_ids else table.num_contexts
    context_A = torch.full_like(index_B, start << _HASH_BITS)
    position = 0
    while True:
        if position < len(prompt_ids):
            pair_A = (context_A >> _HASH_BITS) * size + prompt_ids[position]
        elif position == max_length:
            pair_A = (context_A >> _HASH_BITS) * size + BOUNDARY
        else:
            wanted_A = hash_bits(hash_A, position).add_(context_A)
            pair_A = table.find(wanted_A)
        pairs_LB[position].index_copy_(0, alive_A, pair_A)
        log_probability_A += table.log_probabilities.index_select(0, pair_A)
        context_A = table.next_contexts.index_select(0, pair_A)
        position += 1
        going_A = context_A != end << _HASH_BITS
        num_going = int(going_A.sum())
        # Names that have ended draw the boundary again, for nothing, until they are a quarter.
        if num_going <= 0.75 * len(alive_A):
            log_probability_B.index_copy_(0, alive_A, log_probability_A)
            if num_going == 0:
                break
            place_A = going_A.nonzero().squeeze(1)
            alive_A, hash_A, context_A, log_probability_A = (
                part_A.index_select(0, place_A)
                for part_A in (alive_A, hash_A, context_A, log_probability_A)
            )
    ids_LB = table.ids.index_select(0, pairs_LB[:position].flatten()).view(position, num_names)
    return ids_LB.T, log_probability_B


def uniforms(hash_B: Tensor, position: int) -> Tensor:
    """(B,) float64 in [0, 1), alike on every device: a hash of (seed, name number, position), of
    which `hash_B` is what `name_hashes` made of the first two.

    52 bits, so that u * x < x for every x > 0.
    """
    return hash_bits(hash_B, position).double() * 2.0**-_HASH_BITS


def hash_bits(hash_B: Tensor, position: int) -> Tensor:
    """(B,) int64 in [0, 2**52): the same number in units of 2**-52."""
    return (_mix(hash_B + position) >> (64 - _HASH_BITS)).bitwise_and_(2**_HASH_BITS - 1)


def name_hashes(seed: int, index_B: Tensor) -> Tensor:
    """(B,) int64: a hash of (seed, name number).

    The finalizer of SplitMix64 (Steele, Lea & Flood 2014), here and in `uniforms` applied after
    each number went in.
    """
    return _mix(_mix(index_B.new_full(index_B.shape, seed)) + index_B)


def _mix(x: Tensor) -> Tensor:
    # Multiplication wraps around; int64 has no logical shift, so the sign's copies are masked out.
    x = x + _signed(0x9E3779B97F4A7C15)
    x = x.bitwise_xor_((x >> 30).bitwise_and_(2**34 - 1)).mul_(_signed(0xBF58476D1CE4E5B9))
    x = x.bitwise_xor_((x >> 27).bitwise_and_(2**37 - 1)).mul_(_signed(0x94D049BB133111EB))
    return x.bitwise_xor_((x >> 31).bitwise_and_(2**33 - 1))


def _signed(x: int) -> int:
    """An unsigned 64-bit number as the int64 with the same bits."""
    return x - 2**64 if x >= 2**63 else x
