"""Causal attention over the names of a batch: softmax(query key^T / sqrt(K)) value, each character
looking at itself and the `context_length` - 1 before it in its name.

There are two ways. The general kernel (torch's `scaled_dot_product_attention`) is made for hundreds
of positions. For a dozen, on a CPU, explicit products are several times as fast: the products are
cheap there, and what takes the time is a softmax over a dimension shorter than a vector register,
and moving numbers between layouts. So names are padded head by head in one copy, all groups of a
batch are one node of the graph, and the softmax is an exponential, a product with the mask and a
division by the row sums, each over all numbers at once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from makemore.models.jagged import PaddedGroup, PaddedNames, to_slots

# Queries, keys and values (N, H, K) -> (N, H, K).
CausalAttention = Callable[[Tensor, Tensor, Tensor], Tensor]

# Above, the general kernel is as fast.
_MAX_SHORT = 32
# exp(60) = 1e26: neither sums of such numbers nor their inverses leave the range of float32.
_MAX_SCORE = 60.0


def causal_attention(names: PaddedNames, num_heads: int, context_length: int) -> CausalAttention:
    """Attention over `names`, the faster way; one for all layers of a model."""
    if names.position_N.device.type == "cpu" and names.longest <= _MAX_SHORT:
        return ShortAttention(names, num_heads, context_length)
    return GeneralAttention(names, num_heads, context_length)


class GeneralAttention:
    """By torch's kernel, for names of any length."""

    def __init__(self, names: PaddedNames, num_heads: int, context_length: int) -> None:
        self._names = names
        self._num_heads = num_heads
        self._context_length = context_length

    def __call__(self, query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor) -> Tensor:
        parts = (query_NHK.flatten(1), key_NHK.flatten(1), value_NHK.flatten(1))
        return self._names.map(self._attend, *parts).view_as(value_NHK)

    def _attend(self, query_BTD: Tensor, key_BTD: Tensor, value_BTD: Tensor) -> Tensor:
        query_BHTK, key_BHTK, value_BHTK = (
            part_BTD.unflatten(2, (self._num_heads, -1)).transpose(1, 2)
            for part_BTD in (query_BTD, key_BTD, value_BTD)
        )
        # Names that are short enough see all that causality lets them see.
        num_positions, mask_TT = query_BTD.shape[1], None
        if num_positions > self._context_length:
            mask_TT = causal_window(num_positions, self._context_length, query_BTD.device)
        mixed_BHTK = functional.scaled_dot_product_attention(
            query_BHTK, key_BHTK, value_BHTK, attn_mask=mask_TT, is_causal=mask_TT is None
        )
        return mixed_BHTK.transpose(1, 2).flatten(2)


class ShortAttention:
    """By explicit products, for names of few positions."""

    def __init__(self, names: PaddedNames, num_heads: int, context_length: int) -> None:
        self.sizes = names.sizes
        self.groups = [_Heads(group, num_heads, context_length) for group in names.groups]

    def __call__(self, query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor) -> Tensor:
        apply: Callable[..., Tensor] = _ShortAttention.apply
        return apply(query_NHK, key_NHK, value_NHK, self)


class _Heads:
    """Where the heads of a group of names stand when they are padded to S = B * H times T.

    Rows are the heads of its characters, (N * H, K); slots are those of (S * T, K).
    """

    def __init__(self, group: PaddedGroup, num_heads: int, context_length: int) -> None:
        num_positions, device = group.num_positions, group.slot_N.device
        head_H = torch.arange(num_heads, device=device)
        row_BHT = group.rows[:, None] * num_heads + head_H[:, None]
        slot_NH = (group.name_N[:, None] * num_heads + head_H) * num_positions
        self.shape = (group.num_names * num_heads, num_positions)
        self._row_of_slot = row_BHT.flatten()
        self._slot_of_row = (slot_NH + group.position_N[:, None]).flatten()
        mask_TT = causal_window(num_positions, context_length, device)
        self.mask_TT = mask_TT.float()

    def pad(self, x_NHK: Tensor) -> Tensor:
        """(S, T, K); a pad repeats what stands before it."""
        x_MK = x_NHK.reshape(-1, x_NHK.shape[2])
        return x_MK.index_select(0, self._row_of_slot).view(*self.shape, -1)

    def pad_with_zeros(self, x_NHK: Tensor) -> Tensor:
        """(S, T, K)"""
        x_MK = x_NHK.reshape(-1, x_NHK.shape[2])
        num_slots = self.shape[0] * self.shape[1]
        return to_slots(x_MK, self._slot_of_row, num_slots).view(*self.shape, -1)

    def unpad(self, x_STK: Tensor, out: Tensor) -> None:
        """Write into `out` (N, H, K), which is contiguous."""
        x_MK = x_STK.view(-1, x_STK.shape[2])
        torch.index_select(x_MK, 0, self._slot_of_row, out=out.view(-1, x_STK.shape[2]))


