"""Several runs as one: evaluated, sampled and tuned against what each of them says."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import makemore
from makemore.checkpoint import Checkpoint, save_checkpoint
from makemore.config import (
    BigramConfig,
    Config,
    EnsembleConfig,
    MLPConfig,
    ModelConfig,
    TransformerConfig,
)
from makemore.config_loading import config_to_dict
from makemore.corpus import Corpus
from makemore.data import Splits
from makemore.ensemble import Ensemble, mix, parse_weights
from makemore.errors import DataError, UsageError
from makemore.models import build_model
from makemore.models.mixture import fit_weights
from makemore.run import Run, load
from makemore.run_directory import RunDirectory
from makemore.vocab import Vocabulary

SPLITS = Splits(
    ["ada", "bea", "abba", "dada", "ebba", "cade"], ["abe", "bab", "ada", "ede"], ["dab", "ecca"]
)
CONFIGS: dict[str, ModelConfig] = {
    "bigram": BigramConfig(),
    "mlp": MLPConfig(hidden_dim=8, embedding_dim=4),
    "transformer": TransformerConfig(num_layers=1, num_heads=2, embedding_dim=8),
    "ensemble": EnsembleConfig(members=(MLPConfig(hidden_dim=4), BigramConfig())),
}

Write = Callable[..., Run]


def write_run(name: str, kind: str = "bigram", splits: Splits = SPLITS, seed: int = 0) -> Run:
    """A run `runs/<name>` whose weights are drawn at random: quicker than training."""
    vocabulary = Vocabulary.of([*splits.train, *splits.val, *splits.test])
    model = build_model(CONFIGS[kind], vocabulary.size)
    generator = torch.Generator().manual_seed(seed)
    checkpoint = Checkpoint(
        config=config_to_dict(Config(model=CONFIGS[kind])),
        vocabulary=vocabulary.characters,
        split_digest=splits.digest,
        step=0,
        best_step=None,
        best_loss=None,
        evaluations_since_best=0,
        evaluated=True,
        model={
            key: torch.randn(tensor.shape, generator=generator)
            for key, tensor in model.state_dict().items()
        },
        optimizer={},
        trained={},
        corpora={split: vocabulary.encode(splits.of(split)) for split in ("train", "val", "test")},
    )
    path = RunDirectory(Path("runs", name)).best
    path.parent.mkdir(parents=True)
    save_checkpoint(path, checkpoint)
    run = load(f"runs/{name}", device="cpu")
    # In float32, the sums of a network depend on the size of the batch in their last bits.
    run.model.double()
    return run


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)
    return write_run


@pytest.fixture
def runs(write: Write) -> list[Run]:
    return [write(kind, kind, seed=seed) for seed, kind in enumerate(CONFIGS)]


def log_chances(model: Any, vocabulary: Vocabulary, name: str) -> Tensor:
    """(T,) float64: what a model says of each character of a name, its end included."""
    batch = Corpus.of(vocabulary.encode([name])).batch(torch.tensor([0]))
    with torch.no_grad():
        rows = model(batch).double().log_softmax(1)
    return torch.stack([row[target] for row, target in zip(rows, batch.targets, strict=True)])


def mixed_nats(runs: Sequence[Run], weights: Sequence[float], name: str) -> float:
    """Minus the log of a name's probability, averaged character by character in plain Python."""
    chances = [log_chances(run.model, run.vocabulary, name).exp().tolist() for run in runs]
    return -math.fsum(
        math.log(math.fsum(w * p for w, p in zip(weights, column, strict=True)))
        for column in zip(*chances, strict=True)
    )


WEIGHTS: list[tuple[Any, list[float]]] = [
    ("equal", [1 / 4] * 4),
    ([0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]),
    ([2, 0, 0, 6], [0.25, 0, 0, 0.75]),
]


