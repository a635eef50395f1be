"""The disks that a kill leaves: a kill stops a program between two system calls, or within a write,
and keeps all that was done before."""

from pathlib import Path

from tests.crash.disk_calls import Call, intercepted
from tests.crash.stories import (
    METRICS,
    Ending,
    Files,
    State,
    Story,
    Witness,
    checkpoints,
    read,
    write,
)


def kills(story: Story, place: Path) -> list[State]:
    """Every disk that a kill in the story could leave: before and after each call, and within each
    write after the first byte, the half and all but the last byte."""
    write(story.before, place)
    witness = Witness(place)
    states = [State("nothing", story.before, witness.promise)]

    def note(after: str, files: Files) -> None:
        if files == states[-1].files:
            # The later one is promised more.
            states[-1] = State(states[-1].after, files, witness.promise)
        else:
            states.append(State(after, files, witness.promise))

    def handle(call: Call) -> object:
        # What was reported since the last call binds the disk as it is before this one, too.
        note("", states[-1].files)
        result = call.perform()
        files = read(place)
        if call.name == "write":
            # Every write adds to the end of its file.
            name = str(call.path.relative_to(place))
            content, size = files[name], len(call.arguments[1])
            assert content is not None
            for kept in sorted({1, size // 2, size - 1} & set(range(1, size))):
                torn = content[: len(content) - size + kept]
                note(f"{call}, torn after {kept} of {size} bytes", {**files, name: torn})
        note(str(call), files)
        return result

    with intercepted(handle):
        story.command(place / "run", witness.report)
    note("the end", read(place))
    return states


def assert_whole(ending: Ending, states: list[State]) -> None:
    """In each state, `best` and `last` are what they were or what they become, from the first save
    on there is one, and no whole line is lost."""
    before = ending.ages(checkpoints(states[0].files))
    for state in states:
        ages = ending.ages(checkpoints(state.files))
        # In particular, what was there once is always there.
        assert all(age >= old for age, old in zip(ages, before, strict=True)), state.after
        lines = state.files.get(METRICS) or b""
        assert lines.startswith(state.promise.lines), state.after
        before = ages
    assert before == tuple(len(versions) - 1 for versions in ending.versions)
