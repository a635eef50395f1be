import math

import pytest
import torch
from torch import Tensor, nn

from makemore.config import BigramConfig, MLPConfig, MuonConfig, TransformerConfig
from makemore.config_loading import config_from_dict
from makemore.errors import ConfigError
from makemore.models import Mixture, build_model
from makemore.optim import Optimizer
from tests.small_optimizers import (
    MUONS,
    RATES,
    Small,
    gradients_of_a_few_steps,
    named,
    train_config,
)
from tests.test_optim import Formula, adam, mean


def muon(c: MuonConfig) -> Formula:
    """Jordan et al. 2024: five steps of Newton and Schulz."""

    def apply(p: Tensor, g: Tensor, m: dict[str, Tensor], t: int, rate: float) -> Tensor:
        average = mean(m, "m", c.momentum, g)
        x = (1 - c.momentum) * g + c.momentum * average if c.nesterov else average
        x = x / x.norm()
        for _ in range(5):
            xx = x @ x.mT
            x = 3.4445 * x - 4.7750 * xx @ x + 2.0315 * xx @ xx @ x
        scale = math.sqrt(max(1.0, p.shape[0] / p.shape[1]))
        updated: Tensor = p - rate * (scale * x + c.weight_decay * p)
        return updated

    return apply


@pytest.mark.parametrize("config", MUONS, ids=named)
def test_muon_updates_hidden_matrices_by_its_formula_and_the_rest_by_that_of_adamw(
    config: MuonConfig,
) -> None:
    model = Small(torch.float64)
    optimizer = Optimizer(train_config(config), model)
    memory: dict[str, dict[str, Tensor]] = {name: {} for name, _ in model.named_parameters()}
    steps = zip(gradients_of_a_few_steps(model), RATES, strict=True)
    for t, (gradients, rate) in enumerate(steps, start=1):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step(rate)
        for (name, after), g in zip(model.named_parameters(), gradients, strict=True):
            p, m = before[name], memory[name]
            if name in ("hidden.0.weight", "hidden.2.weight"):
                expected = muon(config)(p, g, m, t, rate)
                torch.testing.assert_close(after.detach(), expected, rtol=1e-9, atol=1e-9)
                torch.testing.assert_close(
                    optimizer.tensors()[f"{name}/momentum_buffer"], m["m"], rtol=1e-12, atol=1e-12
                )
            else:
                expected = adam(config)(p, g, m, t, rate * config.adamw_factor)
                torch.testing.assert_close(after.detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (48, 12), (12, 48)])
def test_an_update_of_muon_is_nearly_orthogonal_and_scaled_by_the_shape(
    rows: int, columns: int
) -> None:
    """Jordan et al. 2024: all singular values are about 1, whatever the gradient's are."""
    linear = nn.Linear(columns, rows, bias=False)
    layers = nn.Sequential(linear, nn.LayerNorm(rows))
    matrix = linear.weight
    before = matrix.detach().clone()
    optimizer = Optimizer(train_config(MuonConfig()), layers)
    for parameter in layers.parameters():
        parameter.grad = torch.zeros_like(parameter)
    generator = torch.Generator().manual_seed(0)
    rank = min(rows, columns)
    left = torch.linalg.qr(torch.randn(rows, rank, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(columns, rank, generator=generator)).Q
    matrix.grad = left @ torch.logspace(0, -1, rank).diag() @ right.mT
    optimizer.step(0.5)
    update = (before - matrix.detach()) / 0.5 / max(1, rows / columns) ** 0.5
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    # The directions are those of the gradient.
    aligned = left.mT @ update @ right
    assert (aligned - aligned.diag().diag()).abs().max() < 0.05
    assert aligned.diag().min() > 0.6


def muon_matrices(model: nn.Module) -> set[str]:
    optimizer = Optimizer(train_config(MuonConfig()), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.01)
    found = {name.rpartition("/") for name in optimizer.tensors()}
    by_muon = {name for name, _, quantity in found if quantity == "momentum_buffer"}
    by_adamw = {name for name, _, quantity in found if quantity == "exp_avg"}
    assert not by_muon & by_adamw
    assert by_muon | by_adamw == {name for name, _ in model.named_parameters()}
    return by_muon


def test_muon_takes_the_matrices_between_embeddings_and_output_layer() -> None:
    mlp = build_model(MLPConfig(embedding_dim=4, hidden_dim=8, num_layers=2), 5)
    assert muon_matrices(mlp) == {"hidden.0.linear.weight", "hidden.1.linear.weight"}
    transformer = build_model(TransformerConfig(embedding_dim=8, num_heads=2, num_layers=1), 5)
    assert muon_matrices(transformer) == {
        name
        for name, parameter in transformer.named_parameters()
        if parameter.dim() == 2 and name.startswith("blocks.")
    }
    assert "blocks.0.attention.output.weight" in muon_matrices(transformer)


def test_muon_takes_the_hidden_matrices_of_every_member_of_a_mixture() -> None:
    members = [build_model(config, 5) for config in (MLPConfig(num_layers=2), BigramConfig())]
    assert muon_matrices(Mixture(members)) == {
        "members.0.hidden.0.linear.weight",
        "members.0.hidden.1.linear.weight",
    }


@pytest.mark.parametrize("kind", ["bigram", "rnn", "gru", "lstm"])
def test_muon_without_a_hidden_linear_layer_is_refused_by_the_config(kind: str) -> None:
    values = {"model": {"kind": kind}, "train": {"optimizer": {"kind": "muon"}}}
    with pytest.raises(ConfigError, match=f"`muon` is for hidden linear layers, and `{kind}`"):
        config_from_dict(values, "mine")
    members = [{"kind": kind}, {"kind": "mlp"}]
    mixed = {**values, "model": {"kind": "ensemble", "members": members}}
    assert config_from_dict(mixed, "mine").model.kind == "ensemble"
