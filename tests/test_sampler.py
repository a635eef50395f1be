"""How the next character is chosen: filters, and the uniform numbers that decide."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from makemore.sampling import (
    Sampler,
    name_hashes,
    uniforms,
)
from tests.test_models import (
    assert_same,
)

# Quarters and eighths, which binary fractions hold exactly.
SHARES = torch.tensor([[0.125, 0.5, 0.25, 0.125, 0.0]]).double()


def filtered(probabilities: Tensor, **options: Any) -> list[float]:
    # A constant added to all logits changes nothing.
    row: list[float] = Sampler(**options).probabilities(probabilities.log() + 3)[0].tolist()
    return row


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1 / 8, 4 / 8, 2 / 8, 1 / 8, 0]),
        ({"temperature": 0.5}, [1 / 22, 16 / 22, 4 / 22, 1 / 22, 0]),
        ({"temperature": 1e-308}, [0, 1, 0, 0, 0]),
        ({"temperature": 1e308}, [1 / 4, 1 / 4, 1 / 4, 1 / 4, 0]),
        ({"top_k": 1}, [0, 1, 0, 0, 0]),
        ({"top_k": 2}, [0, 4 / 6, 2 / 6, 0, 0]),
        # Of the two equals, the first is kept.
        ({"top_k": 3}, [1 / 7, 4 / 7, 2 / 7, 0, 0]),
        ({"top_k": 100}, [1 / 8, 4 / 8, 2 / 8, 1 / 8, 0]),
        ({"top_p": 1e-9}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.49}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.51}, [0, 4 / 6, 2 / 6, 0, 0]),
        ({"top_p": 0.74}, [0, 4 / 6, 2 / 6, 0, 0]),
        ({"top_p": 0.76}, [1 / 7, 4 / 7, 2 / 7, 0, 0]),
        ({"top_p": 1.0}, [1 / 8, 4 / 8, 2 / 8, 1 / 8, 0]),
        ({"min_p": 0.0}, [1 / 8, 4 / 8, 2 / 8, 1 / 8, 0]),
        ({"min_p": 0.24}, [1 / 8, 4 / 8, 2 / 8, 1 / 8, 0]),
        ({"min_p": 0.26}, [0, 4 / 6, 2 / 6, 0, 0]),
        ({"min_p": 0.51}, [0, 1, 0, 0, 0]),
        ({"min_p": 1.0}, [0, 1, 0, 0, 0]),
        # top_p after temperature: 16/22 alone hold 0.7, 4/8 alone do not.
        ({"temperature": 0.5, "top_p": 0.7}, [0, 1, 0, 0, 0]),
        # top_p after top_k: 4/6 alone hold 0.6, 4/8 alone do not.
        ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.8}, [0, 4 / 6, 2 / 6, 0, 0]),
        # min_p after top_p, as a share of the likeliest, which is among those kept.
        ({"top_p": 0.76, "min_p": 0.4}, [0, 4 / 6, 2 / 6, 0, 0]),
        ({"temperature": 0.5, "min_p": 0.3}, [0, 1, 0, 0, 0]),
    ],
    ids=str,
)
def test_filters_keep_and_rescale_as_by_hand(
    options: dict[str, Any], expected: list[float]
) -> None:
    assert filtered(SHARES, **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("top_p", "num_kept"), [(0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3)])
def test_top_p_keeps_no_more_than_reach_the_share_and_the_first_of_equals(
    top_p: float, num_kept: int
) -> None:
    expected = [1 / num_kept] * num_kept + [0] * (4 - num_kept)
    row = Sampler(top_p=top_p).probabilities(torch.zeros(1, 4))[0]
    assert row.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("top_k", [1, 2, 5, 9])
def test_top_k_keeps_exactly_k_of_many_equals(top_k: int) -> None:
    kept = Sampler(top_k=top_k).probabilities(torch.zeros(2, 9)) > 0
    assert kept.tolist() == [[place < top_k for place in range(9)]] * 2


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.3}], ids=str)
def test_each_row_is_filtered_by_itself(options: dict[str, Any]) -> None:
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    sampler = Sampler(temperature=0.8, **options)
    together = sampler.probabilities(logits)
    assert together.dtype == torch.float64
    assert_same(together.sum(1), torch.ones(6).double())
    for row, logits_V in zip(together, logits, strict=True):
        assert_same(row, sampler.probabilities(logits_V[None])[0])


def test_temperature_0_takes_the_likeliest_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 1.0], [-math.inf, -5.0, -5.0]])
    for uniform in (0.0, 1 - 2**-52):
        uniform_B = torch.full((3,), uniform, dtype=torch.float64)
        assert Sampler(temperature=0).choose(logits, uniform_B).tolist() == [1, 0, 1]


def test_choose_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0]).double().log()
    # Shifted from the steps at 0.25 and 0.75 by more than a logarithm is rounded.
    uniforms_and_ids = {
        0.0: 1,
        0.2499999: 1,
        0.2500001: 3,
        0.7499999: 3,
        0.7500001: 4,
        1 - 2**-52: 4,
    }
    uniform_B = torch.tensor(list(uniforms_and_ids), dtype=torch.float64)
    chosen = Sampler().choose(logits.expand(6, 6), uniform_B)
    assert chosen.tolist() == list(uniforms_and_ids.values())


@pytest.mark.parametrize("uniform", [0.0, 2.0**-52, 0.5, 1 - 2.0**-52])
def test_choose_never_takes_the_impossible(uniform: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1000, 50, generator=generator) * 5
    logits[torch.rand(1000, 50, generator=generator) < 0.7] = -math.inf
    logits[:, 20] = 0.0
    for sampler in (Sampler(), Sampler(top_k=2), Sampler(top_p=0.5), Sampler(min_p=0.5)):
        uniform_B = torch.full((1000,), uniform, dtype=torch.float64)
        chosen = sampler.choose(logits, uniform_B)
        assert sampler.probabilities(logits).gather(1, chosen[:, None]).gt(0).all()


def assert_frequencies(counts: list[int], probabilities: list[float]) -> None:
    """Each within five standard deviations of a binomial; what is impossible never happens."""
    total = sum(counts)
    for count, p in zip(counts, probabilities, strict=True):
        assert abs(count - total * p) <= 5 * math.sqrt(total * p * (1 - p))


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"temperature": 2.0}], ids=str)
def test_choices_are_as_frequent_as_they_are_probable(options: dict[str, Any]) -> None:
    logits = torch.randn(1, 9, generator=torch.Generator().manual_seed(0)) * 2
    logits[0, 4] = -math.inf
    sampler = Sampler(**options)
    chosen = sampler.choose(
        logits.expand(20_000, 9), uniforms(name_hashes(1, torch.arange(20_000)), 2)
    )
    counts = torch.bincount(chosen, minlength=9).tolist()
    assert_frequencies(counts, sampler.probabilities(logits)[0].tolist())


def split_mix_64(state: int) -> int:
    """One output of Steele, Lea & Flood's SplitMix64, as published, in unsigned arithmetic."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_the_reference_gives_the_published_first_outputs_of_splitmix64() -> None:
    increment = 0x9E3779B97F4A7C15
    outputs = [split_mix_64(1234567 + i * increment) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63 - 1])
