from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from makemore.config import InitializationConfig, WaveNetTreeConfig
from makemore.models import build_model
from makemore.models.batch_norm import recompute_statistics
from makemore.vocab import BOUNDARY
from tests.test_models import (
    NAMES,
    VOCABULARY,
    assert_same,
    batch_of,
    corpus_of,
    logits_by_steps,
    logits_of_names,
    random_model,
    small,
)

EPSILON = 1e-5
NORMS: list[dict[str, Any]] = [{"norm": "none"}, {}, {"norm_over": "batch"}]
all_norms = pytest.mark.parametrize("norm", NORMS, ids=str)
batch_norms = pytest.mark.parametrize("norm", NORMS[1:], ids=str)


def random_tree(dtype: torch.dtype = torch.float64, **changes: object) -> Any:
    return random_model(small(WaveNetTreeConfig, **changes), dtype)


def windows_of(names: list[str], context_length: int) -> list[list[int]]:
    windows = []
    for name in names:
        ids = [BOUNDARY] * context_length + VOCABULARY.encode([name])[:-1].tolist()
        windows += [ids[i : i + context_length] for i in range(len(name) + 1)]
    return windows


# From the level and its nodes (N, P, F) before the norm: mean and variance, for all P or for each.
Moments = Callable[[Any, Tensor], tuple[Tensor, Tensor]]


def kept_moments(level: Any, before_NPF: Tensor) -> tuple[Tensor, Tensor]:
    norm = getattr(level.norm, "norm", level.norm)
    dim = before_NPF.shape[2]
    return norm.running_mean.view(-1, dim), norm.running_var.view(-1, dim)


def moments_over_batch_and_time(_: Any, before_NPF: Tensor) -> tuple[Tensor, Tensor]:
    return before_NPF.mean((0, 1)), before_NPF.var((0, 1), correction=0)


def moments_over_batch(_: Any, before_NPF: Tensor) -> tuple[Tensor, Tensor]:
    return before_NPF.mean(0), before_NPF.var(0, correction=0)


def explicit_logits(
    model: Any,
    windows: list[list[int]],
    moments: Moments | None,
    activation: Callable[[Tensor], Tensor] = torch.tanh,
) -> Tensor:
    """Window by window and node by node; `moments` is None without a norm."""
    nodes = [[model.embedding.weight[i] for i in window] for window in windows]
    for level in model.levels:
        bias = 0 if level.linear.bias is None else level.linear.bias
        before = [
            [
                level.linear.weight @ torch.cat([window[place], window[place + 1]]) + bias
                for place in range(0, len(window), 2)
            ]
            for window in nodes
        ]
        before_NPF = torch.stack([torch.stack(window) for window in before])
        if moments is not None:
            mean, variance = moments(level, before_NPF)
            norm = getattr(level.norm, "norm", level.norm)
            gain, offset = (part.view(-1, before_NPF.shape[2]) for part in (norm.weight, norm.bias))
            before_NPF = (before_NPF - mean) / (variance + EPSILON).sqrt() * gain + offset
        nodes = [list(window) for window in activation(before_NPF)]
    assert all(len(window) == 1 for window in nodes)
    return torch.stack([model.output.weight @ root + model.output.bias for (root,) in nodes])


@pytest.mark.parametrize(
    ("norm", "context_length"),
    [(norm, length) for norm in NORMS for length in (4, 16)] + [(norm, 2) for norm in NORMS[:2]],
    ids=str,
)
def test_logits_equal_a_tree_over_each_window(norm: dict[str, Any], context_length: int) -> None:
    model = random_tree(context_length=context_length, **norm)
    moments = None if norm == {"norm": "none"} else kept_moments
    expected = explicit_logits(model, windows_of(NAMES, context_length), moments)
    assert_same(torch.cat(logits_of_names(model, NAMES)), expected.detach())


def test_the_activation_follows_the_norm_of_every_level() -> None:
    model = random_tree(activation="relu")
    expected = explicit_logits(model, windows_of(NAMES, 4), kept_moments, torch.relu)
    assert_same(torch.cat(logits_of_names(model, NAMES)), expected.detach())


@pytest.mark.parametrize(
    ("norm_over", "moments"),
    [
        (None, moments_over_batch_and_time),
        ("batch_and_time", moments_over_batch_and_time),
        ("batch", moments_over_batch),
    ],
)
def test_in_training_a_level_is_normalized_over_the_batch_and_unless_told_otherwise_over_time(
    norm_over: str | None, moments: Moments
) -> None:
    model = random_tree(context_length=8, norm_over=norm_over).train()
    expected = explicit_logits(model, windows_of(NAMES, 8), moments)
    assert_same(model(batch_of(NAMES)), expected)


@pytest.mark.parametrize(
    ("norm_over", "moments"), [(None, moments_over_batch_and_time), ("batch", moments_over_batch)]
)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_recomputed_statistics_are_those_of_all_names_on_every_level(
    norm_over: str | None, moments: Moments, batch_size: int
) -> None:
    model = random_tree(context_length=8, norm_over=norm_over)
    assert recompute_statistics(model, corpus_of(NAMES), batch_size) == 3
    expected = explicit_logits(model, windows_of(NAMES, 8), moments)
    assert_same(torch.cat(logits_of_names(model, NAMES)), expected.detach(), 1e-11)


