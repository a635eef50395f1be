import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makemore.corpus import Corpus

# "ab", "b" and "caa", where a, b, c are 1, 2, 3.
TOKENS = torch.tensor([1, 2, 0, 2, 0, 3, 1, 1, 0], dtype=torch.uint8)

names = st.lists(st.lists(st.integers(1, 255), max_size=6), min_size=1, max_size=8)


def corpus_of(names: list[list[int]]) -> Corpus:
    return Corpus.of(torch.tensor([i for name in names for i in (*name, 0)], dtype=torch.uint8))


def test_a_corpus_of_three_names_by_hand() -> None:
    corpus = Corpus.of(TOKENS)
    assert corpus.tokens is TOKENS
    assert corpus.offsets.tolist() == [0, 3, 5, 9]
    assert corpus.offsets.dtype == torch.int64
    assert corpus.num_names == 3
    assert corpus.num_chars == 9
    assert corpus.longest == 3


def test_a_batch_of_three_names_by_hand() -> None:
    batch = Corpus.of(TOKENS).batch(torch.tensor([2, 0, 1]))
    assert batch.inputs.tolist() == [0, 3, 1, 1, 0, 1, 2, 0, 2]
    assert batch.targets.tolist() == [3, 1, 1, 0, 1, 2, 0, 2, 0]
    assert batch.offsets.tolist() == [0, 4, 7, 9]
    assert batch.lengths().tolist() == [4, 3, 2]
    assert batch.positions().tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert batch.num_names == 3
    assert batch.num_chars == 9


def test_a_name_may_stand_in_a_batch_more_than_once() -> None:
    batch = Corpus.of(TOKENS).batch(torch.tensor([1, 1, 1]))
    assert batch.inputs.tolist() == [0, 2, 0, 2, 0, 2]
    assert batch.targets.tolist() == [2, 0, 2, 0, 2, 0]
    assert batch.offsets.tolist() == [0, 2, 4, 6]


@given(names, st.data())
def test_a_batch_equals_a_plain_construction(names: list[list[int]], data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=12))
    batch = corpus_of(names).batch(torch.tensor(indices, dtype=torch.int64))
    chosen = [names[i] for i in indices]
    assert batch.inputs.tolist() == [i for name in chosen for i in (0, *name)]
    assert batch.targets.tolist() == [i for name in chosen for i in (*name, 0)]
    assert batch.lengths().tolist() == [len(name) + 1 for name in chosen]
    assert batch.positions().tolist() == [i for name in chosen for i in range(len(name) + 1)]
    assert batch.offsets[0] == 0
    assert batch.num_names == len(chosen)
    assert batch.num_chars == sum(len(name) + 1 for name in chosen)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_a_batch_is_int64_whatever_the_tokens_are(dtype: torch.dtype) -> None:
    batch = Corpus.of(TOKENS.to(dtype)).batch(torch.tensor([0, 2]))
    for tensor in (batch.inputs, batch.targets, batch.offsets, batch.lengths(), batch.positions()):
        assert tensor.dtype == torch.int64


@given(names, st.integers(1, 10))
def test_batches_hold_every_name_once_and_in_order(names: list[list[int]], size: int) -> None:
    corpus = corpus_of(names)
    batches = list(corpus.batches(size))
    full, rest = divmod(len(names), size)
    assert [batch.num_names for batch in batches] == [size] * full + [rest] * bool(rest)
    assert torch.equal(torch.cat([batch.targets for batch in batches]), corpus.tokens.long())
    assert sum(batch.num_chars for batch in batches) == corpus.num_chars


@given(names.filter(len), st.integers(1, 10))
def test_the_parts_of_a_batch_are_batches_of_its_names(names: list[list[int]], size: int) -> None:
    corpus = corpus_of(names)
    whole = corpus.batch(torch.arange(len(names)))
    for part, expected in zip(whole.split(size), corpus.batches(size), strict=True):
        assert torch.equal(part.inputs, expected.inputs)
        assert torch.equal(part.targets, expected.targets)
        assert torch.equal(part.offsets, expected.offsets)


@given(names, st.integers(1, 10))
def test_streams_hold_whole_names_in_order_and_as_few_as_that(
    names: list[list[int]], num_chars: int
) -> None:
    corpus = corpus_of(names)
    streams = list(corpus.streams(num_chars))
    assert torch.equal(torch.cat(streams), corpus.tokens)
    assert all(stream[-1] == 0 for stream in streams)
    for stream in streams[:-1]:
        *_, start, end = Corpus.of(stream).offsets.tolist()
        assert start < num_chars <= end


@given(names, st.data())
def test_selected_names_are_a_corpus_in_their_order(
    names: list[list[int]], data: st.DataObject
) -> None:
    indices = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=12))
    selected = corpus_of(names).select(torch.tensor(indices, dtype=torch.int64))
    assert selected.tokens.dtype == torch.uint8
    assert torch.equal(selected.tokens, corpus_of([names[i] for i in indices]).tokens)


def test_more_names_than_are_copied_at_once_are_selected() -> None:
    corpus = corpus_of([[i % 250 + 1] for i in range(40_000)])
    assert torch.equal(corpus.select(torch.arange(40_000)).tokens, corpus.tokens)


def test_a_single_name_and_a_name_of_no_characters() -> None:
    single = Corpus.of(torch.tensor([7, 0]))
    assert (single.num_names, single.num_chars, single.longest) == (1, 2, 1)
    assert single.batch(torch.tensor([0])).inputs.tolist() == [0, 7]
    empty = Corpus.of(torch.tensor([0]))
    assert (empty.num_names, empty.num_chars, empty.longest) == (1, 1, 0)
    assert empty.batch(torch.tensor([0])).inputs.tolist() == [0]


def test_a_corpus_without_names_has_no_batches() -> None:
    """It once had one, of no names: every model met it where a tiny file leaves val empty."""
    corpus = Corpus.of(torch.zeros(0, dtype=torch.uint8))
    assert (corpus.num_names, corpus.num_chars, corpus.longest) == (0, 0, 0)
    assert list(corpus.batches(4)) == []


def test_a_stream_ends_with_a_boundary() -> None:
    with pytest.raises(AssertionError):
        Corpus.of(torch.tensor([1, 0, 2]))