@pytest.mark.parametrize(("weights", "shares"), WEIGHTS, ids=str)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_loss_is_that_of_the_mean_of_the_members_probabilities(
    runs: list[Run], weights: Any, shares: list[float], split: str
) -> None:
    ensemble = mix(runs, weights)
    assert ensemble.weights == pytest.approx(shares, abs=1e-15)
    result = ensemble.evaluate(split)
    names = SPLITS.of(split)
    nats = [mixed_nats(runs, shares, name) for name in names]
    num_chars = sum(len(name) + 1 for name in names)
    assert result.loss.nats_per_char == pytest.approx(math.fsum(nats) / num_chars, abs=1e-12)
    assert (result.loss.num_names, result.loss.num_chars) == (len(names), num_chars)
    assert (result.split, result.split_digest) == (split, SPLITS.digest)
    assert result.run == ensemble.name
    assert ensemble.name == "ensemble of runs/bigram, runs/mlp, runs/transformer, runs/ensemble"
    if split == "val":
        # `ada` is a training name.
        assert result.unseen is not None
        assert result.unseen.num_names == 3
        expected = math.fsum(nats[:2] + nats[3:]) / 12
        assert result.unseen.nats_per_char == pytest.approx(expected, abs=1e-12)
    else:
        assert result.unseen is None


def test_the_loss_is_at_most_the_mean_of_the_members_losses(runs: list[Run]) -> None:
    """Jensen's inequality: the logarithm of a mean is at least the mean of the logarithms."""
    losses = [run.evaluate("val").loss.nats_per_char for run in runs]
    assert mix(runs).evaluate("val").loss.nats_per_char < sum(losses) / 4


def test_a_run_mixed_with_itself_is_itself(runs: list[Run]) -> None:
    for run in runs:
        alone, twice = run, mix([run, run], [0.3, 0.7])
        loss = alone.evaluate("val").loss.nats_per_char
        assert twice.evaluate("val").loss.nats_per_char == pytest.approx(loss, abs=1e-12)
        assert twice.sample(20, seed=1) == alone.sample(20, seed=1)


@pytest.mark.parametrize(("weights", "shares"), WEIGHTS, ids=str)
def test_drawn_names_have_the_log_probability_of_the_mixture(
    runs: list[Run], weights: Any, shares: list[float]
) -> None:
    drawn = list(mix(runs, weights).draw(60, seed=3))
    assert len({sample.name for sample in drawn}) > 20
    assert [sample.log_probability for sample in drawn] == pytest.approx(
        [-mixed_nats(runs, shares, sample.name) for sample in drawn], abs=1e-12
    )
    assert all(sample.novel == (sample.name not in SPLITS.train) for sample in drawn)


def test_names_are_drawn_as_often_as_the_mixture_says(runs: list[Run]) -> None:
    """And not from one member a name, which would give other probabilities to whole names."""
    ensemble = mix(runs[:2], [0.5, 0.5])
    drawn = ensemble.sample(20_000, seed=5)
    for name in ("a", "b", "ba"):
        # The end cannot come first; the other characters share its probability.
        ends = [float(log_chances(run.model, run.vocabulary, "").exp()) for run in runs[:2]]
        p = math.exp(-mixed_nats(runs[:2], [0.5, 0.5], name)) / (1 - sum(ends) / 2)
        assert abs(drawn.count(name) - 20_000 * p) < 5 * math.sqrt(20_000 * p * (1 - p))


def test_novel_means_in_no_member_and_names_may_be_twice_as_long_as_the_longest(
    write: Write,
) -> None:
    """Two runs of one alphabet on other names."""
    other = Splits(["deb", "cab", "abcdeabcde"], ["ada"], ["bea"])
    first, second = write("first"), write("second", splits=other, seed=1)
    assert first.vocabulary == second.vocabulary
    ensemble = mix([first, second])
    assert ensemble.training_names == {*SPLITS.train, *other.train}
    likely = list(ensemble.draw(3000, prompt="", seed=0))
    known = {sample.name for sample in likely if not sample.novel}
    assert known & set(SPLITS.train)
    assert known & set(other.train) - set(SPLITS.train)
    assert known <= ensemble.training_names
    novel = ensemble.sample(500, novel=True, seed=0)
    assert not set(novel) & ensemble.training_names
    longest = [max(map(len, run.sample(5000, seed=0))) for run in (first, second, ensemble)]
    assert longest[0] <= 8 < longest[2] <= 20


