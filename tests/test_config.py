"""What can be configured: the limits of each field, and the rules between them."""

import pytest
from pydantic import BaseModel

from makemore.config import (
    BigramConfig,
    BigramCountConfig,
    Config,
    LinearSchedule,
    MLPConfig,
    Section,
    TrainConfig,
)
from makemore.config_loading import config_from_dict
from makemore.errors import ConfigError

MLP = {"model": {"kind": "mlp"}}


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("seed=-1", "seed: must be at least 0, got -1"),
        (
            "seed=9223372036854775808",
            "seed: must be at most 9223372036854775807, got 9223372036854775808",
        ),
        ("data.max_name_length=0", "data.max_name_length: must be at least 1, got 0"),
        (
            "data.max_name_length=1000001",
            "data.max_name_length: must be at most 1000000, got 1000001",
        ),
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
        (
            "model.norm_statistics=running",
            "model.norm_statistics: has no effect without `norm: batch`",
        ),
        ("train.learning_rate=0", "train.learning_rate: must be greater than 0, got 0"),
        ("train.max_epochs=0", "train.max_epochs: must be greater than 0, got 0"),
        ("train.patience=0", "train.patience: must be at least 1, got 0"),
        (
            "train.schedule.final_fraction=1.1",
            "train.schedule.final_fraction: must be at most 1, got 1.1",
        ),
        ("train.optimizer.beta1=1", "train.optimizer.beta1: must be less than 1, got 1"),
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
            "model={kind: transformer, num_heads: 5}",
            "model.embedding_dim: must be a multiple of num_heads (5), got 64",
        ),
    ],
)
def test_a_value_beyond_its_limit_is_a_problem(override: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(MLP, "here", [override])
    assert [problem.what for problem in caught.value.problems] == [what]


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
def test_a_value_at_its_limit_is_accepted(override: str) -> None:
    assert config_from_dict(MLP, "here", [override]) != config_from_dict(MLP, "here")


def test_the_makemore_split_takes_no_fractions() -> None:
    data = {"fractions": [0.8, 0.1, 0.1], "split": "makemore"}
    with pytest.raises(ConfigError, match="the makemore split has fixed sizes"):
        config_from_dict({**MLP, "data": data}, "here")


def test_a_model_in_closed_form_takes_no_training() -> None:
    count = {"model": {"kind": "bigram-count"}}
    assert config_from_dict({**count, "train": None}, "here") == Config(model=BigramCountConfig())
    assert Config(model=BigramCountConfig()).train is None
    for train in ({}, {"stepz": 1}):
        with pytest.raises(ConfigError) as caught:
            config_from_dict({**count, "train": train}, "here")
        (problem,) = caught.value.problems
        assert problem.what == (
            "train: `bigram-count` is fitted in closed form and takes no training options"
        )


def test_any_other_model_is_trained_even_where_train_is_null() -> None:
    assert config_from_dict({**MLP, "train": None}, "here").train == TrainConfig()
    assert Config(model=BigramConfig()).train == TrainConfig()


def test_a_section_without_kind_is_of_the_default_kind() -> None:
    train = TrainConfig.model_validate({"schedule": {"warmup_steps": 9}})
    assert train.schedule == LinearSchedule(warmup_steps=9)


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


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config(model=MLPConfig()).seed = 2
