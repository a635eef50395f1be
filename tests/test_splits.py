"""Which names a model learns from, and on which it is judged."""

import hashlib
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from makemore import data
from makemore.config import DataConfig
from makemore.corpus import Corpus
from makemore.data import SPLITS, Splits, describe, load_names, split_corpus, split_names
from makemore.vocab import Vocabulary

HASH, LECTURE, MAKEMORE = (DataConfig(split=kind) for kind in ("hash", "lecture", "makemore"))

lists_of_names = st.lists(st.text("abc", min_size=1, max_size=4), max_size=30)


def sizes(splits: Splits) -> list[int]:
    return [len(splits.of(split)) for split in SPLITS]


def all_names(splits: Splits) -> list[str]:
    return splits.train + splits.val + splits.test


@pytest.fixture(scope="module")
def karpathy(karpathy_path: Path) -> list[str]:
    return load_names(str(karpathy_path))


def shuffled_as_in_the_lecture(names: Sequence[str]) -> list[list[str]]:
    words, state = list(names), random.getstate()
    random.seed(42)
    random.shuffle(words)
    random.setstate(state)
    n1, n2 = int(0.8 * len(words)), int(0.9 * len(words))
    return [words[:n1], words[n1:n2], words[n2:]]


def divided_as_in_makemore_py(words: Sequence[str]) -> tuple[list[str], list[str]]:
    test_set_size = min(1000, int(len(words) * 0.1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3407)
        rp = torch.randperm(len(words)).tolist()
    return [words[i] for i in rp[:-test_set_size]], [words[i] for i in rp[-test_set_size:]]


def test_the_lecture_split_is_the_one_of_the_notebooks() -> None:
    names = load_names("names")
    splits = split_names(names, LECTURE)
    assert [splits.of(split) for split in SPLITS] == shuffled_as_in_the_lecture(names)
    assert sizes(splits) == [4130, 516, 517]


def test_the_makemore_split_is_the_one_of_the_script_with_a_val_cut_from_train() -> None:
    names = load_names("names")
    splits = split_names(names, MAKEMORE)
    assert (splits.train + splits.val, splits.test) == divided_as_in_makemore_py(names)
    assert sizes(splits) == [4131, 516, 516]


def test_the_lecture_split_of_the_published_file(karpathy: list[str]) -> None:
    splits = split_names(karpathy, LECTURE)
    assert [splits.of(split) for split in SPLITS] == shuffled_as_in_the_lecture(karpathy)
    described = describe(karpathy, LECTURE)
    assert described["num_names_by_split"] == {"train": 25_626, "val": 3_203, "test": 3_204}
    assert described["num_chars_by_split"] == {"train": 182_625, "val": 22_655, "test": 22_866}
    assert described["num_also_in_train"] == {"val": 424, "test": 377}


def test_the_makemore_split_of_the_published_file(karpathy: list[str]) -> None:
    splits = split_names(karpathy, MAKEMORE)
    assert (splits.train + splits.val, splits.test) == divided_as_in_makemore_py(karpathy)
    assert sizes(splits) == [30_033, 1_000, 1_000]


def test_the_hash_split_of_the_published_file_leaks_no_name(karpathy: list[str]) -> None:
    splits = split_names(karpathy, HASH)
    train, val, test = (set(splits.of(split)) for split in SPLITS)
    assert len(train) + len(val) + len(test) == len(train | val | test) == 29_494
    assert sum(sizes(splits)) == 32_033


@pytest.mark.parametrize(
    ("num_names", "expected"), [(3, [3, 0, 0]), (9, [9, 0, 0]), (10, [8, 1, 1]), (29, [25, 2, 2])]
)
def test_few_names_have_a_makemore_split(num_names: int, expected: list[int]) -> None:
    assert sizes(split_names(["a"] * num_names, MAKEMORE)) == expected


def test_the_hash_split_of_the_embedded_names_is_what_it_was() -> None:
    """Every published figure on them names this digest: a new one would orphan them all."""
    splits = split_names(load_names("names"), HASH)
    assert sizes(splits) == [4090, 537, 536]
    assert splits.digest == "1b34f641f039ee40"


@pytest.mark.parametrize("source", ["names", "surnames"])
def test_the_hash_split_has_its_shares_within_four_standard_errors(source: str) -> None:
    names = load_names(source)
    for size, share in zip(sizes(split_names(names, HASH)), (0.8, 0.1, 0.1), strict=True):
        error = math.sqrt(len(names) * share * (1 - share))
        assert abs(size - share * len(names)) < 4 * error


def test_a_hash_bucket_is_the_first_8_bytes_of_a_hash_of_seed_and_name() -> None:
    names = [f"name {i}" for i in range(200)]
    config = DataConfig(seed=7, fractions=(0.5, 0.25, 0.25))
    expected: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in names:
        first_byte = hashlib.blake2b(f"7\n{name}".encode(), digest_size=8).digest()[0]
        expected["train" if first_byte < 128 else "val" if first_byte < 192 else "test"].append(
            name
        )
    assert split_names(names, config) == Splits(**expected)


@given(lists_of_names, lists_of_names, st.integers(0, 3))
def test_the_hash_split_never_moves_a_name(old: list[str], new: list[str], seed: int) -> None:
    config = DataConfig(seed=seed)
    before, after = split_names(old, config), split_names(old + new, config)
    for split in SPLITS:
        assert after.of(split)[: len(before.of(split))] == before.of(split)
        assert sorted(split_names(old[::-1], config).of(split)) == sorted(before.of(split))


@pytest.mark.parametrize("config", [HASH, LECTURE, MAKEMORE])
def test_another_seed_is_another_split_and_none_is_the_splits_own(config: DataConfig) -> None:
    names = load_names("names")
    own = {"hash": 0, "lecture": 42, "makemore": 3407}[config.split]
    digests = [
        split_names(names, config.model_copy(update={"seed": seed})).digest
        for seed in (None, own, 1, 2)
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@st.composite
def configs(draw: st.DrawFn) -> DataConfig:
    kind = draw(st.sampled_from(["hash", "lecture"]))
    train = draw(st.integers(1, 100))
    val = draw(st.integers(0, 100 - train))
    fractions = (train / 100, val / 100, (100 - train - val) / 100)
    # All names in train leave a seed of the hash nothing to decide, which is an error.
    seed = None if (kind, train) == ("hash", 100) else draw(st.integers(0, 9))
    return DataConfig.model_validate({"split": kind, "fractions": fractions, "seed": seed})


@given(configs(), st.integers(0, 100))
@example(DataConfig(split="lecture", fractions=(0.1, 0.0, 0.9)), 10)
@example(DataConfig(split="lecture", fractions=(0.29, 0.0, 0.71)), 100)
@example(DataConfig(split="lecture", fractions=(1 / 3, 0.0, 2 / 3)), 3)
def test_every_name_is_in_one_split_and_a_share_of_zero_is_empty(
    config: DataConfig, num_names: int
) -> None:
    """0.1, 0, 0.9 once put one name into both train and test: 1 - 0.9 is a little less than 0.1."""
    names = [f"{i}" for i in range(num_names)]
    splits = split_names(names, config)
    assert sorted(all_names(splits)) == sorted(names)
    assert config.fractions is not None
    for share, size in zip(config.fractions, sizes(splits), strict=True):
        assert share > 0 or size == 0


@pytest.mark.parametrize("kind", ["hash", "lecture"])
def test_shares_of_1_0_0_put_everything_in_train(kind: str) -> None:
    names = load_names("names")
    config = DataConfig.model_validate({"split": kind, "fractions": (1.0, 0.0, 0.0)})
    assert sizes(split_names(names, config)) == [len(names), 0, 0]


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        (None, [24, 3, 3]),
        ((0.7, 0.2, 0.1), [21, 6, 3]),
        ((0.6, 0.3, 0.1), [18, 9, 3]),
        ((0.1, 0.0, 0.9), [3, 0, 27]),
        ((0.5, 0.5, 0.0), [15, 15, 0]),
    ],
)
def test_the_lecture_split_takes_other_shares(
    fractions: tuple[float, float, float] | None, expected: list[int]
) -> None:
    """0.7 + 0.2 is a little less than 0.9, which costs val a name unless it is rounded."""
    config = DataConfig(split="lecture", fractions=fractions)
    assert sizes(split_names(["a"] * 30, config)) == expected