def test_tuned_weights_make_the_validation_names_likeliest(runs: list[Run]) -> None:
    rows = [
        torch.cat([log_chances(run.model, run.vocabulary, name) for name in SPLITS.val])
        for run in runs
    ]
    tuned = mix(runs, "tuned")
    assert tuned.weights == pytest.approx(fit_weights(torch.stack(rows)).tolist(), abs=1e-12)
    assert sum(tuned.weights) == pytest.approx(1, abs=1e-12)
    loss = tuned.evaluate("val").loss.nats_per_char
    alone = [run.evaluate("val").loss.nats_per_char for run in runs]
    assert loss < min(mix(runs).evaluate("val").loss.nats_per_char, *alone)
    for member in range(4):
        moved = [w + 0.02 * (run == member) for run, w in enumerate(tuned.weights)]
        assert mix(runs, moved).evaluate("val").loss.nats_per_char > loss - 1e-7


def test_members_stay_as_they_were(runs: list[Run]) -> None:
    before = [{k: v.clone() for k, v in run.model.state_dict().items()} for run in runs]
    ensemble = mix(runs, "tuned")
    ensemble.evaluate("val")
    ensemble.sample(3)
    assert not any(module.training for module in ensemble.model.modules())
    for run, state in zip(runs, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in run.model.state_dict().items())


def test_a_file_is_evaluated_whatever_the_splits(write: Write) -> None:
    other = Splits(SPLITS.val, SPLITS.train, SPLITS.test)
    runs = [write("first"), write("second", "mlp", other, seed=1)]
    Path("names.txt").write_text("ada\nabe\nbadda\n")
    result = mix(runs).evaluate(data="names.txt")
    nats = [mixed_nats(runs, [0.5, 0.5], name) for name in ("ada", "abe", "badda")]
    assert result.loss.nats_per_char == pytest.approx(sum(nats) / 14, abs=1e-12)
    assert result.unseen is not None
    # One is a training name of both, one of the second alone.
    assert result.unseen.num_names == 1
    with pytest.raises(DataError, match="'z' is not in the model's alphabet"):
        mix(runs).evaluate_names(["zed"], "names")


def test_the_longest_name_that_is_evaluated_is_that_of_the_most_generous_run(
    write: Write,
) -> None:
    first, second = write("first"), write("second", seed=1)
    data = first.config.data.model_copy(update={"max_name_length": 300})
    generous = replace(first, config=first.config.model_copy(update={"data": data}))
    Path("long.txt").write_text("a" * 300 + "\n")
    assert mix([second, generous]).evaluate(data="long.txt").loss.num_chars == 301
    with pytest.raises(DataError, match="300 characters"):
        mix([second, second]).evaluate(data="long.txt")


def test_runs_of_other_splits_are_neither_evaluated_on_a_split_nor_tuned(write: Write) -> None:
    other = Splits(SPLITS.val, SPLITS.train, SPLITS.test)
    runs = [write("first"), write("second", splits=other), write("third")]
    with pytest.raises(UsageError, match="different splits") as evaluated:
        mix(runs).evaluate("val")
    with pytest.raises(UsageError, match="different splits") as tuned:
        mix(runs, "tuned")
    for caught in (evaluated, tuned):
        for run, splits in zip(runs, (SPLITS, other, SPLITS), strict=True):
            assert f"{run.name} has {splits.digest}" in str(caught.value)
    assert len(mix(runs).sample(3)) == 3


