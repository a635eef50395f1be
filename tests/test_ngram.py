"""Smoothed n-grams against the formulas in plain Python, counts by hand and published figures."""

from collections import Counter, defaultdict
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from makemore.config import NgramConfig
from makemore.corpus import Corpus
from makemore.models import build_model
from makemore.models.ngram import Ngram
from makemore.models.ngram_smoothing import NUM_AMOUNTS, estimated_discounts
from makemore.vocab import BOUNDARY, Vocabulary
from tests.small_runs import NAMES

SMOOTHINGS: list[Any] = list(NUM_AMOUNTS)
LISTS = (
    ["a"],
    ["ab", "aab", "b"],
    ["aaaa", "aaaaaaaa"],
    ["dacb", "abcdabcaabbd", "dac", "b", "dacb", "cabbadabcad"],
    NAMES,
)


def fit(config: NgramConfig, names: list[str], held_out: list[str] | None = None) -> Ngram:
    vocabulary = Vocabulary.of([*names, *(held_out or [])])
    model = Ngram(config, vocabulary.size)
    model.fit(*(Corpus.of(vocabulary.encode(part)) for part in (names, held_out or [])))
    return model


def fitted(names: list[str], k: float) -> Ngram:
    """Counts of bigrams."""
    return fit(NgramConfig(order=2, smoothing="add-k", k=k), names)


def probabilities(model: Ngram, vocabulary: Vocabulary, name: str) -> Tensor:
    """(T, V): a row for each character of the name and its end."""
    corpus = Corpus.of(vocabulary.encode([name]))
    logits: Tensor = model(corpus.batch(torch.tensor([0])))
    return logits.exp()


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)


class Formulas:
    """Chen & Goodman's formulas, word for word, with dictionaries of strings; `^` is the start."""

    def __init__(self, config: NgramConfig, names: list[str], alphabet: str) -> None:
        self.config, self.size = config, len(alphabet) + 1
        longest = config.order - 1
        # How often each character follows each context of 0 to order - 1 characters.
        times: dict[str, Counter[str]] = defaultdict(Counter)
        for name in names:
            text = f"^{name}$"
            for place in range(1, len(text)):
                for length in range(min(longest, place) + 1):
                    times[text[place - length : place]][text[place]] += 1
        self.counts = times
        if config.smoothing in ("kneser-ney", "modified-kneser-ney"):
            self.counts = {}
            for context, followers in times.items():
                self.counts[context] = Counter(followers)
                if len(context) < longest and not context.startswith("^"):
                    for character in followers:
                        self.counts[context][character] = sum(
                            longer[1:] == context and times[longer][character] > 0
                            for longer in list(times)
                            if longer
                        )
        self.discounts = [self.discounts_of(length) for length in range(config.order)]

    def discounts_of(self, length: int) -> list[float]:
        number = 3 if self.config.smoothing == "modified-kneser-ney" else 1
        if self.config.discounts is not None:
            return list(self.config.discounts)
        n: Counter[int] = Counter()
        for context, followers in self.counts.items():
            if len(context) == length:
                n.update(followers.values())
        halves = [0.5, 1.0, 1.5][:number]
        if 0 in [n[i] for i in range(1, number + 2)]:
            return halves
        y = n[1] / (n[1] + 2 * n[2])
        found = [y, 2 - 3 * y * n[3] / n[2] if number > 1 else 0.0]
        found = [y] if number == 1 else [1 - 2 * y * n[2] / n[1], found[1], 3 - 4 * y * n[4] / n[3]]
        return found if min(found) > 0 else halves

    def probability(self, context: str, character: str) -> float:
        """Of a character after all that stands before it in its name."""
        context = context[max(0, len(context) - self.config.order + 1) :]
        if self.config.smoothing in ("none", "add-k"):
            k = 0.0 if self.config.smoothing == "none" else self.config.k
            k = 1.0 if k is None else k
            followers = self.counts.get(context, Counter())
            total = followers.total() + k * self.size
            return (followers[character] + k) / total if total else 1 / self.size
        return self.interpolated(context, character)

    def interpolated(self, context: str, character: str) -> float:
        shorter = self.interpolated(context[1:], character) if context else 1 / self.size
        followers = self.counts.get(context)
        if followers is None:
            return shorter
        total, seen = followers.total(), followers[character]
        if self.config.smoothing == "witten-bell":
            different = len(followers)
            return (seen + different * shorter) / (total + different)
        discounts = self.discounts[len(context)]

        def discount(times: int) -> float:
            return discounts[min(times, len(discounts)) - 1] if times else 0.0

        left = sum(discount(times) for times in followers.values()) / total
        return max(seen - discount(seen), 0) / total + left * shorter

    def rows(self, name: str, alphabet: str) -> Tensor:
        text = f"^{name}"
        return torch.tensor(
            [
                [self.probability(text[:end], character) for character in f"${alphabet}"]
                for end in range(1, len(text) + 1)
            ],
            dtype=torch.float64,
        )


