"""Many starts at the same moment: one run a directory, and a directory for each run."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from makemore import disk
from makemore.claiming import claim, claim_numbered
from makemore.errors import LockedError, UsageError
from makemore.run_directory import RunDirectory
from tests.command_line import Makemore
from tests.small_runs import NAMES

NUM_STARTS = 50
ENDLESS = ("train.steps=1000000", "train.max_epochs=null", "train.evaluate_every=1000000")


def start(cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "makemore", "train", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("is_resumed", [False, True])
def test_of_many_starts_in_one_directory_one_runs_and_the_others_name_it(
    is_resumed: bool, makemore: Makemore, tmp_path: Path
) -> None:
    endless = [part for option in ENDLESS for part in ("--set", option)]
    arguments = ["--data", "names.txt", "--run", "run", *endless]
    if is_resumed:
        short = ["--set", "train.steps=2"]
        assert makemore("train", "--data", "names.txt", "--run", "run", *short).code == 0
        arguments = ["--resume", "run", *endless]
    started = [start(tmp_path, *arguments) for _ in range(NUM_STARTS)]
    try:
        ended: dict[int, str] = {}
        until = time.monotonic() + 60
        while len(ended) < NUM_STARTS - 1:
            assert time.monotonic() < until
            for process in started:
                if process.pid not in ended and process.poll() is not None:
                    ended[process.pid] = process.communicate()[1]
        (winner,) = (process for process in started if process.pid not in ended)
        assert {process.returncode for process in started} == {6, None}
        holder = f"error: run/lock: locked by process {winner.pid}\n"
        # For a moment after it has the lock the winner has not written its number.
        unnamed = "error: run/lock: locked by another process\n"
        assert all(err.startswith((holder, unnamed)) for err in ended.values())
        assert Counter(err.startswith(holder) for err in ended.values())[True] > NUM_STARTS // 2
        # The lock dies with its process, however that ends.
        winner.send_signal(signal.SIGKILL)
        winner.communicate()
        with RunDirectory(tmp_path / "run").lock():
            pass
    finally:
        for process in started:
            process.kill()
            process.communicate()


def claim_one(barrier: Barrier, results: "multiprocessing.SimpleQueue[str]") -> None:
    barrier.wait()
    with claim_numbered("mlp") as directory:
        (directory.path / "config.yaml").write_text(str(os.getpid()))
        results.put(str(directory.path))


def test_many_claims_of_the_next_number_get_as_many_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(NUM_STARTS), context.SimpleQueue()
    processes = [
        context.Process(target=claim_one, args=(barrier, results)) for _ in range(NUM_STARTS)
    ]
    for process in processes:
        process.start()
    found = {results.get() for _ in processes}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert found == {f"runs/mlp-{number}" for number in range(1, NUM_STARTS + 1)}


@pytest.mark.long
def test_many_starts_without_a_directory_get_as_many_runs(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    arguments = ("--model", "bigram-count", "--data", "names.txt")
    started = [start(tmp_path, *arguments) for _ in range(NUM_STARTS)]
    outs = [process.communicate(timeout=600)[0] for process in started]
    assert {process.returncode for process in started} == {0}
    assert len({out.strip() for out in outs}) == NUM_STARTS
    for out in outs:
        records = (tmp_path / out.strip() / "metrics.jsonl").read_text().splitlines()
        assert json.loads(records[-1])["event"] == "end"


def test_a_claim_touches_nothing_that_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for again in (False, True):
        with (
            pytest.raises(UsageError, match="exists already"),
            claim(RunDirectory(tmp_path), again=again),
        ):
            pytest.fail("claimed")
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_claim_that_comes_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wrong"), claim(RunDirectory(tmp_path / "run")):
        raise UsageError("wrong")
    assert os.listdir(tmp_path) == []
    empty = RunDirectory(tmp_path / "empty")
    empty.path.mkdir()
    with claim(empty):
        pass
    # It was there before.
    assert os.listdir(tmp_path) == ["empty"]


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_lock_whose_file_is_removed_in_between_is_no_lock(
    is_made_anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two processes would hold two files of one name."""
    directory, lock = RunDirectory(tmp_path), tmp_path / "lock"
    open_to_append = disk.open_to_append

    def open_too_late(path: Path) -> int:
        descriptor = open_to_append(path)
        lock.unlink()
        if is_made_anew:
            lock.write_text("1")
        return descriptor

    monkeypatch.setattr(disk, "open_to_append", open_too_late)
    with pytest.raises(LockedError, match="a moment ago"), directory.lock():
        pytest.fail("holds a file that has no name")


