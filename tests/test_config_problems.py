"""What is wrong with a configuration, told in words, with the place and the hint that help."""

import math
from collections.abc import Callable
from typing import get_args

import pytest
from pydantic import BaseModel

from makemore.config import (
    Config,
    DataConfig,
    ModelConfig,
    SGDConfig,
    StepSchedule,
    TrainConfig,
)
from makemore.config_loading import config_from_dict
from makemore.errors import ConfigError

MLP = "model: {kind: mlp}\n"

ProblemsOf = Callable[..., list[tuple[str, str, str]]]


def test_several_problems_come_at_once_in_the_order_of_the_file(problems_of: ProblemsOf) -> None:
    text = (
        "# mine\ntrain:\n  stepz: 3\n  steps: many\n  learning_rate: -1\n"
        "batch_size: 3\nmodel:\n  kind: mpl\n"
    )
    assert problems_of(text, "train.evaluate_evry=1", "data.split=hsh", "seed") == [
        ("mine.yaml:3", "train.stepz: unknown key", "did you mean `steps`?"),
        (
            "mine.yaml:4",
            'train.steps: expected an integer, got "many"',
            "steps: Updates to make, if nothing ends them earlier.",
        ),
        (
            "mine.yaml:5",
            "train.learning_rate: must be greater than 0, got -1",
            "learning_rate: The peak of the learning rate.",
        ),
        ("mine.yaml:6", "batch_size: unknown key", "did you mean `train.batch_size`?"),
        (
            "mine.yaml:8",
            'model.kind: expected one of bigram-count, bigram, mlp, transformer, got "mpl"',
            "did you mean `mlp`?",
        ),
        (
            "--set train.evaluate_evry",
            "train.evaluate_evry: unknown key",
            "did you mean `evaluate_every`?",
        ),
        (
            "--set data.split",
            'data.split: expected one of hash, lecture, makemore, got "hsh"',
            "did you mean `hash`?",
        ),
        ("--set seed", "expected KEY=VALUE", "for example `--set train.steps=500`"),
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("train: {stepz: 1}\n", "did you mean `steps`?"),
        ("train: {dropout: 0.1}\n", "did you mean `model.dropout`?"),
        ("momentum: 0.1\n", "did you mean `train.optimizer.momentum`?"),
        ("train: {seed: 1}\n", "did you mean `seed` or `data.seed`?"),
        (
            "train: {optimizer: {nesterov: true}}\n",
            "`train.optimizer.nesterov` belongs to the kind sgd",
        ),
        ("train.steps: 3\n", "sections are nested: write `steps` below `train`"),
        ("xyzzy: 3\n", "known keys: seed, data, model, train"),
        ("kind: mlp\n", "known keys: seed, data, model, train"),
    ],
)
def test_an_unknown_key_gets_the_hint_that_helps_most(
    problems_of: ProblemsOf, text: str, hint: str
) -> None:
    ((where, what, shown),) = problems_of(MLP + text)
    assert (where, shown) == ("mine.yaml:2", hint)
    assert what.endswith(": unknown key")


