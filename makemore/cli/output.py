"""The one sink: everything that the command line prints goes through here.

stdout is data, plain, one record a line; stderr is talk. Names, paths and messages are untrusted
text: no control, C1 or bidirectional character reaches a terminal, and nothing is read as markup.
"""

import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence

from makemore.errors import Problem, StorageError

# C0, DEL, C1, the line and paragraph separators, all of Unicode's Bidi_Control, and surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """`text` with every unsafe character in caret or escape notation."""
    return _UNSAFE.sub(lambda match: _shown(match[0]), text)


def _shown(character: str) -> str:
    code_point = ord(character)
    if code_point < 0x80:
        return "^" + chr(code_point ^ 0x40)
    return f"\\x{code_point:02x}" if code_point < 0x100 else f"\\u{code_point:04x}"


class ClosedPipeError(Exception):
    """Nobody reads any more (`| head`): there is nothing left to do, and nothing to say."""


def write_line(text: str) -> None:
    """One record of plain text to stdout."""
    _write(visible(text))


def write_lines(text: str) -> None:
    """Lines of our own making (YAML, a schema) to stdout, each through the same filter."""
    for line in text.splitlines():
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
    _write(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


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


def say(text: str) -> None:
    """One line of talk to stderr."""
    # Where nobody listens, the work goes on: a run is worth more than its progress.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(visible(text) + "\n")


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


def quantity(value: object, digits: int) -> str:
    """A number for people; `-` for what is not there or not a number."""
    if not isinstance(value, int | float) or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "inf"