def assert_follows_the_formulas(config: NgramConfig, names: list[str], others: list[str]) -> None:
    vocabulary = Vocabulary.of([*names, *others])
    alphabet = "".join(vocabulary.characters)
    model = Ngram(config, vocabulary.size)
    empty = Corpus.of(vocabulary.encode([]))
    model.fit(Corpus.of(vocabulary.encode(names)), empty)
    formulas = Formulas(config, names, alphabet)
    for name in [*names, *others]:
        rows_TV = probabilities(model, vocabulary, name)
        assert_same(rows_TV, formulas.rows(name, alphabet))
        assert_same(rows_TV.sum(1), torch.ones(len(name) + 1, dtype=torch.float64))


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 32])
def test_probabilities_are_those_of_the_formulas(order: int, smoothing: Any) -> None:
    for names in LISTS:
        # Contexts that were never seen, characters too, and a name longer than all of them.
        others = ["zabzba", "bbab" * 4, "e"]
        config = NgramConfig(order=order, smoothing=smoothing)
        assert_follows_the_formulas(config, names[:30], others)


@settings(max_examples=60)
@given(
    names=st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=12),
    others=st.lists(st.text("abcd", min_size=1, max_size=8), min_size=1, max_size=3),
    order=st.integers(1, 6),
    smoothing=st.sampled_from(SMOOTHINGS),
)
@example(names=["\U0001f600é", "é"], others=["\U00010000"], order=3, smoothing="kneser-ney")
def test_probabilities_are_those_of_the_formulas_for_any_names(
    names: list[str], others: list[str], order: int, smoothing: Any
) -> None:
    config = NgramConfig(order=order, smoothing=smoothing)
    assert_follows_the_formulas(config, names, others)


@pytest.mark.parametrize(
    "config",
    [
        NgramConfig(order=3, smoothing="add-k", k=0.25),
        NgramConfig(order=3, smoothing="absolute", discounts=(0.3,)),
        NgramConfig(order=3, smoothing="kneser-ney", discounts=(1.0,)),
        NgramConfig(order=3, discounts=(0.2, 1.9, 0.7)),
        NgramConfig(order=3, discounts=(0.0, 2.0, 3.0)),
    ],
)
def test_given_amounts_are_those_of_contexts_of_every_length(config: NgramConfig) -> None:
    assert_follows_the_formulas(config, NAMES[:30], ["zara", "adad"])


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_a_state_is_the_longest_known_context_also_of_names_that_were_never_seen(
    smoothing: Any,
) -> None:
    vocabulary = Vocabulary.of(NAMES)
    model = fit(NgramConfig(order=4, smoothing=smoothing), NAMES)
    for name in ["adelinda", "zzzz", "emmarosalena", "yvesyves"]:
        state = model.start(1)
        rows = []
        for identifier in [BOUNDARY, *vocabulary.encode([name])[:-1].tolist()]:
            logits, state = model.step(torch.tensor([identifier]), state)
            rows.append(logits.exp())
        assert torch.equal(torch.cat(rows), probabilities(model, vocabulary, name))