def test_a_digest_is_a_hash_of_the_names_and_the_places_between_the_parts() -> None:
    splits = Splits(["a", "b"], ["c"], ["dé"])
    assert splits.digest == hashlib.sha256("a\nb\n\nc\n\ndé".encode()).hexdigest()[:16]


@given(*[st.tuples(lists_of_names, lists_of_names, lists_of_names)] * 2)
@example((["a", "b"], ["c"], ["d"]), (["a"], ["b", "c"], ["d"]))
@example((["a"], [], ["b"]), (["a"], ["b"], []))
@example(([], ["a"], []), ([], [], ["a"]))
@example((["ab"], [], []), (["a", "b"], [], []))
def test_digests_are_equal_only_for_equal_splits(
    first: tuple[list[str], ...], second: tuple[list[str], ...]
) -> None:
    assert (Splits(*first).digest == Splits(*second).digest) == (first == second)


def test_a_description_of_five_names_by_hand() -> None:
    config = DataConfig(source="mine.txt", fractions=(1.0, 0.0, 0.0))
    names = ["ab", "b", "ab", "caa", "zzzzzzz"]
    assert describe(names, config) == {
        "source": "mine.txt",
        "num_names": 5,
        "num_distinct": 4,
        "num_duplicates": 1,
        "num_chars": 20,
        "shortest": 1,
        "median_length": 2,
        "mean_length": 3.0,
        "longest": 7,
        "alphabet": "abcz",
        "split": "hash",
        "split_digest": hashlib.sha256(b"ab\nb\nab\ncaa\nzzzzzzz\n\n\n\n").hexdigest()[:16],
        "num_names_by_split": {"train": 5, "val": 0, "test": 0},
        "num_chars_by_split": {"train": 20, "val": 0, "test": 0},
        "num_also_in_train": {"val": 0, "test": 0},
    }


