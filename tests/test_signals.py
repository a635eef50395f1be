"""Asked to stop: answered at once, saved within a step, and bitwise as if nothing had happened."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
import torch

from makemore import launch
from makemore.checkpoint import load_checkpoint
from makemore.errors import InterruptedRun
from makemore.run import Run
from makemore.run_directory import RunDirectory
from makemore.signals import Signals, StopRequested, catch_signals
from tests.small_runs import NAMES, SMALL, assert_equal_runs

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Enough for a busy machine; what was measured stands in SECURITY.md.
SECONDS = 60.0


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Whoever runs the tests may have been started to ignore some of the signals."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_is_a_value_to_ask_for(number: int) -> None:
    with catch_signals() as signals:
        signals.stop_if_asked()
        assert signals.received is None
        send(number)
        assert signals.received == number
        with pytest.raises(StopRequested):
            signals.stop_if_asked()


def test_the_first_signal_is_announced_while_the_main_thread_is_in_a_long_call() -> None:
    """Python's own handler would run after the call, which may be a whole backward pass."""
    announced: list[tuple[int, int, float]] = []
    square = torch.ones(1500, 1500)

    def announce(number: int, count: int) -> None:
        announced.append((number, count, time.monotonic()))

    threading.Timer(0.05, send, (signal.SIGTERM,)).start()
    with catch_signals(announce) as signals:
        while signals.received is None:
            # One call of torch that takes a good part of a second.
            torch.linalg.eigvals(square + torch.rand_like(square))
            ended = time.monotonic()
        wait_until(lambda: bool(announced))
    assert announced[0][:2] == (signal.SIGTERM, 1)
    assert announced[0][2] < ended


def stopped_at_once(signals: Signals, body: Callable[[], object]) -> None:
    with signals.at_once():
        body()


def test_while_nothing_can_be_saved_the_first_signal_ends_it_at_once() -> None:
    went_on: list[bool] = []

    def body() -> None:
        send(signal.SIGHUP)
        went_on.append(True)

    with catch_signals() as signals:
        for _ in range(2):
            with pytest.raises(InterruptedRun) as caught:
                stopped_at_once(signals, body)
            assert caught.value.exit_code == 129
    assert not went_on


def test_a_library_that_swallows_the_exception_only_delays_it() -> None:
    def body() -> None:
        with contextlib.suppress(InterruptedRun):
            send(signal.SIGINT)

    with catch_signals() as signals, pytest.raises(InterruptedRun):
        stopped_at_once(signals, body)


def test_the_second_signal_does_what_it_did_before() -> None:
    announced: list[int] = []

    def ask_twice() -> None:
        with catch_signals(lambda number, count: announced.append(count)) as signals:
            send(signal.SIGTERM)
            wait_until(lambda: announced == [1])
            assert signals.received == signal.SIGTERM
            send(signal.SIGINT)
            wait_until(lambda: False)

    with pytest.raises(KeyboardInterrupt):
        ask_twice()
    assert announced == [1, 2]


def test_handlers_and_the_wakeup_descriptor_are_given_back() -> None:
    def own(_number: int, _frame: FrameType | None) -> None:
        pass

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGTERM, own)
    signal.set_wakeup_fd(writer)
    num_threads = threading.active_count()
    try:
        with catch_signals(), catch_signals():
            assert signal.getsignal(signal.SIGTERM) != own
        assert signal.getsignal(signal.SIGTERM) == own
    finally:
        assert signal.set_wakeup_fd(-1) == writer
        os.close(reader)
        os.close(writer)
    assert threading.active_count() == num_threads