@pytest.mark.parametrize("position", [0, 1, 255])
def test_uniforms_are_a_hash_of_seed_name_and_position(seed: int, position: int) -> None:
    index = [0, 1, 2, 1000, 2**40]
    expected = []
    for name in index:
        hashed = split_mix_64(split_mix_64((split_mix_64(seed) + name) % 2**64) + position)
        expected.append((hashed >> 12) / 2**52)
    assert uniforms(name_hashes(seed, torch.tensor(index)), position).tolist() == expected


def test_uniforms_are_uniform_and_do_not_depend_on_each_other() -> None:
    index = torch.arange(20_000)
    hashes = [name_hashes(seed, index) for seed in (0, 1)]
    rows = [uniforms(hash_B, place) for hash_B in hashes for place in (0, 1, 2)]
    grid = torch.stack(rows)
    assert grid.ge(0).all()
    assert grid.lt(1).all()
    assert grid.unique().numel() == grid.numel()
    # Five standard deviations of the mean, the variance, a count and a correlation.
    assert (grid.mean(1) - 1 / 2).abs().max() < 5 * math.sqrt(1 / 12 / 20_000)
    assert (grid.var(1) - 1 / 12).abs().max() < 5 * math.sqrt(1 / 180 / 20_000)
    for row in grid:
        assert_frequencies(torch.bincount((row * 10).long(), minlength=10).tolist(), [0.1] * 10)
    # Across seeds and positions, and from one name to the next.
    correlations = torch.corrcoef(torch.cat([grid[:, 1:], grid[:, :-1]]))
    assert (correlations - torch.eye(12)).abs().max() < 5 / math.sqrt(20_000)
