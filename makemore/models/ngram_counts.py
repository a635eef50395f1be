"""Which contexts occur in a corpus, what follows them how often, and how they are connected.

A context is what a model of order n sees before a character: the last n - 1 ids, or all of them
where the name is shorter; those begin with one boundary. Its pairs are the characters that followed
it. Contexts are the nodes of an automaton in the manner of Aho & Corasick, "Efficient String
Matching" (1975): node 0 is less than the empty context, node 1 the empty context, and every pair of
a context that is not yet at full length is a context in its turn, one longer. Nodes are numbered by
their length, then in the order of the pairs that make them, so the sorted pairs alone say
everything, and a node is a small integer whatever the order and the vocabulary are.

S nodes, P pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from makemore.corpus import Batch, Corpus
from makemore.models.ngram_windows import TABLE_FACTOR, count_windows, fits, tally
from makemore.vocab import BOUNDARY

NOTHING = 0  # the suffix of the empty context: what is known without counting
EMPTY = 1


@dataclass(frozen=True)
class Counts:
    """The pairs of all contexts and how often each occurs, both (P,) int64.

    The key of a pair is node * V + character; keys are sorted.
    """

    keys: Tensor
    occurrences: Tensor
    num_nodes: int
    vocabulary_size: int

    def up_to(self, length: int, links: "Links") -> "Counts":
        """Those of the contexts of at most `length` ids, as if no longer ones had been counted."""
        num_nodes = int((links.lengths <= length).sum())
        num_pairs = int(links.offsets[num_nodes])
        return Counts(
            self.keys[:num_pairs], self.occurrences[:num_pairs], num_nodes, self.vocabulary_size
        )


def count(corpus: Corpus, vocabulary_size: int, order: int) -> Counts:
    """Count the pairs of every context, in one pass over the corpus.

    Only where the longest pairs are no 64-bit integers, they are counted one length after another.
    """
    if not fits(vocabulary_size, order):
        return _count_by_length(corpus, vocabulary_size, order)
    window_P, count_P = count_windows(corpus.tokens, vocabulary_size, order)
    by_length = []
    for length in reversed(range(order)):
        # A context that seems to begin with two boundaries is a shorter one, at the start of names.
        own = window_P >= (vocabulary_size ** (length - 1) if length > 1 else 0)
        context_P, id_P = window_P[own] // vocabulary_size, window_P[own] % vocabulary_size
        distinct, rank_P = context_P.unique_consecutive(return_inverse=True)
        num_nodes = len(distinct) if length else 1
        by_length.append((num_nodes, rank_P * vocabulary_size + id_P, count_P[own]))
        # Without its oldest id, a pair is one of the suffix of its context.
        bound = vocabulary_size**length
        window_P, count_P = tally(window_P % bound, count_P, bound)
    end, keys, counts = EMPTY, [], []
    for num_nodes, local_P, count_P in reversed(by_length):
        keys.append(local_P + end * vocabulary_size)
        counts.append(count_P)
        end += num_nodes
    return Counts(torch.cat(keys), torch.cat(counts), end, vocabulary_size)


def _count_by_length(corpus: Corpus, vocabulary_size: int, order: int) -> Counts:
    """The same for any order and vocabulary, with some 64-bit integers for each character."""
    target_N = corpus.tokens.long()
    keys, counts = [], []
    # The nodes of one length, and the places in the corpus whose context has that length.
    first, end = EMPTY, EMPTY + 1
    place_M = torch.arange(len(target_N), device=target_N.device)
    node_M = torch.full_like(place_M, EMPTY)
    for length in range(order):
        local_M = (node_M - first) * vocabulary_size + target_N[place_M]
        local_P, pair_M, count_P = _distinct(local_M, (end - first) * vocabulary_size)
        keys.append(local_P + first * vocabulary_size)
        counts.append(count_P)
        if length == order - 1:
            break
        makes_P = _makes_a_context(local_P % vocabulary_size, length)
        made_P = end - 1 + makes_P.cumsum(0)
        first, end = end, end + int(makes_P.sum())
        going_M = makes_P[pair_M]
        node_M = made_P[pair_M[going_M]]
        # The boundary that ends a name starts the next one, and the last boundary the first.
        place_M = (place_M[going_M] + 1) % len(target_N)
    return Counts(torch.cat(keys), torch.cat(counts), end, vocabulary_size)


def _makes_a_context(id_P: Tensor, length: int) -> Tensor:
    """Which of the pairs of contexts of this length are contexts: a boundary is one by itself."""
    return (id_P != BOUNDARY) | (length == 0)


def _distinct(values: Tensor, bound: int) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct values in order, which of them each value is, and how often each occurs.

    All values are from [0, bound).
    """
    if bound > TABLE_FACTOR * len(values):
        distinct, rank, counts = torch.unique(values, return_inverse=True, return_counts=True)
        return distinct, rank, counts
    counts = torch.bincount(values, minlength=bound)
    distinct = counts.nonzero().flatten()
    rank = torch.empty_like(counts)
    rank[distinct] = torch.arange(len(distinct), device=rank.device)
    return distinct, rank[values], counts[distinct]