@pytest.mark.parametrize("link", ["lock", "metrics.jsonl", "checkpoints", "config.yaml"])
def test_links_in_a_run_of_somebody_else_lead_nowhere(link: str, makemore: Makemore) -> None:
    """They could name any file that the user may write to."""
    assert makemore("train", "--model", "bigram-count", "--data", "names.txt").code == 0
    run, precious = Path("runs/bigram-count-1"), Path("precious")
    if link == "checkpoints":
        (run / link).rename(precious)
    else:
        precious.write_text("mine")
        (run / link).unlink(missing_ok=True)
    (run / link).symlink_to(precious.absolute())
    before = {path: path.read_bytes() for path in [precious, *precious.glob("*")] if path.is_file()}
    result = makemore("train", "--resume", "runs/bigram-count-1")
    assert result.code == (0 if link == "config.yaml" else 4 if link == "checkpoints" else 7)
    after = {path: path.read_bytes() for path in [precious, *precious.glob("*")] if path.is_file()}
    assert before == after


def test_what_was_killed_before_its_first_checkpoint_starts_again(makemore: Makemore) -> None:
    run = Path("run")
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("half of")
    (run / "metrics.jsonl").write_text('{"event": "start", "step": 0}\n{"ev')
    left = run / "checkpoints" / ".best.safetensors.7.01234567.tmp"
    left.write_bytes(b"half")
    arguments = ("train", "--model", "bigram-count", "--data", "names.txt", "--run", "run")
    refused = makemore(*arguments)
    assert refused.code == 2
    assert "start it again: --resume auto" in refused.error
    assert left.exists()
    assert makemore(*arguments, "--resume", "auto").code == 0
    assert not left.exists()
    events = [record["event"] for record in RunDirectory(run).records()]
    assert events == ["start", "fitted", "evaluation", "end"]


def test_a_folder_with_somebodys_config_is_no_run_that_was_killed(makemore: Makemore) -> None:
    Path("mine").mkdir()
    config = Path("mine/config.yaml")
    config.write_text("model: {kind: bigram-count}  # my notes\n")
    result = makemore("train", "--run", "mine", "--resume", "auto", "--data", "names.txt")
    assert result.code == 2
    assert "exists already" in result.error
    assert config.read_text().endswith("# my notes\n")
    assert os.listdir("mine") == ["config.yaml"]


def test_a_run_whose_config_cannot_be_read_is_passed_over(makemore: Makemore) -> None:
    """Of another version, say; or its records are gone, which tell what its names were."""
    command = ("train", "--model", "bigram", "--data", "names.txt", "--resume", "auto")
    short = ("--set", "train.steps=4")
    for number, change in enumerate(("config.yaml", "metrics.jsonl"), start=1):
        assert makemore(*command, *short).out == f"runs/bigram-{number}\n"
        directory = RunDirectory(Path(f"runs/bigram-{number}"))
        lines = directory.metrics.read_text().splitlines(keepends=True)
        directory.metrics.write_text("".join(lines[:-1]))
        (directory.path / change).unlink()
    assert makemore(*command, *short).out == "runs/bigram-3\n"
    named = makemore(*command, *short, "--run", "runs/bigram-1")
    assert named.code == 2
    assert "its config.yaml: there is no such file" in named.error


def test_a_run_cannot_have_the_name_of_the_option(makemore: Makemore) -> None:
    result = makemore("train", "--data", "names.txt", "--run", "auto")
    assert result.code == 2
    assert "cannot be the name of a run" in result.error
    assert not Path("auto").exists()


def test_the_same_command_goes_on_with_what_it_began_and_with_nothing_else(
    makemore: Makemore,
) -> None:
    command = ("train", "--model", "bigram", "--data", "names.txt", "--resume", "auto")
    short = ("--set", "train.steps=4", "--set", "train.evaluate_every=2")
    assert makemore(*command, *short).out == "runs/bigram-1\n"
    # It has ended: the next one is another.
    assert makemore(*command, *short).out == "runs/bigram-2\n"
    metrics = RunDirectory(Path("runs/bigram-2")).metrics
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    other = makemore(*command, *short, "--seed", "8")
    assert other.out == "runs/bigram-3\n"
    again = makemore(*command, *short)
    assert again.out == "runs/bigram-2\n"
    assert "resumed at step 4" in again.err
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    with RunDirectory(Path("runs/bigram-2")).lock():
        assert makemore(*command, *short).out == "runs/bigram-4\n"
    # The names are others now.
    Path("names.txt").write_text("\n".join(NAMES[:-1]))
    assert makemore(*command, *short).out == "runs/bigram-5\n"


def test_at_a_directory_of_another_run_the_difference_is_named(makemore: Makemore) -> None:
    command = ("train", "--model", "bigram", "--data", "names.txt", "--run", "run")
    short = ("--set", "train.steps=4", "--resume", "auto")
    assert makemore(*command, *short).code == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    same = makemore(*command, *short)
    assert same.code == 0
    other = makemore(*command, "--set", "train.steps=5", "--resume", "auto")
    assert other.code == 2
    assert re.search("another run: its config has `steps: 4` where .* `steps: 5`", other.error)
    Path("names.txt").write_text("\n".join(NAMES[:-1]))
    names = makemore(*command, *short)
    assert names.code == 2
    assert "another run: its records do not say that its names are those" in names.error
    after = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after[path]} <= {
        *("lock", "metrics.jsonl"),
    }
