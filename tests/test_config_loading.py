"""From a file or plain values, with overrides, to a configuration, and back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from makemore.config import (
    AdamWConfig,
    BigramConfig,
    Config,
    ConstantSchedule,
    CosineSchedule,
    DataConfig,
    EnsembleConfig,
    GRUConfig,
    InitializationConfig,
    LBFGSConfig,
    LinearSchedule,
    MLPConfig,
    ModelConfig,
    MuonConfig,
    NgramConfig,
    OneCycleSchedule,
    OptimizerConfig,
    ScheduleConfig,
    Section,
    SGDConfig,
    StepSchedule,
    TrainConfig,
    TransformerConfig,
    WaveNetConfig,
)
from makemore.config.section import MAX_MEMBERS
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
    assert problems_of(text + character)[0][1] == "longer than 32 KiB"


def test_a_missing_file_is_a_usage_error_that_names_the_presets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file") as caught:
        load_config(tmp_path / "none.yaml")
    assert caught.value.exit_code == 2
    assert caught.value.problems[0].hint.startswith(
        "check the path; the presets are best, bigram, "
    )
    with pytest.raises(UsageError) as caught:
        load_config(Path("transfomer"))
    assert caught.value.problems[0].hint.startswith("check the path; did you mean `transformer`? ")


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


positive = st.floats(0, exclude_min=True, allow_infinity=False)
share_below_one = st.floats(0, 1, exclude_max=True)
counts = st.integers(1, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=1024)
warmups = st.integers(0, 2**63 - 1)

data_configs = st.builds(
    DataConfig,
    source=texts,
    split=st.sampled_from(["hash", "lecture"]),
    fractions=st.none()
    | st.floats(0, 1, exclude_min=True, exclude_max=True).map(
        lambda share: (share, 1 - share, 0.0)
    ),
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
    st.builds(
        WaveNetConfig,
        initialization=st.builds(
            InitializationConfig, method=st.just("torch"), factor=positive, output_factor=positive
        ),
    ),
)
ensembles = st.builds(
    EnsembleConfig, members=st.lists(trained_models, min_size=2, max_size=4).map(tuple)
)
models = trained_models | ensembles
closed_form_models = st.builds(
    NgramConfig, smoothing=st.just("add-k"), k=st.none() | positive
) | st.builds(NgramConfig, discounts=st.tuples(*[st.floats(0, count) for count in (1, 2, 3)]))
configs = st.one_of(
    st.builds(Config, seed=warmups, data=data_configs, model=models, train=train_configs),
    st.builds(Config, data=data_configs, model=closed_form_models),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_a_dump_reloads_to_an_equal_config(config: Config) -> None:
    assert config_from_dict(parse_yaml(dump_config(config), "x").values, "x") == config


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_the_json_form_reloads_to_an_equal_config(config: Config) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config))), "x") == config


def kinds_of(union: object) -> list[type[Section]]:
    return list(get_args(get_args(union)[0]))


@pytest.mark.parametrize("kind", kinds_of(ModelConfig))
def test_every_kind_of_model_reloads_equal(kind: type[Section]) -> None:
    assert_reloads(Config.model_validate({"model": kind()}))


@pytest.mark.parametrize("kind", kinds_of(ScheduleConfig))
def test_every_schedule_reloads_equal(kind: type[Section]) -> None:
    assert_reloads(Config.model_validate({"model": MLPConfig(), "train": {"schedule": kind()}}))


@pytest.mark.parametrize("kind", kinds_of(OptimizerConfig))
def test_every_optimizer_reloads_equal(kind: type[Section]) -> None:
    size = None if kind is LBFGSConfig else 8
    train = {"optimizer": kind(), "batch_size": size}
    assert_reloads(Config.model_validate({"model": MLPConfig(), "train": train}))


def test_the_largest_ensemble_reloads_equal() -> None:
    """With a source of nothing but escapes: the bounds of a text leave room for any config."""
    members = (TransformerConfig(),) * MAX_MEMBERS
    data = DataConfig(source="\x1b" * 1024, fractions=(0.7, 0.2, 0.1), seed=2**63 - 1)
    train = TrainConfig(optimizer=MuonConfig(), schedule=OneCycleSchedule())
    assert_reloads(Config(data=data, model=EnsembleConfig(members=members), train=train))


def assert_reloads(config: Config) -> None:
    document = parse_yaml(dump_config(config), "x")
    assert config_from_dict(document.values, "x") == config
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config))), "x") == config


def test_a_dump_shows_the_members_of_an_ensemble_one_below_the_other() -> None:
    members = (BigramConfig(), GRUConfig(hidden_dim=3, output_factor=0.5))
    dump = dump_config(Config(model=EnsembleConfig(members=members)))
    assert (
        "model:\n"
        "  kind: ensemble\n"
        "  members:\n"
        "    - kind: bigram\n"
        "    - kind: gru\n"
        "      embedding_dim: 64\n"
        "      hidden_dim: 3\n"
        "      num_layers: 1\n"
        "      norm: none\n"
        "      dropout: 0.0\n"
        "      embedding_dropout: 0.0\n"
        "      output_factor: 0.5\n"
        "train:\n"
    ) in dump


def test_a_dump_shows_every_field_in_order() -> None:
    model = NgramConfig(order=2, smoothing="add-k", k=1e16)
    config = Config(model=model, data=DataConfig(fractions=(0.5, 0.25, 0.25)))
    assert dump_config(config) == (
        "seed: 1\n"
        "data:\n"
        "  source: names\n"
        "  split: hash\n"
        "  fractions: [0.5, 0.25, 0.25]\n"
        "  seed: null\n"
        "  max_name_length: 256\n"
        "model:\n"
        "  kind: ngram\n"
        "  order: 2\n"
        "  smoothing: add-k\n"
        "  k: 1e+16\n"
        "  discounts: null\n"
        "  tune: false\n"
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
