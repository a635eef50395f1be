"""The reference of every key, for people and for programs."""

import json
import re
from typing import Any, get_args

import pytest

from makemore.config import (
    Config,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    Section,
    is_list,
    sections_of,
)
from makemore.config_loading import config_from_dict
from makemore.config_reference import json_schema, reference_yaml
from makemore.shipped_files import resource_path
from makemore.strict_yaml import parse_yaml

REFERENCE = reference_yaml()
VALUES: Any = parse_yaml(REFERENCE, "reference.yaml").values


def test_the_shipped_reference_is_what_the_program_writes() -> None:
    shipped = resource_path("configs", "reference.yaml").read_text(encoding="utf-8")
    command = "makemore config --reference > configs/reference.yaml"
    assert shipped == REFERENCE, f"rewrite it: {command}"


def kinds(union: object) -> list[str]:
    return [section.model_fields["kind"].default for section in get_args(get_args(union)[0])]


def test_the_reference_has_every_kind_in_the_order_of_the_config() -> None:
    models, train = VALUES["model"], VALUES["train"]
    assert isinstance(models, dict)
    assert isinstance(train, dict)
    assert list(models) == kinds(ModelConfig)
    assert list(train["schedule"]) == kinds(ScheduleConfig)
    assert list(train["optimizer"]) == kinds(OptimizerConfig)


@pytest.mark.parametrize("kind", kinds(ModelConfig))
def test_a_model_of_the_reference_is_a_configuration_with_every_default(kind: str) -> None:
    """The reference is read by our own parser, and what it says is what a config gets."""
    assert resolved({"model": VALUES["model"][kind]}) == resolved({"model": {"kind": kind}})


@pytest.mark.parametrize("kind", kinds(OptimizerConfig))
def test_an_optimizer_of_the_reference_has_every_default(kind: str) -> None:
    assert_training_by_default("optimizer", kind)


@pytest.mark.parametrize("kind", kinds(ScheduleConfig))
def test_a_schedule_of_the_reference_has_every_default(kind: str) -> None:
    assert_training_by_default("schedule", kind)


def assert_training_by_default(name: str, kind: str) -> None:
    train = VALUES["train"]
    assert isinstance(train, dict)
    size = {"batch_size": None} if kind == "lbfgs" else {}
    chosen = {"schedule": train["schedule"]["linear"], "optimizer": train["optimizer"]["adamw"]}
    given = {**train, **chosen, name: train[name][kind], **size}
    expected = resolved({"model": {"kind": "mlp"}, "train": {name: {"kind": kind}, **size}})
    assert resolved({**VALUES, "model": {"kind": "mlp"}, "train": given}) == expected


def resolved(values: dict[str, object]) -> Config:
    return config_from_dict(values, "x")


def assert_shows(section: type[Section], shown: object) -> None:
    """Every key of a section is there, and below each that of the sections that it can hold."""
    assert isinstance(shown, dict)
    assert list(shown) == list(section.model_fields)
    for name, field in section.model_fields.items():
        for kind, below in ({} if is_list(field) else sections_of(field)).items():
            assert_shows(below, shown[name][kind] if kind else shown[name])


def test_every_key_of_every_kind_is_in_the_reference_in_order() -> None:
    assert_shows(Config, VALUES)


def all_sections(section: type[Section]) -> set[type[Section]]:
    below = [b for field in section.model_fields.values() for b in sections_of(field).values()]
    return {section}.union(*map(all_sections, below))


def test_every_description_and_every_sentence_about_a_choice_is_in_the_reference() -> None:
    """As one comment each, whatever its lines: joined again, it is the sentence."""
    joined = re.sub(r"(?<=\n)( *)(#.*)((?:\n\1# .*)*)", join, f"\n{REFERENCE}")
    comments = {line.strip() for line in joined.splitlines()}
    for section in all_sections(Config):
        for field in section.model_fields.values():
            for sentence in str(field.description).split("\n"):
                default_kind = r"( The kind is [a-z]+ unless given\.)?"
                pattern = re.compile(rf"# {re.escape(sentence)}{default_kind}")
                assert any(map(pattern.fullmatch, comments)), sentence


def join(comment: re.Match[str]) -> str:
    """A comment of several lines as one, but for the lines that begin a choice."""
    return re.sub(r"\n *#  ? ?(?!- )", " ", comment[2] + comment[3])


def test_the_choices_of_a_key_are_explained_once() -> None:
    lines = [line.strip() for line in REFERENCE.splitlines()]
    assert lines.count("# - relu: max(x, 0) (Nair & Hinton 2010).") == 1
    assert lines.count("# - none: by the causal mask alone (Haviv et al. 2022).") == 1
    assert (
        "# What a hidden unit makes of its input x; the choices stand at model.mlp.activation."
        in (lines)
    )


def test_a_choice_has_a_comment_of_its_own_with_the_rest_below_its_name() -> None:
    assert (
        "    # - elu: x above 0, else exp(x) - 1 (Clevert et al. 2016).\n"
        "    # - selu: elu with the scales that keep mean 0 and variance 1 (Klambauer et al. 2017)."
        "\n"
    ) in REFERENCE
    assert (
        "    # - step: 1 above 0, else 0 (Rosenblatt 1958); the gradient passes straight through"
        " where |x| is\n"
        "    #   at most 1 (Bengio et al. 2013, Hubara et al. 2016).\n"
    ) in REFERENCE


def test_the_members_of_an_ensemble_are_not_all_models_again() -> None:
    assert "    members: [{kind: mlp}, {kind: mlp}]\n" in REFERENCE


def test_a_default_of_the_place_is_shown_not_that_of_the_section() -> None:
    models = VALUES["model"]
    assert isinstance(models, dict)
    assert models["mlp"]["initialization"]["method"] == "kaiming_normal"
    assert models["wavenet"]["initialization"]["method"] == "normal"


def test_no_line_of_the_reference_is_longer_than_a_hundred_characters() -> None:
    assert max(map(len, REFERENCE.splitlines())) <= 100


def test_the_schema_is_json_and_knows_the_kinds() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["required"] == ["model"]
    mapping = schema["properties"]["model"]["discriminator"]["mapping"]
    assert list(mapping) == sorted(kinds(ModelConfig))
    members = schema["$defs"]["EnsembleConfig"]["properties"]["members"]["items"]
    assert set(members["discriminator"]["mapping"]) == set(mapping) - {"ngram", "ensemble"}
