"""Names from bytes, files and standard input."""

import gzip
import hashlib
import io
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makemore.data import decoded, load_corpus, load_names, parse_names
from makemore.errors import DataError

DATA = Path(__file__).parents[1] / "data"


def parse(data: bytes, max_length: int = 256) -> list[str]:
    return parse_names(data, "names.txt", max_length)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", []),
        (b"\n\n \n\r\n", []),
        (b"ava", ["ava"]),
        (b"emma\nava\n", ["emma", "ava"]),
        (b"emma\r\nava\r\n", ["emma", "ava"]),
        (b"emma\r\nava\r", ["emma", "ava"]),
        (b"\n emma  \n\n   \n  ava\r\n\n", ["emma", "ava"]),
        (b"\xef\xbb\xbfemma\nava", ["emma", "ava"]),
        (b"\xef\xbb\xbf", []),
        (b"ava\nava", ["ava", "ava"]),
        (b"Anna Maria\nO'Neill\n", ["Anna Maria", "O'Neill"]),
        ("Zoë\nZoe\u0308\nÞór\n李小龍\n😀\n".encode(), ["Zoë", "Zoe\u0308", "Þór", "李小龍", "😀"]),
        ("\u00a0van\u00a0Gogh\u00a0\n\u3000".encode(), ["\u00a0van\u00a0Gogh\u00a0", "\u3000"]),
        # Joiners and marks of direction are letters' business in Persian and Hebrew.
        ("می\u200cرم\n\u200fא".encode(), ["می\u200cرم", "\u200fא"]),
    ],
)
def test_names_are_lines_of_utf_8_text(data: bytes, names: list[str]) -> None:
    assert parse(data) == names


@pytest.mark.parametrize(
    ("data", "where", "what", "hint"),
    [
        (b"a\nb\0", "2", "U+0000, character 2", "is this a text file?"),
        (b"a\tb", "1", "U+0009, character 2", "without further columns"),
        (b"\n\n  a\x1b[31m", "3", "U+001B, character 2", "remove it"),
        (b"a\x7f", "1", "U+007F, character 2", "remove it"),
        (b"\x0ba\nb", "1", "U+000B, character 1", "remove it"),
        (b"a\n\x0c\nb", "2", "U+000C, character 1", "remove it"),
        ("a\nbc\u0085d".encode(), "2", "U+0085, character 3", "remove it"),
        ("a\n\u009bm".encode(), "2", "U+009B, character 1", "remove it"),
        ("a\u2028b".encode(), "1", "U+2028, character 2", "remove it"),
        ("a\n\nb\u2029".encode(), "3", "U+2029, character 2", "remove it"),
        ("\ufeffa\n\0".encode(), "2", "U+0000, character 1", "is this a text file?"),
        (b"emma\rava\rmia", "1", "U+000D, character 5", "lone carriage return"),
        (b"ava\r\r\n", "1", "U+000D, character 4", "lone carriage return"),
    ],
)
def test_a_control_character_is_refused_where_it_stands(
    data: bytes, where: str, what: str, hint: str
) -> None:
    """U+0085 and U+2028 split lines in str.splitlines(), and drive terminals or break output."""
    with pytest.raises(DataError) as caught:
        parse(data)
    [problem] = caught.value.problems
    assert problem.where == f"names.txt:{where}"
    assert problem.what == f"control character {what} of the name"
    assert hint in problem.hint


def test_a_long_file_of_lone_carriage_returns_is_told_as_such() -> None:
    """It was once told as one name of too many characters, to be allowed by a larger limit."""
    with pytest.raises(DataError, match=r"U\+000D, character 5 .*\n.*lone carriage return"):
        parse(b"emma\r" * 100)


