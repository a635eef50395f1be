"""From counts to probabilities: what a smoothing takes from what was seen, for what was not.

Every smoothing has one form, in which the empty context backs off to the uniform distribution:

    P(c | context) = probability(context, c) + weight(context) * P(c | suffix of context)

Chen & Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling" (1999), whose
section 3 has the formulas and the sources of all of them but add-k. Everything is float64.
"""

import torch
from torch import Tensor

from makemore.config import NgramConfig
from makemore.models.ngram_counts import Counts, Links

# Numbers that a smoothing takes for contexts of one length: k, or the discounts of counts of 1, 2..
NUM_AMOUNTS = {
    "none": 0,
    "add-k": 1,
    "absolute": 1,
    "witten-bell": 0,
    "kneser-ney": 1,
    "modified-kneser-ney": 3,
}
_CONTINUATION = ("kneser-ney", "modified-kneser-ney")


def smooth(
    config: NgramConfig, counts: Counts, links: Links, amounts_LA: Tensor
) -> tuple[Tensor, Tensor]:
    """(P,) probabilities and (S,) weights; differentiable in the amounts, a row a length.

    With `none` and `add-k` only contexts of full length count (those that begin a name are, too):
    shorter ones pass everything on, so what follows an unseen context is uniform.
    """
    node_P = counts.keys // counts.vocabulary_size
    count_P = effective_counts(config, counts, links).double()
    zeros_S = count_P.new_zeros(counts.num_nodes)
    if config.smoothing in ("none", "add-k"):
        # A shorter context has continuations: the pairs of the contexts that extend it.
        count_P = torch.where(continuations(counts, links) == 0, count_P, 0)
        total_S = zeros_S.index_add(0, node_P, count_P)
        k = amounts_LA[0, 0] if config.smoothing == "add-k" else count_P.new_zeros(())
        added = k * counts.vocabulary_size
        weight_S = torch.where(total_S > 0, 1 / (1 + total_S / added), 1)
        total_P = total_S[node_P] + added
        return torch.where(count_P > 0, count_P / total_P, 0), weight_S
    total_S = zeros_S.index_add(0, node_P, count_P)
    if config.smoothing == "witten-bell":
        total_S = total_S.index_add(0, node_P, torch.ones_like(count_P))
        discount_P = torch.ones_like(count_P)
        kept_P = count_P
    else:
        kind_P = count_P.long().clamp(max=amounts_LA.shape[1]) - 1
        discount_P = amounts_LA[links.lengths[node_P], kind_P]
        kept_P = count_P - discount_P
    given_S = zeros_S.index_add(0, node_P, discount_P)
    # Nothing was counted after less than the empty context.
    weight_S = torch.where(total_S > 0, given_S / total_S.clamp(min=1), 1)
    return kept_P / total_S[node_P], weight_S


def effective_counts(config: NgramConfig, counts: Counts, links: Links) -> Tensor:
    """(P,) what is smoothed: times, or for shorter contexts of Kneser-Ney, different continuations.

    No longer context extends one of full length or one that begins a name: these keep their times.
    """
    if config.smoothing not in _CONTINUATION:
        return counts.occurrences
    continuation_P = continuations(counts, links)
    return torch.where(continuation_P > 0, continuation_P, counts.occurrences)


def continuations(counts: Counts, links: Links) -> Tensor:
    """(P,) how many contexts, one longer to the left, have the pair's character after them."""
    num_pairs = len(counts.keys)
    shorter_P = links.shorter[:num_pairs]
    return torch.bincount(shorter_P[shorter_P >= 0], minlength=num_pairs)


def amounts_of(config: NgramConfig, counts: Counts, links: Links, order: int) -> Tensor:
    """(L, A): the amounts of a config for contexts of each length, given or estimated."""
    number = NUM_AMOUNTS[config.smoothing]
    like = torch.zeros(order, number, dtype=torch.float64, device=counts.keys.device)
    if config.smoothing == "add-k":
        return like + (1.0 if config.k is None else config.k)
    if number == 0:
        return like
    if config.discounts is not None:
        return like + like.new_tensor(config.discounts)
    length_P = links.lengths[counts.keys // counts.vocabulary_size]
    return estimated_discounts(effective_counts(config, counts, links), length_P, order, number)


def estimated_discounts(count_P: Tensor, length_P: Tensor, order: int, number: int) -> Tensor:
    """(L, number) discounts D_i of counts of i (the last one: of i or more), for each length.

    D_i = i - (i + 1) Y n_(i+1) / n_i with Y = n_1 / (n_1 + 2 n_2), where n_i is the number of pairs
    that were counted i times (Chen & Goodman 1999, equation 26); D_1 is Y itself, the one discount
    of Ney, Essen & Kneser (1994). Where a count of counts in the formulas of a length is zero, or
    one of its D_i not positive, that length takes D_i = i / 2: without a discount nothing would be
    left for what was not seen. No D_i is more than i.
    """
    # Counts above the last that matters share one more column.
    columns = number + 2
    bins_P = length_P * columns + count_P.clamp(max=columns) - 1
    n_LC = torch.bincount(bins_P, minlength=order * columns).view(order, columns)[:, :-1].double()
    i_A = torch.arange(1, number + 1, device=n_LC.device).double()
    y_L1 = n_LC[:, :1] / (n_LC[:, :1] + 2 * n_LC[:, 1:2])
    discounts_LA = i_A - (i_A + 1) * y_L1 * n_LC[:, 1:] / n_LC[:, :-1]
    sound_L1 = ((n_LC > 0).all(1) & (discounts_LA > 0).all(1))[:, None]
    return torch.where(sound_L1, discounts_LA, i_A / 2)