# By hand.

THREE_NAMES = ["ab", "aab", "b"]


def rows_after(model: Ngram, names: list[str], *texts: str) -> Tensor:
    """A row for each text, the start of a name: what follows it."""
    vocabulary = Vocabulary.of(names)
    rows = [probabilities(model, vocabulary, text)[-1] for text in texts]
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        # After the start, a and b: the end, a, b.
        (1.0, [[1 / 6, 3 / 6, 2 / 6], [1 / 6, 2 / 6, 3 / 6], [4 / 6, 1 / 6, 1 / 6]]),
        (0.0, [[0, 2 / 3, 1 / 3], [0, 1 / 3, 2 / 3], [1, 0, 0]]),
    ],
)
def test_bigram_counts_of_three_names_by_hand(k: float, expected: list[list[float]]) -> None:
    model = fitted(THREE_NAMES, k)
    assert_same(
        rows_after(model, THREE_NAMES, "", "a", "b"), torch.tensor(expected, dtype=torch.float64)
    )


def test_without_smoothing_a_character_that_was_not_counted_is_followed_by_any() -> None:
    vocabulary = Vocabulary.of(["ab"])
    model = Ngram(NgramConfig(order=2, smoothing="none"), vocabulary.size)
    model.fit(Corpus.of(vocabulary.encode(["a"])), Corpus.of(vocabulary.encode([])))
    assert probabilities(model, vocabulary, "b")[1].tolist() == pytest.approx([1 / 3] * 3)


def test_kneser_ney_of_order_2_by_hand() -> None:
    model = fit(NgramConfig(order=2, smoothing="kneser-ney", discounts=(0.5,)), THREE_NAMES)
    # a and b stand after two different characters, the end after one; 0.3 are left for 1/3 each:
    # 0.4, 0.4 and 0.2. The start is followed by a twice, b once; 2 * 0.5 / 3 are left.
    start = [0.2 / 3, 1.5 / 3 + 0.4 / 3, 0.5 / 3 + 0.4 / 3]
    after_a = [0.2 / 3, 0.5 / 3 + 0.4 / 3, 1.5 / 3 + 0.4 / 3]
    after_b = [2.5 / 3 + 0.2 / 6, 0.4 / 6, 0.4 / 6]
    expected = torch.tensor([start, after_a, after_b], dtype=torch.float64)
    assert_same(rows_after(model, THREE_NAMES, "", "a", "b"), expected)


def test_kneser_ney_of_order_3_by_hand() -> None:
    model = fit(NgramConfig(order=3, smoothing="kneser-ney", discounts=(0.5,)), THREE_NAMES)
    # The start has nothing before it and keeps its counts, 2 and 1. Of a, the pair aa has one
    # context (^), ab two (^ and a); of b, the end has two (a and ^), and not its count, 3.
    start = [0.2 / 3, 1.5 / 3 + 0.4 / 3, 0.5 / 3 + 0.4 / 3]
    after_a = [0.2 / 3, 0.5 / 3 + 0.4 / 3, 1.5 / 3 + 0.4 / 3]
    after_b = [1.5 / 2 + 0.2 / 4, 0.4 / 4, 0.4 / 4]
    # At full length counts: ^a has a and b once, aa has b once, ^b the end once, ab twice.
    start_a = [after_a[0] / 2, 0.25 + after_a[1] / 2, 0.25 + after_a[2] / 2]
    after_aa = [after_a[0] / 2, after_a[1] / 2, 0.5 + after_a[2] / 2]
    start_b = [0.5 + after_b[0] / 2, after_b[1] / 2, after_b[2] / 2]
    after_ab = [0.75 + after_b[0] / 4, after_b[1] / 4, after_b[2] / 4]
    after_ba = after_a  # never seen
    expected = torch.tensor([start, start_a, after_aa, start_b, after_ab, after_ba]).double()
    texts = ["", "a", "aa", "b", "ab", "ba"]
    torch.testing.assert_close(rows_after(model, THREE_NAMES, *texts), expected, atol=1e-7, rtol=0)


