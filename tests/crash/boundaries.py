"""Stops small runs at every boundary of every change of the disk, and lets each go on to its end.

    python -m tests.crash.boundaries

prints one JSON line for each kind of stop, command and model, and fails at the first run that does
not end as it would have.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.crash.disk_calls import without_waiting
from tests.crash.kills import assert_whole, kills
from tests.crash.power_loss import assert_safe, power_losses
from tests.crash.stories import (
    MODELS,
    Story,
    assert_survives,
    end,
    extend,
    read,
    resume,
    start,
)
from tests.small_runs import NAMES

STOPS = ("kill", "power loss")
# A fitted model has no steps to be given more of, and patience none that it would take.
STORIES = [
    *(("start", model) for model in MODELS),
    *(("resume", model) for model in MODELS),
    *(("extend", model) for model in ("mlp-batchnorm", "averaged")),
]


def survive(stop: str, command: str, model: str, place: Path, every: int = 1) -> dict[str, int]:
    """Look at each disk that a stop leaves, and go on from each `every`-th; how many there were."""
    place.mkdir()
    names_file = place / "names.txt"
    names_file.write_text("\n".join(NAMES))
    with without_waiting():
        story = tell(command, model, names_file, place)
        ending = end(story, place / "whole")
        if stop == "kill":
            states = kills(story, place / "seen")
            assert_whole(ending, states)
        else:
            states = power_losses(story, place / "seen")
            assert_safe(ending, states)
        for state in states[::every]:
            assert_survives(ending, state, place / "stopped")
    return {"states": len(states), "resumed": len(states[::every])}


def tell(command: str, model: str, names_file: Path, place: Path) -> Story:
    story = start(MODELS[model], names_file)
    if command == "start":
        return story
    began = kills(story, place / "began")
    return resume(began) if command == "resume" else extend(read(place / "began"))


def main() -> None:
    # The sums of a run, and so its bits, depend on the number of threads.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="makemore-crash-") as directory:
        for stop in STOPS:
            for command, model in STORIES:
                started = time.perf_counter()
                place = Path(directory) / f"{stop}-{command}-{model}"
                counts = survive(stop, command, model, place)
                seconds = round(time.perf_counter() - started, 1)
                line = {"stop": stop, "command": command, "model": model, **counts}
                sys.stdout.write(json.dumps({**line, "failures": 0, "seconds": seconds}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
