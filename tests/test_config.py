"""What can be configured: the limits of each field, and the rules between them."""

import re
from typing import get_args

import pytest
from pydantic import BaseModel

from makemore.config import (
    Activation,
    AdamWConfig,
    BigramConfig,
    Config,
    EnsembleConfig,
    InitializationConfig,
    LinearSchedule,
    MLPConfig,
    ModelConfig,
    NgramConfig,
    Section,
    TrainConfig,
    TransformerConfig,
    WaveNetConfig,
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
        ("train.learning_rate=0", "train.learning_rate: must be greater than 0, got 0"),
        ("train.max_epochs=0", "train.max_epochs: must be greater than 0, got 0"),
        ("train.patience=0", "train.patience: must be at least 1, got 0"),
        (
            "train.schedule.final_fraction=1.1",
            "train.schedule.final_fraction: must be at most 1, got 1.1",
        ),
        ("train.optimizer.beta1=1", "train.optimizer.beta1: must be less than 1, got 1"),
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
        (
            "model={kind: transformer, num_heads: 2, embedding_dim: 6, positions: rotary}",
            "model.positions: rotary turns pairs: embedding_dim / num_heads is 3, odd",
        ),
        (
            "model={kind: transformer, num_heads: 64, query_key_norm: true}",
            "model.query_key_norm: leaves but a sign of one number: embedding_dim / num_heads is 1",
        ),
        (
            "model={kind: ngram, discounts: [1, 2]}",
            "model.discounts: `modified-kneser-ney` takes 3 of them, got 2",
        ),
        (
            "model={kind: ngram, smoothing: absolute, discounts: [0.5, 0.5]}",
            "model.discounts: `absolute` takes 1 of them, got 2",
        ),
        (
            "model={kind: ngram, discounts: [1, 2.5, 3]}",
            "model.discounts: a discount of 2.5 is more than the count of 2 it is taken from",
        ),
        (
            "model={kind: wavenet, kernel_size: 17, num_layers: 3}",
            "model.num_layers: a stack of 3 layers would look at 4913 characters, more than 4096",
        ),
        (
            "model={kind: wavenet-tree, context_length: 12}",
            "model.context_length: must be a power of two, got 12",
        ),
        (
            "model={kind: ensemble, members: [{kind: mlp}]}",
            "model.members: needs at least 2 models, got 1",
        ),
        (
            f"model={{kind: ensemble, members: [{', '.join(['{kind: bigram}'] * 33)}]}}",
            "model.members: must have at most 32 items, "
            'got [{"kind": "bigram"}, {"kind": "bigram"}, {"kind": "bigram...',
        ),
        (
            "train.optimizer={kind: lbfgs}",
            "train.optimizer: `lbfgs` needs the full batch, `train.batch_size: null`",
        ),
    ],
)
def test_a_value_beyond_its_limit_is_a_problem(override: str, what: str) -> None:
    assert problems_of(override) == [what]


