"""Kills real processes by SIGKILL at random moments of their saves, again and again, and lets every
run go on to its end.

    python -m tests.crash.random_kills --kills 1000 --seed 1

counts the kills that land inside the save of a checkpoint, until there are as many as asked for. It
prints one JSON line, and ends with 1 if a run could not go on, or ended otherwise than one that was
never killed.
"""

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from makemore.checkpoint import load_checkpoint
from makemore.errors import MakemoreError
from makemore.run_directory import RunDirectory
from tests.crash import disk_calls
from tests.crash.disk_calls import Call, intercepted
from tests.crash.stories import (
    MODELS,
    Ending,
    assert_goes_on,
    checkpoints,
    end,
    read,
    start,
    untimed_records,
    write,
)
from tests.small_runs import NAMES, SHORT

# Of several sizes: which call of a save takes the most time differs with it.
KILLED = {**MODELS, "wide": ("mlp", *SHORT, "model.hidden_dim=512", "train.evaluate_every=2")}
_SEEDS = (1, 2, 3)
# Seconds from the moment at which a save is seen to the kill, at most; a save takes some of them.
_DELAYS = (0.0, 0.0005, 0.002, 0.008)
_PATIENCE = 120.0


class Board:
    """What a process is doing, where another one sees it, also when the first is dead."""

    _SIZE = 11

    def __init__(self) -> None:
        # Anonymous and shared: the child of a fork has the same.
        self._memory = mmap.mmap(-1, self._SIZE)

    def clear(self) -> None:
        self._memory[:] = bytes(self._SIZE)

    def follow(self, call: Call) -> object:
        """Perform a call, and tell before and after."""
        if call.name == "create" and call.path.parent.name == "checkpoints":
            self._memory[10] = 1
        self._memory[8] = disk_calls.NAMES.index(call.name)
        self._memory[9] = 1
        self._memory[:8] = call.number.to_bytes(8, "little")
        result = call.perform()
        self._memory[9] = 0
        if call.name == "sync" and call.path.name == "checkpoints":
            self._memory[10] = 0
        return result

    @property
    def num_calls(self) -> int:
        return int.from_bytes(self._memory[:8], "little")

    @property
    def is_saving(self) -> bool:
        """From the moment at which a new checkpoint is begun until it is one, durably."""
        return self._memory[10] == 1

    def __str__(self) -> str:
        when = "in" if self._memory[9] else "after"
        return f"{when} {disk_calls.NAMES[self._memory[8]]}"


@dataclass
class Tally:
    kills: int = 0
    inside: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    failures: int = 0


