"""What a resumed run may be told to change, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from makemore import launch
from makemore.checkpoint import load_checkpoint, save_checkpoint
from makemore.config_loading import load_config
from makemore.errors import (
    CheckpointError,
    ConfigError,
    UsageError,
)
from makemore.run import Run, load
from makemore.run_directory import RunDirectory
from tests.small_runs import CrashError, die_at, untimed


def test_a_resumed_run_takes_changes_of_its_training_only(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    with pytest.raises(UsageError, match=r"model\.hidden_dim: cannot be changed"):
        launch.resume(tmp_path / "run", overrides=["model.hidden_dim=17"])
    with pytest.raises(ConfigError, match=r"train\.stepz: unknown key"):
        launch.resume(tmp_path / "run", overrides=["train.stepz=17"])
    resumed = launch.resume(tmp_path / "run", overrides=["train.steps=14"])
    assert resumed.config.train is not None
    assert resumed.config.train.steps == 14


def test_what_a_resume_changed_survives_a_crash(train: Callable[..., Run], tmp_path: Path) -> None:
    train("run")
    with pytest.raises(CrashError):
        launch.resume(tmp_path / "run", overrides=["train.steps=20"], report=die_at(14))
    launch.resume(tmp_path / "run")
    assert load_checkpoint(RunDirectory(tmp_path / "run").last).step == 20
    assert untimed(tmp_path / "run")[0]["num_steps"] == 20
    config = load_config(RunDirectory(tmp_path / "run").config)
    assert config == load(tmp_path / "run").config


# Adam and AdamW remember the same, and are not the same.
@pytest.mark.parametrize(
    ("first", "other"), [("adamw", "sgd"), ("sgd", "adamw"), ("adam", "adamw")]
)
def test_a_run_cannot_go_on_with_another_optimizer(
    first: str, other: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "run")
    train("run", f"train.optimizer={{kind: {first}{', momentum: 0.9' * (first == 'sgd')}}}")
    before = run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()
    with pytest.raises(UsageError, match=r"train\.optimizer\.kind: cannot be changed"):
        launch.resume(run.path, overrides=[f"train.optimizer.kind={other}", "train.steps=20"])
    assert (run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()) == before


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (["train.optimizer={kind: sgd}"], "train.optimizer.momentum=0.9"),
        ([], "train.average_decay=0.9"),
        (["train.average_decay=0.9"], "train.average_decay=null"),
    ],
)
def test_a_change_that_the_memory_of_a_run_does_not_fit_is_named(
    options: list[str], change: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run", *options)
    with pytest.raises(UsageError) as caught:
        launch.resume(tmp_path / "run", overrides=[change, "train.steps=20"])
    assert caught.value.problems[0].where == f"--set {change.partition('=')[0]}"


def test_weights_in_training_that_do_not_fit_are_refused(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run", "train.average_decay=0.9")
    last = RunDirectory(tmp_path / "run").last
    sound = load_checkpoint(last)
    for trained in ({}, {name: value[:1] for name, value in sound.trained.items()}):
        save_checkpoint(last, replace(sound, trained=trained))
        with pytest.raises(CheckpointError, match="its weights in training"):
            launch.resume(tmp_path / "run", overrides=["train.steps=20"])


def test_a_run_that_patience_ended_goes_on_with_more_patience_alone(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    hopeless = ["train.learning_rate=50", "train.patience=1"]
    train("run", *hopeless)
    directory = RunDirectory(tmp_path / "run")
    before = directory.config.read_bytes(), directory.last.read_bytes()
    with pytest.raises(UsageError, match="1 evaluations without a better loss") as caught:
        launch.resume(directory.path, overrides=["train.steps=40"])
    assert caught.value.problems[0].hint == "--set train.patience=2 goes on with it"
    assert (directory.config.read_bytes(), directory.last.read_bytes()) == before
    launch.resume(directory.path, overrides=["train.patience=2"])
    assert untimed(directory.path)[-1]["step"] == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: {name: value[:1] if value.dim() else value for name, value in state.items()},
        lambda state: {name: value.double() for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "exp_avg_sq" not in name},
        lambda state: {},
        lambda state: {f"x{name}": value for name, value in state.items()},
    ],
)
def test_an_optimizer_state_that_does_not_fit_is_refused(
    damage: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    train: Callable[..., Run],
    tmp_path: Path,
) -> None:
    """The fused kernels read and write as much memory as the weights have."""
    train("run")
    last = RunDirectory(tmp_path / "run").last
    sound = load_checkpoint(last)
    save_checkpoint(last, replace(sound, optimizer=damage(sound.optimizer)))
    RunDirectory(tmp_path / "run").best.unlink()
    with pytest.raises(CheckpointError, match="its optimizer's state"):
        launch.resume(tmp_path / "run", overrides=["train.steps=20"])


@pytest.mark.parametrize("steps", [5, 12])
def test_a_resume_that_would_change_nothing_but_the_config_is_refused(
    steps: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    run = RunDirectory(tmp_path / "run")
    before = run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()
    with pytest.raises(UsageError, match="at step 12 already"):
        launch.resume(run.path, overrides=[f"train.steps={steps}", "train.learning_rate=0.7"])
    assert (run.config.read_bytes(), run.metrics.read_bytes(), run.last.read_bytes()) == before