def problems_of(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(MLP, "here", overrides)
    return [problem.what for problem in caught.value.problems]


NO_EFFECT = [
    # data
    ("data={fractions: [1, 0, 0], seed: 3}", "data.seed", "where all names are in train"),
    # ngram
    ("model={kind: ngram, k: 1}", "model.k", "without `smoothing: add-k`"),
    ("model={kind: ngram, smoothing: none, k: 1}", "model.k", "without `smoothing: add-k`"),
    *(
        (
            f"model={{kind: ngram, smoothing: {smoothing}, discounts: [0.5]}}",
            "model.discounts",
            f"with `smoothing: {smoothing}`",
        )
        for smoothing in ("none", "add-k", "witten-bell")
    ),
    # batch normalization
    *(
        (f"model={{{rest}, norm_statistics: {statistics}}}", "model.norm_statistics", without)
        for statistics in ("running", "recomputed")
        for without in ["without `norm: batch`"]
        for rest in (
            "kind: mlp",
            "kind: mlp, norm: layer",
            "kind: mlp, norm: rms",
            "kind: wavenet-tree, norm: none",
        )
    ),
    (
        "model={kind: wavenet-tree, norm: none, norm_over: batch}",
        "model.norm_over",
        "without `norm: batch`",
    ),
    (
        "model={kind: wavenet-tree, context_length: 2, norm_over: batch}",
        "model.norm_over",
        "with `context_length: 2`, a tree of one node",
    ),
    # residual branches
    (
        "model={kind: mlp, residual: true}",
        "model.residual",
        "with one hidden layer; set `num_layers` to 2 or more",
    ),
    (
        "model={kind: mlp, num_layers: 2, initialization: {zero_residual: true}}",
        "model.initialization: `zero_residual`",
        "without `residual: true`",
    ),
    *(
        (
            f"model={{{rest}, initialization: {{zero_residual: true}}}}",
            "model.initialization: `zero_residual`",
            "without residual branches",
        )
        for rest in ("kind: wavenet-tree", "kind: wavenet, num_layers: 1")
    ),
    # weights that are all zero
    *(
        (f"model.initialization={{method: zeros, {rest}}}", f"model.initialization: `{key}`", zeros)
        for zeros in ["on `method: zeros`"]
        for rest, key in (
            ("factor: 2", "factor"),
            ("output_factor: 1", "output_factor"),
            ("zero_residual: true", "zero_residual"),
        )
    ),
    # attention to one character
    (
        "model={kind: transformer, context_length: 1, query_key_norm: true}",
        "model.query_key_norm",
        "with `context_length: 1`",
    ),
    (
        "model={kind: transformer, context_length: 1, positions: rotary}",
        "model.positions: `rotary`",
        "with `context_length: 1`",
    ),
    # training
    (
        "train={batch_size: null, replacement: true}",
        "train.replacement",
        "on a full batch (`batch_size: null`)",
    ),
    *(
        (f"train.l1_method={method}", "train.l1_method", "without an `l1_penalty`")
        for method in ("proximal", "subgradient")
    ),
    (
        "train.optimizer={kind: sgd, nesterov: true}",
        "train.optimizer.nesterov",
        "without a `momentum` greater than 0",
    ),
    (
        "train.optimizer={kind: muon, momentum: 0}",
        "train.optimizer.nesterov",
        "with `momentum: 0`; set it to false",
    ),
    (
        "train.optimizer={kind: nadam, beta1: 0, momentum_decay: 0.1}",
        "train.optimizer.momentum_decay",
        "with `beta1: 0`",
    ),
]


@pytest.mark.parametrize(("override", "key", "why"), NO_EFFECT)
def test_an_option_without_effect_is_an_error_that_names_it(
    override: str, key: str, why: str
) -> None:
    separator = " " if " " in key else ": "
    assert problems_of(override) == [f"{key}{separator}has no effect {why}"]


@pytest.mark.parametrize(
    ("smoothing", "given"),
    [
        ("none", ""),
        ("witten-bell", ""),
        ("add-k", "k: 0.5, "),
        ("absolute", "discounts: [0.5], "),
        ("kneser-ney", "discounts: [0.5], "),
        ("modified-kneser-ney", "discounts: [0.5, 1, 1.5], "),
    ],
)
def test_a_model_with_nothing_to_choose_is_not_tuned(smoothing: str, given: str) -> None:
    model = f"model={{kind: ngram, smoothing: {smoothing}, {given}tune: true, order: "
    assert problems_of(f"{model}1}}") == ["model.tune: has nothing to choose at order 1"]
    assert config_from_dict(MLP, "here", [f"{model}2}}"]).train is None
    if given:
        left_open = f"model={{kind: ngram, smoothing: {smoothing}, tune: true, order: 1}}"
        assert config_from_dict(MLP, "here", [left_open]).train is None


def test_what_needs_validation_names_has_no_effect_without_them() -> None:
    without = "data.fractions=[0.9, 0, 0.1]"
    assert problems_of(without, "train.patience=3") == [
        "train.patience: has no effect without validation names (`data.fractions`)"
    ]
    assert problems_of(without, "model={kind: ngram, tune: true}") == [
        "model.tune: has no effect without validation names (`data.fractions`)"
    ]
    for override in ("train.patience=3", "model={kind: ngram, tune: true}"):
        assert config_from_dict(MLP, "here", [override, "data.fractions=[0.9, 0.1, 0]"])


@pytest.mark.parametrize(
    "setting",
    ["l1_penalty: 0.1", "max_gradient_norm: 1", "max_gradient_value: 1"],
)
def test_lbfgs_refuses_what_its_line_search_cannot_see(setting: str) -> None:
    train = f"train={{batch_size: null, optimizer: {{kind: lbfgs}}, {setting}}}"
    assert problems_of(train) == [
        f"train.{setting.partition(':')[0]}: "
        "cannot be used with `lbfgs`, whose steps follow the loss alone"
    ]


@pytest.mark.parametrize("setting", ["l2_penalty: 0.1", "average_decay: 0.9", "max_epochs: 2"])
def test_lbfgs_takes_what_is_part_of_the_loss_or_comes_after_a_step(setting: str) -> None:
    train = f"train={{batch_size: null, optimizer: {{kind: lbfgs}}, {setting}}}"
    assert config_from_dict(MLP, "here", [train]).train is not None


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
        "model={kind: mlp, num_layers: 2, residual: true, initialization: {zero_residual: true}}",
        "model={kind: wavenet-tree, norm_statistics: recomputed, norm_over: batch}",
        "model={kind: wavenet-tree, context_length: 4, norm_over: batch_and_time}",
        "model={kind: wavenet, kernel_size: 16, num_layers: 3}",
        "model={kind: wavenet, num_layers: 2, initialization: {zero_residual: true}}",
        "model={kind: wavenet, num_layers: 1, num_stacks: 2, "
        "initialization: {zero_residual: true}}",
        "model={kind: transformer, initialization: {zero_residual: true}}",
        "model={kind: transformer, context_length: 2, positions: rotary, query_key_norm: true}",
        "model={kind: lstm, dropout: 0.5}",
        "model.initialization={method: zeros, factor: 1, output_factor: 0.1, zero_residual: false}",
        "train={batch_size: null, optimizer: {kind: lbfgs}}",
        "train={l1_penalty: 0.1, l1_method: proximal}",
        "train.optimizer={kind: muon, momentum: 0, nesterov: false}",
        "train.optimizer={kind: nadam, beta1: 0, momentum_decay: 0.004}",
        "data={split: lecture, fractions: [1, 0, 0], seed: 3}",
        "model={kind: ngram, order: 32, discounts: [1, 2, 3]}",
        "model={kind: ngram, smoothing: add-k, k: 0}",
        "train.schedule={kind: step, milestones: [0.25, 0.5]}",
    ],
)
def test_a_value_at_its_limit_is_accepted(override: str) -> None:
    assert config_from_dict(MLP, "here", [override]) != config_from_dict(MLP, "here")


