"""What is wrong with a configuration, told in words, with the place and the hint that help."""

import math
from collections.abc import Callable, Mapping
from typing import get_args

import pytest
from pydantic import BaseModel

from makemore.config import (
    Config,
    DataConfig,
    InitializationConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    sections_of,
)
from makemore.config_loading import config_from_dict
from makemore.errors import ConfigError

MLP = "model: {kind: mlp}\n"
ENSEMBLE = """\
model:
  kind: ensemble
  members:
    - kind: mlp
    - kind: gru
      hidden_dim: 3
"""
MEMBERS = "bigram, mlp, rnn, gru, lstm, bow, wavenet, wavenet-tree, transformer"
KINDS = f"ngram, {MEMBERS}, ensemble"

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
            f'model.kind: expected one of {KINDS}, got "mpl"',
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
        ("hidden_dim: 3\n", "did you mean `model.hidden_dim`?"),
        ("momentum: 0.1\n", "did you mean `train.optimizer.momentum`?"),
        ("method: zeros\n", "did you mean `model.initialization.method`?"),
        (
            "train: {schedule: {factor: 3}}\n",
            "`train.schedule.factor` belongs to the kind step",
        ),
        (
            "model.initialization.method: zeros\n",
            "sections are nested: write `method` below `model.initialization`",
        ),
        ("train: {seed: 1}\n", "did you mean `seed` or `data.seed`?"),
        (
            "train: {optimizer: {nesterov: true}}\n",
            "`train.optimizer.nesterov` belongs to the kind sgd and muon",
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
            "known keys: kind, context_length, embedding_dim, hidden_dim, num_layers, activation, "
            "norm, norm_statistics, residual, dropout, initialization",
        ),
    ]


def test_a_key_of_several_other_kinds_names_them_all(problems_of: ProblemsOf) -> None:
    ((_, _, hint),) = problems_of("model: {kind: ngram, context_length: 3}\n")
    assert hint == (
        "`model.context_length` belongs to the kind mlp, bow, wavenet-tree and transformer"
    )


@pytest.mark.parametrize(
    ("line", "problem", "hint"),
    [
        (
            "hidden_dim: big",
            'hidden_dim: expected an integer, got "big"',
            "hidden_dim: Size of a hidden layer.",
        ),
        (
            "num_layers: 0",
            "num_layers: must be at least 1, got 0",
            "num_layers: Recurrent layers, one above the other.",
        ),
        (
            "num_heads: 3",
            "num_heads: unknown key",
            "`model.members.1.num_heads` belongs to the kind transformer",
        ),
        ("hidden_dimm: 3", "hidden_dimm: unknown key", "did you mean `hidden_dim`?"),
        ("steps: 3", "steps: unknown key", "did you mean `train.steps`?"),
        ("norm: lyer", 'norm: expected one of none, layer, got "lyer"', "did you mean `layer`?"),
    ],
)
def test_a_problem_of_a_member_has_its_number_and_its_line(
    problems_of: ProblemsOf, line: str, problem: str, hint: str
) -> None:
    text = ENSEMBLE.replace("      hidden_dim: 3\n", f"      {line}\n")
    assert problems_of(f"{text}train: {{steps: 3}}\n") == [
        ("mine.yaml:6", f"model.members.1.{problem}", hint)
    ]


def test_problems_of_several_members_come_at_once(problems_of: ProblemsOf) -> None:
    text = ENSEMBLE.replace("mlp\n", "mlp\n      norm_statistics: running\n")
    text += "    - kind: mlp\n      initialization:\n        metod: zeros\n        factor: -1\n"
    text += "      num_heads: 2\n"
    assert [problem[:2] for problem in problems_of(text)] == [
        ("mine.yaml:5", "model.members.0.norm_statistics: has no effect without `norm: batch`"),
        ("mine.yaml:10", "model.members.2.initialization.metod: unknown key"),
        ("mine.yaml:11", "model.members.2.initialization.factor: must be at least 0, got -1"),
        ("mine.yaml:12", "model.members.2.num_heads: unknown key"),
    ]


