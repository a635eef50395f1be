"""Tables that a file brings: they make a model, or are refused; and runs of fitted models."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from makemore import launch
from makemore.checkpoint import load_checkpoint, save_checkpoint
from makemore.config import NgramConfig
from makemore.corpus import Corpus
from makemore.errors import CheckpointError, DataError
from makemore.models.ngram import Ngram
from makemore.run import load
from makemore.run_directory import RunDirectory
from makemore.vocab import Vocabulary
from tests.command_line import Makemore
from tests.small_runs import NAMES, untimed
from tests.test_ngram import assert_same, fit


def tables(config: NgramConfig) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in fit(config, NAMES).state_dict().items()}


def with_value(name: str, place: int, value: float) -> Callable[[dict[str, Tensor]], object]:
    def change(state: dict[str, Tensor]) -> None:
        state[name].view(-1)[place] = value

    return change


def with_table(name: str, of: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], object]:
    return lambda state: state.update({name: of(state[name])})


def without_pair(place: int) -> Callable[[dict[str, Tensor]], object]:
    def change(state: dict[str, Tensor]) -> None:
        for name in ("keys", "probabilities"):
            state[name] = torch.cat([state[name][:place], state[name][place + 1 :]])

    return change


TAMPERED: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "missing": lambda state: state.pop("weights"),
    "unknown": lambda state: state.update(more=torch.zeros(1)),
    "nothing": lambda state: state.clear(),
    "integers of another type": with_table("keys", Tensor.int),
    "numbers of another type": with_table("probabilities", Tensor.float),
    "a scalar": with_table("weights", Tensor.sum),
    "a matrix": with_table("keys", lambda t: t[:, None]),
    "no pairs": lambda state: [with_table(n, lambda t: t[:0])(state) for n in list(state)[:2]],
    "no nodes": with_table("weights", lambda t: t[:0]),
    "only the first node": with_table("weights", lambda t: t[:1]),
    "a node less": with_table("weights", lambda t: t[:-1]),
    "a node more": with_table("weights", lambda t: torch.cat([t, t.new_ones(1)])),
    "a probability less": with_table("probabilities", lambda t: t[:-1]),
    "a pair less, at the end": without_pair(-1 % 300),
    "a pair less, of the empty context": without_pair(3),
    "a pair of nothing": with_value("keys", 0, 3),
    "a negative pair": with_value("keys", 0, -1),
    "a pair of no node": with_value("keys", -1, 2**62),
    "pairs out of order": with_table("keys", lambda t: t.flip(0)),
    "pairs whose differences wrap around": lambda state: [
        with_value("keys", place, value)(state)
        for place, value in ((5, 2**62 + 1), (6, -(2**62) - 2))
    ],
    "a pair twice": lambda state: with_value("keys", 7, int(state["keys"][6]))(state),
    "another order": with_table("amounts", lambda t: t[:-1]),
    "no order": with_table("amounts", lambda t: t[:0]),
    "other amounts": with_table("amounts", lambda t: t[:, :-1]),
    "a negative amount": with_value("amounts", 0, -0.5),
    "an infinite amount": with_value("amounts", 0, math.inf),
    "an amount that is no number": with_value("amounts", 0, math.nan),
    "a negative probability": with_value("probabilities", 5, -0.1),
    "a probability that is no number": with_value("probabilities", 5, math.nan),
    "a probability too high": with_value("probabilities", 5, 0.9),
    "a negative weight": with_value("weights", 5, -0.1),
    "an infinite weight": with_value("weights", 5, math.inf),
    "a weight too low": with_value("weights", 0, 0.5),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_tables_that_do_not_fit_together_are_refused(tamper: Any) -> None:
    state, config = tables(NgramConfig(order=3)), NgramConfig(order=3)
    size = Vocabulary.of(NAMES).size
    model = Ngram(config, size)
    model.load_tables(state)
    tamper(state)
    untouched = Ngram(config, size)
    with pytest.raises(ValueError, match=r"^(its|it has|there are|a character) "):
        untouched.load_tables(state)
    assert untouched.num_parameters() == 0


def test_probabilities_that_move_between_pairs_are_refused_too() -> None:
    """All is between 0 and 1 and the total is right, but not that of each context."""
    state = tables(NgramConfig(order=2))
    state["probabilities"][1] += 1e-6
    state["probabilities"][-1] -= 1e-6
    with pytest.raises(ValueError, match="do not sum to 1"):
        Ngram(NgramConfig(order=2), Vocabulary.of(NAMES).size).load_tables(state)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("tune", [False, True])
def test_tables_have_the_order_of_the_config_or_a_lower_one_that_was_chosen(
    order: int, tune: bool
) -> None:
    model = Ngram(NgramConfig(order=3, tune=tune), Vocabulary.of(NAMES).size)
    state = tables(NgramConfig(order=order))
    if order == 3 or (tune and order < 3):
        model.load_tables(state)
        assert model.order == order
    else:
        with pytest.raises(ValueError, match="its tensor `amounts`"):
            model.load_tables(state)


@pytest.mark.parametrize(
    ("keys", "probabilities", "weights", "problem"),
    [
        ([3, 4, 4], [0.5, 0.25, 0.25], [1.0, 0.0], "out of order"),
        ([0, 3], [0.5, 1.0], [0.5, 0.0], "out of order or range"),
        ([3, 4], [-0.25, 0.75], [1.0, 0.5], "do not sum to 1"),
    ],
    ids=["a pair twice", "a pair of nothing", "a negative probability"],
)
def test_sums_of_1_excuse_nothing(
    keys: list[int], probabilities: list[float], weights: list[float], problem: str
) -> None:
    state = {
        "keys": torch.tensor(keys),
        "probabilities": torch.tensor(probabilities, dtype=torch.float64),
        "weights": torch.tensor(weights, dtype=torch.float64),
        "amounts": torch.zeros(1, 0, dtype=torch.float64),
    }
    with pytest.raises(ValueError, match=problem):
        Ngram(NgramConfig(order=1, smoothing="witten-bell"), 3).load_tables(state)


def test_what_follows_a_context_must_follow_its_suffix() -> None:
    # The empty context is followed by the boundary and a, which make the nodes 2 and 3; of these,
    # the boundary by b, and a by the boundary.
    state = {
        "keys": torch.tensor([3, 4, 2 * 3 + 2, 3 * 3]),
        "probabilities": torch.full((4,), 0.5, dtype=torch.float64),
        "weights": torch.tensor([1, 0, 0.5, 0.5], dtype=torch.float64),
        "amounts": torch.zeros(2, 0, dtype=torch.float64),
    }
    model = Ngram(NgramConfig(order=2, smoothing="witten-bell"), 3)
    with pytest.raises(ValueError, match="a character follows a context, but not its suffix"):
        model.load_tables(state)
    state["keys"][2] = 2 * 3 + 1
    model.load_tables(state)


@settings(max_examples=200)
@given(
    keys=st.sets(st.integers(2, 40), min_size=1, max_size=14),
    num_nodes=st.integers(1, 14),
    order=st.integers(1, 4),
)
@example(keys={3}, num_nodes=2, order=1)
@example(keys={2, 3}, num_nodes=2, order=2)
@example(keys={2, 3, 4, 7}, num_nodes=4, order=2)
def test_tables_are_refused_or_make_a_model(keys: set[int], num_nodes: int, order: int) -> None:
    key_P = torch.tensor(sorted(keys))
    pairs_S = torch.bincount(key_P // 2, minlength=num_nodes)[:num_nodes]
    state = {
        "keys": key_P,
        "probabilities": torch.full((len(keys),), 0.25, dtype=torch.float64),
        "weights": 1 - 0.25 * pairs_S.double(),
        "amounts": torch.zeros(order, 0, dtype=torch.float64),
    }
    model = Ngram(NgramConfig(order=order, smoothing="witten-bell"), 2)
    try:
        model.load_tables(state)
    except ValueError:
        return
    corpus = Corpus.of(torch.tensor([1, 1, 1, 1, 0, 1, 0]))
    whole = model(corpus.batch(torch.tensor([0])))
    assert_same(whole.exp().sum(1), torch.ones(5, dtype=torch.float64))
    steps, state_B = [], model.start(1)
    for identifier in [0, 1, 1, 1, 1]:
        logits, state_B = model.step(torch.tensor([identifier]), state_B)
        steps.append(logits)
    assert torch.equal(torch.cat(steps), whole)


# Runs.


def test_a_run_says_what_was_fitted_and_a_checkpoint_keeps_it(
    names_file: Path, tmp_path: Path
) -> None:
    options = ["model.tune=true", "model.order=7"]
    run = launch.train("ngram", data=str(names_file), run=tmp_path / "run", overrides=options)
    assert isinstance(run.model, Ngram)
    (record,) = [r for r in untimed(tmp_path / "run") if r["event"] == "fitted"]
    assert record == {
        "event": "fitted",
        "step": 0,
        "num_parameters": run.model.num_parameters(),
        **run.model.description(),
    }
    assert isinstance(run.config.model, NgramConfig)
    assert run.model.order < run.config.model.order == 7
    again = load(tmp_path / "run")
    assert isinstance(again.model, Ngram)
    assert again.model.description() == run.model.description()
    assert again.sample(5, seed=1) == run.sample(5, seed=1)


def test_tables_of_a_checkpoint_are_looked_at(names_file: Path, tmp_path: Path) -> None:
    launch.train("ngram", data=str(names_file), run=tmp_path / "run")
    path = RunDirectory(tmp_path / "run").best
    checkpoint = load_checkpoint(path)
    checkpoint.model["weights"][3] += 0.5
    save_checkpoint(path, checkpoint)
    with pytest.raises(CheckpointError, match="its probabilities do not sum to 1"):
        load(path)


def test_tuning_without_validation_names_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ada\nbea\ncleo\ndora\n")
    with pytest.raises(DataError, match="no names in the validation split"):
        launch.train(
            "ngram",
            data=str(tmp_path / "names.txt"),
            run=tmp_path / "run",
            overrides=["model.tune=true", "data.split=makemore"],
        )
    assert not (tmp_path / "run").exists()


def test_the_command_line_shows_what_was_fitted(makemore: Makemore) -> None:
    result = makemore("train", "--model", "ngram", "--data", "names.txt")
    assert result.code == 0
    first, second = result.err.splitlines()[:2]
    assert "parameters" not in first
    metrics = Path("runs/ngram-1/metrics.jsonl").read_text().splitlines()
    record = json.loads(metrics[1])
    last = ", ".join(f"{x:.4g}" for x in record["discounts"][-1])
    expected = f"fitted: order 5, {record['num_parameters']} parameters, discounts of the longest "
    assert second == expected + f"contexts {last}"
    assert record["num_parameters"] > 0
    (row,) = makemore("runs").out.splitlines()[2:]
    assert row.split()[2] == str(record["num_parameters"])
    counted = makemore("train", "--model", "bigram-count", "--data", "names.txt")
    assert re.search(r"\nfitted: order 2, \d+ parameters, k = 1\n", counted.err)
