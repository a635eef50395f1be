"""Any bytes are the names that a plainer reading finds in them, or a DataError.

However few bytes are read at a time, in both of the ways in which names become ids, and for bounds
so small that short inputs reach them.
"""

import re
import unicodedata

from tests.fuzz.driver import Choices, MemoryFile, changed, fuzz, instrumented

with instrumented(__name__ == "__main__", has_tensors=True):
    from makemore import data, name_sources, plain_names
    from makemore.errors import DataError
    from makemore.vocab import Vocabulary
    from tests.fuzz.refusals import understood

_LENGTHS = (1, 2, 3, 5, 20, 256)
_SPACES = (2**16, 0, 1, 3)
_PIECES = (2**18, 1, 2, 3, 7, 64)
_PLAIN_PIECES = (2**15, 1, 5)
_MOST_CHARACTERS = (2**16, 1, 3, 30)

_file = MemoryFile("names")


def plainly_read(content: bytes, max_length: int, most_spaces: int) -> list[str] | None:
    """The names of a file, as its documentation describes them; None for what it calls an error."""
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None
    names = []
    for line in text.split("\n"):
        name = line.removesuffix("\r").strip(" ")
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
            return None
        if len(name) > max_length or len(line) > max_length + most_spaces:
            return None
        if name:
            names.append(name)
    return names


def check(content: bytes) -> None:
    choices = Choices(content)
    max_length, most_spaces = choices.one_of(_LENGTHS), choices.one_of(_SPACES)
    piece, plain_piece = choices.one_of(_PIECES), choices.one_of(_PLAIN_PIECES)
    most_characters = choices.one_of(_MOST_CHARACTERS)
    content = choices.rest()
    with (
        changed(data, MAX_SPACES=most_spaces, MAX_CHARACTERS=most_characters),
        changed(name_sources, _PIECE=piece),
        changed(plain_names, _PIECE=plain_piece),
    ):
        names = _check_whole(content, max_length, most_spaces)
        _check_plain(content, max_length, names)
        _check_pieces(content, max_length, names, most_characters)


def _check_whole(content: bytes, max_length: int, most_spaces: int) -> list[str] | None:
    names, problems = understood(
        lambda: data.parse_names(content, "any.txt", max_length), DataError
    )
    _assert_placed(content, "any.txt", [problem.where for problem in problems])
    assert names == plainly_read(content, max_length, most_spaces)
    return names


def _check_plain(content: bytes, max_length: int, names: list[str] | None) -> None:
    plain = plain_names.plain_tokens(content, max_length)
    if plain is not None:
        assert names is not None
        assert plain.vocabulary == Vocabulary.of(names)
        assert plain.tokens.tolist() == plain.vocabulary.encode(names).tolist()
        assert plain.num_line_ends == content.count(b"\n")


def _check_pieces(
    content: bytes, max_length: int, names: list[str] | None, most_characters: int
) -> None:
    _file.write(content)
    loaded, problems = understood(
        lambda: data.load_corpus(_file.path, max_length=max_length, fewest=1), DataError
    )
    too_many = names is not None and len(set("".join(names))) > most_characters
    assert (loaded is None) == (not names or too_many)
    if names == []:
        assert [problem.where for problem in problems] == [_file.path]
    else:
        _assert_placed(content, _file.path, [problem.where for problem in problems])
    if loaded is not None:
        vocabulary, corpus = loaded
        assert list(data.decoded(vocabulary, corpus)) == names
        assert vocabulary == Vocabulary.of(names or ())
        assert corpus.tokens.dtype == vocabulary.token_dtype


def _assert_placed(content: bytes, where: str, places: list[str]) -> None:
    """Each problem is in a line that the file has."""
    for place in places:
        found = re.fullmatch(re.escape(where) + ":([0-9]+)", place)
        assert found, place
        assert 1 <= int(found[1]) <= content.count(b"\n") + 1


WORDS = (
    *("\ufeff", "\r\n", "\n\n", "\r", " ", "  ", "\t", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028"),
    *("\u2029", "\u00a0", "\u3000", "\u00eb", "e\u0308", "\u674e", "\U0001f600", "\ud800", "emma"),
)
_FILES = (
    b"emma\nava\nmia\n",
    b"emma\r\nAnna Maria\r\n\r\n zoe ",
    "zo\u00eb\n\u674e\n\U0001f600\n".encode(),
    b"\xef\xbb\xbfemma\nava",
    b"\xff\xfee\0m\0m\0a\0\n\0",
    b"emma\na\xc3\n",
    b"a\tb\n",
    b"a\r\rb\n\r\r\n",
    b"\x1b]0;owned\x07\n",
    b"a" * 21 + b"\n" + b" " * 30,
    "".join(chr(0x100 + number) + "\n" for number in range(40)).encode(),
)
SEEDS = [
    *(b"\5\0\0\0\0" + file for file in _FILES),
    *(b"\4\1\3\2\3" + file for file in _FILES),
    b"",
]

if __name__ == "__main__":
    fuzz(check, SEEDS, WORDS)
