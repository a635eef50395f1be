"""What is chosen on held-out names: nothing that was tried beside it is better."""

from typing import Any

import pytest
import torch

from makemore.config import NgramConfig
from makemore.corpus import Corpus
from makemore.evaluation import evaluate
from makemore.models.ngram_smoothing import NUM_AMOUNTS
from makemore.vocab import Vocabulary
from tests.small_runs import NAMES
from tests.test_ngram import SMOOTHINGS, fit

HELD_OUT = ["adela", "erika", "linda", "mario", "rosalie", "theodora", "nana", "zeno"]


def held_out_loss(config: NgramConfig) -> float:
    model = fit(config, NAMES, HELD_OUT)
    vocabulary = Vocabulary.of([*NAMES, *HELD_OUT])
    return evaluate(model, Corpus.of(vocabulary.encode(HELD_OUT))).nats_per_char


def chosen(config: NgramConfig) -> dict[str, Any]:
    return fit(config, NAMES, HELD_OUT).description()


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_tuning_is_at_least_as_good_as_every_order(smoothing: Any) -> None:
    tuned = held_out_loss(NgramConfig(order=5, smoothing=smoothing, tune=True))
    orders = [held_out_loss(NgramConfig(order=order, smoothing=smoothing)) for order in range(1, 6)]
    assert tuned <= min(orders)
    if NUM_AMOUNTS[smoothing] == 0:
        assert tuned == min(orders)
        order = 1 + orders.index(tuned)
        assert chosen(NgramConfig(order=5, smoothing=smoothing, tune=True)) == {"order": order}


def test_the_tuned_k_is_that_of_a_fine_grid() -> None:
    found = chosen(NgramConfig(order=4, smoothing="add-k", tune=True))
    grid = {
        (order, k): held_out_loss(NgramConfig(order=order, smoothing="add-k", k=k))
        for order in range(1, 5)
        for k in (10 ** (place / 20) for place in range(-60, 41))
    }
    order, k = min(grid, key=grid.__getitem__)
    assert found == {"order": order, "k": pytest.approx(k, rel=0.13)}
    best = held_out_loss(NgramConfig(order=found["order"], smoothing="add-k", k=found["k"]))
    assert best <= min(grid.values())


@pytest.mark.parametrize("smoothing", ["absolute", "kneser-ney", "modified-kneser-ney"])
def test_no_other_discounts_are_better_than_tuned_ones(smoothing: Any) -> None:
    found = chosen(NgramConfig(order=3, smoothing=smoothing, tune=True))
    rows = found["discounts"]
    assert all(row == rows[0] for row in rows)
    assert len(rows) == found["order"]
    config = NgramConfig(order=found["order"], smoothing=smoothing)
    best = held_out_loss(config.model_copy(update={"discounts": tuple(rows[0])}))
    assert best < held_out_loss(config)
    for place in range(len(rows[0])):
        for change in (-0.05, 0.05):
            other = [*rows[0]]
            other[place] = min(max(other[place] + change, 1e-3), place + 1)
            assert best <= held_out_loss(config.model_copy(update={"discounts": tuple(other)}))


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_a_tuned_model_is_the_one_of_a_config_with_what_was_chosen(smoothing: Any) -> None:
    tuned = fit(NgramConfig(order=6, smoothing=smoothing, tune=True), NAMES, HELD_OUT)
    values: dict[str, Any] = tuned.description()
    if "discounts" in values:
        values["discounts"] = tuple(values["discounts"][0])
    again = fit(NgramConfig(smoothing=smoothing, **values), NAMES, HELD_OUT)
    assert all(torch.equal(again.state_dict()[name], t) for name, t in tuned.state_dict().items())


def test_what_a_config_gives_is_not_tuned() -> None:
    assert chosen(NgramConfig(order=3, smoothing="add-k", k=0.5, tune=True))["k"] == 0.5
    rows = chosen(NgramConfig(order=3, discounts=(0.5, 0.5, 0.5), tune=True))["discounts"]
    assert all(row == [0.5, 0.5, 0.5] for row in rows)


def test_without_tuning_nothing_is_chosen_by_held_out_names() -> None:
    names = [fit(NgramConfig(), NAMES, held_out) for held_out in (HELD_OUT, HELD_OUT[::-1])]
    assert names[0].description() == names[1].description()
    assert names[0].order == 5
