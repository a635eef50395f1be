"""A mixture of experts in its oldest sense: the weighted mean of several models' probabilities.

With equal weights it is the ensemble of Hansen & Salamon, "Neural Network Ensembles" (1990). The
weights that make held-out names likeliest are found by expectation maximization (Dempster, Laird &
Rubin 1977), as in the interpolation of Jelinek & Mercer (1980).
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from makemore.corpus import Batch
from makemore.models.base import LanguageModel, State


class Mixture(LanguageModel):
    """logits = log(sum over members of weight * softmax(member's logits)), always in float64.

    weights: not negative, in any scale, by default equal. A member of weight 0 is left out. They
    are no part of the state dict, nor are they trained: what is trained is the members.
    """

    def __init__(
        self, members: Sequence[LanguageModel], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        shares = normalize([1.0] * len(members) if weights is None else weights)
        kept = [(m, w) for m, w in zip(members, shares, strict=True) if w > 0]
        self.members = nn.ModuleList(member for member, _ in kept)
        self.log_weights = [math.log(weight) for _, weight in kept]
        # A state is those of the members, one after the other: `start` sees how long each is.
        self.num_parts: list[int] = []

    def forward(self, batch: Batch) -> Tensor:
        return self._mix([member(batch) for member in self.members])

    def start(self, num_names: int) -> State:
        states = [member.start(num_names) for member in self._models()]
        self.num_parts = [len(state) for state in states]
        return tuple(part for state in states for part in state)

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        if not self.num_parts:
            self.start(0)
        logits: list[Tensor] = []
        parts: list[Tensor] = []
        first = 0
        for member, num_parts in zip(self._models(), self.num_parts, strict=True):
            logits_BV, after = member.step(ids_B, state[first : first + num_parts])
            logits.append(logits_BV)
            parts += after
            first += num_parts
        return self._mix(logits), tuple(parts)

    def _models(self) -> Sequence[LanguageModel]:
        return cast("Sequence[LanguageModel]", self.members)

    def _mix(self, logits: Sequence[Tensor]) -> Tensor:
        terms = [
            logits_NV.double().log_softmax(1) + log_weight
            for logits_NV, log_weight in zip(logits, self.log_weights, strict=True)
        ]
        return torch.stack(terms).logsumexp(0)


def normalize(weights: Sequence[float]) -> list[float]:
    """The same weights with sum 1."""
    assert weights
    assert all(math.isfinite(weight) and weight >= 0 for weight in weights)
    # By the largest first: neither a sum of huge weights nor one of tiny ones leaves the floats.
    largest = max(weights)
    assert largest > 0
    scaled = [weight / largest for weight in weights]
    total = math.fsum(scaled)
    return [weight / total for weight in scaled]


def fit_weights(
    log_probabilities_MN: Tensor, *, least_gain: float = 1e-9, max_iterations: int = 10_000
) -> Tensor:
    """(M,) weights, of sum 1, that make N characters likeliest, by expectation maximization.

    log_probabilities_MN: float64, what each of M models says of each character. Starts at equal
    weights, and ends when an iteration gains less than `least_gain` nats a character, or after
    `max_iterations`. No iteration loses anything, and the function is concave: there is no other
    peak to end on. A character that no model allows has no say.
    """
    num_models = len(log_probabilities_MN)
    weights_M = log_probabilities_MN.new_full((num_models,), 1 / num_models)
    best_N = log_probabilities_MN.amax(0)
    possible_N = best_N > -torch.inf
    if not possible_N.any():
        return weights_M
    # As shares of the likeliest: no exponential leaves the floats, and the optimum is the same.
    shares_MN = (log_probabilities_MN - best_N)[:, possible_N].exp()
    mixed_N = weights_M @ shares_MN
    for _ in range(max_iterations):
        next_M = weights_M * (shares_MN / mixed_N).mean(1)
        next_mixed_N = next_M @ shares_MN
        gain = (next_mixed_N / mixed_N).log().mean()
        weights_M, mixed_N = next_M, next_mixed_N
        if gain < least_gain:
            break
    return weights_M / weights_M.sum()
