import itertools
import math
from collections import Counter
from collections.abc import Iterator, Set
from typing import Any

import pytest
import torch
from torch import Tensor

from makemore import sampling
from makemore.config import BigramConfig, GRUConfig, NgramConfig
from makemore.evaluation import name_nats
from makemore.models import FiniteContextModel, build_model
from makemore.sampling import (
    ContextTable,
    Sample,
    Sampler,
    sample_chunks,
)
from makemore.vocab import BOUNDARY, UnknownCharacterError, Vocabulary
from tests.test_models import (
    NAMES,
    VOCABULARY,
    all_models,
    corpus_of,
    random_model,
    small,
)
from tests.test_ngram import fitted
from tests.test_sampler import assert_frequencies


def one_by_one(
    model: Any, vocabulary: Vocabulary, training_names: Set[str], **options: Any
) -> Iterator[Sample]:
    for chunk in sample_chunks(model, vocabulary, training_names, **options):
        yield from chunk.samples(training_names)


def samples(model: Any, num_names: int, **options: Any) -> list[Sample]:
    defaults: dict[str, Any] = {"sampler": Sampler(), "max_length": 12, "seed": 0}
    training_names = options.pop("training_names", set(NAMES))
    options = {**defaults, **options, "num_names": num_names}
    return list(one_by_one(model, VOCABULARY, training_names, **options))


def names_of(drawn: list[Sample]) -> list[str]:
    return [sample.name for sample in drawn]


