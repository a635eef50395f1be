"""Small runs that are stopped: what is on the disk before, the command, and how to go on after.

A story takes place in a directory of its own, with the run at `run` in it.
"""

import functools
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from makemore import launch
from makemore.checkpoint import from_bytes, load_checkpoint
from makemore.job import Report
from makemore.run_directory import RunDirectory
from tests.crash.disk_calls import Call, intercepted
from tests.small_runs import SHORT, SMALL, assert_equal_runs, untimed

# A path below the place of a story -> what the file holds; None for a directory.
Files = dict[str, bytes | None]

CHECKPOINTS = ("run/checkpoints/best.safetensors", "run/checkpoints/last.safetensors")
METRICS = "run/metrics.jsonl"

# The best state is not always the last one, and neither always nor never the first.
MODELS = {
    "mlp-batchnorm": ("mlp", *SHORT, *SMALL["mlp-batchnorm"], "train.learning_rate=0.3"),
    "averaged": ("mlp", *SHORT, *SMALL["averaged"], "train.learning_rate=1"),
    "bigram-count": ("bigram-count",),
    "patience": (
        *("mlp", *SHORT, *SMALL["mlp"], "train.learning_rate=0.2", "train.steps=24"),
        *("train.evaluate_every=2", "train.patience=2"),
    ),
}
MORE_STEPS = 16


def ignore(_record: Mapping[str, object]) -> None:
    pass


def read(place: Path) -> Files:
    found = sorted(place.rglob("*"))
    return {
        str(path.relative_to(place)): None if path.is_dir() else path.read_bytes() for path in found
    }


def checkpoints(files: Files) -> tuple[bytes | None, ...]:
    """What `best` and `last` hold."""
    return tuple(files.get(name) for name in CHECKPOINTS)


def write(files: Files, place: Path) -> None:
    """Put the files into a directory that is made for them."""
    place.mkdir()
    for name in sorted(files):
        content = files[name]
        if content is None:
            (place / name).mkdir()
        else:
            (place / name).write_bytes(content)


@dataclass(frozen=True)
class Story:
    """What is on the disk, a command, and the one that goes on wherever that was stopped."""

    before: Files
    command: Callable[[Path, Report], object]
    go_on: Callable[[Path], object]


def start(model: Sequence[str], names_file: Path) -> Story:
    """A run from its first step to its end; `model` is a preset and what is set in it."""
    preset, *overrides = model

    def train(run: Path, report: Report, *, auto_resume: bool = False) -> None:
        launch.train(
            preset,
            data=str(names_file),
            run=run,
            device="cpu",
            overrides=overrides,
            auto_resume=auto_resume,
            report=report,
        )

    def go_on(run: Path) -> None:
        if RunDirectory(run).checkpoints():
            launch.resume(run, device="cpu")
        else:
            train(run, ignore, auto_resume=True)

    return Story({}, train, go_on)


def resume(states: "list[State]") -> Story:
    """A run that goes on where it was killed at its worst: the best checkpoint is newer than the
    last one, a record is torn, and there are temporary files in both directories.

    states: those in which the run could be stopped since its start.
    """
    in_between = [
        state.files
        for state in states
        if ".last.safetensors." in state.after
        and "torn" in state.after
        and state.files[CHECKPOINTS[0]] != state.files.get(CHECKPOINTS[1])
    ]
    # Where both are there, if that comes about.
    killed = min(in_between, key=lambda files: CHECKPOINTS[1] not in files)
    metrics = killed[METRICS]
    assert metrics is not None
    left: Files = {
        METRICS: metrics + b'{"event": "tra',
        "run/.config.yaml.1.0123abcd.tmp": b"seed:",
    }

    def go_on(run: Path) -> None:
        launch.resume(run, device="cpu")

    return Story(
        killed | left, lambda run, report: launch.resume(run, device="cpu", report=report), go_on
    )


def extend(finished: Files) -> Story:
    """A finished run that is given more steps."""

    def command(run: Path, report: Report = ignore) -> None:
        overrides = [f"train.steps={MORE_STEPS}"]
        launch.resume(run, device="cpu", overrides=overrides, report=report)

    def go_on(run: Path) -> None:
        train = load_checkpoint(RunDirectory(run).last).config["train"]
        assert isinstance(train, dict)
        if train["steps"] == MORE_STEPS:
            launch.resume(run, device="cpu")
        else:
            command(run)

    return Story(finished, command, go_on)


