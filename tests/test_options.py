"""Every option changes what it says it changes: a tiny model trained with and without it.

Every field of every section is here, or the first test says which one is missing.
"""

import json
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch.nn import functional

from makemore import launch
from makemore.checkpoint import load_checkpoint
from makemore.config import (
    InitializationConfig,
    MLPConfig,
    Section,
    TrainConfig,
    kind_of,
    sections_of,
)
from makemore.models import ClosedFormModel, Mixture, build_model
from makemore.models.batch_norm import recompute_statistics
from tests.small_runs import NAMES as RUN_NAMES
from tests.small_runs import SHORT, untimed
from tests.test_models import KINDS, NAMES, VOCABULARY, batch_of, corpus_of, small

# Of models: the value of a field that is compared with the small model's, where the field does not
# list its choices; and what else has to be set for it to have an effect.
OTHER_VALUES: dict[str, object] = {
    "context_length": 2,
    "embedding_dim": 16,
    "hidden_dim": 20,
    "skip_dim": 20,
    "num_layers": 4,
    "num_heads": 4,
    "num_stacks": 2,
    "kernel_size": 3,
    "dropout": 0.3,
    "embedding_dropout": 0.3,
    "embedding_length": 3,
    "output_factor": 0.5,
    "order": 2,
    "k": 0.5,
    "discounts": (0.4, 0.5, 0.6),
    "residual": True,
    "query_key_norm": True,
    "tied_embeddings": True,
    "members": (MLPConfig(hidden_dim=5), MLPConfig(hidden_dim=6)),
    "norm_statistics": "running",
    "norm_over": "batch",
}
COMPANIONS: dict[str, dict[str, object]] = {
    "k": {"smoothing": "add-k"},
    "norm_statistics": {"norm": "batch"},
}
# What tuning chooses is tested with the model (tests/test_ngram.py).
ELSEWHERE = {"tune"}


def model_options() -> list[Any]:
    options = []
    for kind in KINDS:
        for name, field in kind.model_fields.items():
            if name in {"kind", "initialization", *ELSEWHERE}:
                continue
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            values = [v for v in choices if v != field.default] or [OTHER_VALUES[name]]
            for value in values:
                label = f"{kind_of(kind)} {name}={value}"
                options.append(pytest.param(kind, name, value, id=label))
        if "initialization" in kind.model_fields:
            for name, value in INITIALIZATIONS:
                if name == "zero_residual" and not kind.__name__.startswith(HAS_BRANCHES):
                    continue
                if name == "method" and value == kind.model_fields["initialization"].default.method:
                    continue
                label = f"{kind_of(kind)} initialization.{name}={value}"
                options.append(pytest.param(kind, f"initialization.{name}", value, id=label))
    return options


METHODS = get_args(InitializationConfig.model_fields["method"].annotation)
INITIALIZATIONS: list[tuple[str, object]] = [
    *(("method", method) for method in METHODS),
    ("factor", 0.5),
    ("output_factor", 0.5),
    ("zero_residual", True),
]
HAS_BRANCHES = ("MLP", "Transformer", "WaveNetConfig", "Bow")


def trained_logits(config: Any) -> Any:
    """The logits of a model after a few steps (or its fit) from the seed 0."""
    batch = batch_of(NAMES)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = build_model(config, VOCABULARY.size)
        if isinstance(model, ClosedFormModel):
            model.fit(corpus_of(NAMES), corpus_of([]))
            return model.eval()(batch).detach()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            for member in model.members if isinstance(model, Mixture) else [model]:
                functional.cross_entropy(member(batch), batch.targets).backward()
            optimizer.step()
        recompute_statistics(model, corpus_of(NAMES), 100)
        with torch.no_grad():
            return model.eval()(batch).detach()


@pytest.mark.parametrize(("kind", "name", "value"), model_options())
def test_every_option_of_a_model_changes_what_it_learns(
    kind: type[Section], name: str, value: object
) -> None:
    companions = dict(COMPANIONS.get(name, {}))
    changes: dict[str, object] = {name: value}
    if name.startswith("initialization."):
        key = name.partition(".")[2]
        default = kind.model_fields["initialization"].default
        changes = {"initialization": default.model_copy(update={key: value})}
        if key == "zero_residual" and kind is MLPConfig:
            companions["residual"] = True
    with_it = trained_logits(small(kind, **companions, **changes))
    without = trained_logits(small(kind, **companions))
    assert not torch.allclose(with_it, without, rtol=1e-4, atol=1e-5)


