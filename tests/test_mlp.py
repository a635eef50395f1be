"""The multilayer perceptron against its formulas, one character at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor

from makemore.config import InitializationConfig, MLPConfig
from makemore.models import build_model
from makemore.vocab import BOUNDARY
from tests.test_activations import FORMULAS
from tests.test_models import (
    NAMES,
    VOCABULARY,
    assert_same,
    batch_of,
    logits_of_names,
    random_model,
)


def explicit_norm(weights: dict[str, Tensor], layer: str, kind: str, x_F: Tensor) -> Tensor:
    if kind == "none":
        return x_F
    if kind == "batch":
        centered_F = x_F - weights[f"{layer}.running_mean"]
        scaled_F = centered_F / (weights[f"{layer}.running_var"] + 1e-5).sqrt()
    elif kind == "layer":
        centered_F = x_F - x_F.mean()
        scaled_F = centered_F / (centered_F.square().mean() + 1e-5).sqrt()
    else:
        return x_F / (x_F.square().mean() + 2.0**-52).sqrt() * weights[f"{layer}.weight"]
    return scaled_F * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]


def explicit_hidden(
    weights: dict[str, Tensor], layer: str, config: MLPConfig, x_F: Tensor
) -> Tensor:
    x_F = weights[f"{layer}.linear.weight"] @ x_F
    if config.norm != "batch":
        x_F = x_F + weights[f"{layer}.linear.bias"]
    x_F = explicit_norm(weights, f"{layer}.norm", config.norm, x_F)
    return torch.tensor([FORMULAS[config.activation](x) for x in x_F.tolist()], dtype=x_F.dtype)


def explicit_logits(model: Any, config: MLPConfig, seen: list[int]) -> Tensor:
    weights = model.state_dict()
    x_F = torch.cat([weights["embedding.weight"][i] for i in seen])
    for index in range(config.num_layers):
        layer = f"hidden.{index}"
        if config.residual and index:
            hidden_F = explicit_hidden(weights, f"{layer}.hidden", config, x_F)
            added_F = weights[f"{layer}.output.weight"] @ hidden_F
            x_F = x_F + added_F + weights[f"{layer}.output.bias"]
        else:
            x_F = explicit_hidden(weights, layer, config, x_F)
    logits_V: Tensor = weights["output.weight"] @ x_F + weights["output.bias"]
    return logits_V


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"context_length": 1},
        {"context_length": 5, "activation": "elu"},
        {"norm": "batch"},
        {"norm": "layer", "activation": "relu"},
        {"norm": "rms", "activation": "gelu"},
        {"num_layers": 3, "activation": "silu"},
        {"num_layers": 3, "residual": True},
        {"num_layers": 3, "residual": True, "norm": "batch", "activation": "softplus"},
        {"num_layers": 2, "residual": True, "norm": "layer"},
    ],
    ids=str,
)
def test_mlp_logits_equal_an_explicit_loop(options: dict[str, Any]) -> None:
    config = MLPConfig(**{"context_length": 3, "embedding_dim": 8, "hidden_dim": 12, **options})
    model = random_model(config)
    for name, logits in zip(NAMES, logits_of_names(model, NAMES), strict=True):
        ids = [BOUNDARY] * config.context_length + VOCABULARY.encode([name])[:-1].tolist()
        for position, row in enumerate(logits):
            seen = ids[position : position + config.context_length]
            assert_same(row, explicit_logits(model, config, seen))


def test_the_published_sizes() -> None:
    assert build_model(MLPConfig(), 27).num_parameters() == 11_897
    assert build_model(MLPConfig(norm="batch"), 27).num_parameters() == 12_097
    assert build_model(MLPConfig(norm="batch", context_length=8), 27).num_parameters() == 22_097
    large = MLPConfig(embedding_dim=48, hidden_dim=512)
    assert build_model(large, 27).num_parameters() == 89_387


def test_a_residual_branch_that_starts_at_zero_adds_nothing_at_first() -> None:
    outputs = []
    for num_layers in (2, 4):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            zero = InitializationConfig(zero_residual=True, output_factor=1.0)
            config = MLPConfig(num_layers=num_layers, residual=True, initialization=zero)
            model: Any = build_model(config, 27).eval()
            embedded = torch.randn(5, 30)
            first = model.hidden[0](embedded)
            assert torch.equal(model.hidden(embedded), first)
            outputs.append(first)


def test_all_zero_weights_keep_hidden_units_alike() -> None:
    """Every unit of a layer gets the same gradient, step after step: the symmetry that random
    weights break. Only the biases of the output learn."""
    config = MLPConfig(
        hidden_dim=6, activation="sigmoid", initialization=InitializationConfig(method="zeros")
    )
    model: Any = build_model(config, VOCABULARY.size)
    batch = batch_of(NAMES)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch), batch.targets).backward()
        optimizer.step()
    for weight_FX in (model.hidden[0].linear.weight, model.output.weight.T):
        assert torch.allclose(weight_FX, weight_FX[:1].expand_as(weight_FX))
    assert not torch.allclose(model.output.weight, torch.zeros(()))


def test_small_output_weights_start_near_uniform_and_large_ones_do_not() -> None:
    """The lectures' softmax fix: with unit normal weights the first loss is that of confident
    nonsense, far above ln V."""
    batch, losses = batch_of(NAMES), []
    for factor in (1.0, 0.01):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            start = InitializationConfig(method="unit_normal", output_factor=factor)
            model = build_model(MLPConfig(initialization=start), VOCABULARY.size)
            losses.append(torch.nn.functional.cross_entropy(model(batch), batch.targets).item())
    assert losses[0] > 3 * losses[1]
    assert losses[1] == pytest.approx(torch.tensor(float(VOCABULARY.size)).log().item(), abs=0.2)
