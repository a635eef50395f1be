"""The recurrences of recurrent nets over the names of a batch, position by position: on a CPU.

Names are packed: the first characters of all names, then the second ones, and so on, the longest
name first (`makemore.models.jagged.PackedNames`). So the characters of one position are a slice,
those before them are the first rows of the slice before, and there is no pad. What does not depend
on the position before, which is the product with the inputs and the gradients of all weights, is
one matrix product over all characters. What does is written where it will be read, and gradients
over the numbers that they come from, because fresh memory costs more than the arithmetic.

G gate units (4 F, 3 F or F), S names that reach a position. The formulas and the order of the gates
are those of torch.nn; a step of one character is in `makemore.models.recurrent`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

# Back through an activation, by what it returned: (gradient, output, grad_input=where).
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


class Unit(ABC):
    """What happens at one position, forth and once back. `now` are the rows of its names, `before`
    those of the same names one position earlier, None at the first.

    read_NG: the product with the inputs, then the gates, in the end their gradient; kept_NG: that
    of the product with the hidden units, in the end. hidden_NF: the hidden units.
    """

    def __init__(self, x_ND: Tensor, weights: Sequence[Tensor]) -> None:
        weight_GD, self.weight_GF, read_bias_G, kept_bias_G = weights
        self.width = self.weight_GF.shape[1]
        self.hidden_NF = x_ND.new_empty(len(x_ND), self.width)
        self.read_NG = torch.addmm(read_bias_G + kept_bias_G, x_ND, weight_GD.t())
        self.kept_NG = self.read_NG  # both products are only ever added

    @abstractmethod
    def forward(self, now: slice, before: slice | None) -> None:
        """Write hidden_NF[now]."""

    @abstractmethod
    def begin_backward(self, num_names: int) -> None:
        """Get ready for `backward`, of at most `num_names` names at a time."""

    @abstractmethod
    def backward(self, now: slice, before: slice | None, gradient_SF: Tensor) -> None:
        """Write the gradients of read_NG[now] and kept_NG[now], and over `gradient_SF`, which is
        that of hidden_NF[now], what it passes on to hidden_NF[before]."""


class RNNUnit(Unit):
    def forward(self, now: slice, before: slice | None) -> None:
        total_SF = self.read_NG[now]
        if before is not None:
            total_SF.addmm_(self.hidden_NF[before], self.weight_GF.t())
        self._activate(total_SF, self.hidden_NF[now])

    def begin_backward(self, num_names: int) -> None:
        pass

    def backward(self, now: slice, before: slice | None, gradient_SF: Tensor) -> None:
        total_SF = self.read_NG[now]
        self._activate_backward(gradient_SF, self.hidden_NF[now], total_SF)
        if before is not None:
            torch.mm(total_SF, self.weight_GF, out=gradient_SF)

    def _activate(self, total_SF: Tensor, hidden_SF: Tensor) -> None:
        torch.tanh(total_SF, out=hidden_SF)

    def _activate_backward(self, gradient_SF: Tensor, hidden_SF: Tensor, out: Tensor) -> None:
        _tanh_backward(gradient_SF, hidden_SF, grad_input=out)


class ReluRNNUnit(RNNUnit):
    def _activate(self, total_SF: Tensor, hidden_SF: Tensor) -> None:
        torch.clamp(total_SF, min=0, out=hidden_SF)

    def _activate_backward(self, gradient_SF: Tensor, hidden_SF: Tensor, out: Tensor) -> None:
        torch.mul(gradient_SF, hidden_SF > 0, out=out)


class GRUUnit(Unit):
    """Gates: reset, update, candidate. The reset gate comes between the candidate's two products,
    so that the one with the hidden units stands by itself."""

    def __init__(self, x_ND: Tensor, weights: Sequence[Tensor]) -> None:
        weight_GD, self.weight_GF, read_bias_G, self.kept_bias_G = weights
        self.width = self.weight_GF.shape[1]
        self.hidden_NF = x_ND.new_empty(len(x_ND), self.width)
        self.read_NG = torch.addmm(read_bias_G, x_ND, weight_GD.t())
        self.kept_NG = torch.empty_like(self.read_NG)

    def forward(self, now: slice, before: slice | None) -> None:
        gates_SG, kept_SG, both = self.read_NG[now], self.kept_NG[now], slice(2 * self.width)
        if before is None:
            kept_SG[:] = self.kept_bias_G
        else:
            torch.addmm(self.kept_bias_G, self.hidden_NF[before], self.weight_GF.t(), out=kept_SG)
        gates_SG[:, both].add_(kept_SG[:, both]).sigmoid_()
        reset_SF, update_SF, candidate_SF = gates_SG.split(self.width, dim=1)
        candidate_SF.addcmul_(reset_SF, kept_SG[:, 2 * self.width :]).tanh_()
        # candidate + update * (hidden before - candidate)
        hidden_SF = self.hidden_NF[now]
        if before is None:
            torch.addcmul(candidate_SF, update_SF, candidate_SF, value=-1, out=hidden_SF)
        else:
            torch.lerp(candidate_SF, self.hidden_NF[before], update_SF, out=hidden_SF)

    def begin_backward(self, num_names: int) -> None:
        self.scratch_SG = self.read_NG.new_empty(num_names, 3 * self.width)

    def backward(self, now: slice, before: slice | None, gradient_SF: Tensor) -> None:
        gates_SG, kept_SG, both = self.read_NG[now], self.kept_NG[now], slice(2 * self.width)
        past_SF = kept_SG[:, 2 * self.width :]
        reset_SF, update_SF, candidate_SF = gates_SG.split(self.width, dim=1)
        scratch_SG = self.scratch_SG[: len(gates_SG)]
        of_reset_SF, of_update_SF, of_candidate_SF = scratch_SG.split(self.width, dim=1)
        if before is None:
            torch.neg(candidate_SF, out=of_update_SF)
        else:
            torch.sub(self.hidden_NF[before], candidate_SF, out=of_update_SF)
        of_update_SF *= gradient_SF
        torch.addcmul(gradient_SF, gradient_SF, update_SF, value=-1, out=of_candidate_SF)
        gradient_SF *= update_SF
        # From here on the gates give way to the gradients of what they were computed from.
        _tanh_backward(of_candidate_SF, candidate_SF, grad_input=candidate_SF)
        torch.mul(candidate_SF, past_SF, out=of_reset_SF)
        torch.mul(candidate_SF, reset_SF, out=past_SF)
        _sigmoid_backward(scratch_SG[:, both], gates_SG[:, both], grad_input=gates_SG[:, both])
        kept_SG[:, both] = gates_SG[:, both]
        if before is not None:
            gradient_SF.addmm_(kept_SG, self.weight_GF)


class LSTMUnit(Unit):
    """Gates: input, forget, candidate, output."""

    def __init__(self, x_ND: Tensor, weights: Sequence[Tensor]) -> None:
        super().__init__(x_ND, weights)
        self.cell_NF = torch.empty_like(self.hidden_NF)
        self.squashed_NF = torch.empty_like(self.hidden_NF)  # tanh of the cells

    def forward(self, now: slice, before: slice | None) -> None:
        gates_SG, both = self.read_NG[now], slice(2 * self.width)
        if before is not None:
            gates_SG.addmm_(self.hidden_NF[before], self.weight_GF.t())
        input_SF, forget_SF, candidate_SF, output_SF = gates_SG.split(self.width, dim=1)
        gates_SG[:, both].sigmoid_()
        candidate_SF.tanh_()
        output_SF.sigmoid_()
        cell_SF, squashed_SF = self.cell_NF[now], self.squashed_NF[now]
        torch.mul(input_SF, candidate_SF, out=cell_SF)
        if before is not None:
            cell_SF.addcmul_(forget_SF, self.cell_NF[before])
        torch.tanh(cell_SF, out=squashed_SF)
        torch.mul(output_SF, squashed_SF, out=self.hidden_NF[now])

    def begin_backward(self, num_names: int) -> None:
        self.scratch_SG = self.read_NG.new_empty(num_names, 4 * self.width)
        # The gradient of the cells, which each position passes on to the one before.
        self.of_cell_SF = self.read_NG.new_zeros(num_names, self.width)

    def backward(self, now: slice, before: slice | None, gradient_SF: Tensor) -> None:
        gates_SG, both = self.read_NG[now], slice(2 * self.width)
        input_SF, forget_SF, candidate_SF, output_SF = gates_SG.split(self.width, dim=1)
        scratch_SG, of_cell_SF = self.scratch_SG[: len(gates_SG)], self.of_cell_SF[: len(gates_SG)]
        of_input_SF, of_forget_SF, of_candidate_SF, of_output_SF = scratch_SG.split(
            self.width, dim=1
        )
        squashed_SF = self.squashed_NF[now]
        torch.mul(gradient_SF, squashed_SF, out=of_output_SF)
        gradient_SF *= output_SF
        _tanh_backward(gradient_SF, squashed_SF, grad_input=gradient_SF)
        of_cell_SF += gradient_SF
        torch.mul(of_cell_SF, candidate_SF, out=of_input_SF)
        torch.mul(of_cell_SF, input_SF, out=of_candidate_SF)
        if before is None:
            of_forget_SF.zero_()
        else:
            torch.mul(of_cell_SF, self.cell_NF[before], out=of_forget_SF)
            of_cell_SF *= forget_SF
        # From here on the gates give way to the gradients of what they were computed from.
        _sigmoid_backward(scratch_SG[:, both], gates_SG[:, both], grad_input=gates_SG[:, both])
        _tanh_backward(of_candidate_SF, candidate_SF, grad_input=candidate_SF)
        _sigmoid_backward(of_output_SF, output_SF, grad_input=output_SF)
        if before is not None:
            torch.mm(gates_SG, self.weight_GF, out=gradient_SF)


def recur(
    kind: type[Unit], x_ND: Tensor, weights: Sequence[Tensor], num_names_T: Sequence[int]
) -> Tensor:
    """Hidden units (N, F) of packed names, of which `num_names_T` reach each position.

    weights: those of a layer of torch.nn: of the inputs (G, D), of the hidden units (G, F), and a
    bias (G,) of each. The gradient can be taken once; a second time raises RuntimeError.
    """
    apply: Callable[..., Tensor] = _Recurrence.apply
    return apply(kind, num_names_T, x_ND, *weights)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kind: type[Unit], num_names_T: Sequence[int], x_ND: Tensor, *weights: Tensor
    ) -> Tensor:
        unit = kind(x_ND, weights)
        for now, before in _positions(num_names_T):
            unit.forward(now, before)
        ctx.save_for_backward(x_ND, weights[0], unit.hidden_NF)
        ctx.unit, ctx.num_names_T = unit, num_names_T
        # What is returned must not be held by what its graph holds: neither would ever be freed.
        hidden_NF = unit.hidden_NF
        del unit.hidden_NF
        return hidden_NF

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, weight_GD, hidden_NF = ctx.saved_tensors
        if ctx.unit is None:
            raise RuntimeError("the gradient of a recurrence can be taken once")
        unit: Unit = ctx.unit
        ctx.unit = None  # its numbers are overwritten
        unit.hidden_NF = hidden_NF
        positions = list(_positions(ctx.num_names_T))
        num_names = ctx.num_names_T[0]
        unit.begin_backward(num_names)
        # Of the names that go on; zero for those that end here.
        passed_on_SF = hidden_NF.new_zeros(num_names, unit.width)
        for now, before in reversed(positions):
            gradient_SF = passed_on_SF[: now.stop - now.start]
            gradient_SF += gradients[0][now]
            unit.backward(now, before, gradient_SF)
        befores = [hidden_NF[before] for _, before in positions if before is not None]
        before_NF = torch.cat([hidden_NF[:0], *befores])
        return (
            None,
            None,
            unit.read_NG @ weight_GD,
            unit.read_NG.t() @ x_ND,
            unit.kept_NG[num_names:].t() @ before_NF,
            unit.read_NG.sum(0),
            unit.kept_NG.sum(0),
        )


def _positions(num_names_T: Sequence[int]) -> Iterator[tuple[slice, slice | None]]:
    """For each position the rows of its names, and those of the same names one earlier."""
    start, before = 0, None
    for num_names, num_going_on in zip(num_names_T, [*num_names_T[1:], 0], strict=True):
        yield slice(start, start + num_names), before
        before = slice(start, start + num_going_on)
        start += num_names