def test_another_thread_receives_nothing_and_changes_nothing() -> None:
    found: list[Signals] = []

    def body() -> None:
        with catch_signals() as signals, signals.at_once():
            found.append(signals)

    before = [signal.getsignal(number) for number in NUMBERS]
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found[0].received is None
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize("kind", ["mlp-batchnorm", "averaged"])
@pytest.mark.parametrize("step", [0, 4, 8, 12])
def test_a_signal_in_an_evaluation_saves_the_step_and_evaluates_it_later(
    kind: str, step: int, train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation names may be millions: nobody waits for all of them."""
    train("whole", *SMALL[kind])
    whole = Signals.stop_if_asked
    evaluations = 0

    def stop_in_evaluation(signals: Signals) -> None:
        nonlocal evaluations
        frame = sys._getframe(1)
        if frame.f_code.co_name == "char_nats":
            evaluations += 1
            if evaluations == step // 4 + 1:
                send(signal.SIGTERM)
        whole(signals)

    monkeypatch.setattr(Signals, "stop_if_asked", stop_in_evaluation)
    with pytest.raises(InterruptedRun, match=f"stopped at step {step}, the checkpoint is saved"):
        train("parts", *SMALL[kind])
    monkeypatch.undo()
    last = load_checkpoint(RunDirectory(tmp_path / "parts").last)
    assert (last.step, last.evaluated) == (step, False)
    launch.resume(tmp_path / "parts", device="cpu")
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


class Child:
    """`makemore train` as a process of its own."""

    def __init__(self, cwd: Path, *overrides: str) -> None:
        (cwd / "names.txt").write_text("\n".join(NAMES))
        command = [sys.executable, "-m", "makemore", "train", "--data", "names.txt", "--run", "run"]
        never = ["train.steps=1000000", "train.max_epochs=null", "train.evaluate_every=1000000"]
        options = [part for option in (*never, *overrides) for part in ("--set", option)]
        self.run = RunDirectory(cwd / "run")
        self.process = subprocess.Popen(
            [*command, *options], cwd=cwd, stderr=subprocess.PIPE, text=True
        )

    def wait_for_steps(self) -> None:
        wait_until(lambda: any(record["event"] == "train" for record in self.run.records()))

    def read_line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self) -> tuple[int, str]:
        """Its exit code, and the rest of what it said."""
        err = self.process.communicate(timeout=SECONDS)[1]
        assert "Traceback" not in err, err
        return self.process.returncode, err


@pytest.mark.parametrize("number", NUMBERS)
def test_a_process_says_that_it_stops_saves_and_says_how_to_go_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    child = Child(tmp_path)
    child.wait_for_steps()
    child.process.send_signal(number)
    code, err = child.end()
    assert code == 128 + number
    assert "stopping after this step, and saving" in err
    match = re.search("stopped at step ([0-9]+), the checkpoint is saved", err)
    assert match
    assert load_checkpoint(child.run.last).step == int(match[1]) > 0
    assert "makemore train --resume run" in err


@pytest.mark.parametrize("num_signals", [4, pytest.param(100, marks=pytest.mark.long)])
def test_signals_at_random_times_leave_a_sound_checkpoint_or_no_run_at_all(
    num_signals: int, tmp_path: Path
) -> None:
    """While torch and the data are loaded, while the run starts, and in it."""
    generator = random.Random(1)
    for index in range(num_signals):
        place = tmp_path / str(index)
        place.mkdir()
        child = Child(place)
        # Before that, Python itself is being loaded.
        while not child.run.path.exists():
            assert child.process.poll() is None
        time.sleep(generator.uniform(0, 3))
        number = generator.choice(NUMBERS)
        child.process.send_signal(number)
        code, err = child.end()
        assert code == 128 + number, err
        if child.run.checkpoints():
            assert load_checkpoint(child.run.last).step >= 0
            assert "makemore train --resume run" in err
        else:
            assert "stopped before there was anything to save" in err


@pytest.mark.parametrize("number", NUMBERS)
def test_a_second_signal_leaves_at_once_with_a_sound_checkpoint(
    number: signal.Signals, tmp_path: Path
) -> None:
    """In a step that would take minutes, for whose end the first signal waits."""
    long_step = "train.optimizer={kind: lbfgs, max_iterations: 10000, line_search: none}"
    small = ["train.batch_size=null", "train.learning_rate=1e-9", "model.hidden_dim=2000"]
    child = Child(tmp_path, long_step, *small)
    assert child.read_line().startswith("run: mlp")
    wait_until(lambda: len(child.run.checkpoints()) == 2)
    child.process.send_signal(number)
    assert "stopping after this step" in child.read_line()
    child.process.send_signal(number)
    code, err = child.end()
    assert code == 128 + number
    assert err.startswith("interrupted: left at once; the newest checkpoint is sound\n")
    assert "makemore train --resume run" in err
    assert [load_checkpoint(path).step for path in child.run.checkpoints()] == [0, 0]
