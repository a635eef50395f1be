"""The recurrences over packed names against the layers of torch.nn, values and gradients."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from makemore.models.recurrence import GRUUnit, LSTMUnit, ReluRNNUnit, RNNUnit, Unit, recur

UNITS: dict[str, tuple[type[Unit], Any, dict[str, str]]] = {
    "rnn": (RNNUnit, nn.RNN, {}),
    "relu rnn": (ReluRNNUnit, nn.RNN, {"nonlinearity": "relu"}),
    "gru": (GRUUnit, nn.GRU, {}),
    "lstm": (LSTMUnit, nn.LSTM, {}),
}
units = pytest.mark.parametrize("name", UNITS)
# One name; names of one length; some that end, and one that goes on alone.
NUM_NAMES = [[1, 1, 1], [3, 3], [5, 4, 4, 1, 1], [2]]


def layer(name: str) -> tuple[type[Unit], Any]:
    unit, kind, options = UNITS[name]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        made = kind(3, 4, **options).double()
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.7)
    return unit, made


def inputs(num_names_T: list[int]) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    x_ND = torch.randn(sum(num_names_T), 3, generator=generator, dtype=torch.float64)
    return x_ND.requires_grad_()


@units
@pytest.mark.parametrize("num_names_T", NUM_NAMES, ids=str)
def test_packed_names_are_read_as_torch_reads_them(name: str, num_names_T: list[int]) -> None:
    unit, module = layer(name)
    x_ND = inputs(num_names_T)
    packed = nn.utils.rnn.PackedSequence(x_ND, torch.tensor(num_names_T))
    results = []
    for hidden_NF in (
        recur(unit, x_ND, module.all_weights[0], num_names_T),
        module(packed)[0].data,
    ):
        weights_NF = torch.linspace(-1, 1, hidden_NF.numel(), dtype=torch.float64).view_as(
            hidden_NF
        )
        loss = (weights_NF * hidden_NF).sum()
        gradients = torch.autograd.grad(loss, [x_ND, *module.parameters()])
        results.append([hidden_NF, *gradients])
    torch.testing.assert_close(*results)


@units
def test_the_gradient_can_be_taken_once_and_says_so(name: str) -> None:
    unit, module = layer(name)
    loss = recur(unit, inputs([2, 1]), module.all_weights[0], [2, 1]).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


@units
def test_a_graph_that_is_let_go_is_freed_at_once(name: str) -> None:
    unit, module = layer(name)
    gc.disable()
    try:
        hidden_NF = recur(unit, inputs([2, 1]), module.all_weights[0], [2, 1])
        node = weakref.ref(hidden_NF.grad_fn)
        del hidden_NF
        assert node() is None
    finally:
        gc.enable()
