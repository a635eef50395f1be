"""Text that was written to do harm on a terminal, and a terminal to show it on."""

import contextlib
import os
import pty
import re
import tty
import unicodedata
from types import TracebackType
from typing import Self

from hypothesis import strategies as st

BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
C0 = "".join(map(chr, range(0x20)))
C1 = "".join(map(chr, range(0x80, 0xA0)))
# What the operating system hands over where bytes are no UTF-8; and the halves of a pair, which no
# command line holds.
UNDECODABLE = "\udc80\udc9b\udcff"
HALVES = "\ud800\udbff\udc00\udfff"
HIDDEN = "\ufff9\ufffb\u206a\u206f\U000e0001\U000e0041\U000e007f"

SEQUENCES = (
    "\x1b[31m",  # a color
    "\x1b[2J\x1b[H",  # an empty screen
    "\x1b]0;title\x07",
    "\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJm\x07",  # the clipboard
    "\x1bP+q544e\x1b\\",
    "\x9b31m\x9d0;title\x9c",
    "safe\rerror: none",
    "two\nlines\n",
    "abc\x08\x08\x08xyz",
    "\u202egnp.exe",
)
MARKUP = (
    "[bold]",
    "[/bold]",
    "[/x]",
    "[link=https://example.com]here[/link]",
    "[@click=app.bell]x[/]",
    "[on red]",
    "\\[bold]",
    ":smile:",
    ":warning-emoji:",
    "{task.total}",
    "{0}",
    "%s%n",
)
HOSTILE = (*SEQUENCES, *MARKUP, *C0, "\x7f", *C1, *BIDI_CONTROLS, "\u2028", "\u2029", *HIDDEN)
# A command line holds no NUL, and what follows is not printed for its own sake.
ARGUMENTS = tuple(text for text in (*HOSTILE, *UNDECODABLE) if "\0" not in text)

# What the bar is drawn with: colors, the cursor hidden and shown, one line up, a line erased.
DRAWING = re.compile(r"\x1b\[(?:[0-9]+(?:;[0-9]+)*m|\?25[lh]|1A|2K)|\r(?=\x1b\[2K|\x1b\[1A)")

any_text = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=60)
hostile_text = st.lists(st.sampled_from((*HOSTILE, *UNDECODABLE, *HALVES)) | any_text, max_size=5)
texts = any_text | hostile_text.map("".join)


def is_unsafe(character: str) -> bool:
    """Written after Unicode's tables, not after the program."""
    code_point = ord(character)
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or character in BIDI_CONTROLS
        or 0x206A <= code_point <= 0x206F
        or 0xFFF9 <= code_point <= 0xFFFB
        or 0xE0000 <= code_point <= 0xE007F
    )


def unsafe_characters(text: str) -> list[str]:
    """Those that must not be on a screen; lines may end."""
    return [character for character in text if character != "\n" and is_unsafe(character)]


class Terminal:
    """A pseudo-terminal that is stdout and stderr of this process for a while.

    What is written arrives as it is: no `\\r` is added, and lone surrogates are let through, so
    that nothing but the program itself keeps anything away.
    """

    def __enter__(self) -> Self:
        self._leader, self._follower = pty.openpty()
        tty.setraw(self._follower)
        self._stream = open(
            self._follower, "w", encoding="utf-8", errors="surrogatepass", newline="\n"
        )
        self._redirections = contextlib.ExitStack()
        self._redirections.enter_context(contextlib.redirect_stdout(self._stream))
        self._redirections.enter_context(contextlib.redirect_stderr(self._stream))
        return self

    def screen(self) -> str:
        """All that has arrived since the last time."""
        end = b"\0\1the end\1\0"
        self._stream.flush()
        os.write(self._follower, end)
        arrived = b""
        while not arrived.endswith(end):
            arrived += os.read(self._leader, 65536)
        return arrived.removesuffix(end).decode("utf-8", "surrogatepass")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._redirections.close()
        self._stream.close()
        os.close(self._leader)


def read_to_the_end(leader: int) -> str:
    """What a child process shows on a terminal until it has ended, as it arrives."""
    arrived = b""
    # Linux: an OSError where the other side is closed; elsewhere there is nothing left to read.
    with contextlib.suppress(OSError):
        while part := os.read(leader, 65536):
            arrived += part
    os.close(leader)
    return arrived.decode("utf-8", "surrogatepass")
