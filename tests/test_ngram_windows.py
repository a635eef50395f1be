"""Counting piece by piece is counting: the same pairs whatever the pieces, tables and threads."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makemore.corpus import Corpus
from makemore.data import load_corpus
from makemore.models import ngram_counts, ngram_windows
from makemore.models.ngram_counts import EMPTY, Counts, count
from makemore.vocab import BOUNDARY, Vocabulary
from tests.small_runs import NAMES

# benchmarks/ is a folder of scripts, not a package.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import textbook_counts

# Sizes of a piece and of a table, the latter also as a multiple of what it counts; characters a
# thread.
WAYS = [
    (2**22, 2**26, 16, 2**23),
    (1, 0, 0, 1),
    (5, 10, 1, 1),
    (100, 2**20, 64, 1),
    (7, 2**20, 64, 40),
]


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    piece, table, factor, per_thread = request.param
    monkeypatch.setattr(ngram_windows, "_PIECE", piece)
    monkeypatch.setattr(ngram_windows, "_SORTED_PIECE", piece)
    monkeypatch.setattr(ngram_windows, "_LARGEST_TABLE", table)
    monkeypatch.setattr(ngram_windows, "_LEAST_PER_THREAD", per_thread)
    monkeypatch.setattr(ngram_windows, "TABLE_FACTOR", factor)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


def corpus_of(names: list[list[int]], vocabulary_size: int) -> Corpus:
    dtype = Vocabulary(tuple(map(chr, range(33, 32 + vocabulary_size)))).token_dtype
    return Corpus.of(torch.tensor([i for name in names for i in (*name, BOUNDARY)], dtype=dtype))


def assert_counted_alike(corpus: Corpus, vocabulary_size: int, order: int) -> None:
    """As by going from each length to the next, in integers that no pair is too large for."""
    found = count(corpus, vocabulary_size, order)
    expected = ngram_counts._count_by_length(corpus, vocabulary_size, order)
    assert found.num_nodes == expected.num_nodes
    for mine, other in ((found.keys, expected.keys), (found.occurrences, expected.occurrences)):
        assert mine.dtype == torch.int64
        assert torch.equal(mine, other)


def random_names(vocabulary_size: int, seed: int) -> list[list[int]]:
    """Also of one character, and one that is longer than any order."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, 1, 2, 40, *torch.randint(1, 9, (30,), generator=generator).tolist()]
    return [
        torch.randint(1, vocabulary_size, (length,), generator=generator).tolist()
        for length in lengths
    ]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("vocabulary_size", [2, 3, 27, 256, 257, 40_000])
def test_pairs_are_counted_alike_in_every_way(vocabulary_size: int) -> None:
    orders = [o for o in range(1, 14) if ngram_windows.fits(vocabulary_size, o)]
    names = random_names(vocabulary_size, seed=vocabulary_size)
    for some in (names, names[:1], names[3:4]):
        corpus = corpus_of(some, vocabulary_size)
        for order in orders:
            assert_counted_alike(corpus, vocabulary_size, order)


@given(
    st.integers(2, 5).flatmap(
        lambda size: st.tuples(
            st.just(size),
            st.lists(st.lists(st.integers(1, size - 1), min_size=1, max_size=9), max_size=9),
        )
    ),
    st.integers(1, 8),
)
def test_pairs_of_any_names_are_counted_alike(
    names: tuple[int, list[list[int]]], order: int
) -> None:
    size, lists = names
    assert_counted_alike(corpus_of(lists, size), size, order)


def test_the_largest_windows_are_the_largest_integers() -> None:
    assert ngram_windows.fits(2, 62)
    assert not ngram_windows.fits(2, 63)
    corpus = corpus_of([[1] * 70], 2)
    for order in (62, 63):
        assert_counted_alike(corpus, 2, order)


def pieces(counts: Counts, vocabulary: Vocabulary, order: int) -> Counter[str]:
    """The pairs as texts of a context and a character, each with a newline for the boundary."""
    symbols = ("\n", *vocabulary.characters)
    contexts = {EMPTY: ""}
    found: Counter[str] = Counter()
    for key, occurrences in zip(counts.keys.tolist(), counts.occurrences.tolist(), strict=True):
        node, identifier = divmod(key, counts.vocabulary_size)
        piece = contexts[node] + symbols[identifier]
        found[piece] = occurrences
        if len(piece) < order and (identifier != BOUNDARY or node == EMPTY):
            contexts[EMPTY + len(contexts)] = piece
    assert len(contexts) + EMPTY == counts.num_nodes
    return found


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("order", [1, 2, 5])
def test_counts_are_those_of_the_textbook(order: int, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join([*NAMES, "x", "ada"]))
    vocabulary, corpus = load_corpus(str(path))
    found = pieces(count(corpus, vocabulary.size, order), vocabulary, order)
    assert found == textbook_counts.count_ngrams(path, order)
