import math
from typing import Any

import pytest
import torch
from torch import Tensor

from makemore.config import InitializationConfig, WaveNetConfig
from makemore.models import build_model
from makemore.models.wavenet import WholeNames
from makemore.vocab import BOUNDARY
from tests.test_models import (
    NAMES,
    VOCABULARY,
    assert_same,
    batch_of,
    logits_of_names,
    random_model,
    small,
)

# Each with the number of characters that it sees: the last one, kernel_size - 1 that the input
# layer adds, and kernel_size**num_layers - 1 that a stack adds.
SHAPES = [
    (small(WaveNetConfig, kernel_size=2, num_layers=1), 3),
    (small(WaveNetConfig, kernel_size=2, num_layers=2), 5),
    (small(WaveNetConfig, kernel_size=2, num_layers=3), 9),
    (small(WaveNetConfig, kernel_size=2, num_layers=2, num_stacks=2), 8),
    (small(WaveNetConfig, kernel_size=3, num_layers=1, num_stacks=2), 7),
    (small(WaveNetConfig, kernel_size=3, num_layers=2), 11),
    (small(WaveNetConfig, kernel_size=4, num_layers=1), 7),
]
all_shapes = pytest.mark.parametrize(("config", "num_seen"), SHAPES)


def convolution(layer: Any, x: list[Tensor], kernel_size: int, dilation: int) -> list[Tensor]:
    """Position by position and tap by tap, the last tap at the position itself."""
    dim = len(x[0])
    outputs = []
    for position in range(len(x)):
        total = layer.bias.clone()
        for tap in range(kernel_size):
            source = position - (kernel_size - 1 - tap) * dilation
            if source >= 0:
                total += layer.weight[:, tap * dim : (tap + 1) * dim] @ x[source]
        outputs.append(total)
    return outputs


@pytest.mark.parametrize(("kernel_size", "dilation"), [(2, 1), (2, 4), (3, 2), (4, 9)])
def test_taps_and_their_gradients_are_those_of_shifted_names(
    kernel_size: int, dilation: int
) -> None:
    batch = batch_of(NAMES)
    generator = torch.Generator().manual_seed(1)
    x_NF, *factors = torch.randn(
        1 + kernel_size, batch.num_chars, 3, generator=generator, dtype=torch.float64
    )
    x_NF.requires_grad_()
    factors_NE = torch.cat(factors, dim=1)
    expected: list[Tensor] = []
    for rows_TF in x_NF.split(batch.lengths().tolist()):
        shifts = [(kernel_size - 1 - tap) * dilation for tap in range(kernel_size)]
        shifted = [
            torch.cat([rows_TF.new_zeros(shift, 3), rows_TF])[: len(rows_TF)] for shift in shifts
        ]
        expected.append(torch.cat(shifted, dim=1))
    results = []
    for taps_NE in (WholeNames(batch, kernel_size).taps(x_NF, dilation), torch.cat(expected)):
        (gradient_NF,) = torch.autograd.grad((taps_NE * factors_NE).sum(), x_NF)
        results.append([taps_NE, gradient_NF])
    torch.testing.assert_close(*results)


def explicit_logits(model: Any, ids: list[int], config: Any) -> Tensor:
    """One name, its skip connections added up layer by layer."""
    kernel_size, dim = config.kernel_size, config.hidden_dim
    num_layers = config.num_layers * config.num_stacks
    x = convolution(model.input, [model.embedding.weight[i] for i in ids], kernel_size, 1)
    skips = [model.skip.bias.clone() for _ in ids]
    for layer in range(num_layers):
        dilation = kernel_size ** (layer % config.num_layers)
        for position, both in enumerate(convolution(model.gates[layer], x, kernel_size, dilation)):
            gated = both[:dim].tanh() / (1 + (-both[dim:]).exp())
            skips[position] += model.skip.weight[:, layer * dim : (layer + 1) * dim] @ gated
            if layer < num_layers - 1:
                residual = model.residuals[layer]
                x[position] = x[position] + residual.weight @ gated + residual.bias
    hidden = [(model.hidden.weight @ s.relu() + model.hidden.bias).relu() for s in skips]
    return torch.stack([model.output.weight @ h + model.output.bias for h in hidden])


