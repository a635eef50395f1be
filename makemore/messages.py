"""The words of a message that come from what somebody wrote: short, on one line, printable."""

import difflib
import json
from collections.abc import Iterable, Sequence


def shown(value: object) -> str:
    """A value as JSON, cut where it is long."""
    return printable(json.dumps(value, ensure_ascii=False, default=repr))


def printable(text: str, limit: int = 60) -> str:
    """`text` cut at `limit` characters, every character of it printable."""
    short = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(map(escaped, short))


def escaped(character: str) -> str:
    """The character, or its escape in YAML where a terminal has no picture of it."""
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def dotted(path: Iterable[object]) -> str:
    """The keys that lead to a value as one: `train.optimizer.kind`."""
    return printable(".".join(str(part) for part in path))


def nearest(value: object, names: Sequence[str]) -> str | None:
    """The name that was probably meant, if any is like it."""
    return next(iter(difflib.get_close_matches(str(value), names, n=1)), None)
