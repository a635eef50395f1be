from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from makemore.config import MLPConfig
from makemore.models.batch_norm import BatchNorm, fold, recompute_statistics
from makemore.models.jagged import contexts
from tests.test_models import (
    NAMES,
    all_models,
    assert_same,
    batch_of,
    corpus_of,
    logits_of_names,
    random_model,
    small,
)

DEFAULT_MOMENTUM = 0.1


def random_mlp(statistics: str | None, dtype: torch.dtype = torch.float64) -> Any:
    changes = {"norm": "batch", "norm_statistics": statistics, "context_length": 2, "num_layers": 1}
    config = small(MLPConfig, **changes)
    return random_model(config, dtype)


def pre_activations(model: Any, names: list[str]) -> Tensor:
    """(N, F) float64: what goes into the norm, at once for all characters of `names`."""
    with torch.no_grad():
        embedded_NCD = model.embedding(contexts(batch_of(names), model.context_length)).double()
    rows_NF: Tensor = embedded_NCD.flatten(1) @ model.hidden[0].linear.weight.detach().double().T
    return rows_NF


def moments(model: nn.Module) -> tuple[Tensor, Tensor]:
    (layer,) = (module for module in model.modules() if isinstance(module, BatchNorm))
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean.clone(), layer.running_var.clone()


@pytest.mark.parametrize("statistics", [None, "recomputed"])
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recomputed_statistics_are_those_of_all_names_at_once(
    statistics: str | None, batch_size: int, dtype: torch.dtype
) -> None:
    model = random_mlp(statistics, dtype)
    assert recompute_statistics(model, corpus_of(NAMES), batch_size) == 1
    rows_NF = pre_activations(model, NAMES)
    expected = (rows_NF.mean(0), rows_NF.var(0, correction=0))
    torch.testing.assert_close(
        tuple(part.double() for part in moments(model)), expected, rtol=1e-6, atol=1e-6
    )


def test_recomputed_statistics_normalize_the_training_names_exactly() -> None:
    model = random_mlp("recomputed")
    recompute_statistics(model, corpus_of(NAMES), 2)
    norm = model.hidden[0].norm
    rows_NF = norm(pre_activations(model, NAMES))
    standard_NF = (rows_NF - norm.bias) / norm.weight
    assert_same(standard_NF.mean(0), torch.zeros(12).double(), 1e-10)
    # The layer adds epsilon = 1e-5 to the variance.
    variance_F = moments(model)[1]
    assert_same(standard_NF.var(0, correction=0), variance_F / (variance_F + 1e-5), 1e-10)


def test_running_statistics_are_left_alone() -> None:
    model = random_mlp("running")
    before = moments(model)
    assert recompute_statistics(model, corpus_of(NAMES), 2) == 0
    assert all(torch.equal(*pair) for pair in zip(moments(model), before, strict=True))


def test_of_two_layers_the_second_sees_what_the_first_passes_on_in_eval_mode() -> None:
    model = random_mlp("recomputed")
    first = model.hidden[0].norm
    second = BatchNorm(12, "recomputed").double()
    model.hidden[0].norm = nn.Sequential(first, second)
    assert recompute_statistics(model, corpus_of(NAMES), 2) == 2
    passed_on_NF = first(pre_activations(model, NAMES))
    assert_same(second.running_mean, passed_on_NF.mean(0), 1e-10)
    assert_same(second.running_var, passed_on_NF.var(0, correction=0), 1e-10)


@all_models
@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_left_as_it_was_found(config: object, training: bool) -> None:
    model = random_model(config).train(training)
    recompute_statistics(model, corpus_of(NAMES), 2)
    assert all(module.training is training for module in model.modules())


def test_in_training_a_batch_is_normalized_by_its_own_real_characters() -> None:
    model = random_mlp(None)
    before = moments(model)
    names = ["dacb", "a", "abcdabcaabbd"]
    rows_NF = pre_activations(model, names)
    assert len(rows_NF) == 5 + 2 + 13
    mean_F, variance_F = rows_NF.mean(0), rows_NF.var(0, correction=0)
    normalized_NF = (rows_NF - mean_F) / (variance_F + 1e-5).sqrt()
    norm = model.hidden[0].norm
    hidden_NF = normalized_NF * norm.weight + norm.bias
    expected = functional.linear(hidden_NF.tanh(), model.output.weight, model.output.bias)
    assert_same(model.train()(batch_of(names)), expected)
    # Ioffe & Szegedy 2015, section 3.1: the running variance takes the unbiased estimate.
    batch_moments = (mean_F, variance_F * 20 / 19)
    for now, was, of_batch in zip(moments(model), before, batch_moments, strict=True):
        assert_same(now, (1 - DEFAULT_MOMENTUM) * was + DEFAULT_MOMENTUM * of_batch)


def test_in_eval_mode_a_batch_changes_no_statistics() -> None:
    model = random_mlp(None)
    before = moments(model)
    logits_of_names(model, NAMES)
    assert all(torch.equal(*pair) for pair in zip(moments(model), before, strict=True))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_a_folded_linear_layer_does_what_both_layers_did_in_eval_mode(
    has_bias: bool, dtype: torch.dtype, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    linear, norm = nn.Linear(5, 4, bias=has_bias).to(dtype), BatchNorm(4, "running").to(dtype)
    with torch.no_grad():
        for tensor in (*linear.parameters(), norm.weight, norm.bias, norm.running_mean):
            assert tensor is not None
            tensor.normal_(generator=generator)
        assert norm.running_var is not None
        norm.running_var.uniform_(0.1, 3, generator=generator)
    rows_NF = torch.randn(7, 5, dtype=dtype, generator=generator)
    folded = fold(linear, norm.eval())
    assert folded.weight.dtype == dtype
    assert_same(folded(rows_NF), norm(linear(rows_NF)), tolerance)
