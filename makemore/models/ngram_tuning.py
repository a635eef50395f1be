"""The order, and k or the discounts, with which held-out names are most likely."""

import torch
from torch import Tensor

from makemore.config import NgramConfig
from makemore.corpus import Corpus
from makemore.models.ngram_counts import Counts, Links, contexts_of_each_length, find
from makemore.models.ngram_smoothing import NUM_AMOUNTS, amounts_of, smooth

# A context of one length and the pair (or -1) with what follows, for each held-out character.
_Walk = list[tuple[Tensor, Tensor]]


def tune(config: NgramConfig, counts: Counts, links: Links, held_out: Corpus) -> NgramConfig:
    """The config with what was chosen on `held_out`, which has one name at least.

    Every order up to that of the config is tried, each with the amounts that the config gives or
    means, and, where these are null, also with those of the least loss, the same for contexts of
    every length. Of equal losses the first wins, so that an order is never higher than it need be.
    """
    batch = held_out.batch(torch.arange(held_out.num_names, device=held_out.offsets.device))
    size = counts.vocabulary_size
    nodes = contexts_of_each_length(counts.keys, links.next_nodes, size, batch, config.order)
    walk = [(node_N, find(counts.keys, node_N * size + batch.targets)) for node_N in nodes]
    losses: dict[NgramConfig, float] = {}
    for order in range(1, int(links.lengths.max()) + 2):
        shorter = counts.up_to(order - 1, links)
        candidate = config.model_copy(update={"order": order})
        tried = [candidate]
        if NUM_AMOUNTS[config.smoothing] and config.k is None and config.discounts is None:
            tried.append(_fit_amounts(candidate, shorter, links, walk))
        for choice in tried:
            given_LA = amounts_of(choice, shorter, links, order)
            losses[choice] = float(_nats(choice, shorter, links, given_LA, walk))
    return min(losses, key=losses.__getitem__)


def _fit_amounts(config: NgramConfig, counts: Counts, links: Links, walk: _Walk) -> NgramConfig:
    """The config with the k or the discounts of the least loss, to four digits, by L-BFGS."""
    number, order = NUM_AMOUNTS[config.smoothing], config.order
    largest_A = torch.arange(1, number + 1, device=counts.keys.device).double()
    # k = exp(0) = 1 to begin with, or discounts of half of what they are taken from.
    free_A = torch.zeros_like(largest_A, requires_grad=True)

    def amounts() -> Tensor:
        # Where the loss falls for ever, it does so in less than the eighth digit beyond.
        bounded_A = free_A.clamp(-20, 20)
        return bounded_A.exp() if config.smoothing == "add-k" else largest_A * bounded_A.sigmoid()

    def closure() -> float:
        optimizer.zero_grad()
        loss = _nats(config, counts, links, amounts().expand(order, number), walk)
        torch.autograd.backward(loss)
        return loss.item()

    optimizer = torch.optim.LBFGS([free_A], max_iter=50, line_search_fn="strong_wolfe")
    with torch.enable_grad():
        optimizer.step(closure)
    chosen = [float(f"{amount:.4g}") for amount in amounts().tolist()]
    if config.smoothing == "add-k":
        return config.model_copy(update={"k": chosen[0]})
    return config.model_copy(update={"discounts": tuple(chosen)})


def _nats(
    config: NgramConfig, counts: Counts, links: Links, amounts_LA: Tensor, walk: _Walk
) -> Tensor:
    """The mean loss of the characters of a walk, of which the lengths below the order count."""
    probability_P, weight_S = smooth(config, counts, links, amounts_LA)
    nothing_N = torch.zeros_like(walk[0][0], dtype=torch.float64)
    likelihood_N = nothing_N + 1 / counts.vocabulary_size
    for node_N, pair_N in walk[: config.order]:
        seen_N = torch.where(pair_N >= 0, probability_P[pair_N], nothing_N)
        likelihood_N = weight_S[node_N] * likelihood_N + seen_N
    return -likelihood_N.log().mean()
