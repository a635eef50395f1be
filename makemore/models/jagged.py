"""From jagged batches to what looks at several positions: windows of ids, and names padded."""

from collections.abc import Callable

import torch
from torch import Tensor

from makemore.corpus import Batch
from makemore.vocab import BOUNDARY

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
        position_N = rows_N - batch.offsets[name_N]
    back_C = torch.arange(context_length - 1, -1, -1, device=rows_N.device)
    places_NC = rows_N[:, None] - back_C
    inside_NC = position_N[:, None] >= back_C
    return torch.where(inside_NC, batch.inputs[places_NC.clamp(min=0)], BOUNDARY)


class PaddedNames:
    """Names padded on the right, for what looks at several positions of a name: a few names at a
    time, so that names of about one length, as they stand in a batch of training, need few pads.

    position_N: the place of each character in its name, from 0.
    """

    def __init__(self, batch: Batch) -> None:
        self.position_N = batch.positions()
        parts = batch.split(GROUP_SIZE)
        self._sizes = [part.num_chars for part in parts]
        positions = self.position_N.split(self._sizes)
        self.groups = [PaddedGroup(*pair) for pair in zip(parts, positions, strict=True)]

    def map(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """(N, D) -> (N, E), by a `function` of padded names (B, T, D) -> (B, T, E), or of several
        such inputs; of what it returns for pads nothing is seen."""
        parts = zip(*(x_ND.split(self._sizes) for x_ND in inputs), strict=True)
        return torch.cat(
            [
                group.unpad(function(*(group.pad(x_ND) for x_ND in part)))
                for group, part in zip(self.groups, parts, strict=True)
            ]
        )


class PaddedGroup:
    """Where each character of a batch stands when names are padded on the right to (B, T)."""

    def __init__(self, batch: Batch, position_N: Tensor) -> None:
        lengths_B = batch.lengths()
        self.num_names = batch.num_names
        self.num_positions = int(lengths_B.max())
        name_B = torch.arange(batch.num_names, device=lengths_B.device)
        name_N = name_B.repeat_interleave(lengths_B, output_size=batch.num_chars)
        self.slot_N = name_N * self.num_positions + position_N

    def pad(self, x_ND: Tensor) -> Tensor:
        """(N, D) -> (B, T, D), zeros where a name has ended."""
        x_SD = x_ND.new_zeros(self.num_names * self.num_positions, x_ND.shape[1])
        return x_SD.index_copy(0, self.slot_N, x_ND).view(self.num_names, self.num_positions, -1)

    def unpad(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (N, D)."""
        return x_BTD.reshape(self.num_names * self.num_positions, -1)[self.slot_N]
