"""What torch.optim.LBFGS remembers, as a flat table of tensors, and back.

It keeps numbers, vectors over the P components of all parameters in a row, and the last K pairs of
changes of gradient and position. Beside them it keeps `al`, which every iteration writes before it
reads it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Python's numbers or 0-dimensional tensors; float64 holds either without a loss.
_COUNTS = ("func_evals", "n_iter")
_NUMBERS = ("t", "H_diag", "prev_loss")
_VECTORS = ("d", "prev_flat_grad")  # (P,)
_HISTORIES = ("old_dirs", "old_stps", "ro")  # K tensors (P,), (P,) and ()


def pack(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The counts alone, where no iteration was made because the gradient was zero."""
    if state["n_iter"] == 0:
        return {name: _number(state[name]) for name in _COUNTS}
    # stack() takes no empty list.
    vector = state["d"]
    vectors = vector.new_empty(0, len(vector))
    empty = {"old_dirs": vectors, "old_stps": vectors, "ro": vector.new_empty(0)}
    return {
        **{name: _number(state[name]) for name in _COUNTS + _NUMBERS},
        **{name: state[name] for name in _VECTORS},
        **{name: torch.stack(state[name]) if state[name] else empty[name] for name in _HISTORIES},
    }


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The inverse of `pack`; the state shares the memory of the tensors."""
    values: dict[str, Any] = dict(tensors)
    for name in _COUNTS + _NUMBERS:
        if name in values:
            values[name] = values[name].item()
    for name in _HISTORIES:
        if name in values:
            values[name] = list(values[name].unbind())
    return values


def expected(
    tensors: Mapping[str, Tensor], num_components: int, dtype: torch.dtype, history_size: int
) -> dict[str, Tensor]:
    """Tensors without content that have the names, shapes and types of what is remembered.

    How much that is depends on the iterations that were made, which `tensors` are asked for: as
    many pairs as they hold, if there can be so many.
    """
    number = torch.empty((), dtype=torch.float64, device="meta")
    n_iter = tensors.get("n_iter", torch.tensor(1))
    num_iterations = n_iter.item() if n_iter.dim() == 0 else 1
    if num_iterations == 0:
        return dict.fromkeys(_COUNTS, number)
    pairs = tensors.get("old_dirs", torch.empty(0))
    num_pairs = len(pairs) if pairs.dim() else 0
    num_pairs = int(max(0, min(num_pairs, history_size, num_iterations - 1)))
    vector = torch.empty(num_components, dtype=dtype, device="meta")
    vectors = vector.expand(num_pairs, -1)
    return {
        **dict.fromkeys(_COUNTS + _NUMBERS, number),
        **dict.fromkeys(_VECTORS, vector),
        "old_dirs": vectors,
        "old_stps": vectors,
        "ro": vectors.new_empty(num_pairs),
    }


def _number(value: float | Tensor) -> Tensor:
    return torch.tensor(float(value), dtype=torch.float64)
