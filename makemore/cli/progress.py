"""What a person sees while a model trains: a bar on a terminal, else a plain line now and then."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from makemore.cli import output
from makemore.messages import path_argument, visible

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_SAMPLES = 3.0
_BAR_WIDTH = 20
_WIDE = 100  # columns from which there is room for a bar
_SIGNAL_NAMES = {1: "SIGHUP", 2: "SIGINT", 15: "SIGTERM"}  # POSIX fixes these numbers


class Progress:
    """Takes the records of a training run; `end` holds the last one."""

    def __init__(self) -> None:
        self.end: Mapping[str, Any] = {}
        self._display: _Bar | _Lines = _Bar() if sys.stderr.isatty() else _Lines()
        self._latest: dict[str, Any] = {}
        self._run: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.stop()

    def report(self, record: Mapping[str, Any]) -> None:
        """Show one record (see `makemore.training`); messages and signals from any thread.

        A signal is `{"event": "signal", "number": ..., "count": ...}`: the first lets the run end
        by itself, with the second the process ends here.
        """
        event = record["event"]
        if event == "message":
            output.say(record["text"])
        elif event == "signal":
            self.report_signal(record["number"], record["count"])
        elif event in ("start", "resume"):
            self._run = record["run"]
            self._latest = {"best": record.get("best_loss")}
            output.say(_headline(record))
            self._display.start(record["num_steps"], record["step"])
        elif event == "fitted":
            output.say(_fitted(record))
        elif event == "train":
            self._latest |= {key: record[key] for key in ("loss", "tokens_per_second")}
            self._display.update(record["step"], self._latest)
        elif event == "evaluation":
            if record["best"]:
                self._latest["best"] = record["loss"]
            self._display.samples(record["samples"])
            self._display.update(record["step"], self._latest)
        elif event == "end":
            self.end = record
            self._display.update(record["step"], self._latest)

    def report_signal(self, number: int, count: int) -> None:
        """As a record of the event `signal`."""
        if count > 1:
            lines = ["interrupted: left at once"]
            if self._run is not None:
                lines[0] += "; the newest checkpoint is sound"
                resume = f"makemore train --resume {path_argument(self._run)}"
                lines.append(f"hint: go on with `{resume}`")
            output.leave_at_once(lines, 128 + number)
        # Whoever calls has to stay free for the next signal: no waiting for a reader.
        elif output.is_heard():
            name = _SIGNAL_NAMES.get(number, f"signal {number}")
            stopping = "stopping" if self._run is None else "stopping after this step, and saving"
            if name == "SIGINT":
                output.say(f"{stopping}; Ctrl-C again leaves at once")
            else:
                output.say(f"{name}: {stopping}; once more to leave at once")


def _headline(record: Mapping[str, Any]) -> str:
    names = ", ".join(f"{number:,} {split}" for split, number in record["num_names"].items())
    resumed = f", resumed at step {record['step']:,}" if record["event"] == "resume" else ""
    # A model that is fitted has none before.
    parameters = f"{record['num_parameters']:,} parameters, " if record["num_parameters"] else ""
    return (
        f"{record['run']}: {record['model']}, {parameters}"
        f"{names} names, {record['device']}{resumed}"
    )


def _fitted(record: Mapping[str, Any]) -> str:
    """What a fit settled on; of discounts, those of the longest contexts."""
    parts = [f"order {record['order']}", f"{record['num_parameters']:,} parameters"]
    if "k" in record:
        parts.append(f"k = {record['k']:.4g}")
    if "discounts" in record:
        last = ", ".join(f"{discount:.4g}" for discount in record["discounts"][-1])
        parts.append(f"discounts of the longest contexts {last}")
    return f"fitted: {', '.join(parts)}"


def _numbers(latest: Mapping[str, Any], room: int = 1000) -> str:
    """The loss, the best one and the speed, as many of them as `room` columns hold."""
    parts = [
        f"{label} {output.quantity(latest[key], 4)}"
        for key, label in (("loss", "loss"), ("best", "best validation"))
        if latest.get(key) is not None
    ]
    if "tokens_per_second" in latest:
        parts.append(f"{latest['tokens_per_second']:,} tokens/s")
    while parts and len("  ".join(parts)) > room:
        parts.pop()
    return "  ".join(parts)


class _Lines:
    """Without a terminal: plain lines, a few seconds apart."""

    def __init__(self) -> None:
        self._num_steps = self._first_step = 0
        self._started = self._printed = time.monotonic()

    def start(self, num_steps: int, step: int) -> None:
        self._num_steps, self._first_step = num_steps, step
        self._started = self._printed = time.monotonic()

    def update(self, step: int, latest: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if now - self._printed < _SECONDS_BETWEEN_LINES or step <= self._first_step:
            return
        self._printed = now
        left = (now - self._started) / (step - self._first_step) * (self._num_steps - step)
        minutes, seconds = divmod(round(left), 60)
        output.say(
            f"step {step}/{self._num_steps}  {_numbers(latest)}  {minutes}:{seconds:02} left"
        )

    def samples(self, names: list[str]) -> None:
        pass

    def stop(self) -> None:
        pass


class _Bar:
    """On a terminal: one progress bar, and above it a few samples now and then."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        console = Console(file=output.Talk.as_file(), markup=False, emoji=False, highlight=False)
        whole = Column(no_wrap=True)
        columns = [
            TextColumn(
                "step {task.completed:.0f}/{task.total:.0f}", markup=False, table_column=whole
            ),
            TimeRemainingColumn(compact=True, table_column=whole),
            TextColumn("{task.fields[numbers]}", markup=False),
        ]
        # The step and the time left are never cut: on a narrow terminal the bar goes first.
        wide = console.width >= _WIDE
        self._bar = RichProgress(
            *([BarColumn(bar_width=_BAR_WIDTH)] if wide else []),
            *columns,
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._taken = (_BAR_WIDTH + 1 if wide else 0) + len("step / 00:00  ")
        self._sampled = float("-inf")

    def start(self, num_steps: int, step: int) -> None:
        if num_steps:
            self._task = self._bar.add_task("", total=num_steps, completed=step, numbers="")
            self._bar.start()
            output.speak_through(self._put_above)

    def _put_above(self, line: str) -> None:
        from rich.text import Text

        # As it is: no markup, and not broken where a terminal would only wrap it.
        self._bar.console.print(Text(line), soft_wrap=True)

    def update(self, step: int, latest: Mapping[str, Any]) -> None:
        if self._bar.tasks:
            total = self._bar.tasks[0].total or 0
            room = self._bar.console.width - self._taken - 2 * len(f"{total:.0f}")
            self._bar.update(self._task, completed=step, numbers=_numbers(latest, room))

    def samples(self, names: list[str]) -> None:
        from rich.text import Text

        now = time.monotonic()
        if names and self._bar.tasks and now - self._sampled >= _SECONDS_BETWEEN_SAMPLES:
            self._sampled = now
            text = visible("  ".join(names))
            self._bar.console.print(Text(text, style="dim"), overflow="ellipsis", no_wrap=True)

    def stop(self) -> None:
        self._bar.stop()
        output.speak_through(None)
