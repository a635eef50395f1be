"""From jagged batches to what looks at several positions: windows of ids, and names padded."""

import torch
from torch import Tensor

from makemore.corpus import Batch
from makemore.vocab import BOUNDARY


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
        position_N = rows_N - batch.offsets[name_N]
    back_C = torch.arange(context_length - 1, -1, -1, device=rows_N.device)
    places_NC = rows_N[:, None] - back_C
    inside_NC = position_N[:, None] >= back_C
    return torch.where(inside_NC, batch.inputs[places_NC.clamp(min=0)], BOUNDARY)


class PaddedNames:
    """Where each of the N characters stands when names are padded on the right to (B, T)."""

    def __init__(self, batch: Batch) -> None:
        self.num_names = batch.num_names
        self.num_positions = int(batch.lengths().max())
        self.position_N = batch.positions()
        name_B = torch.arange(batch.num_names, device=batch.offsets.device)
        name_N = name_B.repeat_interleave(batch.lengths(), output_size=batch.num_chars)
        self.slot_N = name_N * self.num_positions + self.position_N

    def pad(self, x_ND: Tensor) -> Tensor:
        """(N, D) -> (B, T, D), zeros where a name has ended."""
        x_SD = x_ND.new_zeros(self.num_names * self.num_positions, x_ND.shape[1])
        return x_SD.index_copy(0, self.slot_N, x_ND).view(self.num_names, self.num_positions, -1)

    def unpad(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (N, D)."""
        return x_BTD.reshape(self.num_names * self.num_positions, -1)[self.slot_N]

    def window(self, context_length: int) -> Tensor | None:
        """(T, T) bool: who sees whom when each position sees itself and the `context_length` - 1
        before it; None where names are so short that causality alone says so."""
        if self.num_positions <= context_length:
            return None
        position_T = torch.arange(self.num_positions, device=self.slot_N.device)
        distance_TT = position_T[:, None] - position_T
        return (distance_TT >= 0) & (distance_TT < context_length)
