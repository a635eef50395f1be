"""`--set key=value`: what wins, what it drops, and what cannot be applied."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from makemore.config import (
    AdamWConfig,
    Config,
    ConstantSchedule,
    DataConfig,
    EnsembleConfig,
    GRUConfig,
    InitializationConfig,
    LSTMConfig,
    MLPConfig,
    NgramConfig,
    TrainConfig,
    TransformerConfig,
    WaveNetConfig,
)
from makemore.config_loading import config_from_dict
from makemore.errors import ConfigError

MLP = "model: {kind: mlp}\n"

Load = Callable[..., Config]
ProblemsOf = Callable[..., list[tuple[str, str, str]]]


def test_an_override_wins_over_the_file_and_the_last_over_the_others(load: Load) -> None:
    config = load(f"seed: 1\n{MLP}", "seed=2", "train.steps=5", "seed=3")
    assert (config.seed, config.train) == (3, TrainConfig(steps=5))


def test_an_override_makes_the_sections_it_needs(load: Load) -> None:
    config = load(f"{MLP}train:\n", "train.optimizer.weight_decay=0.1", "data.source=-")
    assert config.train == TrainConfig(optimizer=AdamWConfig(weight_decay=0.1))
    assert config.data.source == "-"


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


@pytest.mark.parametrize("kind", ["model.kind=ngram", "model={kind: ngram}"])
def test_an_override_to_closed_form_drops_the_training_of_the_file_alone(
    load: Load, problems_of: ProblemsOf, kind: str
) -> None:
    text = f"{MLP}train: {{steps: 3}}\n"
    assert load(text, "model.order=2", kind) == Config(model=NgramConfig(order=2))
    ((where, what, _),) = problems_of(text, "train.schedule.kind=cosine", kind)
    assert where == "--set train.schedule.kind"
    assert "takes no training options" in what


def test_an_override_reaches_into_a_section_of_a_model(load: Load) -> None:
    text = "model: {kind: wavenet, initialization: {factor: 2}}\n"
    assert load(text).model == WaveNetConfig(
        initialization=InitializationConfig(method="normal", factor=2)
    )
    expected = WaveNetConfig(initialization=InitializationConfig(method="torch", factor=2))
    assert load(text, "model.initialization.method=torch").model == expected
    whole = load(MLP, "model.initialization={method: zeros}").model
    assert load(MLP, "model.initialization.method=zeros").model == whole
    assert whole == MLPConfig(initialization=InitializationConfig(method="zeros"))


ENSEMBLE = "model: {kind: ensemble, members: [{kind: mlp, hidden_dim: 5}, {kind: gru}]}\n"


def test_an_override_sets_the_whole_list_of_members(load: Load) -> None:
    expected = EnsembleConfig(members=(LSTMConfig(), GRUConfig(hidden_dim=3)))
    members = "model.members=[{kind: lstm}, {kind: gru, hidden_dim: 3}]"
    assert load(ENSEMBLE, members).model == expected
    # The kind may come before or after.
    assert load(MLP, "model.kind=ensemble", members).model == expected
    assert load(MLP, members, "model.kind=ensemble").model == expected


def test_an_override_reaches_one_member_by_its_number(load: Load) -> None:
    members = (MLPConfig(hidden_dim=32), GRUConfig(num_layers=2))
    overrides = ["model.members.0.hidden_dim=32", "model.members.1.num_layers=2"]
    assert load(ENSEMBLE, *overrides).model == EnsembleConfig(members=members)
    # Whole lists come first, whatever the order on the command line.
    whole = "model.members=[{kind: mlp, context_length: 2}, {kind: gru}]"
    assert load(ENSEMBLE, *overrides, whole).model == EnsembleConfig(
        members=(MLPConfig(context_length=2, hidden_dim=32), GRUConfig(num_layers=2))
    )
    inner = load(ENSEMBLE, "model.members.0.initialization.factor=2").model
    assert inner == EnsembleConfig(
        members=(
            MLPConfig(hidden_dim=5, initialization=InitializationConfig(factor=2)),
            GRUConfig(),
        )
    )


@pytest.mark.parametrize("kind", ["model.members.0.kind=lstm", "model.members.0={kind: lstm}"])
def test_an_override_of_the_kind_of_a_member_drops_the_keys_of_that_member_alone(
    load: Load, kind: str
) -> None:
    expected = EnsembleConfig(members=(LSTMConfig(embedding_dim=3), GRUConfig()))
    assert load(ENSEMBLE, "model.members.0.embedding_dim=3", kind).model == expected
    same = load(ENSEMBLE, "model.members.0.kind=mlp")
    assert same == load(ENSEMBLE)


def test_an_override_of_a_list_of_values_keeps_its_turn(load: Load) -> None:
    config = load(MLP, "data={source: x}", "data.fractions=[1, 0, 0]")
    assert config.data == DataConfig(source="x", fractions=(1, 0, 0))
    text = f"{MLP}data: {{fractions: [0.8, 0.1, 0.1]}}\n"
    one_by_one = ["data.fractions.0=0.5", "data.fractions.1=0.4"]
    assert load(text, *one_by_one).data.fractions == (0.5, 0.4, 0.1)


def test_a_problem_with_a_default_of_the_new_kind_is_not_blamed_on_a_dropped_line(
    problems_of: ProblemsOf,
) -> None:
    text = "model:\n  kind: mlp\n  embedding_dim: 64\n"
    problems = problems_of(text, "model.kind=transformer", "model.num_heads=5")
    assert problems[0][0] == "mine.yaml:1"


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("seed.x=1", "--set seed.x", "seed.x: `seed` is no section, but 5"),
        ("foo", "--set foo", "expected KEY=VALUE"),
        ("=1", "--set =1", "expected a dotted key before `=`"),
        ("a..b=1", "--set a..b=1", "expected a dotted key before `=`"),
        (
            "model.members.0.hidden_dim=1",
            "--set model.members.0.hidden_dim",
            "model.members.0.hidden_dim: `model.members` is no list, but null",
        ),
        ("model.0=1", "--set model.0", 'model.0: `model` is no list, but {"kind": "mlp"}'),
        ("0=1", "--set 0", "0: unknown key"),
        ("seed=[1", "--set seed", "not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("seed=&x 1", "--set seed", "anchors (`&name`) are not allowed"),
    ],
)
def test_an_override_that_cannot_be_applied_is_a_problem(
    problems_of: ProblemsOf, override: str, where: str, what: str
) -> None:
    assert [problem[:2] for problem in problems_of(f"seed: 5\n{MLP}", override)] == [(where, what)]


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("model.members.2.kind=mlp", "`model.members` has 2 items, the first is 0"),
        ("model.members.2={kind: mlp}", "`model.members` has 2 items, the first is 0"),
        ("model.members.first=1", "`model.members` is a list, whose items are numbered from 0"),
        ("model.members.99999999=1", "`model.members` is a list, whose items are numbered from 0"),
    ],
)
def test_an_override_of_a_member_that_is_not_there_is_a_problem(
    problems_of: ProblemsOf, override: str, what: str
) -> None:
    key = override.partition("=")[0]
    assert [problem[:2] for problem in problems_of(ENSEMBLE, override)] == [
        (f"--set {key}", f"{key}: {what}")
    ]


@given(st.lists(st.text(), max_size=3))
@example(["model.members=[{kind: mlp}]", "model.members.0.0=1", "model.members.0=[]"])
@example(["model={kind: ensemble, members: [1]}", "model.members.0.kind=mlp"])
@example(["model.members=[{kind: [1]}, {}]", "model.kind=ensemble", "model.members.1.kind={}"])
@example(["train." * 5000 + "steps=1"])
@example(["model={kind: [1]}", "train.schedule.kind={a: 1}", "kind=mlp", "model.kind="])
@example(["model.kind.kind=mlp", "model=3", "model.kind=mlp"])
def test_any_override_is_obeyed_or_is_a_config_error(overrides: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        config_from_dict({"model": {"kind": "mlp"}}, "here", overrides)