@pytest.mark.parametrize(
    ("data", "line", "byte", "column"),
    [
        (b"\x80", 1, "80", 1),
        (b"emma\n\nz\xc3\xabo\xe9\n", 3, "e9", 5),
        (b"emma\nno\xebl", 2, "eb", 3),
        (b"\xef\xbb\xbfemma\nno\xebl", 2, "eb", 3),
        (b"\xef\xbb\xbf\xebve\n", 1, "eb", 4),
        (b"\xef\xbb", 1, "ef", 1),
        (b"zo\xc3", 1, "c3", 3),
        (b"ava\n\xf0\x9f\x98", 2, "f0", 1),
        # Overlong, a surrogate, and above U+10FFFF.
        (b"a\xc0\x80", 1, "c0", 2),
        (b"a\n\xed\xa0\x80", 2, "ed", 1),
        (b"\xf4\x90\x80\x80", 1, "f4", 1),
        (gzip.compress(b"emma\nava\n", mtime=0), 1, "8b", 2),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 1, "89", 1),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused_where_they_stand(
    data: bytes, line: int, byte: str, column: int
) -> None:
    """Bytes count as in the file: a byte order mark was once left out of its line."""
    with pytest.raises(DataError) as caught:
        parse(data)
    [problem] = caught.value.problems
    assert problem.where == f"names.txt:{line}"
    assert problem.what == f"not UTF-8: byte 0x{byte}, byte {column} of the line"
    assert problem.hint


def test_utf_16_is_told_with_how_to_convert_it() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        with pytest.raises(DataError, match=r"names\.txt:1: UTF-16 text.*\n.*iconv -f UTF-16"):
            parse("\ufeffemma\nava".encode(encoding))
        with pytest.raises(DataError, match=r"U\+0000.*\n.*is this a text file"):
            parse("emma\nava".encode(encoding))


def test_a_name_may_be_as_long_as_the_limit_and_no_longer() -> None:
    data = "a\n  ëëëë  \r\n".encode()
    assert parse(data, max_length=4) == ["a", "ëëëë"]
    with pytest.raises(DataError) as caught:
        parse(data, max_length=3)
    [problem] = caught.value.problems
    assert problem.where == "names.txt:2"
    assert problem.what == "4 characters, more than 3"
    assert "--set data.max_name_length=N" in problem.hint


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.lists(st.sampled_from([b"a", b"\n", b"\r", b" ", b"\xc3", b"\xab", b"\0"])).map(b"".join)
)
def test_any_bytes_are_names_or_an_error_that_says_where(data: bytes) -> None:
    names: list[str] = []
    problem = None
    try:
        names = parse(data, max_length=20)
    except DataError as error:
        problem = error.problems[0]
    assert problem is None or (problem.where.startswith("names.txt:") and problem.hint)
    assert all(0 < len(name) <= 20 for name in names)
    assert all(name == name.strip(" ") for name in names)
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in "".join(names))
    # A second byte order mark stays, as a character of the first name.
    assert parse("\n".join(["", *names]).encode()) == names


def test_embedded_lists_are_what_they_were() -> None:
    """Every published figure on them names these bytes."""
    expected = {
        "names": (5_163, "cba14f452b7768bd7fe093035a67491d4a334061634ccfd51522fb796910e75e"),
        "surnames": (88_799, "cc6e6f69c119471a97fe3efc9f68082df5121dde31c6700a534742828106ae49"),
    }
    for source, (num_names, sha256) in expected.items():
        names = load_names(source)
        assert len(names) == len(set(names)) == num_names
        assert "".join(sorted(set("".join(names)))) == "abcdefghijklmnopqrstuvwxyz"
        data = (DATA / f"{source}.txt").read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256


def test_names_are_read_from_a_path_and_from_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.txt").write_bytes(b"emma\nava\nmia\nava\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_names(str(tmp_path / "mine.txt")) == ["emma", "ava", "mia", "ava"]
    assert load_names("~/mine.txt") == ["emma", "ava", "mia", "ava"]


