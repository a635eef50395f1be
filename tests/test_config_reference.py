"""The reference of every key, for people and for programs."""

import json
from typing import get_args

from makemore.config import ModelConfig
from makemore.config_loading import config_from_dict
from makemore.config_reference import json_schema, reference_yaml
from makemore.shipped_files import resource_path
from makemore.strict_yaml import parse_yaml


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
    assert list(models) == [
        model.model_fields["kind"].default for model in get_args(get_args(ModelConfig)[0])
    ]
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


def test_the_schema_is_json_and_knows_the_kinds() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["required"] == ["model"]
    assert set(schema["properties"]["model"]["discriminator"]["mapping"]) == {
        "bigram-count",
        "bigram",
        "mlp",
        "transformer",
    }
