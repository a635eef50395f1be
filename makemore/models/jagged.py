"""From jagged batches to what looks at several positions: windows of ids, and names padded."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from makemore.corpus import Batch

# Names that are padded to one length: fewer need fewer pads, more make better use of a core.
GROUP_SIZE = 128


def contexts(batch: Batch, context_length: int) -> Tensor:
    """(N, C): each input and those before it in its name, boundaries where there are none.

    (M, C) for a batch of windows: those of its rows.
    """
    rows_N = batch.rows
    if rows_N is None:
        rows_N = torch.arange(batch.num_chars, device=batch.inputs.device)
        position_N = batch.positions()
    else:
        # The rows may be few of very many.
        name_N = torch.searchsorted(batch.offsets, rows_N, right=True) - 1
        position_N = rows_N - batch.offsets.index_select(0, name_N)
    back_C = torch.arange(context_length - 1, -1, -1, device=rows_N.device)
    # A name starts with a boundary, which stands for all that would be before it, too.
    places_NC = rows_N[:, None] - torch.minimum(back_C, position_N[:, None])
    return batch.inputs.index_select(0, places_NC.flatten()).view_as(places_NC)


class PaddedNames:
    """Names padded on the right, for what looks at several positions of a name: a few names at a
    time, so that names of about one length, as they stand in a batch of training, need few pads.

    position_N: the place of each character in its name, from 0; sizes: characters in each group;
    longest: characters of the longest name, its end included.
    """

    def __init__(self, batch: Batch) -> None:
        self.position_N = batch.positions()
        parts = batch.split(GROUP_SIZE)
        self.sizes = [part.num_chars for part in parts]
        positions = self.position_N.split(self.sizes)
        self.groups = [PaddedGroup(*pair) for pair in zip(parts, positions, strict=True)]
        self.longest = max(group.num_positions for group in self.groups)

    def map(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """(N, D) -> (N, E), by a `function` of padded names (B, T, D) -> (B, T, E), or of several
        such inputs; of what it returns for pads nothing is seen."""
        parts = zip(*(x_ND.split(self.sizes) for x_ND in inputs), strict=True)
        return torch.cat(
            [
                group.unpad(function(*(group.pad(x_ND) for x_ND in part)))
                for group, part in zip(self.groups, parts, strict=True)
            ]
        )


class PackedNames:
    """The characters of a batch by their position: first those that begin a name, then all second
    ones, and so on; in each position the longest name first, so that none has a gap.

    num_names_T: the names that reach each position. Packed rows follow each other position by
    position.
    """

    def __init__(self, batch: Batch) -> None:
        length_B, name_B = batch.lengths().sort(descending=True, stable=True)
        position_T1 = torch.arange(int(length_B[0]), device=name_B.device)[:, None]
        is_inside_TB = position_T1 < length_B
        self.num_names_T: list[int] = is_inside_TB.sum(1).tolist()
        character_TB = batch.offsets.index_select(0, name_B) + position_T1
        self._character_N = character_TB.masked_select(is_inside_TB)
        # The packed row of each character.
        row_N = torch.arange(batch.num_chars, device=name_B.device)
        self._packed_N = torch.empty_like(row_N).scatter_(0, self._character_N, row_N)

    def pack(self, x_N: Tensor) -> Tensor:
        """Something of each character, (N,) or (N, D), in packed order."""
        return x_N.index_select(0, self._character_N)

    def unpack(self, x_ND: Tensor) -> Tensor:
        """(N, D), packed, in the order of the batch."""
        return _rearrange(x_ND, self._packed_N, self._character_N)


class PaddedGroup:
    """Where each character of a batch stands when names are padded on the right to (B, T).

    rows: (B, T), the character in each slot; a pad repeats the last one of its name, so that
    padding is one copy and a pad holds numbers as harmless as any. slot_N: the slot b * T + t of
    each character; name_N, position_N: its b and its t.
    """

    def __init__(self, batch: Batch, position_N: Tensor) -> None:
        lengths_B = batch.lengths()
        self._offsets = batch.offsets
        self.num_names = batch.num_names
        self.num_positions = int(lengths_B.max())
        name_B = torch.arange(self.num_names, device=lengths_B.device)
        self.name_N = name_B.repeat_interleave(lengths_B, output_size=batch.num_chars)
        self.position_N = position_N
        self.slot_N = self.name_N * self.num_positions + position_N

    @cached_property
    def rows(self) -> Tensor:
        position_T = torch.arange(self.num_positions, device=self._offsets.device)
        last_B1 = self._offsets.diff()[:, None] - 1
        return self._offsets[:-1, None] + torch.minimum(position_T, last_B1)

    def pad(self, x_ND: Tensor) -> Tensor:
        """(N, D) -> (B, T, D). Right only for what gives pads no gradient: causal functions, what
        they return for pads unseen."""
        x_SD = _rearrange(x_ND, self.rows.flatten(), self.slot_N)
        return x_SD.view(self.num_names, self.num_positions, -1)

    def unpad(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (N, D)."""
        return _unpad(x_BTD.flatten(0, 1), self.slot_N)


class _Rearrange(torch.autograd.Function):
    """The rows `there`. The gradient of a row is that of where `back` finds it: what else was made
    of the row must have none."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x_ND.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None


class _Unpad(torch.autograd.Function):
    """Slots to rows. No slot is read twice, so its gradient is a copy, not a sum."""

    @staticmethod
    def forward(ctx: Any, x_SD: Tensor, slot_N: Tensor) -> Tensor:
        ctx.save_for_backward(slot_N)
        ctx.num_slots = len(x_SD)
        return x_SD.index_select(0, slot_N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slot_N,) = ctx.saved_tensors
        return to_slots(gradients[0], slot_N, ctx.num_slots), None


_rearrange: Callable[..., Tensor] = _Rearrange.apply
_unpad: Callable[..., Tensor] = _Unpad.apply


def to_slots(x_ND: Tensor, slot_N: Tensor, num_slots: int) -> Tensor:
    """(N, D) -> (S, D): each row in its slot, zeros in the others."""
    return x_ND.new_zeros(num_slots, x_ND.shape[1]).index_copy_(0, slot_N, x_ND)