def test_a_key_of_another_model_is_unknown_and_named_without_its_kind(
    problems_of: ProblemsOf,
) -> None:
    text = "model:\n  kind: mlp\n  num_heads: 4\n  mlp: 1\n"
    assert problems_of(text) == [
        (
            "mine.yaml:3",
            "model.num_heads: unknown key",
            "`model.num_heads` belongs to the kind transformer",
        ),
        (
            "mine.yaml:4",
            "model.mlp: unknown key",
            "known keys: kind, context_length, embedding_dim, hidden_dim, norm, norm_statistics",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        (
            "seed: 1\n",
            "model: missing",
            "set `model.kind` to one of bigram-count, bigram, mlp, transformer",
        ),
        (
            "model: {k: 1}\n",
            "model.kind: missing",
            "choose one of bigram-count, bigram, mlp, transformer",
        ),
        (
            "model: mlp\n",
            'model: expected a section of keys, got "mlp"',
            "set `model.kind` to one of bigram-count, bigram, mlp, transformer",
        ),
        (
            f"{MLP}data:\n",
            "data: expected a section of keys, got null",
            "known keys: source, split, fractions, seed, max_name_length",
        ),
    ],
)
def test_a_missing_section_says_what_to_write(
    problems_of: ProblemsOf, text: str, what: str, hint: str
) -> None:
    assert [problem[1:] for problem in problems_of(text)] == [(what, hint)]


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("seed=1e3", "seed: expected an integer, got 1000.0"),
        ("seed=10.0", "seed: expected an integer, got 10.0"),
        ("seed=true", "seed: expected an integer, got true"),
        ("seed=017", 'seed: expected an integer, got "017"'),
        ("seed=", "seed: expected an integer, got null"),
        ("data.source=3", "data.source: expected a string, got 3"),
        ("data.fractions=[0.8,0.2]", "data.fractions: expected more items, got [0.8, 0.2]"),
        ("data.fractions=[1,0,0,0]", "data.fractions: must have at most 3 items, got [1, 0, 0, 0]"),
        ("data.fractions=0.8", "data.fractions: expected a list, got 0.8"),
        ("data.fractions=[0.8,0.1,x]", 'data.fractions.2: expected a number, got "x"'),
        ("model.norm=bach", 'model.norm: expected one of none, batch, got "bach"'),
        ("train.learning_rate=true", "train.learning_rate: expected a number, got true"),
        ("train.learning_rate=.inf", 'train.learning_rate: expected a number, got ".inf"'),
        (
            "train.optimizer={kind: sgd, nesterov: on}",
            'train.optimizer.nesterov: expected true or false, got "on"',
        ),
        (
            "train.schedule.kind=lin",
            'train.schedule.kind: expected one of constant, step, linear, cosine, got "lin"',
        ),
        (
            "train.schedule.kind=[1]",
            "train.schedule.kind: expected one of constant, step, linear, cosine, got [1]",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_explained_in_plain_words(
    problems_of: ProblemsOf, override: str, what: str
) -> None:
    key = override.partition("=")[0]
    assert [problem[:2] for problem in problems_of(MLP, override)] == [(f"--set {key}", what)]


WRONG_VALUES = ["null", "true", "xyz", "1.5", "-1", "-1.5", "2", "[]", "[a, 1]", "{}", "{a: 1}"]


@pytest.mark.parametrize("value", WRONG_VALUES)
@pytest.mark.parametrize("model", get_args(get_args(ModelConfig)[0]))
def test_no_message_falls_back_on_a_wording_that_is_not_ours(
    model: type[BaseModel], value: str
) -> None:
    """Whatever is wrong with any field: pydantic's own terms never reach the user."""
    keys = [name for section in (Config, DataConfig, TrainConfig) for name in section.model_fields]
    paths = [f"{above}{key}" for key in [*keys, *model.model_fields] for above in ("", "data.")]
    paths += [f"model.{key}" for key in model.model_fields]
    paths += [f"train.{key}" for key in TrainConfig.model_fields]
    paths += [f"train.schedule.{key}" for key in StepSchedule.model_fields]
    paths += [f"train.optimizer.{key}" for key in SGDConfig.model_fields]
    start = {"model": {"kind": model.model_fields["kind"].default}}
    for path in paths:
        try:
            config_from_dict(start, "here", [f"{path}={value}"])
        except ConfigError as error:
            text = "\n".join(problem.what for problem in error.problems)
            for jargon in ("not valid", "Input", "input", "tuple", "dictionary", "union", " tag"):
                assert jargon not in text


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_a_problem_wherever_it_comes_from(number: float) -> None:
    values = {"model": {"kind": "mlp"}, "train": {"max_epochs": number}}
    with pytest.raises(ConfigError, match="max_epochs: expected a finite number"):
        config_from_dict(values, "here")


def test_a_long_or_unprintable_value_is_shown_short_and_escaped(problems_of: ProblemsOf) -> None:
    ((_, what, _),) = problems_of(f"{MLP}seed: {'x' * 5000}\n")
    assert what == f'seed: expected an integer, got "{"x" * 56}...'
    ((_, what, _),) = problems_of(f'{MLP}"\\e[31m\u202e": 1\n')
    assert what == "\\U0000001B[31m\\U0000202E: unknown key"