# Of training: what is set, against which baseline, and whether it changes the weights or only the
# records, that is, when something is reported.
WEIGHTS, RECORDS = "weights", "records"
BATCH_ALL = ["train.batch_size=null"]
TRAIN_OPTIONS: dict[str, tuple[list[str], list[str], str]] = {
    "steps": (["train.steps=8"], [], WEIGHTS),
    "max_epochs": (["train.max_epochs=2"], [], WEIGHTS),
    "batch_size": (["train.batch_size=10"], [], WEIGHTS),
    "batch_unit": (["train.batch_unit=windows"], [], WEIGHTS),
    "replacement": (["train.replacement=true"], [], WEIGHTS),
    "learning_rate": (["train.learning_rate=0.02"], [], WEIGHTS),
    "label_smoothing": (["train.label_smoothing=0.1"], [], WEIGHTS),
    "l2_penalty": (["train.l2_penalty=0.1"], [], WEIGHTS),
    "l1_penalty": (["train.l1_penalty=0.1"], [], WEIGHTS),
    "l1_method": (
        ["train.l1_penalty=0.1", "train.l1_method=subgradient"],
        ["train.l1_penalty=0.1"],
        WEIGHTS,
    ),
    "max_gradient_norm": (
        ["train.max_gradient_norm=0.1"],
        ["train.optimizer={kind: sgd}"],
        WEIGHTS,
    ),
    "max_gradient_value": (
        ["train.max_gradient_value=0.01"],
        ["train.optimizer={kind: sgd}"],
        WEIGHTS,
    ),
    "average_decay": (["train.average_decay=0.5"], [], WEIGHTS),
    "evaluate_every": (["train.evaluate_every=3"], [], RECORDS),
    "patience": (
        ["train.patience=1", "train.learning_rate=50"],
        ["train.learning_rate=50"],
        WEIGHTS,
    ),
    "log_every": (["train.log_every=5"], [], RECORDS),
    "num_samples": (["train.num_samples=1"], [], RECORDS),
}
SCHEDULE_VALUES: dict[str, str] = {
    "warmup_steps": "3",
    "milestones": "[0.25]",
    "factor": "0.3",
    "final_fraction": "0.5",
    "num_cycles": "2",
    "peak": "0.6",
    "initial_fraction": "0.5",
}
OPTIMIZER_VALUES: dict[str, str] = {
    "momentum": "0.5",
    "nesterov": "true",
    "epsilon": "0.1",
    "rho": "0.5",
    "alpha": "0.5",
    "centered": "true",
    "beta1": "0.5",
    "beta2": "0.5",
    "momentum_decay": "0.5",
    "weight_decay": "0.5",
    "adamw_factor": "0.7",
    "max_iterations": "2",
    "history_size": "1",
    "line_search": "none",
}
NEEDED: dict[str, str] = {"sgd nesterov": "momentum: 0.9", "muon nesterov": "momentum: 0.9"}


def section_options(
    section: str, values: dict[str, str]
) -> dict[str, tuple[list[str], list[str], str]]:
    """Each kind against the default one, and each key of it against that kind's defaults."""
    found = {}
    for kind, options in sections_of(TrainConfig.model_fields[section]).items():
        full = BATCH_ALL if kind == "lbfgs" else []
        found[f"{section} {kind}"] = ([f"train.{section}={{kind: {kind}}}", *full], full, WEIGHTS)
        for key in options.model_fields:
            if key == "kind":
                continue
            needed = NEEDED.get(f"{kind} {key}", "")
            base = f"train.{section}={{kind: {kind}, {needed}}}"
            change = f"train.{section}.{key}={values[key]}"
            if key == "nesterov" and kind == "muon":
                change = change.replace("true", "false")
            found[f"{section} {kind} {key}"] = ([base, change, *full], [base, *full], WEIGHTS)
    return found


ALL_TRAIN_OPTIONS = {
    **TRAIN_OPTIONS,
    **section_options("schedule", SCHEDULE_VALUES),
    **section_options("optimizer", OPTIMIZER_VALUES),
}
# Without weight decay, AdamW is Adam.
ALL_TRAIN_OPTIONS["optimizer adam"] = (
    ["train.optimizer={kind: adam}"],
    ["train.optimizer={kind: adamw, weight_decay: 0.5}"],
    WEIGHTS,
)
# The default kinds change nothing against themselves.
del ALL_TRAIN_OPTIONS["schedule linear"], ALL_TRAIN_OPTIONS["optimizer adamw"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """The best and last weights and the records of a tiny run, each run once."""
    home = tmp_path_factory.mktemp("options")
    names = home / "names.txt"
    names.write_text("\n".join(RUN_NAMES))
    known: dict[tuple[str, ...], dict[str, Any]] = {}

    def run(overrides: list[str]) -> dict[str, Any]:
        key = tuple(overrides)
        if key not in known:
            path = home / str(len(known))
            small_model = ["model.hidden_dim=6", "model.embedding_dim=3"]
            launch.train(
                "mlp",
                data=names,
                run=path,
                device="cpu",
                overrides=[*small_model, *SHORT, *overrides],
            )
            best = load_checkpoint(path / "checkpoints" / "best.safetensors")
            last = load_checkpoint(path / "checkpoints" / "last.safetensors")
            known[key] = {
                WEIGHTS: [*best.model.values(), *last.model.values()],
                RECORDS: json.dumps(untimed(path)[1:]),
            }
        return known[key]

    return run


@pytest.mark.parametrize("option", ALL_TRAIN_OPTIONS)
def test_every_option_of_training_changes_what_it_says(
    option: str, result: Callable[..., dict[str, Any]]
) -> None:
    changes, base, what = ALL_TRAIN_OPTIONS[option]
    with_it, without = result([*base, *changes]), result(base)
    assert with_it[RECORDS] != without[RECORDS]
    pairs = zip(with_it[WEIGHTS], without[WEIGHTS], strict=True)
    same_weights = all(torch.equal(*pair) for pair in pairs)
    assert same_weights == (what == RECORDS)


def test_every_option_is_tested_here() -> None:
    # What only makes it faster is in tests/test_runtime.py.
    faster = {"compile", "precision"}
    elsewhere = {"schedule", "optimizer", *faster}
    assert set(TRAIN_OPTIONS) == set(TrainConfig.model_fields) - elsewhere
    fields = {(kind_of(kind), name) for kind in KINDS for name in kind.model_fields}
    tested = {(kind_of(p.values[0]), p.values[1].partition(".")[0]) for p in model_options()}
    assert fields - tested == {
        *((kind_of(kind), "kind") for kind in KINDS),
        ("ngram", "tune"),
    }