def test_duplicates_leak_from_lines_and_not_from_hashes() -> None:
    names = ["ava"] * 20
    assert describe(names, LECTURE)["num_also_in_train"] == {"val": 2, "test": 2}
    assert describe(names, MAKEMORE)["num_also_in_train"] == {"val": 2, "test": 2}
    assert describe(names, HASH)["num_also_in_train"] == {"val": 0, "test": 0}
    assert sorted(sizes(split_names(names, HASH))) == [0, 0, 20]


def test_a_description_of_the_published_file(karpathy: list[str]) -> None:
    expected = {
        "num_names": 32_033,
        "num_distinct": 29_494,
        "num_duplicates": 2_539,
        "num_chars": 228_146,
        "shortest": 2,
        "longest": 15,
        "mean_length": 228_146 / 32_033 - 1,
        "alphabet": "abcdefghijklmnopqrstuvwxyz",
    }
    described = describe(karpathy, LECTURE)
    assert {key: described[key] for key in expected} == pytest.approx(expected)


@given(configs(), st.lists(st.text("abcë", min_size=1, max_size=4), max_size=30), st.integers(1, 9))
@example(HASH, [], 1)
@example(MAKEMORE, ["a", "b"] * 10, 3)
def test_a_corpus_is_split_as_its_names_are(
    config: DataConfig, names: list[str], num_chars: int
) -> None:
    """And its digest is theirs, however many of them are there at once."""
    vocabulary = Vocabulary.of(names)
    splits = split_names(names, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_CHARS_AT_ONCE", num_chars)
        corpora, digest = split_corpus(vocabulary, Corpus.of(vocabulary.encode(names)), config)
    assert digest == splits.digest
    assert {split: vocabulary.decode(corpora[split].tokens) for split in SPLITS} == {
        split: splits.of(split) for split in SPLITS
    }