@pytest.mark.parametrize(
    ("source", "what", "hint"),
    [
        ("missing.txt", "no such file", "`names`, `surnames`, `karpathy`"),
        ("~no-such-user/names.txt", "no such file", "a path"),
        (".", "is a directory", "one file of names"),
        ("file/names.txt", "cannot be read: Not a directory", "check the path"),
        ("a" * 300, "cannot be read: File name too long", "check the path"),
        ("a\0b", "cannot be read: embedded null byte", "check the path"),
        ("~\0", "cannot be read: embedded null byte", "check the path"),
        ("\udcff\ud800", "cannot be read: ", "check the path"),
    ],
)
def test_a_path_that_cannot_be_read_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, what: str, hint: str
) -> None:
    """A user that does not exist was once a traceback."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load_names(source)
    [problem] = caught.value.problems
    assert caught.value.exit_code == 3
    assert problem.where == source
    assert problem.what.startswith(what)
    assert hint in problem.hint


def test_an_empty_path_is_the_directory_here() -> None:
    """As in `--data "$UNSET"`: the error once began with no place at all."""
    with pytest.raises(DataError, match=r"^\.: is a directory"):
        load_names("")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.touch(mode=0o200)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        load_names(str(path))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no names"),
        (b"\xef\xbb\xbf\n \r\n\n", "no names"),
        (b"ava\n" * 5, "1 distinct name, at least 3 needed"),
        (b"ava\nmia\nava\n", "2 distinct names, at least 3 needed"),
        (b"ava\nmia\neve\n", None),
    ],
)
def test_three_distinct_names_are_needed(tmp_path: Path, data: bytes, what: str | None) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(data)
    if what is None:
        assert load_names(str(path)) == ["ava", "mia", "eve"]
        assert list(decoded(*load_corpus(str(path)))) == ["ava", "mia", "eve"]
        return
    for load in (load_names, load_corpus):
        with pytest.raises(DataError) as caught:
            load(str(path))
        [problem] = caught.value.problems
        assert (problem.where, problem.what) == (str(path), what)
        assert problem.hint == "one name a line"


@pytest.mark.parametrize("text", ["emma\nava\nzoe", "emma\r\nava\nzoë\n", "\n a\n b \nc"])
def test_a_corpus_holds_the_names_of_a_file_plain_or_not(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(text.encode())
    vocabulary, corpus = load_corpus(str(path))
    assert vocabulary.decode(corpus.tokens) == load_names(str(path))
    assert "".join(vocabulary.characters) == "".join(sorted(set(text) - set("\r\n ")))


def test_a_corpus_is_not_loaded_from_what_is_no_list_of_names(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"emma\nav\ta\nzoe\n")
    with pytest.raises(DataError, match=r"names\.txt:2: control character U\+0009"):
        load_corpus(str(path))
    path.write_bytes(b"emma\n" + b"a" * 257 + b"\nzoe\n")
    with pytest.raises(DataError, match=r"names\.txt:2: 257 characters, more than 256"):
        load_corpus(str(path))
    assert load_corpus(str(path), max_length=257)[1].longest == 257


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "Zoë\r\nava\nmia".encode()
    # Bytes are read, whatever encoding the terminal has.
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
    assert load_names("-") == ["Zoë", "ava", "mia"]


def test_errors_of_standard_input_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ava\n\xff")))
    with pytest.raises(DataError, match=r"^standard input:2: not UTF-8"):
        load_names("-")
    with pytest.raises(DataError, match=r"^standard input: no names"):
        load_names("-")
    sys.stdin.close()
    with pytest.raises(DataError, match=r"^standard input: cannot be read: .*closed file"):
        load_names("-")


def test_a_standard_input_that_is_closed_or_a_directory_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `makemore data - <&-` and `makemore data - < .`: both were once tracebacks."""

    class Directory(io.RawIOBase):
        def readinto(self, buffer: Any) -> int:
            return os.readv(descriptor, [buffer])

        def readable(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match=r"^standard input: is closed"):
        load_names("-")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Directory())))
    with pytest.raises(DataError, match=r"^standard input: is a directory"):
        load_names("-")
    os.close(descriptor)