@pytest.mark.parametrize(
    ("member", "what", "hint"),
    [
        (
            "kind: grv",
            f'model.members.1.kind: expected one of {MEMBERS}, got "grv"',
            "did you mean `gru`?",
        ),
        ("kind: 3", f"model.members.1.kind: expected one of {MEMBERS}, got 3", ""),
        (
            "kind: ensemble",
            f'model.members.1.kind: expected one of {MEMBERS}, got "ensemble"',
            "",
        ),
        ("x: 1", "model.members.1.kind: missing", f"choose one of {MEMBERS}"),
        (
            "gru",
            'model.members.1: expected a section of keys, got "gru"',
            f"set `model.members.1.kind` to one of {MEMBERS}",
        ),
    ],
)
def test_a_member_without_a_kind_that_is_known_says_what_to_write(
    problems_of: ProblemsOf, member: str, what: str, hint: str
) -> None:
    text = ENSEMBLE.replace("kind: gru\n      hidden_dim: 3\n", f"{member}\n")
    assert problems_of(text) == [("mine.yaml:5", what, hint)]


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ("3", "expected a list, got 3"),
        ("{kind: mlp}", 'expected a list, got {"kind": "mlp"}'),
        ("[]", "needs at least 2 models, got 0"),
    ],
)
def test_members_that_are_no_list_of_models_say_what_they_are(
    problems_of: ProblemsOf, members: str, what: str
) -> None:
    text = f"model:\n  kind: ensemble\n  members: {members}\n"
    hint = "members: A list of at least 2 models, each with the keys of its kind."
    assert problems_of(text) == [("mine.yaml:3", f"model.members: {what}", hint)]


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("model.activation=rlu", "did you mean `relu`?"),
        ("model.activation=xyz", "activation: What a hidden unit makes of its input x."),
        ("model.initialization.method=3", "method: How the weights of linear layers are drawn."),
    ],
)
def test_the_hint_of_a_choice_is_one_line(
    problems_of: ProblemsOf, override: str, hint: str
) -> None:
    """The meanings of all choices stand in the reference."""
    ((_, _, shown),) = problems_of(MLP, override)
    assert shown == hint


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        (
            "seed: 1\n",
            "model: missing",
            f"set `model.kind` to one of {KINDS}",
        ),
        (
            "model: {k: 1}\n",
            "model.kind: missing",
            f"choose one of {KINDS}",
        ),
        (
            "model: mlp\n",
            'model: expected a section of keys, got "mlp"',
            f"set `model.kind` to one of {KINDS}",
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
        ("model.norm=bach", 'model.norm: expected one of none, batch, layer, rms, got "bach"'),
        (
            "model.initialization=zeros",
            'model.initialization: expected a section of keys, got "zeros"',
        ),
        ("train.learning_rate=true", "train.learning_rate: expected a number, got true"),
        ("train.learning_rate=.inf", 'train.learning_rate: expected a number, got ".inf"'),
        (
            "train.optimizer={kind: sgd, nesterov: on}",
            'train.optimizer.nesterov: expected true or false, got "on"',
        ),
        (
            "train.schedule.kind=lin",
            "train.schedule.kind: expected one of constant, step, exponential, linear, cosine, "
            'triangular, one_cycle, got "lin"',
        ),
        (
            "train.schedule.kind=[1]",
            "train.schedule.kind: expected one of constant, step, exponential, linear, cosine, "
            "triangular, one_cycle, got [1]",
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
    paths = [f"model.{key}" for key in model.model_fields]
    paths += [f"model.initialization.{key}" for key in InitializationConfig.model_fields]
    paths += ["model.members.0", *(f"model.members.1.{key}" for key in model.model_fields)]
    kind = model.model_fields["kind"].default
    start: dict[str, object] = {"kind": kind}
    if kind == "ensemble":
        start["members"] = [{"kind": "mlp"}, {"kind": "transformer"}]
    for path in paths:
        assert_plain_words({"model": start}, f"{path}={value}")


@pytest.mark.parametrize("value", WRONG_VALUES)
def test_no_message_about_other_sections_falls_back_on_one_either(value: str) -> None:
    keys = [name for section in (Config, DataConfig, TrainConfig) for name in section.model_fields]
    for key in keys:
        for above in ("", "data.", "train."):
            assert_plain_words({"model": {"kind": "mlp"}}, f"{above}{key}={value}")


@pytest.mark.parametrize("value", WRONG_VALUES)
def test_no_message_about_training_falls_back_on_one_either(value: str) -> None:
    for name, union in (("schedule", ScheduleConfig), ("optimizer", OptimizerConfig)):
        for section in get_args(get_args(union)[0]):
            kind = section.model_fields["kind"].default
            start = {"model": {"kind": "mlp"}, "train": {name: {"kind": kind}}}
            for key in section.model_fields:
                assert_plain_words(start, f"train.{name}.{key}={value}")


@pytest.mark.parametrize("value", WRONG_VALUES)
def test_no_message_about_a_member_falls_back_on_one_either(value: str) -> None:
    (ensemble,) = (m for m in get_args(get_args(ModelConfig)[0]) if "members" in m.model_fields)
    for kind, section in sections_of(ensemble.model_fields["members"]).items():
        members = [{"kind": kind}, {"kind": "mlp"}]
        start = {"model": {"kind": "ensemble", "members": members}}
        for key in section.model_fields:
            assert_plain_words(start, f"model.members.0.{key}={value}")


def assert_plain_words(start: Mapping[str, object], override: str) -> None:
    try:
        config_from_dict(start, "here", [override])
    except ConfigError as error:
        problems = error.problems
    else:
        return
    for problem in problems:
        assert "\n" not in problem.hint
        for jargon in ("not valid", "Input", "input", "tuple", "dictionary", "union", " tag"):
            assert jargon not in problem.what


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