def test_the_makemore_split_takes_no_fractions() -> None:
    data = {"fractions": [0.8, 0.1, 0.1], "split": "makemore"}
    with pytest.raises(ConfigError, match="the makemore split has fixed sizes"):
        config_from_dict({**MLP, "data": data}, "here")


@pytest.mark.parametrize("model", get_args(get_args(ModelConfig)[0]))
def test_weights_that_are_all_zero_are_no_error_by_themselves(model: type[Section]) -> None:
    """Also where the default of the other keys is not that of the section's class."""
    if "initialization" in model.model_fields:
        zeros = model.model_validate({"initialization": {"method": "zeros"}})
        assert zeros != model()
        assert model.model_validate(zeros.model_dump()) == zeros
    else:
        assert model().model_dump().get("initialization") is None


def test_tied_embeddings_are_never_zero_so_their_factor_has_an_effect() -> None:
    settings = "kind: transformer, initialization: {method: zeros, output_factor: 1}"
    assert problems_of(f"model={{{settings}}}") == [
        "model.initialization: `output_factor` has no effect on `method: zeros`"
    ]
    assert config_from_dict(MLP, "here", [f"model={{{settings}, tied_embeddings: true}}"])


def test_a_model_in_closed_form_takes_no_training() -> None:
    count = {"model": {"kind": "ngram"}}
    assert config_from_dict({**count, "train": None}, "here") == Config(model=NgramConfig())
    assert Config(model=NgramConfig()).train is None
    for train in ({}, {"steps": 1}, {"stepz": 1}):
        with pytest.raises(ConfigError) as caught:
            config_from_dict({**count, "train": train}, "here")
        (problem,) = caught.value.problems
        assert problem.what == (
            "train: `ngram` is fitted in closed form and takes no training options"
        )