def counts_of_counts(*numbers: int) -> Tensor:
    """Counts of which `numbers[0]` are 1, `numbers[1]` are 2 and so on."""
    return torch.arange(1, len(numbers) + 1).repeat_interleave(torch.tensor(numbers))


def discounts(*numbers: int, number: int = 3) -> list[float]:
    count_P = counts_of_counts(*numbers)
    (row,) = estimated_discounts(count_P, torch.zeros_like(count_P), 1, number).tolist()
    return [float(x) for x in row]


def test_discounts_are_estimated_from_the_counts_of_counts() -> None:
    # Y = 100 / (100 + 2 * 50) = 1/2; counts of 5 and more do not matter.
    expected = [1 - 2 / 2 * 50 / 100, 2 - 3 / 2 * 30 / 50, 3 - 4 / 2 * 20 / 30]
    assert discounts(100, 50, 30, 20, 7, 9) == pytest.approx(expected, rel=1e-12)
    assert discounts(100, 50, 0, 0, number=1) == pytest.approx([0.5], rel=1e-12)
    assert discounts(60, 20, 0, 0, number=1) == pytest.approx([0.6], rel=1e-12)


@pytest.mark.parametrize(
    "numbers",
    [
        *((0, 50, 30, 20), (100, 0, 30, 20), (100, 50, 0, 20), (100, 50, 30, 0)),
        # D_2 = 2 - 3 / 2 * 80 / 50 < 0, and D_3 = 3 - 4 / 2 * 45 / 30 = 0.
        *((100, 50, 80, 20), (100, 50, 30, 45)),
    ],
)
def test_discounts_that_cannot_be_estimated_are_half_of_the_count(numbers: tuple[int, ...]) -> None:
    assert discounts(*numbers) == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("numbers", [(0, 50), (100, 0), (0, 0, 1)])
def test_one_discount_that_cannot_be_estimated_is_a_half(numbers: tuple[int, ...]) -> None:
    assert discounts(*numbers, number=1) == [0.5]


def test_lengths_are_estimated_apart() -> None:
    count_P = torch.cat([counts_of_counts(100, 50, 30, 20), counts_of_counts(8, 3, 2, 2, 1)])
    length_P = torch.tensor([0] * 200 + [2] * 16)
    rows = estimated_discounts(count_P, length_P, 3, 3).tolist()
    assert rows == [discounts(100, 50, 30, 20), [0.5, 1.0, 1.5], discounts(8, 3, 2, 2, 1)]


def test_every_smoothing_but_none_leaves_something_for_every_character() -> None:
    """Also where counts are such that a formula would take nothing from any of them."""
    for smoothing in set(SMOOTHINGS) - {"none"}:
        model = fit(NgramConfig(order=3, smoothing=smoothing), ["abc"] * 9 + ["bca"] * 9)
        assert (rows_after(model, ["abc"], "", "a", "ab", "cc") > 0).all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_model_is_fitted_and_steps_where_its_names_are(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    vocabulary = Vocabulary.of(NAMES)
    model: Any = build_model(NgramConfig(order=3), vocabulary.size).to(device)
    target = torch.device(device)
    corpora = [Corpus.of(vocabulary.encode(names)).to(target) for names in (NAMES, [])]
    model.fit(*corpora)
    logits = model(corpora[0].batch(torch.arange(3, device=target)))
    step, _ = model.step(torch.zeros(1, dtype=torch.int64, device=target), model.start(1))
    assert torch.equal(step[0], logits[0])
