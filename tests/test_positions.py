"""Positions: waves and turns by hand, and what a transformer hears of them."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from makemore.config import TransformerConfig
from makemore.models.positions import rotations, sinusoids, turn
from tests.test_models import assert_same, logits_of_names, random_model, small

POSITIONS = get_args(TransformerConfig.model_fields["positions"].annotation)


def test_sinusoids_by_hand() -> None:
    waves = sinusoids(torch.tensor([0, 1, 300]), 4, torch.float64)
    expected = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)],
        [math.sin(300), math.cos(300), math.sin(3), math.cos(3)],
    ]
    assert_same(waves, torch.tensor(expected, dtype=torch.float64))
    assert sinusoids(torch.tensor([7]), 1, torch.float64).item() == pytest.approx(math.sin(7))


def test_sinusoids_of_an_odd_size_end_with_a_sine() -> None:
    (waves,) = sinusoids(torch.tensor([5]), 3, torch.float64)
    slow = 5 * 10000 ** (-2 / 3)
    assert waves.tolist() == pytest.approx([math.sin(5), math.cos(5), math.sin(slow)], rel=1e-12)


def test_far_positions_are_rounded_once() -> None:
    far = torch.tensor([10**6 + 1])
    assert torch.equal(sinusoids(far, 64, torch.float32), sinusoids(far, 64, torch.float64).float())
    assert torch.equal(
        rotations(far, 16, torch.float32), rotations(far, 16, torch.float64).to(torch.complex64)
    )


def random_heads(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 2, 8, generator=generator, dtype=torch.float64)


def turned_to(x_NHK: Tensor, position: int) -> Tensor:
    return turn(x_NHK, rotations(torch.full((len(x_NHK),), position), 8, torch.float64))


def test_a_turn_by_hand() -> None:
    pairs = torch.tensor([[[1.0, 0.0, 0.0, 2.0]]], dtype=torch.float64)
    turned = turn(pairs, rotations(torch.tensor([3]), 4, torch.float64)).flatten()
    expected = [math.cos(3), math.sin(3), -2 * math.sin(0.03), 2 * math.cos(0.03)]
    assert turned.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shift", [1, 17, 5000])
def test_scores_of_turned_queries_and_keys_depend_on_the_distance_alone(shift: int) -> None:
    query, key = random_heads(0), random_heads(1)
    scores = [
        (turned_to(query, 9 + offset) * turned_to(key, 4 + offset)).sum(2) for offset in (0, shift)
    ]
    other = (turned_to(query, 9) * turned_to(key, 5)).sum(2)
    assert_same(scores[0], scores[1], 1e-11)
    assert not torch.isclose(scores[0], other, rtol=1e-3).any()


def test_turning_keeps_lengths_and_the_first_position() -> None:
    heads = random_heads(0)
    assert_same(turned_to(heads, 3).norm(dim=2), heads.norm(dim=2))
    assert torch.equal(turned_to(heads, 0), heads)


@pytest.mark.parametrize("positions", POSITIONS)
def test_only_relative_positions_let_the_same_context_mean_the_same_anywhere(
    positions: str,
) -> None:
    """Through one layer a character hears the `context_length` last ones and nothing else; whether
    it also hears how many came before is what the choices of positions differ in."""
    model = random_model(small(TransformerConfig, positions=positions, num_layers=1))
    # Learned positions end with the context, at position 2: in a context that begins there or later
    # all are that one.
    for names, is_same in [
        (["dabc", "bbbabcabdabc"], positions != "sinusoidal"),
        (["abc", "dabcabc"], positions in ("rotary", "none")),
    ]:
        early, late = logits_of_names(model, names)
        assert torch.allclose(early[-1], late[-1], atol=1e-12, rtol=1e-12) == is_same


def test_without_positions_the_order_of_a_context_means_nothing_to_one_layer() -> None:
    def last_logits(positions: str, name: str) -> Tensor:
        config = small(TransformerConfig, positions=positions, num_layers=1, context_length=8)
        return logits_of_names(random_model(config), [name])[0][-1]

    assert_same(last_logits("none", "abdc"), last_logits("none", "badc"))
    for positions in ("learned", "sinusoidal", "rotary"):
        first, second = last_logits(positions, "abdc"), last_logits(positions, "badc")
        assert not torch.allclose(first, second, atol=1e-4)