def test_any_other_model_is_trained_even_where_train_is_null() -> None:
    assert config_from_dict({**MLP, "train": None}, "here").train == TrainConfig()
    assert Config(model=BigramConfig()).train == TrainConfig()


def test_a_section_without_kind_is_of_the_default_kind() -> None:
    train = TrainConfig.model_validate({"schedule": {"warmup_steps": 9}})
    assert train.schedule == LinearSchedule(warmup_steps=9)


def test_a_section_given_in_part_keeps_the_rest_of_its_default() -> None:
    """The default of the place, which need not be that of the section's class."""
    assert WaveNetConfig().initialization.method == "normal"
    assert InitializationConfig().method == "kaiming_normal"
    partial = WaveNetConfig.model_validate({"initialization": {"factor": 2}})
    assert partial.initialization == InitializationConfig(method="normal", factor=2)
    chosen = WaveNetConfig.model_validate({"initialization": {"method": "zeros"}})
    assert chosen.initialization == InitializationConfig(method="zeros")
    whole = TrainConfig(optimizer=AdamWConfig(beta1=0.5))
    partial_train = TrainConfig.model_validate({"optimizer": {"beta1": 0.5}})
    assert partial_train == whole


def test_every_member_of_an_ensemble_is_of_its_own_kind() -> None:
    members = [{"kind": "mlp", "hidden_dim": 5}, {"kind": "transformer"}]
    model = EnsembleConfig.model_validate({"members": members})
    assert model.members == (MLPConfig(hidden_dim=5), TransformerConfig())


def all_sections(section: type[BaseModel]) -> list[type[BaseModel]]:
    return [section, *(each for below in section.__subclasses__() for each in all_sections(below))]


def test_every_field_has_one_sentence_as_its_description_and_every_choice_another() -> None:
    sections = all_sections(Section)
    assert len(sections) == 36
    for section in sections:
        for name, field in section.model_fields.items():
            if section.__name__ == "RecurrentSection" and name == "kind":
                continue  # its subclasses describe it
            what, *meanings = (field.description or "").split("\n")
            assert what[:1].isupper(), (section, name)
            assert what.endswith(":" if meanings else "."), (section, name)
            for sentence in (what, *meanings):
                assert ". " not in sentence.replace("et al. ", ""), (section, name)
                assert sentence.isascii(), (section, name)
            if meanings:
                matches = [re.fullmatch(r"- ([a-z0-9_-]+): .+\.", line) for line in meanings]
                options = get_args(field.annotation)
                assert [match and match[1] for match in matches] == list(options), (section, name)


def test_every_kind_and_every_choice_names_its_source() -> None:
    source = re.compile(r"\([^()]*\d{4}[^()]*\)|\(torch\.nn\.Linear\)")
    for section in all_sections(Section):
        for name, field in section.model_fields.items():
            description = str(field.description)
            if name == "kind" and section.__name__ != "RecurrentSection":
                assert source.search(description), section
            for line in description.split("\n")[1:]:
                is_absence = line == "- none: no normalization."
                assert is_absence or source.search(line), (section, line)


def test_the_activations_are_those_of_the_course() -> None:
    assert " ".join(get_args(get_args(Activation)[0])) == (
        "identity step sigmoid tanh relu leaky_relu prelu elu selu softplus gelu silu relu_squared"
    )


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config(model=MLPConfig()).seed = 2
