"""The recurrent nets against their formulas, written out for one name and one step at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor

from makemore.config import GRUConfig, LSTMConfig, RNNConfig
from makemore.models import build_model
from makemore.models.dropout import Dropout
from makemore.models.jagged import PackedNames
from tests.test_models import (
    NAMES,
    VOCABULARY,
    assert_same,
    batch_of,
    logits_by_steps,
    logits_of_names,
    random_model,
    small,
)

NET_KINDS: list[Any] = [RNNConfig, GRUConfig, LSTMConfig]
nets = pytest.mark.parametrize("kind", NET_KINDS, ids=["rnn", "gru", "lstm"])
Unit = tuple[Tensor, Tensor]  # what is handed on, and the memory cells (of an LSTM)


def rnn_unit(weights: dict[str, Tensor], x_D: Tensor, hidden_F: Tensor, activation: str) -> Tensor:
    total_F = weights["weight_ih"] @ x_D + weights["bias_ih"]
    total_F = total_F + weights["weight_hh"] @ hidden_F + weights["bias_hh"]
    return total_F.clamp(min=0) if activation == "relu" else total_F.tanh()


def gru_unit(weights: dict[str, Tensor], x_D: Tensor, hidden_F: Tensor) -> Tensor:
    read = (weights["weight_ih"] @ x_D + weights["bias_ih"]).chunk(3)
    kept = (weights["weight_hh"] @ hidden_F + weights["bias_hh"]).chunk(3)
    reset_F = 1 / (1 + (-(read[0] + kept[0])).exp())
    update_F = 1 / (1 + (-(read[1] + kept[1])).exp())
    candidate_F = (read[2] + reset_F * kept[2]).tanh()
    return (1 - update_F) * candidate_F + update_F * hidden_F


def lstm_unit(weights: dict[str, Tensor], x_D: Tensor, hidden_F: Tensor, cell_F: Tensor) -> Unit:
    total = weights["weight_ih"] @ x_D + weights["bias_ih"]
    total = total + weights["weight_hh"] @ hidden_F + weights["bias_hh"]
    input_F, forget_F, candidate_F, output_F = total.chunk(4)
    input_F, forget_F, output_F = (
        1 / (1 + (-gate_F).exp()) for gate_F in (input_F, forget_F, output_F)
    )
    cell_F = forget_F * cell_F + input_F * candidate_F.tanh()
    return output_F * cell_F.tanh(), cell_F


def unit(
    config: Any, weights: dict[str, Tensor], x_D: Tensor, hidden_F: Tensor, cell_F: Tensor
) -> Unit:
    if config.kind == "lstm":
        return lstm_unit(weights, x_D, hidden_F, cell_F)
    if config.kind == "gru":
        return gru_unit(weights, x_D, hidden_F), cell_F
    return rnn_unit(weights, x_D, hidden_F, config.activation), cell_F


def explicit_logits(
    config: Any, weights: dict[str, Tensor], name: str, masks: list[Tensor] | None = None
) -> Tensor:
    """(T, V). masks: by what the T rows that each layer hands on are multiplied."""
    rows = [weights["embedding.weight"][i] for i in batch_of([name]).inputs]
    for index in range(config.num_layers):
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        layer = {part: weights[f"layers.{index}.{part}_l0"] for part in parts}
        hidden_F = cell_F = torch.zeros(config.hidden_dim, dtype=torch.float64)
        for position, x_D in enumerate(rows):
            hidden_F, cell_F = unit(config, layer, x_D, hidden_F, cell_F)
            handed_on_F = hidden_F
            if config.norm == "layer":
                centered_F = hidden_F - hidden_F.mean()
                handed_on_F = centered_F / (centered_F.square().mean() + 1e-5).sqrt()
                gain, bias = (weights[f"norms.{index}.{part}"] for part in ("weight", "bias"))
                handed_on_F = handed_on_F * gain + bias
            rows[position] = handed_on_F if masks is None else handed_on_F * masks[index][position]
    return torch.stack([weights["output.weight"] @ row + weights["output.bias"] for row in rows])


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (RNNConfig, {"activation": "tanh"}),
        (RNNConfig, {"activation": "relu"}),
        (GRUConfig, {}),
        (LSTMConfig, {}),
    ],
)
def test_logits_equal_the_formulas(
    kind: Any, changes: dict[str, str], norm: str, num_layers: int
) -> None:
    config = small(kind, num_layers=num_layers, norm=norm, **changes)
    model = random_model(config)
    expected = [explicit_logits(config, model.state_dict(), name) for name in NAMES]
    assert_same(logits_of_names(model, NAMES), expected)
    assert_same(logits_by_steps(model, NAMES), expected)


@nets
def test_dropout_acts_on_what_layers_hand_on_and_never_between_steps(kind: Any) -> None:
    """The masks are drawn again from the same seed: one for each layer, a row a character, in
    the order in which they are read."""
    config = small(kind, dropout=0.4, norm="layer")
    model = random_model(config).train()
    names = ["dacb", "a"]
    batch = batch_of(names)
    lengths = batch.lengths().tolist()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(1)
        logits = model(batch)
        torch.default_generator.manual_seed(1)
        ones_NF = torch.ones(batch.num_chars, config.hidden_dim, dtype=torch.float64)
        unpack = PackedNames(batch).unpack
        masks = [unpack(Dropout(0.4)(ones_NF)).split(lengths) for _ in range(2)]
    assert any((part == 0).any() for mask in masks for part in mask)
    for place, (name, row) in enumerate(zip(names, logits.split(lengths), strict=True)):
        own = [mask[place] for mask in masks]
        assert_same(row, explicit_logits(config, model.state_dict(), name, own))


@pytest.mark.parametrize(("kind", "parts"), [(RNNConfig, 1), (GRUConfig, 1), (LSTMConfig, 2)])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_state_is_the_hidden_units_of_every_layer_and_the_cells_of_an_lstm(
    kind: Any, parts: int, num_layers: int
) -> None:
    model = random_model(small(kind, num_layers=num_layers))
    start = model.start(4)
    assert [part.shape for part in start] == [(4, 12)] * parts * num_layers
    assert not any(part.any() for part in start)
    _, state = model.step(torch.zeros(4, dtype=torch.int64), start)
    assert [part.shape for part in state] == [(4, 12)] * parts * num_layers
    assert all(part.any() for part in state)


@nets
def test_a_state_has_the_type_of_the_weights(kind: Any) -> None:
    for dtype in (torch.float32, torch.float64):
        assert {part.dtype for part in random_model(small(kind), dtype).start(2)} == {dtype}


@nets
def test_the_output_layer_starts_small_without_a_bias(kind: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        weights = build_model(kind(hidden_dim=400, output_factor=0.3), 27).state_dict()
        silent = build_model(small(kind, output_factor=0.0), VOCABULARY.size)
    # 10,800 draws: the standard error of their deviation is 0.7 % of it.
    assert float(weights["output.weight"].std()) == pytest.approx(0.3 / 20, rel=0.03)
    assert not weights["output.bias"].any()
    assert not silent(batch_of(NAMES)).any()


@pytest.mark.parametrize(("kind", "gates"), [(RNNConfig, 1), (GRUConfig, 3), (LSTMConfig, 4)])
def test_the_number_of_parameters_is_exact(kind: Any, gates: int) -> None:
    first, second = (gates * 128 * (in_dim + 128 + 2) for in_dim in (64, 128))
    ends = 27 * 64 + 128 * 27 + 27
    assert build_model(kind(), 27).num_parameters() == ends + first
    two_normed = build_model(kind(num_layers=2, norm="layer"), 27)
    assert two_normed.num_parameters() == ends + first + second + 2 * 2 * 128
