"""The mean of several models' probabilities against explicit sums, and its weights."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from makemore.config import BigramConfig, EnsembleConfig, MLPConfig, TransformerConfig
from makemore.corpus import Batch, Corpus
from makemore.models import LanguageModel, Mixture, build_model
from makemore.models.bigram import Bigram
from makemore.models.mixture import fit_weights, normalize
from makemore.vocab import BOUNDARY, Vocabulary

NAMES = ["a", "dacb", "abcdabcaabbd", "dac", "b", "dacb"]
VOCABULARY = Vocabulary.of(NAMES)
# Nothing to remember, one tensor, several tensors.
CONFIGS = (
    BigramConfig(),
    MLPConfig(hidden_dim=8, embedding_dim=4),
    TransformerConfig(num_layers=2, num_heads=2, embedding_dim=8),
)


def batch_of(names: list[str]) -> Batch:
    corpus = Corpus.of(VOCABULARY.encode(names))
    return corpus.batch(torch.arange(len(names)))


def members(dtype: torch.dtype = torch.float64) -> list[LanguageModel]:
    """One of each config in eval mode, with no zero in it."""
    generator = torch.Generator().manual_seed(0)
    models = [build_model(config, VOCABULARY.size).to(dtype).eval() for config in CONFIGS]
    with torch.no_grad():
        for model in models:
            for parameter in model.parameters():
                parameter.normal_(std=0.7, generator=generator)
    return models


def mean_logits(models: Sequence[LanguageModel], weights: list[float]) -> Tensor:
    """log of sum of w * exp(logit) / sum of exp(logits), number by number in plain Python."""
    with torch.no_grad():
        rows_of_models = [model(batch_of(NAMES)).tolist() for model in models]
    expected = []
    for rows in zip(*rows_of_models, strict=True):
        totals = [math.fsum(map(math.exp, row)) for row in rows]
        chances = [
            [weight * math.exp(logit) / total for logit in row]
            for row, total, weight in zip(rows, totals, weights, strict=True)
        ]
        expected.append([math.log(math.fsum(column)) for column in zip(*chances, strict=True)])
    return torch.tensor(expected, dtype=torch.float64)


def assert_same(actual: object, expected: object) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        (None, [1 / 3, 1 / 3, 1 / 3]),
        ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]),
        ([2, 1, 1], [0.5, 0.25, 0.25]),
        ([1e-9, 1 - 2e-9, 1e-9], [1e-9, 1 - 2e-9, 1e-9]),
    ],
)
def test_the_probabilities_are_the_weighted_mean_of_the_members(
    weights: list[float] | None, shares: list[float], dtype: torch.dtype
) -> None:
    models = members(dtype)
    with torch.no_grad():
        logits = Mixture(models, weights)(batch_of(NAMES))
    # Float32 numbers are mixed in float64, in which evaluation and sampling read them.
    assert logits.dtype == torch.float64
    assert_same(logits, mean_logits(models, shares))
    assert_same(logits.exp().sum(1), torch.ones(len(logits)).double())


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 0, 1], [2, 1, 2]])
def test_each_member_gets_its_own_part_of_the_state_back(order: list[int]) -> None:
    models = [members()[index] for index in order]
    mixture = Mixture(models, [0.2, 0.3, 0.5]).eval()
    with torch.no_grad():
        state = mixture.start(2)
        assert [len(part) for part in state] == [2] * sum(len(m.start(2)) for m in models)
        # Two names of which the first ends, as when names are drawn.
        _, state = mixture.step(torch.tensor([BOUNDARY, BOUNDARY]), state)
        _, state = mixture.step(torch.tensor([2, 4]), state)
        logits, _ = mixture.step(torch.tensor([1]), tuple(part[1:] for part in state))
        assert_same(logits[0], mixture(batch_of(["dac"]))[2])


def test_a_member_of_weight_0_is_left_out() -> None:
    kept, other, left_out = members()
    mixture = Mixture([left_out, kept, other], [0, 2, 2])
    with torch.no_grad():
        for parameter in left_out.parameters():
            parameter.fill_(math.nan)
        assert_same(mixture(batch_of(NAMES)), Mixture([kept, other])(batch_of(NAMES)))
    assert len(mixture.start(1)) == len(kept.start(1)) + len(other.start(1))
    assert mixture.num_parameters() == kept.num_parameters() + other.num_parameters()


def bigram(rows: list[list[float]]) -> Bigram:
    model = Bigram(BigramConfig(), len(rows))
    model.logits_VV.data = torch.tensor(rows)
    return model.eval()


def test_what_one_member_holds_for_impossible_is_possible_and_what_all_do_is_not() -> None:
    never = -math.inf
    first = bigram([[never, 0.0, never], [0.0, 0.0, 0.0], [0.0, never, never]])
    second = bigram([[never, 0.0, 0.0], [0.0, 0.0, 0.0], [never, 0.0, never]])
    with torch.no_grad():
        mixture = Mixture([first, second], [0.75, 0.25])
        logits, _ = mixture.step(torch.tensor([0, 2]), mixture.start(2))
    assert_same(logits.exp(), torch.tensor([[0, 0.875, 0.125], [0.75, 0.25, 0]]).double())


def test_logits_of_any_size_are_mixed_without_overflow() -> None:
    huge = bigram([[2e4, -2e4], [-2e4, 2e4]])
    flat = bigram([[0.0, 0.0], [3e4, 3e4]])
    with torch.no_grad():
        mixture = Mixture([huge, flat])
        logits, _ = mixture.step(torch.tensor([0, 1]), mixture.start(2))
    assert_same(logits.exp(), torch.tensor([[0.75, 0.25], [0.25, 0.75]]).double())
    with torch.no_grad():
        mixture = Mixture([huge, huge], [0.9, 0.1])
        logits, _ = mixture.step(torch.tensor([0]), mixture.start(1))
    assert_same(logits, torch.tensor([[0.0, -4e4]]).double())


def test_a_mixture_is_saved_as_its_members_alone_and_built_from_its_config() -> None:
    config = EnsembleConfig(members=(CONFIGS[1], CONFIGS[0], CONFIGS[2]))
    model = build_model(config, VOCABULARY.size).eval()
    assert isinstance(model, Mixture)
    assert all(name.startswith("members.") for name in model.state_dict())
    assert model.num_parameters() == sum(member.num_parameters() for member in members())
    # Built where no memory is, as when a checkpoint is opened.
    with torch.device("meta"):
        again = build_model(config, VOCABULARY.size).eval()
    again.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(again(batch_of(NAMES)), model(batch_of(NAMES)))
    ids, state = torch.tensor([0]), again.start(1)
    assert torch.equal(again.step(ids, state)[0], model.step(ids, state)[0])


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([0.7, 0.3], [0.7, 0.3]),
        ([3, 1], [0.75, 0.25]),
        ([0, 5], [0.0, 1.0]),
        ([1e308, 1e308], [0.5, 0.5]),
        ([5e-324, 5e-324], [0.5, 0.5]),
        ([1e308, 1e-308], [1.0, 0.0]),
    ],
)
def test_weights_are_divided_by_their_sum(weights: list[float], shares: list[float]) -> None:
    assert normalize(weights) == shares


# Weights by expectation maximization.


def chances(num_models: int, num_chars: int, seed: int = 0) -> Tensor:
    """(M, N) probabilities of characters, of models some of which are better than others."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_models, num_chars, generator=generator, dtype=torch.float64)
    return (logits + torch.arange(num_models)[:, None] * 0.2 - 2).sigmoid()