@pytest.mark.parametrize("config", [config for config, _ in SHAPES])
@torch.no_grad()
def test_logits_equal_explicit_convolutions(config: WaveNetConfig) -> None:
    model = random_model(config)
    for name, logits in zip(NAMES, logits_of_names(model, NAMES), strict=True):
        ids = [BOUNDARY, *VOCABULARY.encode([name])[:-1].tolist()]
        assert_same(logits, explicit_logits(model, ids, config), 1e-11)


@all_shapes
def test_the_farthest_character_that_it_sees_matters_and_the_one_before_does_not(
    config: WaveNetConfig, num_seen: int
) -> None:
    model: Any = random_model(config)
    first, second = logits_of_names(model, ["abcdabcaabbd", "dbcdabcaabbd"])
    last = 1 + num_seen - 1  # The boundary stands at position 0.
    assert not torch.allclose(first[last], second[last], rtol=0, atol=1e-9)
    assert torch.equal(first[last + 1 :], second[last + 1 :])
    assert len(first) > last + 1


@all_shapes
def test_a_step_computes_one_row_a_layer_and_keeps_what_the_layers_will_look_back_at(
    config: WaveNetConfig, num_seen: int
) -> None:
    model: Any = random_model(config)
    rows: list[tuple[int, ...]] = []
    for gate in model.gates:
        gate.register_forward_pre_hook(lambda _, inputs: rows.append(tuple(inputs[0].shape)))
    start = model.start(3)
    _, state = model.step(torch.tensor([0, 1, 2]), start)
    assert rows == [(3, config.kernel_size * 12)] * config.num_layers * config.num_stacks
    assert not any(queue.any() for queue in start)
    for queues in (start, state):
        assert all(queue.shape[::2] == (3, 12) for queue in queues)
        # Itself, and the past of every layer.
        assert 1 + sum(queue.shape[1] for queue in queues) == num_seen


def test_the_number_of_parameters_is_exact() -> None:
    config = WaveNetConfig(hidden_dim=5, skip_dim=7, kernel_size=3, num_layers=2, num_stacks=2)
    expected = (
        27 * 5
        + (15 * 5 + 5)
        + 4 * (15 * 10 + 10)  # Filters and gates.
        + 3 * (5 * 5 + 5)  # Residual connections, none after the last layer.
        + (4 * 5 * 7 + 7)
        + (7 * 7 + 7)
        + (7 * 27 + 27)
    )
    assert build_model(config, 27).num_parameters() == expected


def untrained(config: WaveNetConfig) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build_model(config, 27)


@pytest.mark.parametrize(
    ("method", "gate", "skip"),
    [
        ("normal", 1.0, 1.0),
        # torch.nn.init.calculate_gain of tanh and of relu.
        ("kaiming_normal", 5 / 3, math.sqrt(2)),
    ],
)
def test_initial_weights_have_the_scale_of_their_fan_in_and_biases_are_zero(
    method: Any, gate: float, skip: float
) -> None:
    initialization = InitializationConfig(method=method, factor=0.5, output_factor=0.2)
    model = untrained(
        WaveNetConfig(
            hidden_dim=128,
            skip_dim=256,
            num_layers=3,
            kernel_size=3,
            initialization=initialization,
        )
    )
    layers = {
        "input": (model.input, 0.5 / math.sqrt(3 * 128)),
        "gates": (model.gates[2], 0.5 * gate / math.sqrt(3 * 128)),
        "residuals": (model.residuals[1], 0.5 / math.sqrt(128) / math.sqrt(2)),
        "skip": (model.skip, 0.5 * skip / math.sqrt(3 * 128)),
        "hidden": (model.hidden, 0.5 * skip / math.sqrt(256)),
        "output": (model.output, 0.2 / math.sqrt(256)),
    }
    measured = {name: layer.weight.std().item() for name, (layer, _) in layers.items()}
    expected = {name: deviation for name, (_, deviation) in layers.items()}
    assert measured == pytest.approx(expected, rel=0.04)
    biases = [value for name, value in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 9
    assert not any(bias.any() for bias in biases)


def test_zero_residual_starts_every_residual_connection_and_nothing_else_at_zero() -> None:
    initialization = InitializationConfig(method="normal", zero_residual=True)
    model = untrained(WaveNetConfig(num_stacks=2, initialization=initialization))
    zeros = {name for name, p in model.named_parameters() if "weight" in name and not p.any()}
    assert zeros == {f"residuals.{i}.weight" for i in range(7)}
