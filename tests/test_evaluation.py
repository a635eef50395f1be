import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from makemore import evaluation
from makemore.config import BigramConfig, NgramConfig
from makemore.corpus import Corpus
from makemore.data import load_names
from makemore.evaluation import Evaluation, Loss, evaluate, evaluate_split, name_nats, summarize
from makemore.models import build_model
from makemore.vocab import BOUNDARY, Vocabulary
from tests.test_models import (
    NAMES,
    VOCABULARY,
    all_models,
    corpus_of,
    logits_by_steps,
    random_model,
    small,
)
from tests.test_ngram import fitted


def nats_by_steps(model: Any, names: list[str]) -> list[float]:
    """Minus the log-probability of each name, one character after the other, in plain Python."""
    nats = []
    for name, logits in zip(names, logits_by_steps(model, names), strict=True):
        targets = [*VOCABULARY.encode([name])[:-1].tolist(), BOUNDARY]
        rows = logits.tolist()
        totals = [math.fsum(math.exp(x) for x in row) for row in rows]
        chances = [
            math.exp(row[target]) / total
            for row, target, total in zip(rows, targets, totals, strict=True)
        ]
        nats.append(math.fsum(-math.log(p) if p else math.inf for p in chances))
    return nats


@all_models
def test_nats_of_a_name_are_the_sum_over_its_steps(config: Any) -> None:
    model = random_model(config)
    names = [*NAMES, "ad", "dd"]
    assert name_nats(model, corpus_of(names)).tolist() == pytest.approx(nats_by_steps(model, names))


@all_models
def test_the_loss_is_the_sum_of_nats_over_the_number_of_characters(config: Any) -> None:
    model = random_model(config)
    loss = evaluate(model, corpus_of(NAMES))
    num_chars = sum(len(name) + 1 for name in NAMES)
    assert (loss.num_names, loss.num_chars) == (len(NAMES), num_chars)
    assert loss.nats_per_char == pytest.approx(sum(nats_by_steps(model, NAMES)) / num_chars)


@all_models
@pytest.mark.parametrize("batch_size", [1, 3, 7, 8])
def test_the_loss_does_not_depend_on_the_batch_size(
    monkeypatch: pytest.MonkeyPatch, config: Any, batch_size: int
) -> None:
    model = random_model(config)
    expected = name_nats(model, corpus_of(NAMES)).tolist()
    monkeypatch.setattr(evaluation, "BATCH_SIZE", batch_size)
    assert name_nats(model, corpus_of(NAMES)).tolist() == pytest.approx(expected, rel=1e-6)


@all_models
@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_mode_the_weights_and_the_generator_alone(
    config: Any, training: bool
) -> None:
    model = random_model(config)
    expected = evaluate(model, corpus_of(NAMES))
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    # In eval mode, whatever the mode: no dropout, and no statistics of the batch.
    assert evaluate(model, corpus_of(NAMES)) == expected
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@all_models
def test_no_names_have_no_loss(config: Any) -> None:
    """An empty split is legal: training on two names leaves none for validation."""
    model = random_model(config)
    assert name_nats(model, corpus_of([])).shape == (0,)
    loss = evaluate(model, corpus_of([]))
    assert (loss.num_names, loss.num_chars) == (0, 0)
    assert math.isnan(loss.nats_per_char)
    assert math.isnan(loss.standard_error)


def test_a_uniform_model_costs_ln_v_without_any_error() -> None:
    names = load_names("names")[:500]
    vocabulary = Vocabulary.of(load_names("names"))
    assert vocabulary.size == 27
    loss = evaluate(build_model(BigramConfig(), 27), Corpus.of(vocabulary.encode(names)))
    assert loss.nats_per_char == pytest.approx(3.295837, abs=1e-6)
    assert loss.standard_error == pytest.approx(0, abs=1e-12)
    assert loss.bits_per_char == pytest.approx(math.log2(27))
    assert loss.perplexity == pytest.approx(27)


def test_two_names_by_hand() -> None:
    loss = summarize(torch.tensor([2.0, 4.0]).double(), torch.tensor([1, 3]))
    # 6 nats over 4 characters; residuals 2 - 1.5 and 4 - 4.5; 2/1 * (0.25 + 0.25) = 1 = 1**2.
    assert loss == Loss(num_names=2, num_chars=4, nats_per_char=1.5, standard_error=0.25)
    assert loss.to_dict() == {
        "num_names": 2,
        "num_chars": 4,
        "nats_per_char": 1.5,
        "standard_error": 0.25,
        "bits_per_char": pytest.approx(1.5 / math.log(2)),
        "perplexity": pytest.approx(math.exp(1.5)),
    }