def mean_log(weights: Tensor, chances_MN: Tensor) -> float:
    return float((weights @ chances_MN).log().mean())


@pytest.mark.parametrize(
    ("counts", "first", "second"),
    [
        ((60, 40), (0.5, 0.1), (0.2, 0.4)),
        ((30, 70), (0.9, 0.3), (0.1, 0.6)),
        ((500, 500), (0.01, 0.002), (0.003, 0.02)),
    ],
)
def test_weights_of_two_models_and_two_characters_as_by_algebra(
    counts: tuple[int, int], first: tuple[float, float], second: tuple[float, float]
) -> None:
    """The derivative of n log(w a + (1 - w) b) + m log(w c + (1 - w) d) is 0 at this w."""
    (n, m), (a, c), (b, d) = counts, first, second
    gain, loss = a - b, d - c
    expected = (n * gain * d - m * loss * b) / ((n + m) * gain * loss)
    assert 0.05 < expected < 0.95
    chances_MN = torch.tensor([[a] * n + [c] * m, [b] * n + [d] * m], dtype=torch.float64)
    exact = fit_weights(chances_MN.log(), least_gain=1e-15)
    assert exact.tolist() == pytest.approx([expected, 1 - expected], abs=1e-5)
    # As it stops by default, nothing that anybody could see is left to gain.
    fitted = fit_weights(chances_MN.log())
    optimum = torch.tensor([expected, 1 - expected], dtype=torch.float64)
    assert mean_log(fitted, chances_MN) == pytest.approx(mean_log(optimum, chances_MN), abs=1e-7)


