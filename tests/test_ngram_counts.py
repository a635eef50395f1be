"""Counts of n-grams, their number, and the losses that are known of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from makemore.config import DataConfig, NgramConfig
from makemore.corpus import Corpus
from makemore.data import load_names, split_names
from makemore.evaluation import evaluate
from makemore.models.ngram import Ngram
from makemore.models.ngram_counts import count, link
from makemore.vocab import Vocabulary
from tests.small_runs import NAMES
from tests.test_ngram import THREE_NAMES, fit, fitted


def test_pairs_are_counted_alike_by_table_and_by_sorting() -> None:
    """A table of all pairs of such a vocabulary would fit into no memory."""
    corpus = Corpus.of(Vocabulary.of(NAMES).encode(NAMES))
    small, large = (count(corpus, size, 32) for size in (27, 2**40))
    assert torch.equal(small.occurrences, large.occurrences)
    assert small.num_nodes == large.num_nodes
    assert torch.equal(small.keys // 27, large.keys // 2**40)
    assert torch.equal(small.keys % 27, large.keys % 2**40)


def test_shorter_contexts_are_a_prefix_of_all() -> None:
    corpus = Corpus.of(Vocabulary.of(NAMES).encode(NAMES))
    long = count(corpus, 27, 6)
    links = link(long.keys, long.num_nodes, 27, 6)
    for order in range(1, 7):
        cut, short = long.up_to(order - 1, links), count(corpus, 27, order)
        assert torch.equal(cut.keys, short.keys)
        assert torch.equal(cut.occurrences, short.occurrences)
        assert cut.num_nodes == short.num_nodes


def test_a_second_fit_forgets_the_first() -> None:
    config, vocabulary = NgramConfig(order=3), Vocabulary.of(NAMES)
    again = fit(config, NAMES)
    again.fit(*(Corpus.of(vocabulary.encode(names)) for names in (NAMES[:5], [])))
    once = Ngram(config, vocabulary.size)
    once.fit(*(Corpus.of(vocabulary.encode(names)) for names in (NAMES[:5], [])))
    assert again.state_dict().keys() == once.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], t) for name, t in once.state_dict().items())


def test_parameters_are_the_n_grams_or_the_rows_of_a_table() -> None:
    assert Ngram(NgramConfig(), 27).num_parameters() == 0
    # The end, a, b; start: a, b; a: a, b; b: the end.
    assert fit(NgramConfig(order=2), THREE_NAMES).num_parameters() == 3 + 2 + 2 + 1
    # Three characters after each of start, a and b.
    assert fit(NgramConfig(order=2, smoothing="add-k"), THREE_NAMES).num_parameters() == 9
    names = load_names("names")
    assert fit(NgramConfig(order=2, smoothing="none"), names).num_parameters() == 27 * 27


# Figures.


@pytest.mark.parametrize(
    ("source", "unsmoothed", "add_one"),
    [
        ("karpathy", 2.4540145, 2.4545768),
        ("names", 2.3345657, 2.3422809),
        ("surnames", 2.5647174, 2.5648143),
    ],
)
def test_bigram_counts_reach_the_known_losses_of_a_whole_file(
    source: str, unsmoothed: float, add_one: float, request: pytest.FixtureRequest
) -> None:
    if source == "karpathy":
        source = str(request.getfixturevalue("karpathy_path"))
    names = load_names(source)
    corpus = Corpus.of(Vocabulary.of(names).encode(names))
    for k, expected in [(0.0, unsmoothed), (1.0, add_one)]:
        model = fitted(names, k)
        assert evaluate(model, corpus).nats_per_char == pytest.approx(expected, abs=1e-6)


def losses(path: Path, split: Any, config: NgramConfig) -> list[float]:
    """On train, validation and test."""
    names = load_names(str(path))
    splits = split_names(names, DataConfig(split=split))
    vocabulary = Vocabulary.of(names)
    parts = [Corpus.of(vocabulary.encode(part)) for part in (splits.train, splits.val, splits.test)]
    model = Ngram(config, vocabulary.size)
    model.fit(parts[0], parts[1])
    return [evaluate(model, part).nats_per_char for part in parts]


def test_bigram_counts_reach_the_known_losses_of_the_lecture_split(karpathy_path: Path) -> None:
    found = losses(karpathy_path, "lecture", NgramConfig(order=2, smoothing="add-k"))
    assert found == pytest.approx([2.4548369, 2.4532639, 2.4583911], abs=1e-6)


def test_kneser_ney_of_order_5_beats_the_known_transformer(karpathy_path: Path) -> None:
    """The dictionaries of `Formulas` give 1.984129327242837 for the validation names, too."""
    lecture = losses(karpathy_path, "lecture", NgramConfig())
    assert lecture[1] == pytest.approx(1.9841293, abs=1e-6)
    assert losses(karpathy_path, "makemore", NgramConfig())[2] == pytest.approx(1.9555, abs=1e-4)
