"""Where names come from: the bytes of a source, in whole lines, a piece at a time.

A source is an embedded list, the `karpathy` file, a path (a pipe or a device has one, too), or `-`
for standard input. Nothing is read beyond what is asked for, so that what shows early that it is no
file of names can be refused early, however much would follow.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from makemore.download import karpathy_names
from makemore.errors import DataError
from makemore.shipped_files import resource_path

EMBEDDED = ("names", "surnames")
# Bytes that are read at a time.
_PIECE = 2**18


def label(source: str) -> str:
    return "standard input" if source == "-" else source or "."


def whole_lines(
    source: str, most_bytes: int, announce: Callable[[str], None]
) -> Iterator[tuple[bytes, bool]]:
    """The bytes of a source, cut after ends of lines. Raises DataError where it cannot be read.

    With True comes the beginning of a line that has more than `most_bytes`: nothing follows.
    `announce` is told when something is downloaded, or waited for.
    """
    rest = b""
    for piece in _pieces(source, announce):
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end], False
            rest = piece[end:]
        else:
            rest += piece
        if len(rest) > most_bytes:
            yield rest, True
            return
    if rest:
        yield rest, False


def _pieces(source: str, announce: Callable[[str], None]) -> Iterator[bytes]:
    where = label(source)
    try:
        with _open(source, announce) as file:
            while piece := file.read(_PIECE):
                yield piece
                if len(piece) < _PIECE:
                    # The end, for which a terminal would ask once more.
                    return
    except FileNotFoundError as error:
        known = ", ".join(f"`{name}`" for name in (*EMBEDDED, "karpathy"))
        hint = f"a path, `-` for standard input, or one of {known}"
        raise DataError("no such file", where=where, hint=hint) from error
    except IsADirectoryError as error:
        hint = "give one file of names, one a line"
        raise DataError("is a directory", where=where, hint=hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "check the path and its permissions"
        raise DataError(f"cannot be read: {reason}", where=where, hint=hint) from error


def _open(source: str, announce: Callable[[str], None]) -> AbstractContextManager[BinaryIO]:
    if source == "-":
        if sys.stdin is None:
            hint = "pipe or redirect names into it"
            raise DataError("is closed", where=label(source), hint=hint)
        if sys.stdin.isatty():
            announce("reading names from the terminal, one a line, until Ctrl-D")
        return nullcontext(sys.stdin.buffer)
    if source in EMBEDDED:
        return resource_path("data", f"{source}.txt").open("rb")
    if source == "karpathy":
        return karpathy_names(announce).open("rb")
    # Not Path.expanduser(), which raises for an unknown user.
    return Path(os.path.expanduser(source)).open("rb")
