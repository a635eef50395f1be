"""The transformer: all combinations of its parts against explicit loops, and what each promises."""

import itertools
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from makemore.config import TransformerConfig
from makemore.models.activations import build_activation
from tests.test_models import (
    NAMES,
    assert_same,
    batch_of,
    logits_by_steps,
    logits_of_names,
    random_model,
    small,
)

CHOICES: dict[str, tuple[Any, ...]] = {
    "positions": ("learned", "sinusoidal", "rotary", "none"),
    "norm": ("layer", "rms"),
    "norm_place": ("before", "after"),
    "query_key_norm": (False, True),
    "feed_forward": ("plain", "gated"),
    "tied_embeddings": (False, True),
}
COMBINATIONS = [
    dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())
]


# One name at a time in loops over positions, heads and units, from the formulas of the papers.


def normalized(weights: dict[str, Tensor], layer: str, x_D: Tensor, norm: str) -> Tensor:
    if norm == "layer":
        x_D = x_D - x_D.mean()
        scaled_D = x_D / (x_D.square().mean() + 1e-5).sqrt()
        return scaled_D * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]
    root_mean_square = (x_D.square().mean() + torch.finfo(x_D.dtype).eps).sqrt()
    return x_D / root_mean_square * weights[f"{layer}.weight"]


def linear(weights: dict[str, Tensor], layer: str, x_D: Tensor) -> Tensor:
    return weights[f"{layer}.weight"] @ x_D + weights[f"{layer}.bias"]


def wave(position: int, unit: int, dim: int) -> float:
    angle = position / 10000 ** ((unit - unit % 2) / dim)
    return math.cos(angle) if unit % 2 else math.sin(angle)


def turned(x_K: Tensor, position: int) -> Tensor:
    turned_K = torch.empty_like(x_K)
    for unit in range(0, len(x_K), 2):
        angle = position * 10000 ** (-unit / len(x_K))
        cos, sin = math.cos(angle), math.sin(angle)
        turned_K[unit] = cos * x_K[unit] - sin * x_K[unit + 1]
        turned_K[unit + 1] = sin * x_K[unit] + cos * x_K[unit + 1]
    return turned_K


def attention(
    weights: dict[str, Tensor], layer: str, x: list[Tensor], config: TransformerConfig
) -> list[Tensor]:
    size = config.embedding_dim // config.num_heads
    query, key, value = (
        [linear(weights, f"{layer}.{part}", x_D).split(size) for x_D in x]
        for part in ("query", "key", "value")
    )

    def prepared(part: str, x_K: Tensor, position: int) -> Tensor:
        if config.query_key_norm:
            x_K = normalized(weights, f"{layer}.{part}_norm", x_K, "rms")
        return turned(x_K, position) if config.positions == "rotary" else x_K

    mixed = []
    for i in range(len(x)):
        seen = range(max(0, i - config.context_length + 1), i + 1)
        heads = []
        for head in range(config.num_heads):
            query_K = prepared("query", query[i][head], i)
            scores = [float(query_K @ prepared("key", key[j][head], j)) for j in seen]
            shares = [math.exp(score / math.sqrt(size)) for score in scores]
            pairs = zip(shares, seen, strict=True)
            heads.append(sum(share / sum(shares) * value[j][head] for share, j in pairs))
        mixed.append(linear(weights, f"{layer}.output", torch.cat(heads)))
    return mixed


def feed_forward(
    weights: dict[str, Tensor], layer: str, x_D: Tensor, config: TransformerConfig
) -> Tensor:
    activation = build_activation(config.activation).double()
    hidden_F = linear(weights, f"{layer}.expand", x_D)
    if config.feed_forward == "gated":
        hidden_F = activation(linear(weights, f"{layer}.gate", x_D)) * hidden_F
    elif config.activation == "gelu":
        hidden_F = hidden_F * (1 + torch.erf(hidden_F / math.sqrt(2))) / 2
    else:
        hidden_F = activation(hidden_F)
    return linear(weights, f"{layer}.contract", hidden_F)


