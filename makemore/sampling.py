"""Names out of a model.

The uniform number that decides character t of name i is a hash of (seed, i, t), not the next one of
a generator: names do not depend on how many are drawn at a time, nor on the order of drawing.

Names that have begun alike are one to the model: as long as that saves a tenth of the work, a step
is made once for each beginning, not for each name. Names that have ended leave. A model of few
contexts is asked once for each of them, before any name is drawn.

Shape suffixes, beside those of `makemore.models.base`: A names that have not ended, R rows of the
model's state, S contexts, P pairs of a context and a character, Q parts of a guide, G names that
go on.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from makemore.errors import DivergedError
from makemore.models import FiniteContextModel, LanguageModel
from makemore.runtime import derive_seed
from makemore.vocab import BOUNDARY, Vocabulary

# Names drawn at a time: few at first, so that a reader sees some at once, then many, for speed.
_FIRST_CHUNK, _LAST_CHUNK = 256, 8192
# From tables, where 16384 names take no longer than a few of most models.
_TABLE_CHUNK = 16384
# Of a uniform number, which a float64 holds with a bit to spare.
_HASH_BITS = 52
_GUIDE_BITS = 9
# Below so many, a search of all is cheaper than to find out who needs none.
_FEW = 0
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
        ids_A = torch.searchsorted(cumulative_AV, threshold_A1, right=True).squeeze(1)
        # What is no number has no place; `draw` finds it once, at the end.
        return ids_A.clamp_(max=cumulative_AV.shape[1] - 1)


class Sample(NamedTuple):
    """A drawn name, the model's log-probability of it in nats (its end included; temperature and
    the other filters do not count), and whether it is absent from the training names."""

    name: str
    log_probability: float
    novel: bool


class Chunk(NamedTuple):
    """Names that were drawn together, and their log-probabilities, as a `Sample` has them."""

    names: list[str]
    log_probabilities: Tensor  # (B,) float64

    def samples(self, training_names: Set[str]) -> Iterator[Sample]:
        """The same by rows, and which are novel."""
        are_novel = [name not in training_names for name in self.names]
        columns = zip(self.names, self.log_probabilities.tolist(), are_novel, strict=True)
        return map(Sample._make, columns)


def sample_chunks(
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
) -> Iterator[Chunk]:
    """Draw `num_names` names that begin with `prompt`, some at a time.

    A name has at least one character, and ends at `max_length` if it has not ended before. `novel`
    passes over training names, `unique` over names that were drawn before; both may yield fewer
    names than asked for, after a hundred candidates for each wanted name. Raises
    UnknownCharacterError for a prompt with a character that the vocabulary lacks, DivergedError as
    `draw`.
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
    size, last_size = _FIRST_CHUNK, _LAST_CHUNK
    if isinstance(model, FiniteContextModel) and model.num_contexts <= _MAX_CONTEXTS - 2:
        table = ContextTable.of(model, sampler)
        size = last_size = _TABLE_CHUNK
    drawn: set[str] = set()
    first, missing = 0, num_names
    while missing and first < limit:
        index_B = torch.arange(first, min(first + size, limit), device=device)
        if table is not None:
            found = draw_from_table(table, index_B, prompt_ids, max_length, seed)
        else:
            found = draw(model, index_B, prompt_ids, sampler, max_length, seed)
        chunk = Chunk(vocabulary.decode(found[0]), found[1])
        if filters:
            kept = []
            for place, name in enumerate(chunk.names):
                if (novel and name in training_names) or (unique and name in drawn):
                    continue
                if unique:
                    drawn.add(name)
                kept.append(place)
                if len(kept) == missing:
                    break
            names = [chunk.names[place] for place in kept]
            chunk = Chunk(names, chunk.log_probabilities[kept])
        yield chunk
        missing -= len(chunk.names)
        first += size
        size = last_size


