"""Stopped, crashed, resumed: a run ends bitwise as if nothing had happened, or says why not."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from makemore import launch
from makemore.checkpoint import load_checkpoint, to_bytes
from makemore.errors import (
    CheckpointError,
    InterruptedRun,
    LockedError,
)
from makemore.run import Run, load
from makemore.run_directory import RunDirectory
from tests.small_runs import SHORT, SMALL, CrashError, assert_equal_runs, die_at, signal_at, untimed


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("step", [1, 6, 11])
def test_a_run_stopped_by_a_signal_and_resumed_ends_bitwise_like_one_that_never_stopped(
    kind: str, step: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("whole", *SMALL[kind])
    with pytest.raises(InterruptedRun) as caught:
        train("parts", *SMALL[kind], report=signal_at(step, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert load_checkpoint(RunDirectory(tmp_path / "parts").last).step == step
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("kind", ["mlp-batchnorm", "transformer"])
def test_a_run_that_crashed_between_checkpoints_takes_the_lost_steps_again(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("whole", *SMALL[kind])
    with pytest.raises(CrashError):
        train("parts", *SMALL[kind], report=die_at(7))
    assert load_checkpoint(RunDirectory(tmp_path / "parts").last).step == 4
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("kind", SMALL)
def test_a_finished_run_resumed_with_more_steps_equals_the_longer_run(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    constant = "train.schedule.kind=constant"
    train("long", *SMALL[kind], constant)
    train("short", *SMALL[kind], constant, "train.steps=8")
    launch.resume(tmp_path / "short", device="cpu", overrides=["train.steps=12"])
    long, short = (RunDirectory(tmp_path / name) for name in ("long", "short"))
    assert long.last.read_bytes() == short.last.read_bytes()
    # Where the best state is one of the first 8 steps, it was written with their config.
    config = load_checkpoint(long.best).config
    best = replace(load_checkpoint(short.best), config=config)
    assert to_bytes(best) == long.best.read_bytes()


@pytest.mark.parametrize("kind", [*SMALL, "bigram-count"])
def test_resuming_a_finished_run_changes_nothing(
    kind: str, train: Callable[..., Run], names_file: Path, tmp_path: Path
) -> None:
    if kind == "bigram-count":
        launch.train(kind, data=str(names_file), run=tmp_path / "run")
    else:
        train("run", *SMALL[kind])
    before = (
        {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()},
        untimed(tmp_path / "run"),
    )
    launch.resume(tmp_path / "run", device="cpu")
    after = (
        {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()},
        untimed(tmp_path / "run"),
    )
    assert before == after


def test_sigterm_ends_with_143(train: Callable[..., Run]) -> None:
    with pytest.raises(InterruptedRun) as caught:
        train("run", report=signal_at(3, signal.SIGTERM))
    assert caught.value.exit_code == 143


def test_signal_handlers_are_given_back(train: Callable[..., Run]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train("run")
    with pytest.raises(InterruptedRun):
        train("other", report=signal_at(3, signal.SIGTERM))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_training_works_outside_the_main_thread(train: Callable[..., Run]) -> None:
    results: list[Run] = []
    thread = threading.Thread(target=lambda: results.append(train("run")))
    thread.start()
    thread.join()
    other = train("other")
    assert all(
        torch.equal(v, results[0].checkpoint.model[k]) for k, v in other.checkpoint.model.items()
    )


@pytest.mark.parametrize("kind", SMALL)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    kind: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("first", *SMALL[kind], seed=3)
    torch.rand(7)  # The caller's generator has no say.
    train("second", *SMALL[kind], seed=3)
    train("third", *SMALL[kind], seed=4)
    last = [RunDirectory(tmp_path / run).last for run in ("first", "second", "third")]
    assert last[0].read_bytes() == last[1].read_bytes()
    tensors = [load_checkpoint(path).model for path in (last[0], last[2])]
    assert any(not torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_training_leaves_the_callers_generator_alone(train: Callable[..., Run]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("run", *SMALL["transformer"])
    assert torch.equal(torch.rand(3), expected)


def test_a_run_that_is_being_trained_is_locked(train: Callable[..., Run], tmp_path: Path) -> None:
    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "train":
            launch.resume(tmp_path / "run")

    with pytest.raises(LockedError) as caught:
        train("run", report=report)
    assert caught.value.exit_code == 6


def test_a_signal_before_the_first_step_leaves_a_run_that_can_be_resumed(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "evaluation" and record["step"] == 0:
            os.kill(os.getpid(), signal.SIGINT)

    train("whole")
    with pytest.raises(InterruptedRun):
        train("parts", report=report)
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", SMALL)
def test_a_checkpoint_from_a_gpu_loads_on_a_cpu(
    kind: str, names_file: Path, tmp_path: Path
) -> None:
    run = launch.train(
        "mlp",
        data=str(names_file),
        run=tmp_path / "run",
        device="cuda",
        overrides=[*SHORT, *SMALL[kind]],
    )
    on_cpu = load(tmp_path / "run", device="cpu")
    for name in ("train", "val"):
        gpu, cpu = (each.evaluate(name).loss.nats_per_char for each in (run, on_cpu))
        assert gpu == pytest.approx(cpu, abs=1e-4)
    assert run.sample(50, seed=1) == on_cpu.sample(50, seed=1)


def test_two_threads_give_the_same_bytes_twice_and_through_a_resume(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    """At the preset's sizes, so that torch does divide the work among threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        sizes = ["train.batch_size=64", "train.steps=4", "train.evaluate_every=2"]
        train("first", *sizes, model="transformer")
        train("second", *sizes, model="transformer")
        with pytest.raises(InterruptedRun):
            train("parts", *sizes, model="transformer", report=signal_at(3, signal.SIGINT))
        launch.resume(tmp_path / "parts", device="cpu")
    finally:
        torch.set_num_threads(before)
    assert_equal_runs(tmp_path / "first", tmp_path / "second")
    assert_equal_runs(tmp_path / "first", tmp_path / "parts")