def bigram_nats(num_names: int) -> tuple[list[float], list[int]]:
    """Nats and lengths of some real names under a model of others."""
    names = load_names("names")
    vocabulary = Vocabulary.of(names)
    model: Any = build_model(NgramConfig(order=2, smoothing="add-k"), vocabulary.size)
    model.fit(Corpus.of(vocabulary.encode(names[1000:])), Corpus.of(vocabulary.encode([])))
    held_out = names[:num_names]
    nats = name_nats(model, Corpus.of(vocabulary.encode(held_out))).tolist()
    return nats, [len(name) + 1 for name in held_out]


def test_the_standard_error_is_that_of_the_ratio_estimator() -> None:
    nats, lengths = bigram_nats(400)
    count, mean_length = len(nats), sum(lengths) / len(nats)
    ratio = sum(nats) / sum(lengths)
    # Cochran 1977, equation 6.13: the variances of nats and lengths, and their covariance.
    mean_nats = sum(nats) / count
    variance_of_nats = sum((x - mean_nats) ** 2 for x in nats) / (count - 1)
    variance_of_lengths = sum((y - mean_length) ** 2 for y in lengths) / (count - 1)
    pairs = zip(nats, lengths, strict=True)
    covariance = sum((x - mean_nats) * (y - mean_length) for x, y in pairs) / (count - 1)
    variance = variance_of_nats + ratio**2 * variance_of_lengths - 2 * ratio * covariance
    expected = math.sqrt(variance / count) / mean_length
    loss = summarize(torch.tensor(nats, dtype=torch.float64), torch.tensor(lengths))
    assert loss.nats_per_char == pytest.approx(ratio, rel=1e-12)
    assert loss.standard_error == pytest.approx(expected, rel=1e-10)


def test_the_standard_error_is_the_spread_over_resampled_names() -> None:
    nats, lengths = (torch.tensor(part, dtype=torch.float64) for part in bigram_nats(400))
    generator = torch.Generator().manual_seed(0)
    picks = torch.randint(400, (2000, 400), generator=generator)
    spread = (nats[picks].sum(1) / lengths[picks].sum(1)).std().item()
    assert summarize(nats, lengths).standard_error == pytest.approx(spread, rel=0.1)


def test_of_a_single_name_the_spread_is_unknown() -> None:
    loss = summarize(torch.tensor([3.0]).double(), torch.tensor([2]))
    assert (loss.nats_per_char, loss.standard_error) == (1.5, math.inf)


def test_an_impossible_name_makes_the_loss_infinite() -> None:
    model = fitted(["ab", "ba"], k=0.0)
    vocabulary = Vocabulary.of(["ab"])
    corpus = Corpus.of(vocabulary.encode(["ab", "aa"]))
    assert name_nats(model, corpus).tolist() == [pytest.approx(3 * math.log(2)), math.inf]
    loss = evaluate(model, corpus)
    assert (loss.nats_per_char, loss.standard_error) == (math.inf, math.inf)
    assert (loss.bits_per_char, loss.perplexity) == (math.inf, math.inf)


def evaluated(names: list[str], is_seen: Tensor | None) -> Evaluation:
    return evaluate_split(
        random_model(small(BigramConfig)),
        corpus_of(names),
        run="runs/bigram-1",
        split="val",
        split_digest="00ff",
        is_seen=is_seen,
    )


def test_unseen_is_the_loss_of_the_unseen_names_alone() -> None:
    is_seen = [random.Random(0).random() < 0.5 for _ in NAMES]
    is_seen[0], is_seen[1] = True, False
    unseen_names = [name for name, seen in zip(NAMES, is_seen, strict=True) if not seen]
    found = evaluated(NAMES, torch.tensor(is_seen))
    model = random_model(small(BigramConfig))
    assert found.loss == evaluate(model, corpus_of(NAMES))
    alone = evaluate(model, corpus_of(unseen_names))
    assert found.unseen is not None
    assert found.unseen.to_dict() == pytest.approx(alone.to_dict())
    assert list(found.to_dict()) == [
        "run",
        "split",
        *found.loss.to_dict(),
        "split_digest",
        "unseen",
    ]
    assert found.to_dict()["unseen"] == found.unseen.to_dict()


@pytest.mark.parametrize("is_seen", [None, torch.zeros(len(NAMES), dtype=torch.bool)])
def test_where_no_name_was_seen_unseen_says_nothing_more(is_seen: Tensor | None) -> None:
    found = evaluated(NAMES, is_seen)
    assert found.unseen is None
    assert found.to_dict()["unseen"] is None


def test_where_every_name_was_seen_none_is_left_for_unseen() -> None:
    found = evaluated(NAMES, torch.ones(len(NAMES), dtype=torch.bool))
    assert found.unseen is not None
    assert found.unseen.num_names == 0
    assert math.isnan(found.unseen.nats_per_char)
