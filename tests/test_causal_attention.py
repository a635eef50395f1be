"""Attention over short names by explicit products, against the general kernel."""

import pytest
import torch
from torch import Tensor

from makemore.corpus import Batch, Corpus
from makemore.models import causal_attention as module
from makemore.models.causal_attention import GeneralAttention, ShortAttention, causal_attention
from makemore.models.jagged import GROUP_SIZE, PaddedNames

HEADS, HEAD_DIM = 3, 5
# Predicted characters of each name: of one group padded to different lengths, and of two groups.
LENGTHS = {"one": [4], "few": [3, 1, 7, 2], "two groups": [2] * GROUP_SIZE + [9, 5]}
NAMES = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)


def batch_of(lengths: list[int]) -> Batch:
    tokens = torch.ones(sum(lengths), dtype=torch.uint8)
    tokens[torch.tensor(lengths).cumsum(0) - 1] = 0
    return Corpus.of(tokens).batch(torch.arange(len(lengths)))


def inputs(num_chars: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (num_chars, HEADS, HEAD_DIM)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]
    return [(scale * x_NHK).requires_grad_() for x_NHK in drawn]


def value_and_gradients(
    kind: type[GeneralAttention | ShortAttention],
    lengths: list[int],
    context_length: int,
    scale: float,
) -> list[Tensor]:
    batch = batch_of(lengths)
    parts = inputs(batch.num_chars, scale)
    mixed = kind(PaddedNames(batch), HEADS, context_length)(*parts)
    weights = torch.linspace(-1, 1, mixed.numel(), dtype=torch.float64).view_as(mixed)
    return [mixed, *torch.autograd.grad((mixed * weights).sum(), parts)]


@NAMES
@pytest.mark.parametrize("context_length", [1, 3, 16])
# With the largest, scores reach thousands: exp() of them overflows in float64, too.
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_explicit_products_are_the_general_kernel(
    lengths: list[int], context_length: int, scale: float
) -> None:
    arguments = (lengths, context_length, scale)
    expected = value_and_gradients(GeneralAttention, *arguments)
    assert all(bool(part.isfinite().all()) for part in expected)
    torch.testing.assert_close(value_and_gradients(ShortAttention, *arguments), expected)


@NAMES
def test_the_gradients_are_those_of_finite_differences(lengths: list[int]) -> None:
    lengths = lengths[-4:]
    batch = batch_of(lengths)
    attend = ShortAttention(PaddedNames(batch), HEADS, 3)
    assert torch.autograd.gradcheck(attend, inputs(batch.num_chars))


def test_scores_just_below_the_limit_are_exact_in_float32() -> None:
    """The largest exponentials that are taken, and the smallest, in one row."""
    batch = batch_of([8])
    query, key, value = (x_NHK.detach() for x_NHK in inputs(8))
    key[::2] *= -1
    scores = torch.einsum("nhk,mhk->nhm", query, key) * HEAD_DIM**-0.5
    query *= module._MAX_SCORE * 0.999 / scores.abs().max()
    parts = (query, key, value)
    expected = GeneralAttention(PaddedNames(batch), HEADS, 16)(*parts)
    mixed = ShortAttention(PaddedNames(batch), HEADS, 16)(*(part.float() for part in parts))
    torch.testing.assert_close(mixed, expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("longest", [module._MAX_SHORT, module._MAX_SHORT + 1])
def test_the_way_depends_on_the_longest_name(longest: int) -> None:
    way = causal_attention(PaddedNames(batch_of([2, longest])), HEADS, 16)
    assert isinstance(way, ShortAttention) == (longest <= module._MAX_SHORT)