def test_resuming_takes_the_newer_of_best_and_last(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    """A kill can come after `best` was written and before `last` was."""
    train("whole")
    with pytest.raises(CrashError):
        train("parts", report=die_at(7))
    directory = RunDirectory(tmp_path / "parts")
    older = directory.last.read_bytes()
    with pytest.raises(CrashError):
        launch.resume(tmp_path / "parts", device="cpu", report=die_at(9))
    assert load_checkpoint(directory.best).step == 8
    directory.last.write_bytes(older)
    told: list[Mapping[str, object]] = []
    launch.resume(tmp_path / "parts", device="cpu", report=told.append)
    assert [record["step"] for record in told if record["event"] == "resume"] == [8]
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_records_that_are_damaged_are_passed_over(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    metrics = RunDirectory(tmp_path / "run").metrics
    lines = metrics.read_text().splitlines()
    lines[2:2] = ["\0\0\0", "[]", '{"event": 5, "step": 1}', '{"step": "x"}']
    metrics.write_text("\n".join(lines) + "\n{torn")
    assert len(RunDirectory(tmp_path / "run").records()) == len(lines) - 4
    launch.resume(tmp_path / "run", overrides=["train.steps=13"])
    assert [record["event"] for record in untimed(tmp_path / "run")].count("end") == 1


def test_resuming_with_another_number_of_threads_says_so(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    told: list[object] = []
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        launch.resume(tmp_path / "run", report=lambda record: told.append(record.get("text")))
    finally:
        torch.set_num_threads(before)
    assert any(f"started with {before} threads" in str(text) for text in told)


def test_an_ignored_signal_stays_ignored(train: Callable[..., Run]) -> None:
    """A job in the background of a script ignores Ctrl-C, which means the foreground."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = train("run", report=signal_at(3, signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
    assert run.config.train is not None


@pytest.mark.parametrize("event", ["train", "end"])
def test_a_signal_at_the_end_leaves_out_the_last_evaluation_or_comes_too_late(
    event: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    def report(record: Mapping[str, object]) -> None:
        if record["event"] == event and record["step"] == 12:
            os.kill(os.getpid(), signal.SIGINT)

    train("whole")
    with pytest.raises(InterruptedRun) as caught:
        train("run", report=report)
    assert caught.value.exit_code == 130
    assert ("complete" in str(caught.value)) == (event == "end")
    assert (untimed(tmp_path / "run")[-1]["event"] == "end") == (event == "end")
    launch.resume(tmp_path / "run", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("missing", ["best", "last"])
def test_a_missing_checkpoint_is_replaced_by_the_other(
    missing: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    train("run")
    run = RunDirectory(tmp_path / "run")
    getattr(run, missing).unlink()
    launch.resume(run.path)
    assert len(run.checkpoints()) == 2
    assert untimed(run.path)[-1]["event"] == "end"


def test_a_run_is_resumed_by_a_checkpoint_in_it_too(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train("run")
    launch.resume(run.path, overrides=["train.steps=13"])
    assert load_checkpoint(RunDirectory(tmp_path / "run").last).step == 13


def test_a_checkpoint_that_is_in_no_run_cannot_be_resumed(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(train("run").path.parent.parent)
    copy = tmp_path / "some" / "place" / "best.safetensors"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(run.best.read_bytes())
    with pytest.raises(CheckpointError, match="not in the checkpoints of a run"):
        launch.resume(copy)
    assert not (tmp_path / "some" / "lock").exists()
    monkeypatch.chdir(run.last.parent)
    launch.resume("best.safetensors", overrides=["train.steps=13"])
    assert load_checkpoint(run.last).step == 13


def test_a_fall_back_is_told_to_who_does_not_ask(train: Callable[..., Run], tmp_path: Path) -> None:
    train("run")
    run = RunDirectory(tmp_path / "run")
    run.last.write_bytes(b"")
    with pytest.warns(UserWarning, match="going on from"):
        launch.resume(run.path, device="cpu")
    run.best.write_bytes(b"")
    with pytest.warns(UserWarning, match="using .* instead"):
        load(run.path, device="cpu")
    run.last.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load(run.path, device="cpu")
    assert str(run.best) in str(caught.value)
    assert str(run.last) in str(caught.value)


def test_a_closed_terminal_saves_and_ends_with_129(train: Callable[..., Run]) -> None:
    # Whoever runs the tests may have been started to ignore it.
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(InterruptedRun) as caught:
            train("run", report=signal_at(3, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert caught.value.exit_code == 129