def test_where_each_character_is_known_to_one_model_weights_are_shares_of_characters() -> None:
    never = -math.inf
    log_probabilities = torch.tensor(
        [[-1.0, -2.0, never, never], [never, never, -3.0, never], [never, never, never, -900.0]]
    )
    weights = fit_weights(log_probabilities.double())
    assert weights.tolist() == pytest.approx([0.5, 0.25, 0.25], abs=1e-12)


def test_no_weights_on_a_grid_are_better() -> None:
    chances_MN = chances(3, 50)
    weights = fit_weights(chances_MN.log())
    assert weights.dtype == torch.float64
    assert weights.ge(0).all()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    grid = [(i / 50, j / 50) for i in range(51) for j in range(51 - i)]
    best = max(mean_log(torch.tensor([i, j, 1 - i - j]).double(), chances_MN) for i, j in grid)
    equal = mean_log(torch.full((3,), 1 / 3).double(), chances_MN)
    assert best > equal + 0.01
    assert best - 1e-7 < mean_log(weights, chances_MN) < best + 1e-3


def test_no_iteration_loses_anything_and_the_first_ones_gain() -> None:
    chances_MN = chances(4, 200)
    fits = [fit_weights(chances_MN.log(), max_iterations=number) for number in range(60)]
    assert fits[0].tolist() == [0.25] * 4
    means = [mean_log(weights, chances_MN) for weights in fits]
    assert all(after >= before - 1e-15 for before, after in pairwise(means))
    assert means[0] < means[1] < means[5] < means[20]


def test_fitting_ends_when_an_iteration_gains_less_than_it_should() -> None:
    chances_MN = chances(4, 200)
    rough, fine = (fit_weights(chances_MN.log(), least_gain=gain) for gain in (1e-4, 1e-9))
    assert torch.equal(fine, fit_weights(chances_MN.log()))
    for weights, gain in ((rough, 1e-4), (fine, 1e-9)):
        shares_MN = weights[:, None] * chances_MN / (weights @ chances_MN)
        gained = mean_log(shares_MN.mean(1), chances_MN) - mean_log(weights, chances_MN)
        assert 0 < gained < gain
    assert mean_log(fine, chances_MN) > mean_log(rough, chances_MN) + 1e-5


def test_a_useless_model_gets_next_to_nothing() -> None:
    useful = chances(2, 300)
    useless = useful.min(0).values[None] * 0.5
    weights = fit_weights(torch.cat([useful, useless]).log())
    assert 0 <= float(weights[2]) < 1e-6
    assert weights[:2].tolist() == pytest.approx(fit_weights(useful.log()).tolist(), abs=1e-5)


def test_equal_models_keep_equal_weights() -> None:
    weights = fit_weights(chances(1, 100).expand(4, 100).log())
    assert weights.tolist() == pytest.approx([0.25] * 4, abs=1e-15)


def test_a_character_that_no_model_allows_has_no_say() -> None:
    log_probabilities = chances(3, 100).log()
    impossible = torch.full((3, 5), -math.inf, dtype=torch.float64)
    weights = fit_weights(torch.cat([impossible, log_probabilities], dim=1))
    assert torch.equal(weights, fit_weights(log_probabilities))
    assert fit_weights(impossible).tolist() == [1 / 3] * 3


def test_tiny_probabilities_are_weighed_like_large_ones() -> None:
    log_probabilities = chances(3, 100).log()
    shifts = torch.linspace(-5000, 0, 100, dtype=torch.float64)
    torch.testing.assert_close(
        fit_weights(log_probabilities + shifts), fit_weights(log_probabilities), atol=1e-9, rtol=0
    )