@batch_norms
def test_running_statistics_are_left_alone(norm: dict[str, Any]) -> None:
    model = random_tree(norm_statistics="running", **norm)
    assert recompute_statistics(model, corpus_of(NAMES), 2) == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("context_length", [2, 16])
def test_a_folded_tree_is_the_same_tree_without_norms(
    dtype: torch.dtype, tolerance: float, context_length: int
) -> None:
    model = random_tree(dtype, context_length=context_length)
    with torch.no_grad():
        model.output.weight.mul_(0.1)  # Small logits, so that float32 has the digits.
    before = logits_of_names(model, NAMES)
    assert max(logits.abs().max().item() for logits in before) < 2
    for level in model.levels:
        level.fold()
    assert not any("norm" in name for name in model.state_dict())
    assert_same(logits_of_names(model, NAMES), before, tolerance)
    assert_same(logits_by_steps(model, NAMES), before, tolerance)


def test_nodes_with_statistics_of_their_own_are_not_folded_into_weights_that_they_share() -> None:
    model = random_tree(norm_over="batch")
    before = logits_of_names(model, NAMES)
    for level in model.levels:
        level.fold()
    assert_same(logits_of_names(model, NAMES), before, 0)


@all_norms
@pytest.mark.parametrize("context_length", [4, 8])
def test_the_farthest_character_that_it_looks_at_matters_and_the_one_before_does_not(
    norm: dict[str, Any], context_length: int
) -> None:
    model = random_tree(context_length=context_length, **norm)
    first, second = logits_of_names(model, ["abcdabcaabbd", "abdbabcaabbd"])
    # The third input is a b in both, the fourth a c or a d; position 0 is the boundary.
    reach = 3 + context_length - 1
    assert not torch.allclose(first[reach], second[reach])
    changed_last = 4 + context_length - 1
    assert not torch.allclose(first[changed_last], second[changed_last])
    assert torch.equal(first[changed_last + 1 :], second[changed_last + 1 :])
    assert len(first) > changed_last + 1


@pytest.mark.parametrize("norm", NORMS[:2], ids=str)
def test_a_step_computes_one_node_a_level(norm: dict[str, Any]) -> None:
    model = random_tree(context_length=16, **norm)
    rows: list[tuple[int, ...]] = []
    for level in model.levels:
        level.register_forward_pre_hook(lambda _, inputs: rows.append(tuple(inputs[0].shape)))
    state = model.start(5)
    rows.clear()
    state = model.step(torch.tensor([0, 1, 2, 3, 4]), state)[1]
    assert rows == [(5, 2 * 8), (5, 2 * 12), (5, 2 * 12), (5, 2 * 12)]
    assert [tuple(queue.shape) for queue in state] == [
        (5, 1, 8),
        (5, 2, 12),
        (5, 4, 12),
        (5, 8, 12),
    ]


@all_norms
def test_boundaries_before_a_name_change_nothing(norm: dict[str, Any]) -> None:
    model = random_tree(context_length=8, **norm)
    with torch.no_grad():
        start = state = model.start(2)
        for _ in range(9):
            _, state = model.step(torch.full((2,), BOUNDARY), state)
    assert_same(state, start)


def test_where_every_node_has_statistics_of_its_own_the_state_is_the_window() -> None:
    model = random_tree(norm_over="batch")
    assert [part.tolist() for part in model.start(2)] == [[[BOUNDARY] * 4] * 2]
    _, state = model.step(torch.tensor([3, 1]), model.start(2))
    assert [part.tolist() for part in state] == [[[0, 0, 0, 3], [0, 0, 0, 1]]]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # The lecture's counts.
        (WaveNetTreeConfig(), 22_397),
        (WaveNetTreeConfig(embedding_dim=24, hidden_dim=128), 76_579),
        # Embeddings; levels with gains and offsets; output.
        (WaveNetTreeConfig(), 27 * 10 + 20 * 68 + 2 * 136 * 68 + 3 * 2 * 68 + 68 * 27 + 27),
        # Biases in place of gains and offsets.
        (WaveNetTreeConfig(norm="none"), 22_397 - 3 * 2 * 68 + 3 * 68),
        # Gains and offsets for 4 + 2 + 1 nodes in place of 3 levels.
        (WaveNetTreeConfig(norm_over="batch"), 22_397 + 4 * 2 * 68),
    ],
)
def test_the_number_of_parameters_is_exact(config: WaveNetTreeConfig, expected: int) -> None:
    assert build_model(config, 27).num_parameters() == expected


def test_initial_weights_have_the_scale_of_their_fan_in() -> None:
    initialization = InitializationConfig(method="normal", factor=0.5, output_factor=0.2)
    config = WaveNetTreeConfig(embedding_dim=64, hidden_dim=128, initialization=initialization)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model: Any = build_model(config, 27)
    measured = [layer.linear.weight.std().item() for layer in model.levels]
    expected = [0.5 * fan_in**-0.5 for fan_in in (2 * 64, 2 * 128, 2 * 128)]
    assert measured == pytest.approx(expected, rel=0.04)
    assert model.output.weight.std().item() == pytest.approx(0.2 * 128**-0.5, rel=0.04)
