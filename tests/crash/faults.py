"""Disks that refuse or lie: each call of a small run meets each fault, and the run each time says
so, keeps its checkpoints and goes on when the fault is gone.

    python -m tests.crash.faults

prints one JSON line for each kind of fault and model, and fails at the first run that does not.
"""

import errno
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from makemore.errors import StorageError
from makemore.run_directory import RunDirectory
from tests.crash.disk_calls import Call, Handler, intercepted, without_waiting
from tests.crash.stories import (
    METRICS,
    MODELS,
    Files,
    State,
    Witness,
    assert_survives,
    checkpoints,
    end,
    read,
    start,
    untimed_records,
    write,
)
from tests.small_runs import NAMES

# What each refusal is called in the error.
WORDS = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "input/output error",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "too many open files",
    errno.EFBIG: "the file is larger than is allowed here",
}
LIE = "what was written reads back different"

Fault = Callable[[Call], object]
_Choice = TypeVar("_Choice")


def refuse(number: int) -> Fault:
    """The disk does not do what it is asked to."""

    def fault(call: Call) -> object:
        if call.name == "close":
            # The system closes the descriptor whatever it says.
            call.perform()
        raise OSError(number, os.strerror(number))

    return fault


def refuse_late(number: int) -> Fault:
    """The disk does it, and says that it did not; of a write it does a half."""

    def fault(call: Call) -> object:
        if call.name == "write":
            descriptor, data = call.arguments
            call.function(descriptor, data[: len(data) // 2])
        else:
            # There may be nothing to remove.
            with suppress(FileNotFoundError):
                result = call.perform()
                if call.name in ("create", "open_to_append"):
                    os.close(result)
        raise OSError(number, os.strerror(number))

    return fault


def take_half(call: Call) -> object:
    """The disk writes less than it is asked to, and says so."""
    descriptor, data = call.arguments
    return call.function(descriptor, data[: len(data) // 2])


def lie_with(change: Callable[[bytes], bytes]) -> Fault:
    """The disk stores other bytes."""

    def fault(call: Call) -> object:
        descriptor, data = call.arguments
        call.function(descriptor, memoryview(change(bytes(data))))
        return len(data)

    return fault


LIES: dict[str, Callable[[bytes], bytes]] = {
    "the first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "the last bit": lambda data: data[:-1] + bytes([data[-1] ^ 128]),
    "zeros from the middle on": lambda data: data[: len(data) // 2].ljust(len(data), b"\0"),
    "the last byte is not there": lambda data: data[:-1],
    "a byte too many": lambda data: data + b"\0",
    "nothing is there": lambda data: b"",
}


KINDS = ("refused", "refused late", "refused for good", "written by half", "lied about")


def survive(kind: str, model: str, place: Path, every: int = 1) -> dict[str, int]:
    """Let every `every`-th call that the kind of fault can come at meet it; how many there were.

    Each call meets each errno where all meet one, else the next one.
    """
    with without_waiting():
        survivors = Survivors(model, place)
        calls = [call for call in survivors.calls() if _can_come_at(kind, call)][::every]
        for index, call in enumerate(calls):
            for fault, words in _faults(kind, call, index if every > 1 else None):
                survivors.meets(kind, call, fault, words)
    return {"calls": len(calls), "faults": survivors.num_faults, "resumed": survivors.num_resumed}


def _can_come_at(kind: str, call: Call) -> bool:
    if kind == "written by half":
        return call.name == "write"
    if kind == "lied about":
        # A line may be lost to a lie, a checkpoint or config may not.
        return call.name == "write" and not _is_appended(call)
    return kind != "refused for good" or not _is_note(call)


def _faults(kind: str, call: Call, index: int | None) -> Iterator[tuple[Fault, str | None]]:
    """Each fault of a kind, and the words that it ends the run with; None for none."""
    if kind == "written by half":
        is_told = call.path.name == "metrics.jsonl"
        yield take_half, WORDS[errno.ENOSPC] if is_told else None
    elif kind == "lied about":
        yield from ((lie_with(change), LIE) for change in _of(list(LIES.values()), index))
    else:
        refusal = refuse_late if kind == "refused late" else refuse
        for number in _of(list(WORDS), index):
            yield refusal(number), None if _is_note(call) else WORDS[number]


def _of(choices: list[_Choice], index: int | None) -> list[_Choice]:
    return choices if index is None else [choices[index % len(choices)]]


def _is_note(call: Call) -> bool:
    """Who holds the lock is a note for messages, and what the disk does to it of no account."""
    return call.path.name == "lock" and call.name in ("truncate", "write", "close")


def _is_appended(call: Call) -> bool:
    return call.path.name in ("metrics.jsonl", "lock")


class Survivors:
    """Runs of one model that meet a fault. What several of them leave alike goes on once."""

    def __init__(self, model: str, place: Path) -> None:
        place.mkdir()
        names_file = place / "names.txt"
        names_file.write_text("\n".join(NAMES))
        self._place = place
        self._ending = end(start(MODELS[model], names_file), place / "whole")
        self._known: set[tuple[str, str]] = set()
        self.num_faults = 0

    @property
    def num_resumed(self) -> int:
        return len(self._known)

    def calls(self) -> list[Call]:
        """All calls of a run that meets no fault."""
        calls: list[Call] = []

        def note(call: Call) -> object:
            calls.append(call)
            return call.perform()

        assert self._run(note, Witness(self._place / "none")) is None
        return calls

    def meets(self, kind: str, call: Call, fault: Fault, words: str | None) -> None:
        """The fault comes at `call`, and one for good at all calls after it; the run ends with
        `words`, or with None as if nothing had been."""
        place = self._place / "faulty"
        witness = Witness(place)
        before: list[Files] = []

        def handle(now: Call) -> object:
            if now.number < call.number or (
                now.number > call.number and kind != "refused for good"
            ):
                return now.perform()
            before.append(read(place))
            return fault(now)

        try:
            error = self._run(handle, witness)
            assert before, "the fault did not come"
            if words is None:
                assert error is None
            else:
                assert error is not None
                assert error.exit_code == 7
                assert error.problems[0].what == words
                assert error.problems[0].where.startswith(str(place))
                assert error.problems[0].hint
            self._check(kind, State(str(call), read(place), witness.promise), before[0], words)
        except BaseException as problem:
            problem.add_note(f"the fault came at {call}")
            raise
        self.num_faults += 1
        shutil.rmtree(place)

    def _check(self, kind: str, state: State, before: Files, words: str | None) -> None:
        place, ages = self._place / "faulty", self._ending.ages
        now, then = ages(checkpoints(state.files)), ages(checkpoints(before))
        if words is not None:
            newer = sorted(age - old for age, old in zip(now, then, strict=True))
            # A disk that did what it says it did not can have left the next version of one.
            assert newer == [0, 0] or (kind == "refused late" and newer == [0, 1])
        lines = state.files.get(METRICS) or b""
        assert lines.startswith(state.promise.lines)
        if kind in ("refused", "written by half"):
            assert not lines or lines.endswith(b"\n")
        run = RunDirectory(place / "run")
        if kind != "refused for good":
            assert not run.temporary_files()
        if run.path.is_dir():
            with run.lock():
                pass
        kept = {name: held for name, held in state.files.items() if name not in _UNEQUAL}
        alike = (repr(sorted(kept.items())), repr(untimed_records(run.path)))
        if alike not in self._known:
            self._known.add(alike)
            assert_survives(self._ending, state, self._place / "stopped")

    def _run(self, handler: Handler, witness: Witness) -> StorageError | None:
        place = witness.place
        write({}, place)
        with intercepted(handler):
            try:
                self._ending.story.command(place / "run", witness.report)
            except StorageError as error:
                return error
        return None


# Files in which clocks and process numbers stand.
_UNEQUAL = (METRICS, "run/lock")


def main() -> None:
    # The sums of a run, and so its bits, depend on the number of threads.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="makemore-crash-") as directory:
        for kind in KINDS:
            for model in MODELS:
                started = time.perf_counter()
                counts = survive(kind, model, Path(directory) / f"{kind}-{model}")
                seconds = round(time.perf_counter() - started, 1)
                line = {"fault": kind, "model": model, **counts, "failures": 0, "seconds": seconds}
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