def test_without_validation_names_there_is_nothing_to_tune_on(write: Write) -> None:
    runs = [write(name, splits=Splits(SPLITS.train, [], SPLITS.test)) for name in ("a", "b")]
    with pytest.raises(UsageError, match="no validation names"):
        mix(runs, "tuned")
    with pytest.raises(UsageError, match="val split of ensemble of runs/a, runs/b is empty"):
        mix(runs).evaluate("val")
    assert mix(runs).evaluate("test").loss.num_names == 2


def test_runs_of_other_alphabets_are_refused_with_what_tells_them_apart(write: Write) -> None:
    first = write("first")
    fewer = write("fewer", splits=Splits(["ada", "bab", "dad"], [], []))
    more = write("more", splits=Splits(["ada", "abcde", "klmnopqrstuvé"], [], []))
    with pytest.raises(UsageError) as caught:
        mix([first, first, fewer])
    (problem,) = caught.value.problems
    assert problem.what == "their alphabets differ: runs/first alone knows 'c' 'e'"
    with pytest.raises(UsageError) as caught:
        mix([fewer, write("ten", splits=Splits(["ada", "bd", "efghijklmn"], [], []))])
    assert caught.value.problems[0].what.endswith("'l' 'm' 'n'")
    with pytest.raises(UsageError) as caught:
        mix([fewer, more])
    assert "runs/more alone knows 'c' 'e' 'k' 'l' 'm' 'n' 'o' 'p' 'q' 'r' and 5 more" in str(
        caught.value
    )
    with pytest.raises(UsageError) as caught:
        mix(
            [
                write("x", splits=Splits(["ax", "b"], [], [])),
                write("y", splits=Splits(["ayb"], [], [])),
            ]
        )
    assert "runs/x alone knows 'x', runs/y alone knows 'y'" in str(caught.value)


def test_runs_on_different_devices_are_refused(runs: list[Run]) -> None:
    far = {split: corpus.to(torch.device("meta")) for split, corpus in runs[1].corpora.items()}
    with pytest.raises(UsageError, match="different devices: cpu, meta"):
        mix([runs[0], replace(runs[1], corpora=far)])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "weights: 1 for 2 runs"),
        ([1.0, 2.0, 3.0], "weights: 3 for 2 runs"),
        ([], "weights: 0 for 2 runs"),
        ([1.0, -0.5], "weights: must not be negative, got -0.5"),
        ([1.0, math.nan], "weights: must be finite, got 1, nan"),
        ([math.inf, 1.0], "weights: must be finite, got inf, 1"),
        ([0.0, 0.0], "weights: must not all be 0"),
        ("best", 'weights: expected numbers, `equal` or `tuned`, got "best"'),
        ("", 'got ""'),
    ],
)
def test_weights_that_are_none_are_refused(runs: list[Run], weights: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        mix(runs[:2], weights)
    assert message in str(caught.value)
    assert caught.value.problems[0].hint


def test_a_mixture_needs_two_runs(runs: list[Run]) -> None:
    for number in (0, 1):
        with pytest.raises(UsageError, match=f"at least two are needed.*got {number}"):
            mix(runs[:number])


def test_typed_weights_are_numbers_or_a_word() -> None:
    assert parse_weights("0.7,0.3") == [0.7, 0.3]
    assert parse_weights("2, 1,1e-3") == [2.0, 1.0, 0.001]
    assert parse_weights("3") == [3.0]
    for word in ("equal", "tuned", "", "1,,2", "0.5;0.5"):
        assert parse_weights(word) == word


def test_notebooks_mix_runs_in_one_line(runs: list[Run]) -> None:
    ensemble = makemore.mix(runs[:2], weights=[0.7, 0.3])
    assert isinstance(ensemble, makemore.Ensemble)
    assert makemore.Ensemble is Ensemble
    assert ensemble.weights == (0.7, 0.3)
    assert len(ensemble.sample(10)) == 10
    assert repr(ensemble) == "<Ensemble of runs/bigram, runs/mlp>"
