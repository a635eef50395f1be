"""From a file or plain values, with overrides, to a configuration, and back."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from makemore.config import (
    AdamWConfig,
    BigramConfig,
    BigramCountConfig,
    Config,
    ConstantSchedule,
    CosineSchedule,
    DataConfig,
    LinearSchedule,
    MLPConfig,
    ModelConfig,
    SGDConfig,
    StepSchedule,
    TrainConfig,
    TransformerConfig,
)
from makemore.config_loading import config_from_dict, config_to_dict, dump_config, load_config
from makemore.errors import ConfigError, UsageError
from makemore.shipped_files import preset_names, resolve_preset
from makemore.strict_yaml import MAX_BYTES, parse_yaml

MLP = "model: {kind: mlp}\n"

Load = Callable[..., Config]
ProblemsOf = Callable[..., list[tuple[str, str, str]]]


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


@pytest.mark.parametrize("character", ["x", "\u00e9"])
def test_size_ends_at_the_limit(load: Load, problems_of: ProblemsOf, character: str) -> None:
    room = MAX_BYTES - len(MLP.encode()) - 2
    text = MLP + "#" + character * (room // len(character.encode()))
    text += " " * (MAX_BYTES - 1 - len(text.encode())) + "\n"
    assert load(text).model == MLPConfig()
    # The second byte of the last character is beyond what is read.
    assert problems_of(text + character)[0][1] == "longer than 64 KiB"


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


def test_the_presets_cover_every_kind_of_model() -> None:
    kinds = {load_config(resolve_preset(name)).model.kind for name in preset_names()}
    assert kinds == {
        model.model_fields["kind"].default for model in get_args(get_args(ModelConfig)[0])
    }


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


@pytest.mark.parametrize("line", ["x{}: 1", "seed: {}"])
def test_of_many_problems_the_first_twenty_are_reported(problems_of: ProblemsOf, line: str) -> None:
    """Unknown keys are found after the YAML is read, duplicate keys while it is."""

    def problems(number: int) -> list[tuple[str, str, str]]:
        # The first of duplicate keys is no problem: it stands before the lines that are counted.
        start = "{model: {kind: mlp}, seed: 1" if line.startswith("seed") else "{model: {kind: mlp}"
        return problems_of(start + "".join(",\n" + line.format(n) for n in range(number)) + "}")

    assert [where for where, _, _ in problems(20)] == [f"mine.yaml:{n}" for n in range(2, 22)]
    assert problems(21) == [*problems(20), ("", "and 1 more", "")]
    assert problems(500) == [*problems(20), ("", "and 480 more", "")]


def test_the_problems_of_overrides_count_with_those_of_the_file(problems_of: ProblemsOf) -> None:
    too_large = ", ".join(f"1e{n}" for n in range(400, 425))
    problems = problems_of(f"{MLP}x: 1\n", f"seed=[{too_large}]")
    assert problems[0][1] == "x: unknown key"
    assert problems[19][1] == "the number 1e418 is too large"
    assert problems[20:] == [("", "and 6 more", "")]


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


@pytest.mark.parametrize("kind", ["model.kind=bigram-count", "model={kind: bigram-count}"])
def test_an_override_to_closed_form_drops_the_training_of_the_file_alone(
    load: Load, problems_of: ProblemsOf, kind: str
) -> None:
    text = f"{MLP}train: {{steps: 3}}\n"
    assert load(text, "model.k=2", kind) == Config(model=BigramCountConfig(k=2))
    ((where, what, _),) = problems_of(text, "train.schedule.kind=cosine", kind)
    assert where == "--set train.schedule.kind"
    assert "takes no training options" in what


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
        ("seed=[1", "--set seed", "not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("seed=&x 1", "--set seed", "anchors (`&name`) are not allowed"),
    ],
)
def test_an_override_that_cannot_be_applied_is_a_problem(
    problems_of: ProblemsOf, override: str, where: str, what: str
) -> None:
    assert [problem[:2] for problem in problems_of(f"seed: 5\n{MLP}", override)] == [(where, what)]


@given(st.lists(st.text(), max_size=3))
@example(["train." * 5000 + "steps=1"])
@example(["model={kind: [1]}", "train.schedule.kind={a: 1}", "kind=mlp", "model.kind="])
@example(["model.kind.kind=mlp", "model=3", "model.kind=mlp"])
def test_any_override_is_obeyed_or_is_a_config_error(overrides: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        config_from_dict({"model": {"kind": "mlp"}}, "here", overrides)


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
    max_epochs=st.none() | st.floats(0, 1e9, exclude_min=True),
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


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_a_dump_reloads_to_an_equal_config(config: Config) -> None:
    assert config_from_dict(parse_yaml(dump_config(config), "x").values, "x") == config


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_the_json_form_reloads_to_an_equal_config(config: Config) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config))), "x") == config


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


def test_flaws_of_the_yaml_hide_no_problems_of_the_config(problems_of: ProblemsOf) -> None:
    text = "model:\n  kind: mlp\n  hidden_dim: big\nseed: 1\nseed: -1\ntrain: {stepz: &a 4}\n"
    found = problems_of(text, "train.batch_size=0")
    assert [(where, what.split(":")[0]) for where, what, _ in found] == [
        ("mine.yaml:3", "model.hidden_dim"),
        ("mine.yaml:5", "seed"),
        ("mine.yaml:5", "seed"),
        ("mine.yaml:6", "anchors (`&name`) are not allowed"),
        ("mine.yaml:6", "train.stepz"),
        ("--set train.batch_size", "train.batch_size"),
    ]