@torch.no_grad()
def explicit_logits(config: TransformerConfig, weights: dict[str, Tensor], name: str) -> Tensor:
    before = config.norm_place == "before"
    dim = config.embedding_dim
    characters_VD = weights["character_embedding.weight"]
    x = []
    for position, id_ in enumerate(batch_of([name]).inputs.tolist()):
        x_D = characters_VD[id_] * (math.sqrt(dim) if config.tied_embeddings else 1.0)
        if config.positions == "learned":
            place = min(position, config.context_length - 1)
            x_D = x_D + weights["position_embedding.weight"][place]
        elif config.positions == "sinusoidal":
            waves = [wave(position, unit, dim) for unit in range(dim)]
            x_D = x_D + torch.tensor(waves, dtype=x_D.dtype)
        x.append(x_D)

    def branch(norm: str, x: list[Tensor], compute: Any) -> list[Tensor]:
        added = compute([normalized(weights, norm, x_D, config.norm) for x_D in x] if before else x)
        sums = [x_D + added_D for x_D, added_D in zip(x, added, strict=True)]
        return sums if before else [normalized(weights, norm, x_D, config.norm) for x_D in sums]

    for block in (f"blocks.{i}" for i in range(config.num_layers)):
        x = branch(
            f"{block}.attention_norm",
            x,
            lambda read, block=block: attention(weights, f"{block}.attention", read, config),
        )
        x = branch(
            f"{block}.feed_forward_norm",
            x,
            lambda read, block=block: [
                feed_forward(weights, f"{block}.feed_forward", x_D, config) for x_D in read
            ],
        )
    if before:
        x = [normalized(weights, "norm", x_D, config.norm) for x_D in x]
    if config.tied_embeddings:
        return torch.stack([characters_VD @ x_D * weights["logit_scale"] for x_D in x])
    return torch.stack([weights["output.weight"] @ x_D for x_D in x])


def assert_computes_the_formulas(config: TransformerConfig, names: list[str]) -> None:
    model = random_model(config)
    weights = dict(model.state_dict())
    expected = [explicit_logits(config, weights, name) for name in names]
    assert_same(logits_of_names(model, names), expected, 1e-10)
    assert_same(logits_by_steps(model, names), expected, 1e-10)


@pytest.mark.parametrize("choices", COMBINATIONS, ids=lambda c: "-".join(map(str, c.values())))
def test_every_combination_of_parts_computes_its_formulas(choices: dict[str, Any]) -> None:
    # The first name is longer than the context.
    assert_computes_the_formulas(small(TransformerConfig, **choices), ["dabcad", "b"])


@pytest.mark.parametrize("num_heads", [1, 4])
@pytest.mark.parametrize(
    ("positions", "context_length"),
    [pair for pair in itertools.product(CHOICES["positions"], [1, 3, 32]) if pair != ("rotary", 1)],
)
def test_names_of_any_length_in_any_context_compute_the_formulas(
    positions: str, context_length: int, num_heads: int
) -> None:
    sizes = {"num_heads": num_heads, "context_length": context_length}
    assert_computes_the_formulas(small(TransformerConfig, positions=positions, **sizes), NAMES)


@pytest.mark.parametrize("feed_forward", ["plain", "gated"])
@pytest.mark.parametrize("activation", ["identity", "relu_squared", "prelu", "step"])
def test_the_activation_is_the_one_that_was_chosen(activation: str, feed_forward: str) -> None:
    config = small(TransformerConfig, activation=activation, feed_forward=feed_forward)
    model = random_model(config)
    if activation == "prelu":
        for i in range(config.num_layers):
            weight = model.get_parameter(f"blocks.{i}.feed_forward.activation.weight")
            torch.nn.init.constant_(weight, 0.25)  # what the loop has
    expected = explicit_logits(config, dict(model.state_dict()), "dabcad")
    assert_same(logits_of_names(model, ["dabcad"]), [expected], 1e-10)


# What an option does, and where it cannot do it.


def test_normalized_queries_and_keys_forget_how_long_they_were() -> None:
    for query_key_norm in (False, True):
        model = random_model(small(TransformerConfig, query_key_norm=query_key_norm))
        (logits,) = logits_of_names(model, ["dabc"])
        for name, parameter in model.named_parameters():
            if ".query." in name or ".key." in name:
                parameter.data *= 3.0
        (longer,) = logits_of_names(model, ["dabc"])
        assert torch.allclose(logits, longer, atol=1e-9) == query_key_norm


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"positions": "rotary", "embedding_dim": 12}, "positions.*num_heads is 3, odd"),
        ({"query_key_norm": True, "embedding_dim": 4}, "query_key_norm.*num_heads is 1"),
        # One key alone gets all the attention, whatever it is.
        ({"positions": "rotary", "context_length": 1}, "positions.*has no effect"),
        ({"query_key_norm": True, "context_length": 1}, "query_key_norm.*has no effect"),
    ],
    ids=str,
)
def test_what_an_option_cannot_act_on_is_an_error_that_names_it(
    values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=f"(?s)1 validation error.*{problem}"):
        TransformerConfig(**values)


@pytest.mark.parametrize(("num_heads", "embedding_dim"), [(5, 64), (0, 65)])
def test_wrong_sizes_of_heads_are_one_error(num_heads: int, embedding_dim: int) -> None:
    with pytest.raises(ValidationError, match="1 validation error"):
        TransformerConfig(
            num_heads=num_heads,
            embedding_dim=embedding_dim,
            positions="rotary",
            query_key_norm=True,
        )