@all_models
def test_names_do_not_depend_on_how_many_are_drawn_at_a_time(
    monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    model = random_model(config)
    hot = Sampler(temperature=3.0)  # so that no model draws only a few names
    expected = samples(model, 50, sampler=hot)
    assert len(set(names_of(expected))) > 10
    for chunk in (1, 7, 5000):
        monkeypatch.setattr(sampling, "_FIRST_CHUNK", chunk)
        monkeypatch.setattr(sampling, "_LAST_CHUNK", chunk)
        monkeypatch.setattr(sampling, "_TABLE_CHUNK", chunk)
        found = samples(model, 50, sampler=hot)
        assert names_of(found) == names_of(expected)
        assert [sample.log_probability for sample in found] == pytest.approx(
            [sample.log_probability for sample in expected]
        )


def test_names_of_which_none_ends_are_those_that_are_drawn_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where names stop sharing rows, each takes the row of its beginning, though none has left."""
    model: Any = random_model(small(GRUConfig))
    with torch.no_grad():
        model.output.bias[BOUNDARY] = -1000.0
    hot = Sampler(temperature=3.0)
    together = names_of(samples(model, 100, sampler=hot))
    assert {len(name) for name in together} == {12}
    monkeypatch.setattr(sampling, "_FIRST_CHUNK", 1)
    monkeypatch.setattr(sampling, "_LAST_CHUNK", 1)
    assert names_of(samples(model, 100, sampler=hot)) == together


@pytest.mark.parametrize(
    "filters", [{}, {"novel": True}, {"unique": True}, {"novel": True, "unique": True}], ids=str
)
def test_chunks_are_columns_that_belong_together(filters: dict[str, bool]) -> None:
    model, training_names = random_model(small(GRUConfig)), {"a", "b", "ab"}
    options: dict[str, Any] = {"sampler": Sampler(), "max_length": 12, "seed": 0, **filters}
    chunks = list(sample_chunks(model, VOCABULARY, training_names, num_names=300, **options))
    assert len(chunks) > 1
    names = [name for chunk in chunks for name in chunk.names]
    log_probabilities = torch.cat([chunk.log_probabilities for chunk in chunks])
    torch.testing.assert_close(log_probabilities, -name_nats(model, corpus_of(names)))
    drawn = [sample for chunk in chunks for sample in chunk.samples(training_names)]
    assert names_of(drawn) == names
    assert [sample.log_probability for sample in drawn] == log_probabilities.tolist()
    assert len(drawn) == 300
    assert any(sample.novel for sample in drawn)
    assert all(sample.novel == (sample.name not in training_names) for sample in drawn)


@pytest.mark.parametrize("filters", [{}, {"novel": True}, {"unique": True}], ids=str)
def test_fewer_names_are_the_first_of_more(filters: dict[str, Any]) -> None:
    model = random_model(BigramConfig())
    more = names_of(samples(model, 200, **filters))
    for num_names in (0, 1, 31, 32, 33, 199):
        assert names_of(samples(model, num_names, **filters)) == more[:num_names]


def test_another_seed_gives_other_names() -> None:
    model = random_model(BigramConfig())
    assert names_of(samples(model, 20, seed=1)) != names_of(samples(model, 20, seed=2))


@all_models
@pytest.mark.parametrize("prompt", ["", "d", "dac", "dacb"])
def test_the_log_probability_is_that_of_the_whole_name(config: Any, prompt: str) -> None:
    """Of the prompt as well, of an end that was forced, and whatever the filters allow."""
    model = random_model(config)
    for sampler in (Sampler(), Sampler(temperature=3, top_k=4), Sampler(temperature=0)):
        drawn = samples(model, 30, prompt=prompt, max_length=4, sampler=sampler)
        assert all(name.startswith(prompt) and len(name) <= 4 for name in names_of(drawn))
        expected = (-name_nats(model, corpus_of(names_of(drawn)))).tolist()
        assert [sample.log_probability for sample in drawn] == pytest.approx(expected, rel=1e-9)


def test_names_that_would_not_end_are_ended_at_the_maximum_length() -> None:
    model: Any = build_model(BigramConfig(), VOCABULARY.size)
    with torch.no_grad():
        model.logits_VV[:, BOUNDARY] = -1000.0
    for max_length in (1, 2, 30):
        assert {len(name) for name in names_of(samples(model, 40, max_length=max_length))} == {
            max_length
        }


def test_a_prompt_as_long_as_the_maximum_is_the_whole_name() -> None:
    model = random_model(BigramConfig())
    assert names_of(samples(model, 3, prompt="abcd", max_length=4)) == ["abcd"] * 3


@pytest.mark.parametrize("prompt", ["x", "abX", "a\nb", "\n", "\udc80"])
def test_a_prompt_that_the_vocabulary_lacks_is_refused(prompt: str) -> None:
    with pytest.raises(UnknownCharacterError):
        samples(random_model(BigramConfig()), 1, prompt=prompt)


def test_no_name_is_empty_even_if_the_model_would_end_at_once() -> None:
    model: Any = build_model(BigramConfig(), VOCABULARY.size)
    with torch.no_grad():
        model.logits_VV[BOUNDARY, BOUNDARY] = 1000.0
    for sampler in (Sampler(), Sampler(temperature=0), Sampler(temperature=1e-308), Sampler(1, 1)):
        assert all(names_of(samples(model, 100, sampler=sampler)))


@all_models
def test_temperature_0_writes_the_likeliest_character_each_time(config: Any) -> None:
    model = random_model(config)
    (name,) = set(names_of(samples(model, 5, sampler=Sampler(temperature=0))))
    ids: list[int] = []
    state, last = model.start(1), BOUNDARY
    while len(ids) < 12:
        logits, state = model.step(torch.tensor([last]), state)
        choices = logits[0].tolist()
        if not ids:
            choices[BOUNDARY] = -math.inf
        last = choices.index(max(choices))
        if last == BOUNDARY:
            break
        ids.append(last)
    assert name == "".join(VOCABULARY.characters[i - 1] for i in ids)


def test_names_are_as_frequent_as_they_are_probable() -> None:
    model = fitted(["ab", "a", "ba"], k=1.0)
    vocabulary = Vocabulary.of("ab")
    # Row and column 0 are the boundary, 1 is a, 2 is b.
    chances = model.step(torch.arange(3), model.start(3))[0].exp().tolist()
    exact = {}
    for length in (1, 2, 3):
        for name in itertools.product((1, 2), repeat=length):
            path = [0, *name, 0] if length < 3 else [0, *name]
            p = math.prod(chances[last][following] for last, following in itertools.pairwise(path))
            exact["".join(" ab"[i] for i in name)] = p / (1 - chances[0][0])
    assert sum(exact.values()) == pytest.approx(1)
    drawn = one_by_one(
        model, vocabulary, set(), num_names=20_000, sampler=Sampler(), max_length=3, seed=0
    )
    counts = Counter(names_of(list(drawn)))
    assert set(counts) <= set(exact)
    assert_frequencies([counts[name] for name in exact], list(exact.values()))


def test_novel_passes_over_training_names_and_over_nothing_else() -> None:
    model = random_model(BigramConfig())
    training_names = set(names_of(samples(model, 20)))
    everything = samples(model, 300, training_names=training_names)
    assert all(sample.novel == (sample.name not in training_names) for sample in everything)
    novel = [sample for sample in everything if sample.novel]
    assert 0 < len(novel) < 280
    drawn = samples(model, len(novel), training_names=training_names, novel=True)
    assert drawn == novel


def test_unique_keeps_the_first_of_each_name() -> None:
    model = random_model(BigramConfig())
    firsts = list(dict.fromkeys(names_of(samples(model, 300))))
    assert 100 < len(firsts) < 300
    assert names_of(samples(model, len(firsts), unique=True)) == firsts


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"unique": True}, {"a", "b"}),
        ({"novel": True}, set()),
        ({"novel": True, "unique": True}, set()),
    ],
    ids=["unique", "novel", "novel and unique"],
)
def test_where_there_are_no_more_names_fewer_are_yielded(
    filters: dict[str, Any], expected: set[str]
) -> None:
    """A model that knows two names only; without a limit this would never return."""
    model, vocabulary = fitted(["a", "b"], k=0.0), Vocabulary.of("ab")
    drawn = one_by_one(
        model,
        vocabulary,
        {"a", "b"},
        num_names=3,
        sampler=Sampler(),
        max_length=5,
        seed=0,
        **filters,
    )
    names = names_of(list(drawn))
    assert len(names) == len(set(names))
    assert set(names) == expected


@pytest.mark.parametrize("training", [True, False])
@all_models
def test_sampling_leaves_the_mode_and_the_generator_alone(config: Any, training: bool) -> None:
    model = random_model(config)
    expected = samples(model, 5)
    model.train(training)
    generator = torch.get_rng_state()
    # In eval mode, whatever the mode: with dropout, other names would come.
    assert samples(model, 5) == expected
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(module.training is training for module in model.modules())


SAMPLERS = [
    Sampler(),
    Sampler(temperature=3.0),
    Sampler(temperature=2.0, top_k=3, top_p=0.9, min_p=0.1),
    Sampler(temperature=0),
]
few_contexts = pytest.mark.parametrize(
    "config",
    [BigramConfig(), NgramConfig(order=2, smoothing="add-k"), NgramConfig(order=4)],
    ids=["bigram", "counts", "4-gram"],
)


@few_contexts
def test_the_guide_knows_a_part_if_no_other_pair_begins_within_it(config: Any) -> None:
    model = random_model(config)
    assert isinstance(model, FiniteContextModel)
    table = ContextTable.of(model, Sampler(temperature=2.0))
    part = 2 ** (sampling._HASH_BITS - sampling._GUIDE_BITS)
    lowest = torch.arange(len(table.guide)) * part
    first, last = (
        torch.searchsorted(table.thresholds, number, right=True)
        for number in (lowest, lowest + part - 1)
    )
    assert torch.equal(table.guide, torch.where(first == last, first, -1))


@few_contexts
@pytest.mark.parametrize("prompt", ["", "d", "dacb"])
@pytest.mark.parametrize("max_length", [4, 12])
def test_a_table_of_contexts_gives_the_names_that_the_model_gives(
    monkeypatch: pytest.MonkeyPatch, config: Any, prompt: str, max_length: int
) -> None:
    model = random_model(config)
    assert isinstance(model, FiniteContextModel)
    for sampler in SAMPLERS:
        options = {"sampler": sampler, "prompt": prompt, "max_length": max_length}
        # The fewest contexts that are too many, and the most that are not.
        monkeypatch.setattr(sampling, "_MAX_CONTEXTS", model.num_contexts + 1)
        by_model = samples(model, 300, **options)
        monkeypatch.setattr(sampling, "_MAX_CONTEXTS", model.num_contexts + 2)
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "draw", None)
            by_table = samples(model, 300, **options)
        assert names_of(by_table) == names_of(by_model)
        assert [sample.log_probability for sample in by_table] == pytest.approx(
            [sample.log_probability for sample in by_model], rel=1e-12
        )


@few_contexts
@pytest.mark.parametrize("few", [0, 10**6], ids=["by the guide", "by search"])
def test_a_table_finds_the_pair_of_every_uniform_number(
    monkeypatch: pytest.MonkeyPatch, config: Any, few: int
) -> None:
    monkeypatch.setattr(sampling, "_FEW", few)
    model = random_model(config)
    assert isinstance(model, FiniteContextModel)
    table = ContextTable.of(model, Sampler(temperature=2.0))
    thresholds = table.thresholds.tolist()
    assert thresholds == sorted(thresholds)
    # The first and the last number of each pair that has any.
    ends = sorted(set(thresholds))
    wanted = [0, *(number for end in ends for number in (end - 1, end))][:-1]
    expected = [sum(threshold <= key for threshold in thresholds) for key in wanted]
    assert table.find(torch.tensor(wanted)).tolist() == expected
    assert 0 < (table.guide < 0).sum() < len(table.guide) / 2


@pytest.mark.parametrize("prompt", ["", "ab"])
def test_a_step_is_made_once_for_each_beginning_and_for_no_name_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    model = random_model(small(GRUConfig))
    num_rows: list[int] = []
    step = model.step

    def counting_step(ids_B: Tensor, state: Any) -> Any:
        num_rows.append(len(ids_B))
        return step(ids_B, state)

    monkeypatch.setattr(model, "step", counting_step)
    names = names_of(samples(model, 200, prompt=prompt, sampler=Sampler(temperature=3.0)))
    expected, shared = [], True
    for position in range(1 + max(map(len, names))):
        beginnings = [name[:position] for name in names if len(name) >= position]
        shared = shared and len(set(beginnings)) <= 0.9 * len(beginnings)
        expected.append(len(set(beginnings)) if shared else len(beginnings))
    assert num_rows == expected
    assert num_rows[: 1 + len(prompt)] == [1] * (1 + len(prompt))
    assert num_rows[-1] < max(num_rows) < 200


def test_the_first_names_do_not_wait_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(small(GRUConfig))
    sizes: list[int] = []
    draw = sampling.draw

    def counting_draw(model: Any, index_B: Tensor, *rest: Any) -> Any:
        sizes.append(len(index_B))
        return draw(model, index_B, *rest)

    monkeypatch.setattr(sampling, "draw", counting_draw)
    monkeypatch.setattr(sampling, "_FIRST_CHUNK", 3)
    monkeypatch.setattr(sampling, "_LAST_CHUNK", 20)
    drawn = one_by_one(
        model, VOCABULARY, set(), num_names=50, sampler=Sampler(), max_length=12, seed=0
    )
    next(drawn)
    assert sizes == [3]
    assert len(list(drawn)) == 49
    assert sizes == [3, 20, 20, 7]