@dataclass(frozen=True)
class Promise:
    """What can no more be lost: the checkpoints and lines that were there at the last report."""

    checkpoints: tuple[bytes | None, ...] = (None, None)
    lines: bytes = b""


@dataclass(frozen=True)
class State:
    """A disk as a stop could leave it, `after` which call, and what was promised by then."""

    after: str
    files: Files
    promise: Promise


@dataclass
class Witness:
    """Hears every report of a command, and notes what cannot be lost any more."""

    place: Path
    promise: Promise = Promise()

    def report(self, record: Mapping[str, object]) -> None:
        """Between two reports of a record there is at most one save, which is over by then."""
        if record["event"] == "message":
            return
        files = read(self.place)
        lines = files[METRICS]
        assert lines is not None
        assert lines.endswith(b"\n")
        if record["event"] != "resume":
            assert json.loads(lines.splitlines()[-1]) == record
        self.promise = Promise(checkpoints(files), lines)


@dataclass(frozen=True)
class Ending:
    """How a story ends that nothing stops."""

    story: Story
    place: Path
    versions: tuple[list[bytes], ...]
    """What `best` and `last` were, one after the other."""

    @property
    def run(self) -> Path:
        return self.place / "run"

    @functools.cached_property
    def records(self) -> list[dict[str, object]]:
        return [_without_plan(record) for record in untimed(self.run)]

    def ages(self, contents: Iterable[bytes | None]) -> tuple[int, ...]:
        """Which version `best` and `last` are; -1 for none. Fails where they are something else."""
        pairs = zip(contents, self.versions, strict=True)
        return tuple(-1 if held is None else versions.index(held) for held, versions in pairs)

    def records_up_to(self, files: Files) -> list[dict[str, object]]:
        """What has to be on record beside the newest of these checkpoints."""
        held = [content for content in checkpoints(files) if content is not None]
        newest = max((from_bytes(content, "").step for content in held), default=-1)
        steps = [(record, record["step"]) for record in self.records if record["event"] != "end"]
        return [record for record, step in steps if isinstance(step, int) and step <= newest]


def end(story: Story, place: Path) -> Ending:
    """Let the story happen at `place`, undisturbed."""
    write(story.before, place)
    history = [story.before]

    def look(call: Call) -> object:
        # Whenever a file is begun, those that are there are at rest.
        if call.name == "create":
            history.append(read(place))
        return call.perform()

    with intercepted(look):
        story.command(place / "run", Witness(place).report)
    history.append(read(place))
    columns = zip(*map(checkpoints, history), strict=True)
    versions = tuple(list(dict.fromkeys(held for held in column if held)) for column in columns)
    for held in itertools.chain(*versions):
        from_bytes(held, "")
    return Ending(story, place, versions)


def assert_goes_on(ending: Ending, place: Path) -> None:
    """From what lies at `place` to the same end, bit for bit, with nothing beside it."""
    run = place / "run"
    ending.story.go_on(run)
    assert_equal_runs(ending.run, run)
    assert (run / "config.yaml").read_bytes() == (ending.run / "config.yaml").read_bytes()
    assert read(place).keys() == read(ending.place).keys()
    with RunDirectory(run).lock():
        pass


def assert_survives(ending: Ending, state: State, place: Path) -> None:
    """What is in `state` is enough to go on with to the same end; `place` is free again then."""
    try:
        write(state.files, place)
        # The records up to the checkpoint that the run goes on from, whole and in order.
        needed = ending.records_up_to(state.files)
        assert untimed_records(place / "run")[: len(needed)] == needed
        assert_goes_on(ending, place)
    except BaseException as error:
        error.add_note(f"stopped after {state.after}")
        raise
    shutil.rmtree(place)


def untimed_records(run: Path) -> list[dict[str, object]]:
    """The records of a run that may have been stopped, as `Ending.records` has them."""
    clocks = ("seconds", "tokens_per_second", "run")
    records = RunDirectory(run).records()
    return [_without_plan({k: v for k, v in r.items() if k not in clocks}) for r in records]


def _without_plan(record: Mapping[str, object]) -> dict[str, object]:
    """A run that is given more steps says so in its first record."""
    return {key: value for key, value in record.items() if key != "num_steps"}
