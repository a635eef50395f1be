"""The one sink: everything that the command line prints goes through here.

stdout is data, plain, one record a line; stderr is talk. Names, paths and messages are untrusted
text: nothing that is unsafe (see `makemore.messages`) reaches a terminal, and nothing is read as
markup. What Python itself prints, tracebacks and warnings, comes through here as well.
"""

import contextlib
import json
import math
import os
import select
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, NoReturn, cast

from makemore.errors import Problem, StorageError
from makemore.messages import UNSAFE, visible

_SHOW_CURSOR = "\x1b[?25h"
_SECONDS_TO_LEAVE = 0.1


class ClosedPipeError(Exception):
    """Nobody reads any more (`| head`): there is nothing left to do, and nothing to say."""


def write_line(text: str) -> None:
    """One record of plain text to stdout."""
    _write(visible(text))


def write_lines(text: str) -> None:
    """Lines of our own making (YAML, a schema) to stdout, each through the same filter."""
    # Not splitlines(), which would drop the rarer separators that it splits at unseen.
    for line in text.removesuffix("\n").split("\n"):
        write_line(line)


def write_column(texts: Sequence[str]) -> None:
    """Records of plain text to stdout, all at once."""
    # All that is unsafe is not printable, which is faster to ask of all than of each.
    if not "".join(texts).isprintable():
        texts = [visible(text) for text in texts]
    if texts:
        _write("\n".join(texts))


def write_json(record: object) -> None:
    """One record of JSON to stdout: exact, since what is unsafe is escaped; null for no number."""
    text = json.dumps(_finite(record), ensure_ascii=False)
    _write(UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text))


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns to stdout, one row a line; a cell that reads as a number is right-aligned."""
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [_is_numeric([row[i] for row in cells[1:]]) for i in range(len(widths))]
    for row in cells:
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        write_line("  ".join(aligned).rstrip())


def _is_numeric(column: Sequence[str]) -> bool:
    return all(cell[:1].isdigit() or cell in ("", "-", "inf") for cell in column)


class Talk:
    """stderr as a display writes to it: what cannot be written is dropped.

    Where nobody listens, the work goes on: a run is worth more than its progress.
    """

    encoding = "utf-8"

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()

    @classmethod
    def as_file(cls) -> IO[str]:
        return cast("IO[str]", cls())


# A line of talk would tear a display that is being drawn on the terminal: while there is one, it
# puts the line above itself.
_put_above: Callable[[str], None] | None = None


def speak_through(put_above: Callable[[str], None] | None) -> None:
    """From now on, let a live display print every line of talk, which it gets visible; None: no
    display any more."""
    global _put_above
    _put_above = put_above


def say(text: str) -> None:
    """One line of talk to stderr, from any thread."""
    put_above = _put_above
    if put_above is not None:
        put_above(visible(text))
    else:
        Talk().write(visible(text) + "\n")


def warn(text: str) -> None:
    """A line about something that is wrong and does not stop the work."""
    say(f"warning: {text}")


def is_heard() -> bool:
    """Whether stderr takes a line now, without waiting for somebody to read."""
    with contextlib.suppress(OSError, ValueError):
        return bool(select.select([], [sys.stderr.fileno()], [], 0)[1])
    return False


def leave_at_once(lines: Sequence[str], exit_code: int) -> NoReturn:
    """End the process now, and say why if that can be said at once.

    For any thread, at any moment: it takes no lock of a display or a stream, which the thread that
    it interrupts may hold, and waits for no reader.
    """
    text = "".join(visible(line) + "\n" for line in lines)
    try:
        stderr = sys.stderr.fileno()
        if _put_above is not None and os.isatty(stderr):
            # A display hides the cursor, and leaves it in its own line.
            text = f"{_SHOW_CURSOR}\n{text}"
        writer = threading.Thread(target=_write_to, args=(stderr, text.encode()), daemon=True)
        writer.start()
        writer.join(_SECONDS_TO_LEAVE)
    finally:
        os._exit(exit_code)


def _write_to(stream: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(stream, data)


def flush() -> None:
    """Hand what was written to whoever reads stdout."""
    _to_stdout(sys.stdout.flush)


def _write(line: str) -> None:
    _to_stdout(lambda: sys.stdout.write(line + "\n"))


def give_up_stdout() -> None:
    """Python flushes once more at exit, and would complain then: let it succeed."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_stdout(act: Callable[[], object]) -> None:
    try:
        act()
    except BrokenPipeError as error:
        give_up_stdout()
        # Not an OSError from here on: Typer would end the program with code 1.
        raise ClosedPipeError from error
    except OSError as error:
        give_up_stdout()
        hint = "nothing of the run is lost; send the output elsewhere"
        what = f"cannot be written: {error.strerror}"
        raise StorageError(what, where="standard output", hint=hint) from error


def say_problem(problem: Problem, kind: str = "error") -> None:
    """`error: where: what`, then `hint: what to do`."""
    say(": ".join(part for part in (kind, problem.where, problem.what) if part))
    if problem.hint:
        say(f"hint: {problem.hint}")


def guard_python() -> None:
    """Let what Python itself prints come through here: tracebacks of bugs, also in threads and
    where they cannot be raised, and warnings. Whoever prints these already goes on doing so."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _say_traceback
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _say_bug_of_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _say_unraisable
    warnings.showwarning = _say_warning


def _say_text(text: str) -> None:
    for line in text.removesuffix("\n").split("\n"):
        say(line)


def _say_traceback(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    _say_text("".join(traceback.format_exception(kind, error, trace)))


def _say_bug_of_thread(bug: threading.ExceptHookArgs) -> None:
    if not issubclass(bug.exc_type, SystemExit):
        say(f"Exception in thread {bug.thread.name if bug.thread else '-'}:")
        _say_traceback(bug.exc_type, bug.exc_value, bug.exc_traceback)


def _say_unraisable(bug: "sys.UnraisableHookArgs") -> None:
    say(f"{bug.err_msg or 'Exception ignored in'}: {bug.object!r}")
    _say_traceback(bug.exc_type, bug.exc_value, bug.exc_traceback)


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    _say_text(warnings.formatwarning(message, category, filename, lineno, line))


def quantity(value: object, digits: int) -> str:
    """A number for people; `-` for what is not there or not a number."""
    if not isinstance(value, int | float) or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "inf"