class _ShortAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor, names: ShortAttention
    ) -> Tensor:
        mixed_NHK = value_NHK.new_empty(value_NHK.shape)
        parts = (x_NHK.split(names.sizes) for x_NHK in (query_NHK, key_NHK, value_NHK, mixed_NHK))
        saved: list[Tensor] = []
        for group, query, key, value, mixed in zip(names.groups, *parts, strict=True):
            query_STK, key_STK, value_STK = group.pad(query), group.pad(key), group.pad(value)
            query_STK *= query_STK.shape[2] ** -0.5
            weights_STT = _softmax(query_STK.bmm(key_STK.mT), group.mask_TT)
            group.unpad(weights_STT.bmm(value_STK), mixed)
            saved += (query_STK, key_STK, value_STK, weights_STT)
        ctx.save_for_backward(*saved)
        ctx.names = names
        return mixed_NHK

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (mixed_NHK,) = gradients
        results = [mixed_NHK.new_empty(mixed_NHK.shape) for _ in range(3)]
        parts = (x_NHK.split(ctx.names.sizes) for x_NHK in (mixed_NHK, *results))
        saved = iter(ctx.saved_tensors)
        for group, mixed, query, key, value in zip(ctx.names.groups, *parts, strict=True):
            query_STK, key_STK, value_STK, weights_STT = (next(saved) for _ in range(4))
            # With zeros, so that what pads look at gets nothing from them.
            mixed_STK = group.pad_with_zeros(mixed)
            scores_STT = mixed_STK.bmm(value_STK.mT)
            # Through the softmax: weights * (gradient - mean of the gradient under the weights).
            scores_STT -= _row_sums(weights_STT * scores_STT)
            scores_STT *= weights_STT
            group.unpad(scores_STT.bmm(key_STK).mul_(query_STK.shape[2] ** -0.5), query)
            group.unpad(scores_STT.mT.bmm(query_STK), key)
            group.unpad(weights_STT.mT.bmm(mixed_STK), value)
        return (*results, None)


def _softmax(scores_STT: Tensor, mask_TT: Tensor) -> Tensor:
    """The softmax of each row over what the mask of ones and zeros lets it see, in place.

    Without subtracting each row's maximum it is as exact, unless a number overflows.
    """
    low, high = scores_STT.aminmax()
    if max(-low.item(), high.item()) > _MAX_SCORE:
        scores_STT.masked_fill_(mask_TT == 0, -torch.inf)
        scores_STT -= scores_STT.amax(2, keepdim=True)
    weights_STT = scores_STT.exp_().mul_(mask_TT)
    return weights_STT.div_(_row_sums(weights_STT))


def _row_sums(x_STT: Tensor) -> Tensor:
    """(S, T, 1): a product with ones, which is faster than a sum over a short dimension."""
    num_positions = x_STT.shape[2]
    sums = x_STT.view(-1, num_positions) @ x_STT.new_ones(num_positions)
    return sums.view(-1, num_positions, 1)


def causal_window(num_positions: int, length: int, device: torch.device) -> Tensor:
    """(T, T) bool: each position sees itself and the `length` - 1 before it."""
    position_T = torch.arange(num_positions, device=device)
    distance_TT = position_T[:, None] - position_T
    return (distance_TT >= 0) & (distance_TT < length)
