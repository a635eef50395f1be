"""Counts of n adjacent characters, smoothed; of order 2 with `add-k`, the lecture's bigrams.

Shannon, "A Mathematical Theory of Communication" (1948), section 3; smoothed as in Chen & Goodman
(1999), see `ngram_smoothing`. One difference: a name begins with one boundary, not with n - 1 of
them, so that its first contexts are not smoothed again and again with copies of themselves.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from makemore.config import NgramConfig
from makemore.corpus import Batch, Corpus
from makemore.models.base import ClosedFormModel, FiniteContextModel
from makemore.models.ngram_counts import EMPTY, Links, contexts_of_each_length, count, find, link
from makemore.models.ngram_smoothing import NUM_AMOUNTS, amounts_of, smooth
from makemore.models.ngram_tuning import tune

_ROUNDING = 1e-9


class Ngram(FiniteContextModel, ClosedFormModel):
    """P(c | context) = probability(context, c) + weight(context) * P(c | shorter context).

    Contexts are the nodes of an automaton (see `ngram_counts`); a state is the node of the longest
    known context. The tables: keys (P,) of a context and a character each, their probabilities
    (P,), the weights (S,) of contexts, and the amounts (L, A) of contexts of each length.
    """

    offsets: Tensor
    suffixes: Tensor
    next_nodes: Tensor

    def __init__(self, config: NgramConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        # Before names were counted: nothing follows the empty context, and all is uniform.
        self.keys = _table([EMPTY * vocabulary_size], torch.int64)
        self.probabilities = _table([0.0], torch.float64)
        self.weights = _table([1.0, 1.0], torch.float64)
        self.amounts = _table([[0.0] * NUM_AMOUNTS[config.smoothing]], torch.float64)
        # What follows from the keys is no part of the state, but moves to a device with it.
        for name, values in (("offsets", [0, 0, 1]), ("suffixes", [0, 0]), ("next_nodes", [EMPTY])):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def fit(self, corpus: Corpus, held_out: Corpus) -> None:
        """With `tune`, `held_out` needs a name; else it is not looked at."""
        config, size = self.config, self.vocabulary_size
        counts = count(corpus, size, config.order)
        links = link(counts.keys, counts.num_nodes, size, config.order)
        if config.tune:
            config = tune(config, counts, links, held_out)
            counts = counts.up_to(config.order - 1, links)
            links = link(counts.keys, counts.num_nodes, size, config.order)
        amounts_LA = amounts_of(config, counts, links, config.order)
        probability_P, weight_S = smooth(config, counts, links, amounts_LA)
        self._adopt((counts.keys, probability_P, weight_S, amounts_LA), links)

    def load_tables(self, tables: Mapping[str, Tensor]) -> None:
        for name, mine in self.state_dict().items():
            table = tables.get(name)
            if table is None or (table.dtype, table.dim()) != (mine.dtype, mine.dim()):
                raise ValueError(f"its tensor `{name}` is not the one that its config describes")
        if len(tables) > len(self.state_dict()):
            raise ValueError("it has tensors that its config does not describe")
        key_P, probability_P = tables["keys"], tables["probabilities"]
        weight_S, amounts_LA = tables["weights"], tables["amounts"]
        order, number = amounts_LA.shape
        orders = range(1 if self.config.tune else self.config.order, self.config.order + 1)
        if order not in orders or number != NUM_AMOUNTS[self.config.smoothing]:
            raise ValueError("its tensor `amounts` is not the one that its config describes")
        num_nodes, size = len(weight_S), self.vocabulary_size
        # Every context but the empty ones ends a pair; what is linked takes memory for each.
        if not (0 < len(key_P) == len(probability_P) and EMPTY < num_nodes <= len(key_P) + 2):
            raise ValueError("its n-grams, their probabilities and weights are not as many")
        # Compared, not subtracted: a difference can wrap around.
        rises = bool((key_P[1:] > key_P[:-1]).all())
        if not rises or key_P[0] < EMPTY * size or key_P[-1] >= num_nodes * size:
            raise ValueError("its n-grams are out of order or range")
        links = link(key_P, num_nodes, size, order)
        sum_S = weight_S.index_add(0, key_P // size, probability_P)
        in_range = all(bool(((t >= 0) & (t <= 1)).all()) for t in (probability_P, weight_S))
        if not (in_range and bool(((sum_S - 1).abs() < _ROUNDING).all())):
            raise ValueError("its probabilities do not sum to 1")
        if not bool(((amounts_LA >= 0) & amounts_LA.isfinite()).all()):
            raise ValueError("its discounts or pseudo-counts are negative or infinite")
        self._adopt((key_P, probability_P, weight_S, amounts_LA), links)

    def _adopt(self, tables: tuple[Tensor, Tensor, Tensor, Tensor], links: Links) -> None:
        self.keys, self.probabilities, self.weights, self.amounts = (
            nn.Parameter(table, requires_grad=False) for table in tables
        )
        self.offsets, self.suffixes = links.offsets, links.suffixes
        self.next_nodes = links.next_nodes

    @property
    def order(self) -> int:
        """The one that was fitted, which tuning may have chosen."""
        return len(self.amounts)

    def description(self) -> dict[str, object]:
        described: dict[str, object] = {"order": self.order}
        if self.config.smoothing == "add-k":
            described["k"] = self.amounts[0, 0].item()
        elif NUM_AMOUNTS[self.config.smoothing]:
            described["discounts"] = self.amounts.tolist()
        return described

    def num_parameters(self) -> int:
        """The n-grams with a probability of their own: with `none` and `add-k`, which have nothing
        shorter to back off to, all that begin with a known context."""
        counted = self.keys[self.probabilities > 0]
        if self.config.smoothing in ("none", "add-k"):
            return len((counted // self.vocabulary_size).unique()) * self.vocabulary_size
        return len(counted)

    def forward(self, batch: Batch) -> Tensor:
        node_N = torch.full_like(batch.inputs, EMPTY)
        size = self.vocabulary_size
        for known_N in contexts_of_each_length(self.keys, self.next_nodes, size, batch, self.order):
            node_N = torch.where(known_N >= EMPTY, known_N, node_N)
        return self.context_logits(node_N)

    @property
    def num_contexts(self) -> int:
        return len(self.weights)

    @property
    def first_context(self) -> int:
        return EMPTY

    def next_context(self, context_B: Tensor, ids_B: Tensor) -> Tensor:
        for _ in range(self.order):
            pair_B = find(self.keys, context_B * self.vocabulary_size + ids_B)
            context_B = torch.where(pair_B >= 0, context_B, self.suffixes[context_B])
        return torch.where(pair_B >= 0, self.next_nodes[pair_B], EMPTY)

    def context_logits(self, node_B: Tensor) -> Tensor:
        """The rows of nodes, each computed once, from the empty context upwards."""
        distinct_D, place_B = node_B.unique(return_inverse=True)
        chain = [distinct_D]
        for _ in range(self.order - 1):
            chain.append(self.suffixes[chain[-1]])
        rows_DV = self.weights.new_full((len(distinct_D), self.vocabulary_size), 1)
        rows_DV /= self.vocabulary_size
        for node_D in reversed(chain):
            rows_DV *= self.weights[node_D, None]
            number_D = self.offsets[node_D + 1] - self.offsets[node_D]
            row_Q = torch.arange(len(node_D), device=node_D.device).repeat_interleave(number_D)
            shift_D = self.offsets[node_D] - (number_D.cumsum(0) - number_D)
            pair_Q = torch.arange(len(row_Q), device=node_D.device) + shift_D[row_Q]
            id_Q = self.keys[pair_Q] % self.vocabulary_size
            rows_DV[row_Q, id_Q] += self.probabilities[pair_Q]
        return rows_DV.log()[place_B]


def _table(values: list[int] | list[float] | list[list[float]], dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=dtype), requires_grad=False)
