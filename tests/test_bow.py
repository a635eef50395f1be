"""The causal bag of words against an explicit average, and what a bag can and cannot know."""

from typing import Any

import pytest
import torch
from torch import Tensor

from makemore.config import BowConfig, InitializationConfig
from makemore.models import build_model
from makemore.models.dropout import Dropout
from makemore.vocab import BOUNDARY
from tests.test_models import (
    NAMES,
    VOCABULARY,
    assert_same,
    batch_of,
    logits_by_steps,
    logits_of_names,
    random_model,
    small,
)


def explicit_logits(
    weights: dict[str, Tensor], ids: list[int], context_length: int, masks: Any = None
) -> Tensor:
    """(T, V) of one name. masks: by what the hidden units of each position are multiplied."""
    rows, logits = [], []
    for position, i in enumerate(ids):
        place = min(position, context_length - 1)
        rows.append(
            weights["character_embedding.weight"][i] + weights["position_embedding.weight"][place]
        )
        x_D = rows[-1] + sum(rows) / (position + 1)
        hidden_F = weights["expand.linear.weight"] @ x_D + weights["expand.linear.bias"]
        hidden_F = hidden_F.tanh() if masks is None else hidden_F.tanh() * masks[position]
        x_D = x_D + weights["contract.weight"] @ hidden_F + weights["contract.bias"]
        logits.append(weights["output.weight"] @ x_D + weights["output.bias"])
    return torch.stack(logits)


def ids_of(name: str) -> list[int]:
    return [BOUNDARY, *VOCABULARY.encode([name])[:-1].tolist()]


@pytest.mark.parametrize("context_length", [1, 3, 32])
def test_logits_equal_an_explicit_average(context_length: int) -> None:
    model = random_model(small(BowConfig, context_length=context_length))
    weights = model.state_dict()
    expected = [explicit_logits(weights, ids_of(name), context_length) for name in NAMES]
    assert_same(logits_of_names(model, NAMES), expected)
    assert_same(logits_by_steps(model, NAMES), expected)


def test_dropout_acts_on_the_hidden_units() -> None:
    """The mask is drawn again from the same seed: a row a character."""
    model = random_model(small(BowConfig, dropout=0.4)).train()
    batch = batch_of(["dacb"])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(1)
        logits = model(batch)
        torch.default_generator.manual_seed(1)
        mask_NF = Dropout(0.4)(torch.ones(5, 12, dtype=torch.float64))
    assert (mask_NF == 0).any()
    assert_same(logits, explicit_logits(model.state_dict(), ids_of("dacb"), 3, mask_NF))


def test_a_bag_does_not_know_the_order_of_what_stands_in_it() -> None:
    """Positions are added to characters, so the sum of both is the same in every order."""
    first, second = logits_of_names(random_model(small(BowConfig)), ["abdca", "badca"])
    assert_same(first[3:], second[3:])
    assert not torch.allclose(first[2], second[2])


def float32_model() -> Any:
    """With embeddings so large and of so unequal means that lost digits are seen."""
    model = random_model(small(BowConfig, context_length=256), torch.float32)
    with torch.no_grad():
        model.state_dict()["character_embedding.weight"].add_(1.0)
    return model


def averages(model: Any, names: list[str]) -> list[Tensor]:
    """(T, D) of each name: what goes into the hidden layer, x plus the average of x so far."""
    seen: list[Tensor] = []
    hook = model.expand.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits_of_names(model, names)
    hook.remove()
    (x_ND,) = seen
    return list(x_ND.split(batch_of(names).lengths().tolist()))


LONG = "abcd" * 64


def test_an_average_is_exact_in_float32_in_any_company() -> None:
    model = float32_model()
    weights = {name: part.double() for name, part in model.state_dict().items()}
    rows_TD = weights["character_embedding.weight"][ids_of(LONG)]
    rows_TD = rows_TD + weights["position_embedding.weight"][[*range(256), 255]]
    expected = torch.stack([row + rows_TD[: t + 1].mean(0) for t, row in enumerate(rows_TD)])
    for names in ([LONG], [LONG] * 50, ["a", LONG], ["d"] * 2000 + [LONG]):
        assert_same(averages(model, names)[-1].double(), expected, 1e-5)


def test_a_running_sum_gives_the_logits_of_a_long_name_in_float32() -> None:
    model = float32_model()
    assert_same(logits_by_steps(model, [LONG]), logits_of_names(model, [LONG]), 1e-5)


def test_a_state_is_a_sum_and_a_count() -> None:
    model = random_model(small(BowConfig))
    weights = model.state_dict()
    state = model.start(2)
    assert [part.shape for part in state] == [(2, 8), (2,)]
    assert not any(part.any() for part in state)
    for ids in ([0, 0], [1, 2]):
        _, state = model.step(torch.tensor(ids), state)
    places_D = weights["position_embedding.weight"][:2].sum(0)
    characters = weights["character_embedding.weight"]
    expected = torch.stack([characters[0] + characters[i] + places_D for i in (1, 2)])
    assert_same(state[0], expected)
    assert state[1].tolist() == [2, 2]
    assert state[1].dtype == torch.int64


def build(**changes: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build_model(BowConfig(**changes), 27)


def test_weights_start_with_their_scales() -> None:
    initialization = InitializationConfig(factor=0.5, output_factor=0.3)
    wide = build(
        embedding_dim=400, hidden_dim=300, context_length=100, initialization=initialization
    )
    deviations = {name: float(part.std()) for name, part in wide.state_dict().items()}
    expected = {
        # Character and position together: variance 1/4.
        "character_embedding.weight": 8**-0.5,
        "position_embedding.weight": 8**-0.5,
        "expand.linear.weight": 0.5 * 5 / 3 * 400**-0.5,
        "expand.linear.bias": 0.0,
        # One branch, so no share of several.
        "contract.weight": 0.5 * 300**-0.5,
        "contract.bias": 0.0,
        "output.weight": 0.3 * 400**-0.5,
        "output.bias": 0.0,
    }
    assert deviations == pytest.approx(expected, rel=0.03)


def test_zero_residual_starts_with_the_average_alone() -> None:
    model = build(initialization=InitializationConfig(zero_residual=True))
    (x_ND,) = averages(model, ["dacb"])
    assert_same(model(batch_of(["dacb"])), model.output(x_ND), 0)
    assert model.output(x_ND).any()


def test_the_number_of_parameters_is_exact() -> None:
    expected = (27 + 32) * 64 + 2 * (64 * 64 + 64) + (64 * 27 + 27)
    assert build().num_parameters() == expected
    other = build(embedding_dim=10, hidden_dim=7, context_length=5)
    assert other.num_parameters() == (27 + 5) * 10 + (7 * 10 + 7) + (10 * 7 + 10) + (27 * 10 + 27)
