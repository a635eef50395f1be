"""Which names a step sees."""

from typing import Any

import pytest
import torch

from makemore.batching import batch_indices, batch_of_step, num_steps
from makemore.config import TrainConfig
from makemore.corpus import Corpus
from makemore.models.jagged import contexts
from tests.test_models import NAMES, VOCABULARY, corpus_of


def batch(step: int, num_names: int, seed: int = 1, **options: Any) -> list[int]:
    config = TrainConfig(**options)
    return batch_indices(config, seed, step, num_names).tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"steps": 9}, 9),
        ({"steps": 9, "max_epochs": 1.0}, 7),
        ({"steps": 9, "max_epochs": 0.11}, 1),
        ({"steps": 5, "max_epochs": 1.0}, 5),
        # 70 names of which a batch of 100 takes all.
        ({"steps": 9, "max_epochs": 2.0, "batch_size": 100}, 2),
        ({"steps": 9, "max_epochs": 3.0, "batch_size": None}, 3),
        # 420 windows, one a predicted character.
        ({"steps": 99, "max_epochs": 1.0, "batch_unit": "windows"}, 42),
    ],
)
def test_a_run_ends_after_steps_or_epochs_whichever_comes_first(
    options: dict[str, Any], expected: int
) -> None:
    config = TrainConfig(**{"batch_size": 10, **options})
    # 70 names of 5 characters and their ends.
    assert num_steps(config, Corpus.of(torch.tensor([1, 1, 1, 1, 1, 0] * 70))) == expected


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 25])
def test_every_epoch_takes_every_name_once(batch_size: int) -> None:
    """Also where a batch reaches over the end of an epoch; a larger one than all is one epoch."""
    stream = [name for step in range(30) for name in batch(step, 10, batch_size=batch_size)]
    epochs = [stream[start : start + 10] for start in range(0, len(stream) - 9, 10)]
    assert len(epochs) == 3 * min(batch_size, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)


def test_the_order_of_names_is_a_function_of_seed_and_step() -> None:
    orders = {
        (seed, epoch): tuple(batch(epoch, 50, seed, batch_size=50))
        for seed in (1, 2)
        for epoch in (0, 1, 2)
    }
    assert len(set(orders.values())) == 6
    assert tuple(batch(0, 50, 2, batch_size=50)) == orders[2, 0]


def test_with_replacement_every_batch_is_drawn_anew() -> None:
    def drawn(step: int, seed: int = 1) -> list[int]:
        return batch(step, 10, seed, batch_size=8, replacement=True)

    batches = [drawn(step) for step in range(2000)]
    assert batches[7] == drawn(7)
    assert batches[7] != drawn(7, seed=2)
    assert all(len(names) == 8 for names in batches)
    # Without replacement no batch of 8 of 10 holds a name twice; with it nearly all do.
    repeated = sum(len(set(names)) < 8 for names in batches) / 2000
    distinct = 10 * 9 * 8 * 7 * 6 * 5 * 4 * 3 / 10**8
    assert repeated == pytest.approx(1 - distinct, abs=0.01)
    counts = torch.bincount(torch.tensor(batches).flatten(), minlength=10)
    assert counts.tolist() == pytest.approx([1600] * 10, rel=0.1)


def test_windows_are_single_characters_with_those_before_them() -> None:
    corpus = corpus_of(NAMES)
    config = TrainConfig(batch_size=4, batch_unit="windows")
    drawn: list[int] = []
    for step in range(11):
        windows = batch_of_step(config, 1, step, corpus)
        assert windows.rows is not None
        drawn += windows.rows.tolist()
        contexts_MC = contexts(windows, 3)
        for row, context_C in zip(windows.rows.tolist(), contexts_MC.tolist(), strict=True):
            text = [i for name in NAMES for i in (0, *VOCABULARY.encode([name])[:-1].tolist())]
            name_start = max(place for place in range(row + 1) if text[place] == 0)
            seen = [0, 0, 0, *text[name_start : row + 1]]
            assert context_C == seen[-3:]
    # An epoch of 43 characters takes each once, before the next one begins.
    assert sorted(drawn[:43]) == list(range(43))


def test_names_are_whole_where_windows_are_not_asked_for() -> None:
    batch = batch_of_step(TrainConfig(batch_size=3), 1, 0, corpus_of(NAMES))
    assert (batch.num_names, batch.rows) == (3, None)


def test_names_of_a_batch_stand_by_length_and_those_of_one_length_as_drawn() -> None:
    names = ["abc", "a", "ab", "b", "ba", "cab", "c", "bc"]
    config = TrainConfig(batch_size=6)
    for step in range(20):
        batch = batch_of_step(config, 1, step, corpus_of(names))
        drawn = [names[i] for i in batch_indices(config, 1, step, len(names)).tolist()]
        tokens = VOCABULARY.encode(sorted(drawn, key=len))
        assert torch.equal(batch.targets, tokens.long())


def test_a_full_batch_is_all_names_in_every_step() -> None:
    assert batch(0, 5, batch_size=None) == batch(9, 5, seed=3, batch_size=None) == [0, 1, 2, 3, 4]