@dataclass(frozen=True)
class Links:
    """How contexts are connected, which their pairs determine.

    offsets: (S + 1,) the first pair of each node; suffixes: (S,) the node without its oldest id;
    lengths: (S,) ids of each context, -1 for `NOTHING`; next_nodes: (P,) the longest known context
    after a pair; shorter: (P,) the pair of the suffix with the same character, -1 for none.
    """

    offsets: Tensor
    suffixes: Tensor
    lengths: Tensor
    next_nodes: Tensor
    shorter: Tensor


def link(key_P: Tensor, num_nodes: int, vocabulary_size: int, order: int) -> Links:
    """The links between the contexts of sorted, distinct pairs of `num_nodes` nodes.

    Raises ValueError for pairs that are not those of any names.
    """
    node_P, id_P = key_P // vocabulary_size, key_P % vocabulary_size
    first_key_S = torch.arange(num_nodes + 1, device=key_P.device) * vocabulary_size
    offset_S = torch.searchsorted(key_P, first_key_S)
    suffix_S = key_P.new_full((num_nodes,), NOTHING)
    length_S = key_P.new_full((num_nodes,), -1)
    next_P, shorter_P = torch.full_like(key_P, EMPTY), torch.full_like(key_P, -1)
    first, end = EMPTY, EMPTY + 1
    length_S[EMPTY] = 0
    for length in range(order):
        pairs = slice(int(offset_S[first]), int(offset_S[end]))
        if length > 0:
            shorter_P[pairs] = find(key_P, suffix_S[node_P[pairs]] * vocabulary_size + id_P[pairs])
            if bool((shorter_P[pairs] < 0).any()):
                raise ValueError("a character follows a context, but not its suffix")
            next_P[pairs] = next_P[shorter_P[pairs]]
        if length == order - 1:
            break
        makes_P = _makes_a_context(id_P[pairs], length)
        first, end = end, end + int(makes_P.sum())
        if end > num_nodes:
            raise ValueError("there are fewer contexts than its pairs make")
        suffix_S[first:end] = next_P[pairs][makes_P]
        length_S[first:end] = length + 1
        next_P[pairs] = torch.where(makes_P, first - 1 + makes_P.cumsum(0), next_P[pairs])
    if end < num_nodes:
        raise ValueError("there are more contexts than its pairs make")
    return Links(offset_S, suffix_S, length_S, next_P, shorter_P)


def find(key_P: Tensor, wanted: Tensor) -> Tensor:
    """The place of each wanted key among the sorted ones, of which there is one at least, or -1."""
    place = torch.searchsorted(key_P, wanted)
    found = key_P[place.clamp(max=len(key_P) - 1)] == wanted
    return torch.where(found, place, -1)


def contexts_of_each_length(
    key_P: Tensor, next_P: Tensor, vocabulary_size: int, batch: Batch, order: int
) -> list[Tensor]:
    """For each length below `order`, (N,) the node before each target; `NOTHING` where unknown."""
    starts_N = batch.positions() == 0
    node_N = torch.full_like(batch.inputs, EMPTY)
    found = [node_N]
    for length in range(1, order):
        if length > 1:
            # Before the boundary that starts a name there is only the empty context.
            node_N = torch.where(starts_N, NOTHING, node_N.roll(1))
        pair_N = find(key_P, node_N * vocabulary_size + batch.inputs)
        node_N = torch.where(pair_N >= 0, next_P[pair_N], NOTHING)
        found.append(node_N)
    return found