def fork(work: Callable[[], object]) -> int:
    """Let a child do the work, and end with 0 unless it raises; the child's number."""
    with warnings.catch_warnings():
        # Of other threads, which hold nothing that the child waits for.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class Killer:
    """Starts runs below `place` and kills them."""

    def __init__(self, place: Path, seed: int) -> None:
        self.tally = Tally()
        self._place = place
        self._chance = random.Random(seed)
        self._board = Board()
        self._names_file = place / "names.txt"
        self._names_file.write_text("\n".join(NAMES))
        self._endings: dict[tuple[str, int], tuple[Ending, int]] = {}

    def kill(self, num_kills: int) -> Tally:
        """Kill until so many kills were inside a save; the last run goes on to its end, too."""
        # Enough runs by far, unless what is to be killed is never seen.
        most_runs = self.tally.runs + num_kills + 20
        while (inside := self.tally.inside.total()) < num_kills and self.tally.runs < most_runs:
            run = self._place / "killed"
            models = list(KILLED)
            model = models[self.tally.runs % len(models)]
            seed = _SEEDS[self.tally.runs // len(models) % len(_SEEDS)]
            try:
                self._kill_one(run, model, seed, num_kills - inside)
            except (AssertionError, MakemoreError, ValueError):
                self.tally.failures += 1
                traceback.print_exc()
            self.tally.runs += 1
            shutil.rmtree(run)
        return self.tally

    def _kill_one(self, place: Path, model: str, seed: int, num_kills: int) -> None:
        """Kill one run so many times inside a save, at most, and see it end."""
        ending, num_calls = self._ending(model, seed)
        write({}, place)
        ages: tuple[int, ...] = (-1, -1)
        last = self.tally.inside.total() + num_kills
        while True:
            # Less than a run takes: most are killed several times, and some in what they do again.
            at = self._chance.randint(1, num_calls // 3)
            if self.tally.inside.total() >= last:
                at = sys.maxsize
            if not self._start_and_kill(ending, place, at):
                break
            ages = self._look(ending, place, ages)
        assert_goes_on(ending, place)

    def _ending(self, model: str, seed: int) -> tuple[Ending, int]:
        """How the run ends that is not killed, and how many calls it takes."""
        if (model, seed) not in self._endings:
            story = start((*KILLED[model], f"seed={seed}"), self._names_file)
            self._board.clear()
            with intercepted(self._board.follow):
                ending = end(story, self._place / f"{model}-{seed}")
            self._endings[model, seed] = ending, self._board.num_calls
        return self._endings[model, seed]

    def _start_and_kill(self, ending: Ending, place: Path, at: int) -> bool:
        """Start or go on with a run, and kill it in its first save after call `at`; whether it was
        killed before its end."""
        self._board.clear()

        def work() -> None:
            with intercepted(self._board.follow):
                ending.story.go_on(place / "run")

        child = fork(work)
        patient_until = time.monotonic() + _PATIENCE
        while not (self._board.num_calls >= at and self._board.is_saving):
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            if time.monotonic() > patient_until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise AssertionError("a run hangs")
            if self._board.num_calls < at:
                # Another process may have use for the core.
                time.sleep(0.00005)
        else:
            kill_at = time.perf_counter() + self._chance.random() * self._chance.choice(_DELAYS)
            while time.perf_counter() < kill_at:
                pass
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a run does not go on"
            return False
        self.tally.kills += 1
        if self._board.is_saving:
            self.tally.inside[str(self._board)] += 1
        return True

    def _look(self, ending: Ending, place: Path, before: tuple[int, ...]) -> tuple[int, ...]:
        """Fail unless what a kill left is sound; which versions of the checkpoints are there."""
        run = RunDirectory(place / "run")
        files = read(place)
        for path in run.checkpoints():
            load_checkpoint(path)
        ages = ending.ages(checkpoints(files))
        assert all(age >= old for age, old in zip(ages, before, strict=True)), "one is lost"
        temporary = {str(path.relative_to(place)) for path in run.temporary_files()}
        assert files.keys() - temporary <= read(ending.place).keys()
        records, needed = untimed_records(run.path), ending.records_up_to(files)
        assert len(records) >= len(needed)
        assert records == ending.records[: len(records)]
        return ages


def kill(num_kills: int, seed: int, place: Path) -> dict[str, object]:
    """Kill runs below `place` until so many kills were inside a save; what to print."""
    started = time.perf_counter()
    tally = Killer(place, seed).kill(num_kills)
    return {
        "kills": tally.kills,
        "kills_inside_a_save": tally.inside.total(),
        "by_operation": dict(tally.inside.most_common()),
        "runs": tally.runs,
        "failed_resumes": tally.failures,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill runs at random moments of their saves.")
    parser.add_argument("--kills", type=int, default=1000, help="inside a save")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", help="where the runs are; by default among temporary files")
    arguments = parser.parse_args()
    # The sums of a run, and so its bits, depend on the number of threads; a fork has but one.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="makemore-kills-", dir=arguments.directory) as place:
        result = kill(arguments.kills, arguments.seed, Path(place))
    sys.stdout.write(json.dumps(result) + "\n")
    is_complete = result["kills_inside_a_save"] == arguments.kills
    sys.exit(0 if is_complete and not result["failed_resumes"] else 1)


if __name__ == "__main__":
    main()
