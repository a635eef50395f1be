"""Stopped or killed after any step of 60, a run ends bitwise as if nothing had happened.

For every model, optimizer and schedule, each in a small run that differs in it alone. What a kill
leaves is the run directory as it stands at that moment, so one run that is never stopped shows what
a kill after each of its steps would leave: a copy of the directory.
"""

import random
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from makemore import launch
from makemore.config import ScheduleConfig
from makemore.errors import InterruptedRun
from makemore.run import Run, load
from makemore.run_directory import RunDirectory
from makemore.strict_yaml import render_value
from tests.small_optimizers import OPTIMIZERS, named
from tests.small_runs import SMALL, assert_equal_runs, signal_at

NUM_STEPS = 60
# 58 names: epochs end within batches, evaluations between the batches of an epoch.
OPTIONS = [f"train.steps={NUM_STEPS}", "train.evaluate_every=7", "train.schedule.warmup_steps=9"]
FURTHER_MODELS = {
    "rnn": ["model={kind: rnn, hidden_dim: 8, embedding_dim: 8}"],
    "lstm": ["model={kind: lstm, hidden_dim: 8, embedding_dim: 8, dropout: 0.2}"],
    "bow": ["model={kind: bow, embedding_dim: 8, hidden_dim: 8}"],
    "wavenet-tree": [
        "model={kind: wavenet-tree, context_length: 4, embedding_dim: 4, hidden_dim: 8}"
    ],
    "patience": ["model.hidden_dim=8", "train.patience=3", "train.learning_rate=0.1"],
    "windows": ["model.hidden_dim=8", "train.batch_unit=windows", "train.max_epochs=4"],
}


def as_override(key: str, config: Any) -> str:
    return f"{key}={render_value(config.model_dump(mode='json'))}"


def cases() -> dict[str, list[str]]:
    optimizers = {
        f"optimizer {named(config)}": [
            as_override("train.optimizer", config),
            "model.hidden_dim=8",
            *(["train.batch_size=null"] if config.kind == "lbfgs" else []),
        ]
        for config in OPTIMIZERS
    }
    schedules = {
        f"schedule {schedule.model_fields['kind'].default}": [
            as_override("train.schedule", schedule()),
            "model.hidden_dim=8",
        ]
        for schedule in get_args(get_args(ScheduleConfig)[0])
    }
    models = {f"model {kind}": options for kind, options in {**SMALL, **FURTHER_MODELS}.items()}
    return models | optimizers | schedules


CASES = cases()
all_cases = pytest.mark.parametrize("case", CASES)
# In every test run a few steps of each case, others for each; with `-m long` all of them.
how_many = pytest.mark.parametrize(
    "num_stops", [3, pytest.param(NUM_STEPS, marks=pytest.mark.long)]
)


def some_steps(case: str, num_stops: int) -> list[int]:
    return sorted(random.Random(case).sample(range(1, NUM_STEPS + 1), num_stops))


def assert_same_end(first: Path, second: Path) -> None:
    assert_equal_runs(first, second)
    names = [load(path, device="cpu").sample(20, seed=1) for path in (first, second)]
    assert names[0] == names[1]


@all_cases
@how_many
def test_stopped_again_and_again_it_ends_the_same(
    case: str, num_stops: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    """Each stop saves the step at which it came, and the next start goes on from there."""
    options = [*OPTIONS, *CASES[case]]
    train("whole", *options)
    end = RunDirectory(tmp_path / "whole").records()[-1]["step"]
    steps = [step for step in some_steps(case, num_stops) if step < end]
    with pytest.raises(InterruptedRun):
        train("parts", *options, report=signal_at(steps[0], signal.SIGINT))
    for step in steps[1:]:
        with pytest.raises(InterruptedRun):
            launch.resume(tmp_path / "parts", device="cpu", report=signal_at(step, signal.SIGTERM))
    launch.resume(tmp_path / "parts", device="cpu")
    assert_same_end(tmp_path / "whole", tmp_path / "parts")


@all_cases
@how_many
def test_killed_after_a_step_it_takes_the_lost_ones_again_and_ends_the_same(
    case: str, num_stops: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    steps = some_steps(f"killed {case}", num_stops)
    left: list[Path] = []

    def keep(record: Mapping[str, object]) -> None:
        if record["event"] == "train" and record["step"] in steps:
            left.append(tmp_path / f"killed after {record['step']}")
            shutil.copytree(tmp_path / "whole", left[-1])

    train("whole", *OPTIONS, *CASES[case], report=keep)
    assert left
    for directory in left:
        launch.resume(directory, device="cpu")
        assert_same_end(tmp_path / "whole", directory)
        shutil.rmtree(directory)
