"""The configuration: strict YAML, overrides, problems that a reader understands, round trips."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from makemore.config import (
    MAX_BYTES,
    MAX_DEPTH,
    AdamWConfig,
    BigramConfig,
    BigramCountConfig,
    Config,
    ConstantSchedule,
    CosineSchedule,
    DataConfig,
    LinearSchedule,
    MLPConfig,
    Section,
    SGDConfig,
    StepSchedule,
    TrainConfig,
    TransformerConfig,
    config_from_dict,
    config_to_dict,
    dump_config,
    json_schema,
    load_config,
    parse_yaml,
    preset_names,
    reference_yaml,
    resolve_preset,
    resource_path,
)
from makemore.errors import ConfigError, UsageError

MLP = "model: {kind: mlp}\n"
COUNT = "model: {kind: bigram-count}\n"
MODELS = (BigramCountConfig, BigramConfig, MLPConfig, TransformerConfig)

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as `mine.yaml`, the name that problems then show."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, *overrides: str) -> Config:
        Path("mine.yaml").write_text(text, encoding="utf-8")
        return load_config(Path("mine.yaml"), overrides)

    return load_text


def problems_of(load: Load, text: str, *overrides: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return [(problem.where, problem.what, problem.hint) for problem in caught.value.problems]


def whats_of(load: Load, text: str, *overrides: str) -> list[str]:
    return [what for _, what, _ in problems_of(load, text, *overrides)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1.5e+2", -150.0),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("18446744073709551615", 2**64 - 1),
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("[1, [a], {b: 2}]", [1, ["a"], {"b": 2}]),
    ],
)
def test_a_plain_scalar_is_read_as_written(text: str, value: object) -> None:
    read = parse_yaml(f"key: {text}", "x").values["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "off",
        "on",
        "yes",
        "no",
        "True",
        "NULL",
        "017",
        "00.5",
        "0x10",
        "0o17",
        "1_000",
        ".inf",
        "-.inf",
        ".nan",
        "2024-01-01",
        "1:30",
        ".",
        "e5",
        "1e",
        "=",
        "\u0663",
    ],
)
def test_what_only_looks_like_another_type_stays_a_string(text: str) -> None:
    assert parse_yaml(f"key: {text}", "x").values == {"key": text}


@pytest.mark.parametrize("text", ["1", "1e-3", "null", "true", "~", "", "<<"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quoted_scalar_is_a_string(text: str, quote: str) -> None:
    assert parse_yaml(f"key: {quote}{text}{quote}", "x").values == {"key": text}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: &x 2\n", 2, "anchors"),
        ("a: 1\nb: *x\n", 2, "aliases"),
        ("a: 1\nb: !!str 2\n", 2, "tags"),
        ("a: 1\nb: ! 2\n", 2, "tags"),
        ("a: 1\n<<: {b: 2}\n", 2, "merge keys"),
        ("a: 1\nb: 2\na: 3\n", 3, "a: duplicate key, as in f.yaml:1"),
        ("a:\n  b: 1\n  b: 1\n", 3, "a.b: duplicate key, as in f.yaml:2"),
        ("a: 1\n---\nb: 2\n", 2, "more than one document"),
        ("a: 1\n2: b\n", 2, "expected a string as key, got 2"),
        ("null: 1\n", 1, "expected a string as key, got null"),
        ("true: 1\n", 1, "expected a string as key, got true"),
        ("? [a]\n: 1\n", 1, 'expected a string as key, got ["a"]'),
        ("", 1, "expected keys and values, got null"),
        ("- a\n", 1, 'expected keys and values, got ["a"]'),
        ("just text\n", 1, 'expected keys and values, got "just text"'),
        ("a: 1\nb: c: d\n", 2, "not valid YAML: mapping values are not allowed here"),
        ("a:\n\t- b\n", 2, "not valid YAML: found character"),
        ("a: 1\nb: [1\n", 3, "not valid YAML"),
        ("a: 1\nb: \x07\n", 2, 'not valid YAML: the character "\\u0007"'),
        # PyYAML itself ends in a bare ValueError or OverflowError at these three.
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "out of range"),
        ('a: 1\nb: "\\U00110000"\n', 2, "out of range"),
        (f"%YAML 1.{'1' * 5000}\n--- {{}}\n", 1, "out of range"),
        (f"a: 1\nb: {'9' * 5000}\n", 2, "is too large"),
        ("a: 1\nb: 1e999\n", 2, "the number 1e999 is too large"),
        ("a: 1\nb: -1e999\n", 2, "the number -1e999 is too large"),
    ],
)
def test_what_is_not_strict_yaml_is_reported_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    (problem,) = caught.value.problems
    assert problem.where == f"f.yaml:{line}"
    assert part in problem.what
    assert "\n" not in problem.what
    assert len(problem.what) < 120


def test_all_problems_of_the_yaml_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: &x 1\nb: *x\na: 2\nc: !t 3\n", "f.yaml")
    assert [problem.where for problem in caught.value.problems] == [
        "f.yaml:1",
        "f.yaml:2",
        "f.yaml:3",
        "f.yaml:4",
    ]


def test_a_billion_laughs_do_not_expand() -> None:
    text = "a0: &a0 [lol]\n"
    for n in range(1, 40):
        text += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml(text, "f.yaml")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_nesting_ends_at_the_limit(opening: str, closing: str) -> None:
    def nested(depth: int) -> str:  # the mapping around it is the first level
        return "key: " + opening * (depth - 1) + closing * (depth - 1)

    parse_yaml(nested(MAX_DEPTH), "f.yaml")
    with pytest.raises(ConfigError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse_yaml(nested(MAX_DEPTH + 1), "f.yaml")
    with pytest.raises(ConfigError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse_yaml(opening * 5000, "f.yaml")


@pytest.mark.parametrize("character", ["x", "\u00e9"])
def test_size_ends_at_the_limit(load: Load, character: str) -> None:
    room = MAX_BYTES - len(MLP.encode()) - 2
    text = MLP + "#" + character * (room // len(character.encode()))
    text += " " * (MAX_BYTES - 1 - len(text.encode())) + "\n"
    assert load(text).model == MLPConfig()
    # The second byte of the last character is beyond what is read.
    assert whats_of(load, text + character) == ["longer than 64 KiB"]


YAML_PIECES = st.sampled_from(
    [
        *"abc01.~-+?:,[]{}#&*!|>'\"%@`\\ \n\t\r=<\ufeff\u2028\x85\ud800\x00",
        "key: ",
        "- ",
        "\n  ",
        "---\n",
        "...",
        "<<: ",
        "1e9",
        "\\x",
        "\\U0011",
        "%YAML 1.1\n",
        "%TAG ! x\n",
        "!<",
    ]
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text() | st.lists(YAML_PIECES, max_size=40).map("".join))
@example("\ud800")
@example("a: \ufffe")
def test_any_text_is_read_or_is_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        values = parse_yaml(text, "f.yaml").values
        assert json.loads(json.dumps(values, allow_nan=False)) == values


@settings(deadline=None)
@given(st.lists(st.text(), max_size=3))
@example(["train." * 5000 + "steps=1"])
@example(["model={kind: [1]}", "train.schedule.kind={a: 1}", "kind=mlp", "model.kind="])
@example(["model.kind.kind=mlp", "model=3", "model.kind=mlp"])
def test_any_override_is_obeyed_or_is_a_config_error(overrides: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        config_from_dict({"model": {"kind": "mlp"}}, "here", overrides)


def test_a_file_that_says_little_gives_every_default(load: Load) -> None:
    assert load(MLP) == Config(
        seed=1,
        data=DataConfig(source="names", split="hash", max_name_length=256),
        model=MLPConfig(context_length=3, embedding_dim=10, hidden_dim=200, norm="none"),
        train=TrainConfig(
            steps=2000,
            batch_size=256,
            learning_rate=0.01,
            schedule=LinearSchedule(warmup_steps=0, final_fraction=0.0),
            optimizer=AdamWConfig(beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0.0),
        ),
    )


def test_several_problems_come_at_once_in_the_order_of_the_file(load: Load) -> None:
    text = (
        "# mine\ntrain:\n  stepz: 3\n  steps: many\n  learning_rate: -1\n"
        "batch_size: 3\nmodel:\n  kind: mpl\n"
    )
    assert problems_of(load, text, "train.evaluate_evry=1", "data.split=hsh", "seed") == [
        ("mine.yaml:3", "train.stepz: unknown key", "did you mean `steps`?"),
        ("mine.yaml:4", 'train.steps: expected an integer, got "many"', ""),
        ("mine.yaml:5", "train.learning_rate: must be greater than 0, got -1", ""),
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
def test_an_unknown_key_gets_the_hint_that_helps_most(load: Load, text: str, hint: str) -> None:
    ((where, what, shown),) = problems_of(load, MLP + text)
    assert (where, shown) == ("mine.yaml:2", hint)
    assert what.endswith(": unknown key")


def test_a_key_of_another_model_is_unknown_and_named_without_its_kind(load: Load) -> None:
    text = "model:\n  kind: mlp\n  num_heads: 4\n  mlp: 1\n"
    assert problems_of(load, text) == [
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
def test_a_missing_section_says_what_to_write(load: Load, text: str, what: str, hint: str) -> None:
    assert [problem[1:] for problem in problems_of(load, text)] == [(what, hint)]


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("seed=-1", "seed: must be at least 0, got -1"),
        ("seed=1e3", "seed: expected an integer, got 1000.0"),
        ("seed=10.0", "seed: expected an integer, got 10.0"),
        ("seed=true", "seed: expected an integer, got true"),
        ("seed=017", 'seed: expected an integer, got "017"'),
        ("seed=", "seed: expected an integer, got null"),
        (
            "seed=9223372036854775808",
            "seed: must be at most 9223372036854775807, got 9223372036854775808",
        ),
        ("data.source=3", "data.source: expected a string, got 3"),
        ("data.max_name_length=0", "data.max_name_length: must be at least 1, got 0"),
        (
            "data.max_name_length=1000001",
            "data.max_name_length: must be at most 1000000, got 1000001",
        ),
        ("data.fractions=[0.8,0.2]", "data.fractions: expected more items, got [0.8, 0.2]"),
        ("data.fractions=[1,0,0,0]", "data.fractions: must have at most 3 items, got [1, 0, 0, 0]"),
        ("data.fractions=0.8", "data.fractions: expected a list, got 0.8"),
        ("data.fractions=[0.8,0.1,x]", 'data.fractions.2: expected a number, got "x"'),
        ("data.fractions=[1.5,0,0]", "data.fractions.0: must be at most 1, got 1.5"),
        (
            "data.fractions=[0.8,0.1,0.1001]",
            "data.fractions: must sum to 1, got [0.8, 0.1, 0.1001]",
        ),
        (
            "data.fractions=[0,1,0]",
            "data.fractions: the share of train must be greater than 0, got [0.0, 1.0, 0.0]",
        ),
        ("model.context_length=1025", "model.context_length: must be at most 1024, got 1025"),
        ("model.norm=bach", 'model.norm: expected one of none, batch, got "bach"'),
        (
            "model.norm_statistics=running",
            "model.norm_statistics: has no effect without `norm: batch`",
        ),
        ("train.learning_rate=true", "train.learning_rate: expected a number, got true"),
        ("train.learning_rate=.inf", 'train.learning_rate: expected a number, got ".inf"'),
        ("train.learning_rate=0", "train.learning_rate: must be greater than 0, got 0"),
        ("train.max_epochs=0", "train.max_epochs: must be greater than 0, got 0"),
        ("train.patience=0", "train.patience: must be at least 1, got 0"),
        (
            "train.schedule.final_fraction=1.1",
            "train.schedule.final_fraction: must be at most 1, got 1.1",
        ),
        ("train.optimizer.beta1=1", "train.optimizer.beta1: must be less than 1, got 1"),
        (
            "train.optimizer={kind: sgd, nesterov: on}",
            'train.optimizer.nesterov: expected true or false, got "on"',
        ),
        (
            "train.optimizer={kind: sgd, nesterov: true}",
            "train.optimizer.nesterov: needs a `momentum` greater than 0",
        ),
        (
            "train.schedule={kind: step, milestones: []}",
            "train.schedule.milestones: needs at least one share of the run",
        ),
        (
            "train.schedule={kind: step, milestones: [0.5, 0.5]}",
            "train.schedule.milestones: must increase, got [0.5, 0.5]",
        ),
        (
            "train.schedule={kind: step, milestones: [1]}",
            "train.schedule.milestones.0: must be less than 1, got 1",
        ),
        (
            "train.schedule.kind=lin",
            'train.schedule.kind: expected one of constant, step, linear, cosine, got "lin"',
        ),
        (
            "train.schedule.kind=[1]",
            "train.schedule.kind: expected one of constant, step, linear, cosine, got [1]",
        ),
        (
            "model={kind: transformer, num_heads: 5}",
            "model.embedding_dim: must be a multiple of num_heads (5), got 64",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_explained_in_plain_words(
    load: Load, override: str, what: str
) -> None:
    key = override.partition("=")[0]
    assert [problem[:2] for problem in problems_of(load, MLP, override)] == [(f"--set {key}", what)]


@pytest.mark.parametrize(
    "override",
    [
        "data.fractions=[1, 0, 0]",
        "data.fractions=[0.7, 0.2, 0.1]",
        "data.max_name_length=1000000",
        "seed=9223372036854775807",
        "train.learning_rate=1e-3",
        "train.optimizer.weight_decay=1",
        "train.optimizer={kind: sgd, momentum: 0.9, nesterov: true}",
        "model={kind: transformer, num_heads: 3, embedding_dim: 96}",
        "model={kind: mlp, norm: batch, norm_statistics: running}",
        "train.schedule={kind: step, milestones: [0.25, 0.5]}",
    ],
)
def test_a_value_at_its_limit_is_accepted(load: Load, override: str) -> None:
    assert load(MLP, override) != load(MLP)


WRONG_VALUES = ["null", "true", "xyz", "1.5", "-1", "-1.5", "2", "[]", "[a, 1]", "{}", "{a: 1}"]


@pytest.mark.parametrize("value", WRONG_VALUES)
@pytest.mark.parametrize("model", MODELS)
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
            text = str(error)
            for jargon in ("not valid", "Input", "input", "tuple", "dictionary", "union", " tag"):
                assert jargon not in text


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_a_problem_wherever_it_comes_from(number: float) -> None:
    values = {"model": {"kind": "mlp"}, "train": {"max_epochs": number}}
    with pytest.raises(ConfigError, match="max_epochs: expected a finite number"):
        config_from_dict(values, "here")


def test_the_makemore_split_takes_no_fractions(load: Load) -> None:
    text = f"{MLP}data:\n  fractions: [0.8, 0.1, 0.1]\n  split: makemore\n"
    what = "data.fractions: the makemore split has fixed sizes and takes no fractions"
    assert problems_of(load, text) == [("mine.yaml:3", what, "")]


def test_a_long_or_unprintable_value_is_shown_short_and_escaped(load: Load) -> None:
    (what,) = whats_of(load, f"{MLP}seed: {'x' * 5000}\n")
    assert what == f'seed: expected an integer, got "{"x" * 56}...'
    (what,) = whats_of(load, f'{MLP}"\\e[31m\u202e": 1\n')
    assert what == "\\U0000001B[31m\\U0000202E: unknown key"


def test_a_model_in_closed_form_takes_no_training(load: Load) -> None:
    what = "train: `bigram-count` is fitted in closed form and takes no training options"
    assert load(COUNT).train is None
    assert load(f"{COUNT}train: null\n").train is None
    assert problems_of(load, f"{COUNT}train:\n  stepz: 1\n") == [("mine.yaml:2", what, "")]
    assert problems_of(load, COUNT, "train.steps=1") == [("--set train.steps", what, "")]


def test_any_other_model_is_trained_even_where_train_is_null(load: Load) -> None:
    assert load(f"{MLP}train: null\n").train == TrainConfig()
    assert Config(model=BigramConfig()).train == TrainConfig()


def test_an_override_wins_over_the_file_and_the_last_over_the_others(load: Load) -> None:
    config = load(f"seed: 1\n{MLP}", "seed=2", "train.steps=5", "seed=3")
    assert (config.seed, config.train) == (3, TrainConfig(steps=5))


def test_an_override_makes_the_sections_it_needs(load: Load) -> None:
    config = load(f"{MLP}train:\n", "train.optimizer.weight_decay=0.1", "data.source=-")
    assert config.train == TrainConfig(optimizer=AdamWConfig(weight_decay=0.1))
    assert config.data.source == "-"


def test_a_section_without_kind_is_of_the_default_kind(load: Load) -> None:
    config = load(f"{MLP}train: {{schedule: {{warmup_steps: 9}}}}\n")
    assert config.train == TrainConfig(schedule=LinearSchedule(warmup_steps=9))


@pytest.mark.parametrize("kind", ["model.kind=transformer", "model={kind: transformer}"])
def test_an_override_of_the_kind_drops_the_keys_of_the_old_kind_alone(
    load: Load, kind: str
) -> None:
    text = "seed: 7\nmodel: {kind: mlp, hidden_dim: 5, embedding_dim: 7}\ntrain: {steps: 3}\n"
    config = load(text, "model.num_heads=8", kind)
    expected = Config(seed=7, model=TransformerConfig(num_heads=8), train=TrainConfig(steps=3))
    assert config == expected


def test_an_override_to_the_same_kind_drops_nothing(load: Load) -> None:
    text = "model: {kind: mlp, hidden_dim: 5}\ntrain: {schedule: {warmup_steps: 4}}\n"
    assert load(text, "model.kind=mlp", "train.schedule.kind=linear") == load(text)


def test_an_override_of_an_inner_kind_starts_that_section_anew(load: Load) -> None:
    text = f"{MLP}train: {{steps: 3, schedule: {{final_fraction: 0.1, warmup_steps: 4}}}}\n"
    config = load(text, "train.schedule.warmup_steps=5", "train.schedule.kind=constant")
    assert config.train == TrainConfig(steps=3, schedule=ConstantSchedule(warmup_steps=5))


@pytest.mark.parametrize("kind", ["model.kind=bigram-count", "model={kind: bigram-count}"])
def test_an_override_to_closed_form_drops_the_training_of_the_file_alone(
    load: Load, kind: str
) -> None:
    text = f"{MLP}train: {{steps: 3}}\n"
    assert load(text, "model.k=2", kind) == Config(model=BigramCountConfig(k=2))
    ((where, what, _),) = problems_of(load, text, "train.schedule.kind=cosine", kind)
    assert where == "--set train.schedule.kind"
    assert "takes no training options" in what


def test_a_problem_with_a_default_of_the_new_kind_is_not_blamed_on_a_dropped_line(
    load: Load,
) -> None:
    text = "model:\n  kind: mlp\n  embedding_dim: 64\n"
    problems = problems_of(load, text, "model.kind=transformer", "model.num_heads=5")
    assert problems[0][0] == "mine.yaml:1"


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("seed.x=1", "--set seed.x", "seed.x: `seed` is no section, but 5"),
        ("foo", "--set foo", "expected KEY=VALUE"),
        ("=1", "--set =1", "expected a dotted key before `=`"),
        ("a..b=1", "--set a..b=1", "expected a dotted key before `=`"),
        ("seed=[1", "--set seed", "not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("seed=&x 1", "--set seed", "anchors (`&name`) are not allowed"),
    ],
)
def test_an_override_that_cannot_be_applied_is_a_problem(
    load: Load, override: str, where: str, what: str
) -> None:
    assert [problem[:2] for problem in problems_of(load, f"seed: 5\n{MLP}", override)] == [
        (where, what)
    ]


def test_values_from_python_are_neither_changed_nor_believed() -> None:
    values: dict[str, object] = {"model": {"kind": "mlp"}, "data": {"fractions": (1, 0, 0)}}
    config = config_from_dict(values, "last.safetensors", ["model.hidden_dim=5"])
    assert config.model == MLPConfig(hidden_dim=5)
    assert values == {"model": {"kind": "mlp"}, "data": {"fractions": (1, 0, 0)}}
    with pytest.raises(ConfigError) as caught:
        config_from_dict({"model": {"kind": "mlp", "x": 1}}, "last.safetensors")
    assert caught.value.problems[0].where == "last.safetensors"
    deep: object = 1
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ConfigError, match="nested deeper"):
        config_from_dict({"model": deep}, "last.safetensors")


def test_a_missing_file_is_a_usage_error_that_names_the_presets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file") as caught:
        load_config(tmp_path / "none.yaml")
    assert caught.value.exit_code == 2
    assert "transformer" in caught.value.problems[0].hint


def test_a_directory_or_bytes_that_are_no_text_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"seed: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8 text: byte 6 is 0xff"):
        load_config(path)


def test_an_unknown_preset_names_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="unknown preset `mpl`") as caught:
        resolve_preset("mpl")
    hint = caught.value.problems[0].hint
    assert hint.startswith("did you mean `mlp`?")
    assert hint.endswith(", ".join(preset_names()))
    with pytest.raises(UsageError):
        resolve_preset("reference")
    with pytest.raises(UsageError):
        resolve_preset("../configs/mlp")


def test_the_presets_cover_every_kind_of_model() -> None:
    kinds = {load_config(resolve_preset(name)).model.kind for name in preset_names()}
    assert kinds == {model.model_fields["kind"].default for model in MODELS}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_and_its_dump_reloads_to_an_equal_config(name: str) -> None:
    config = load_config(resolve_preset(name))
    assert config_from_dict(parse_yaml(dump_config(config), name).values, name) == config


@pytest.mark.parametrize("is_installed", [False, True])
def test_shipped_files_are_found_in_both_kinds_of_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    package = tmp_path / "makemore"
    monkeypatch.setattr("makemore.config.__file__", str(package / "config.py"))
    home = package / "resources" if is_installed else tmp_path
    (home / "configs").mkdir(parents=True)
    assert resource_path("configs", "mlp.yaml") == home / "configs" / "mlp.yaml"


positive = st.floats(0, exclude_min=True, allow_infinity=False)
share_below_one = st.floats(0, 1, exclude_max=True)
counts = st.integers(1, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4096)
warmups = st.integers(0, 2**63 - 1)

data_configs = st.builds(
    DataConfig,
    source=texts,
    split=st.sampled_from(["hash", "lecture"]),
    fractions=st.none()
    | st.floats(0, 1, exclude_min=True).map(lambda share: (share, 1 - share, 0.0)),
    seed=st.none() | warmups,
    max_name_length=st.integers(1, 1_000_000),
)
schedules = st.one_of(
    st.builds(ConstantSchedule, warmup_steps=warmups),
    st.builds(LinearSchedule, warmup_steps=warmups, final_fraction=st.floats(0, 1)),
    st.builds(CosineSchedule, warmup_steps=warmups, final_fraction=st.floats(0, 1)),
    st.builds(
        StepSchedule,
        warmup_steps=warmups,
        milestones=st.sets(
            st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=1, max_size=5
        ).map(lambda shares: tuple(sorted(shares))),
        factor=positive,
    ),
)
optimizers = st.one_of(
    st.builds(AdamWConfig, beta1=share_below_one, epsilon=positive, weight_decay=positive),
    st.builds(SGDConfig, momentum=st.just(0.9), nesterov=st.booleans()),
)
train_configs = st.builds(
    TrainConfig,
    steps=counts,
    max_epochs=st.none() | positive,
    learning_rate=positive,
    schedule=schedules,
    optimizer=optimizers,
    patience=st.none() | counts,
)
trained_models = st.one_of(
    st.just(BigramConfig()),
    st.builds(MLPConfig, norm=st.just("batch"), norm_statistics=st.sampled_from([None, "running"])),
    st.builds(TransformerConfig, dropout=share_below_one),
)
configs = st.one_of(
    st.builds(Config, seed=warmups, data=data_configs, model=trained_models, train=train_configs),
    st.builds(Config, data=data_configs, model=st.builds(BigramCountConfig, k=positive)),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_a_dump_reloads_to_an_equal_config(config: Config) -> None:
    assert config_from_dict(parse_yaml(dump_config(config), "x").values, "x") == config


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_the_json_form_reloads_to_an_equal_config(config: Config) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config))), "x") == config


@pytest.mark.parametrize(
    "source",
    [
        "",
        "-",
        "~",
        "null",
        "true",
        "1",
        "1e5",
        "017",
        "...",
        "a: b",
        "a #b",
        "'",
        '"',
        "\\",
        "&a",
        "<<",
        " a ",
        "a\nb",
        "\x00",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\u00e9",
        "\U0001f600",
    ],
)
def test_a_string_that_looks_like_something_else_survives_a_dump(source: str) -> None:
    config = Config(data=DataConfig(source=source), model=MLPConfig())
    text = dump_config(config)
    assert parse_yaml(text, "x").values["data"] == config_to_dict(config)["data"]
    assert all(character.isprintable() for character in text.replace("\n", ""))


def test_a_dump_shows_every_field_in_order() -> None:
    config = Config(model=BigramCountConfig(k=1e16), data=DataConfig(fractions=(0.5, 0.25, 0.25)))
    assert dump_config(config) == (
        "seed: 1\n"
        "data:\n"
        "  source: names\n"
        "  split: hash\n"
        "  fractions: [0.5, 0.25, 0.25]\n"
        "  seed: null\n"
        "  max_name_length: 256\n"
        "model:\n"
        "  kind: bigram-count\n"
        "  k: 1e+16\n"
    )


def test_the_shipped_reference_is_what_the_program_writes() -> None:
    shipped = resource_path("configs", "reference.yaml").read_text(encoding="utf-8")
    command = "makemore config --reference > configs/reference.yaml"
    assert shipped == reference_yaml(), f"rewrite it: {command}"


def test_every_kind_in_the_reference_is_a_configuration_with_every_default() -> None:
    """The reference is read by our own parser, and what it says is what a config gets."""
    values = parse_yaml(reference_yaml(), "reference.yaml").values
    models, train = values["model"], values["train"]
    assert isinstance(models, dict)
    assert isinstance(train, dict)
    assert list(models) == [model.model_fields["kind"].default for model in MODELS]
    for model in models.values():
        for schedule in train["schedule"].values():
            for optimizer in train["optimizer"].values():
                chosen = {**train, "schedule": schedule, "optimizer": optimizer}
                given = {**values, "model": model, "train": chosen}
                if model["kind"] == "bigram-count":
                    del given["train"]
                short = {"model": {"kind": model["kind"]}}
                overrides = [
                    f"train.schedule.kind={schedule['kind']}",
                    f"train.optimizer.kind={optimizer['kind']}",
                ]
                expected = config_from_dict(short, "x", overrides if "train" in given else [])
                assert config_from_dict(given, "x") == expected


def all_sections(section: type[BaseModel]) -> list[type[BaseModel]]:
    return [section, *(each for below in section.__subclasses__() for each in all_sections(below))]


def test_every_field_has_one_sentence_as_its_description() -> None:
    sections = all_sections(Section)
    assert len(sections) == 14
    for section in sections:
        for name, field in section.model_fields.items():
            description = field.description or ""
            assert description[:1].isupper(), (section, name)
            assert description.endswith("."), (section, name)
            assert ". " not in description, (section, name)


def test_the_schema_is_json_and_knows_the_kinds() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["required"] == ["model"]
    assert set(schema["properties"]["model"]["discriminator"]["mapping"]) == {
        "bigram-count",
        "bigram",
        "mlp",
        "transformer",
    }


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config(model=MLPConfig()).seed = 2