def _stream(columns: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The token stream of names, of which each column has one position: who is as long, and the ids
    that stand there."""
    length_B = torch.zeros_like(columns[0][0])
    for position, (alive_A, _) in enumerate(columns):
        length_B.index_fill_(0, alive_A, position + 1)
    end_B = length_B.cumsum(0)
    first_B = end_B - length_B
    stream = columns[0][1].new_zeros(int(end_B[-1]))
    for position, (alive_A, ids_A) in enumerate(columns):
        stream.scatter_(0, first_B.index_select(0, alive_A) + position, ids_A)
    return stream


@torch.inference_mode()
def draw(
    model: LanguageModel,
    index_B: Tensor,
    prompt_ids: list[int],
    sampler: Sampler,
    max_length: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The names of numbers `index_B`, as a token stream, and their log-probabilities (B,).

    Raises DivergedError for a model whose predictions are not numbers.
    """
    was_training = model.training
    model.eval()
    num_names, device = len(index_B), index_B.device
    log_probability_B = torch.zeros(num_names, dtype=torch.float64, device=device)
    columns: list[tuple[Tensor, Tensor]] = []
    hash_A = name_hashes(seed, index_B)
    alive_A = torch.arange(num_names, device=device)
    # All names begin alike: one row.
    row_A = torch.zeros_like(alive_A) if num_names > 1 else None
    ids_R = index_B.new_full((1,), BOUNDARY)
    state = model.start(1)
    position = 0
    while True:
        logits_RV, state = model.step(ids_R, state)
        logits_RV = logits_RV.double()
        log_probabilities_RV = logits_RV.log_softmax(1)
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
        columns.append((alive_A, ids_A))
        position += 1
        going_G = (ids_A != BOUNDARY).nonzero().squeeze(1)
        if len(going_G) == 0:
            break
        stay = row_A is None and len(going_G) == len(alive_A)
        pair_G = pair_A
        if len(going_G) < len(alive_A):
            alive_A, hash_A, pair_G = (
                part_A.index_select(0, going_G) for part_A in (alive_A, hash_A, pair_A)
            )
        pair_R = pair_G
        if row_A is not None:
            pair_R, row_A = pair_G.unique(return_inverse=True)
            if len(pair_R) > 0.9 * len(pair_G):
                pair_R, row_A = pair_G, None
        parent_R, ids_R = pair_R // size, pair_R % size
        if not stay:
            state = tuple(part.index_select(0, parent_R) for part in state)
    model.train(was_training)
    # A sum with one of them is none, either. Weights can be finite and their products infinite.
    if bool(log_probability_B.isnan().any()):
        hint = "its weights are too large; use another checkpoint, or train again"
        raise DivergedError("the model's predictions are not numbers", hint=hint)
    return _stream(columns), log_probability_B


@dataclass(frozen=True)
class ContextTable:
    """What a model of few contexts says with a sampler: V pairs (context, character) in a row for
    each context.

    After the model's S contexts there is one more, where a name begins: the first context without
    the end. S + 1 is where a name is when it has ended, which has no row.
    """

    thresholds: Tensor  # (P,) int64, context * 2**52 + where the share of the pair ends
    guide: Tensor  # (512 (S + 1),) the pair that has all of a 512th of a context, -1 if several do
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
        ids_P = torch.arange(size, device=device).repeat(num_contexts + 1)
        boundary_1 = ids_P[BOUNDARY : BOUNDARY + 1]
        first_1 = model.next_context(torch.full_like(boundary_1, model.first_context), boundary_1)
        before_end_SV = torch.cat([logits_SV, logits_SV[first_1]])
        choice_SV = before_end_SV.clone()
        choice_SV[num_contexts, BOUNDARY] = -torch.inf
        cumulative_SV = sampler.probabilities(choice_SV).cumsum(1)
        thresholds_SV = (cumulative_SV / cumulative_SV[:, -1:] * 2**_HASH_BITS).ceil().long()
        thresholds_SV += torch.arange(num_contexts + 1, device=device)[:, None] << _HASH_BITS
        context_P = torch.cat([context_S, first_1]).repeat_interleave(size)
        next_SV = model.next_context(context_P, ids_P).view(-1, size).clone()
        next_SV[:, BOUNDARY] = num_contexts + 1
        thresholds_P = thresholds_SV.flatten()
        # A threshold is at or below the lowest number of each part from `first_P` on.
        part_P, first_P = (
            (thresholds_P + rounding) >> (_HASH_BITS - _GUIDE_BITS)
            for rounding in (0, 2 ** (_HASH_BITS - _GUIDE_BITS) - 1)
        )
        num_parts = (num_contexts + 1) << _GUIDE_BITS
        guide_Q = first_P.bincount(minlength=num_parts)[:num_parts].cumsum(0)
        guide_Q[part_P[part_P < first_P]] = -1
        return cls(
            thresholds_P,
            guide_Q,
            before_end_SV.log_softmax(1).flatten(),
            next_SV.flatten() << _HASH_BITS,
            ids_P.to(torch.uint8 if size <= 2**8 else torch.int32),
            size,
            num_contexts,
            int(first_1),
        )

    def find(self, wanted_A: Tensor) -> Tensor:
        """(A,) the pair of each context and 52 bits of a uniform number below it."""
        if len(wanted_A) < _FEW:
            return torch.searchsorted(self.thresholds, wanted_A, right=True)
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
    num_names, size, device = len(index_B), table.vocabulary_size, index_B.device
    log_probability_B = torch.zeros(num_names, dtype=torch.float64, device=device)
    columns: list[tuple[Tensor, Tensor]] = []
    alive_A, hash_A = torch.arange(num_names, device=device), name_hashes(seed, index_B)
    start = table.first_context if prompt_ids else table.num_contexts
    context_A = torch.full_like(index_B, start << _HASH_BITS)
    end = (table.num_contexts + 1) << _HASH_BITS
    position = 0
    while len(alive_A) > 0:
        if position < len(prompt_ids):
            pair_A = (context_A >> _HASH_BITS) * size + prompt_ids[position]
        elif position == max_length:
            pair_A = (context_A >> _HASH_BITS) * size + BOUNDARY
        else:
            pair_A = table.find(hash_bits(hash_A, position).add_(context_A))
        columns.append((alive_A, table.ids.index_select(0, pair_A)))
        log_probability_B.index_add_(0, alive_A, table.log_probabilities.index_select(0, pair_A))
        context_A = table.next_contexts.index_select(0, pair_A)
        position += 1
        going_G = (context_A != end).nonzero().squeeze(1)
        if len(going_G) < len(alive_A):
            alive_A, hash_A, context_A = (
                part_A.index_select(0, going_G) for part_A in (alive_A, hash_A, context_A)
            )
    return _stream(columns), log_probability_B


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
