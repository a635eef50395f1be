"""The words of a message that come from what somebody wrote: short, on one line, printable.

Here stands, once, what must not reach a terminal: whatever acts on more than itself. That is C0,
DEL and C1, the line and paragraph separators, all of Unicode's Bidi_Control, the deprecated format
characters (U+206A to U+206F) and the interlinear annotations, which act until something ends them;
the tags, which spell whole texts that nobody sees; and surrogates, which no encoding has. What is
merely invisible stays: some scripts write names with joiners, zero-width spaces and variation
selectors.
"""

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Sequence

UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u206f\ud800-\udfff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` with every unsafe character in caret or escape notation."""
    return UNSAFE.sub(lambda match: _notation(match[0]), text)


def _notation(character: str) -> str:
    code_point = ord(character)
    if code_point < 0x80:
        return "^" + chr(code_point ^ 0x40)
    if code_point < 0x100:
        return f"\\x{code_point:02x}"
    return f"\\u{code_point:04x}" if code_point < 0x10000 else f"\\U{code_point:08x}"


def path_argument(path: object) -> str:
    """A path as a shell and our own command line take it; options begin with a dash."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def shown(value: object) -> str:
    """A value as JSON, cut where it is long."""
    return printable(json.dumps(value, ensure_ascii=False, default=repr))


def printable(text: str, limit: int = 60) -> str:
    """`text` cut at `limit` characters, every character of it printable."""
    short = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(map(escaped, short))


def escaped(character: str) -> str:
    """The character, or its escape in YAML where a terminal has no picture of it.

    More than what is unsafe: in a key, a no-break space is a mistake that has to be seen.
    """
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def dotted(path: Iterable[object]) -> str:
    """The keys that lead to a value as one: `train.optimizer.kind`."""
    return printable(".".join(str(part) for part in path))


def nearest(value: object, names: Sequence[str]) -> str | None:
    """The name that was probably meant, if any is like it."""
    return next(iter(difflib.get_close_matches(str(value), names, n=1)), None)
