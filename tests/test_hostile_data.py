"""Sources of names that were made to do harm: each is refused where it first shows."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from makemore import data
from makemore.data import MAX_SPACES, load_corpus, load_names
from makemore.errors import DataError
from makemore.vocab import MAX_CHARACTERS

GIGABYTE = 10**9
# Loads every source that it is given and prints the problem of each, and the most kilobytes that it
# ever held. `endless:TEXT` is a pipe through which a gigabyte of the text comes, if somebody reads.
CHILD = """
import json, os, resource, sys, threading
from makemore.data import load_corpus
from makemore.errors import DataError

def write(descriptor, text):
    with open(descriptor, "wb", buffering=0) as file:
        try:
            for _ in range(10**9 // 2**20):
                file.write(text)
        except BrokenPipeError:
            pass

problems = []
for source in sys.argv[1:]:
    reading = None
    if source.startswith("endless:"):
        text = source.removeprefix("endless:").encode().decode("unicode_escape").encode("latin-1")
        reading, writing = os.pipe()
        threading.Thread(target=write, args=(writing, text * (2**20 // len(text)))).start()
        source = f"/dev/fd/{reading}"
    try:
        load_corpus(source)
        problems.append(["", "none", ""])
    except DataError as error:
        [problem] = error.problems
        problems.append([problem.where, problem.what, problem.hint])
    if reading is not None:
        os.close(reading)
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, problems]))
"""


def problems_and_peak(
    *sources: str | Path, stdin: str = os.devnull
) -> tuple[int, list[tuple[str, str, str]]]:
    """Megabytes that a process held at most that loaded these, and the problem of each."""
    with open(stdin, "rb") as file:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CHILD, *map(str, sources)],
            stdin=file,
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
    kilobytes, problems = json.loads(done.stdout)
    return kilobytes // 1024, [tuple(problem) for problem in problems]


@pytest.fixture(scope="module")
def small_peak(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Megabytes of a process that refuses a few bytes of each kind."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "plain").write_text("ava\n" * 1000)
    (folder / "odd").write_text("zo\u00eb\n" * 1000)
    peak, problems = problems_and_peak(folder / "plain", folder / "odd")
    assert [what for _, what, _ in problems] == ["1 distinct name, at least 3 needed"] * 2
    return peak


def test_a_gigabyte_of_what_is_no_file_of_names_is_refused_unread(
    tmp_path: Path, small_peak: int
) -> None:
    (tmp_path / "holes").touch()
    os.truncate(tmp_path / "holes", GIGABYTE)
    (tmp_path / "late").write_bytes(b"emma\n" * 300_000 + b"ava\0")
    os.truncate(tmp_path / "late", GIGABYTE)
    sources: list[str | Path] = [
        tmp_path / "holes",
        tmp_path / "late",
        "/dev/zero",
        "/dev/full",
        "endless:\\0",
        "endless:a",
        "endless: ",
        "endless:\\xc3\\xab",
        "endless:\\xe6\\x9d\\x8e",
        "endless:a ",
        "endless:a\\r",
        "endless:a\\t\\n",
        "endless:\\x01\\n",
        "endless:\\xff\\n",
        "endless:a\\xff",
        "/dev/urandom",
        "-",
    ]
    peak, problems = problems_and_peak(*sources, stdin="/dev/zero")
    assert peak <= small_peak + 64
    found = [(where.rpartition(":")[2], what) for where, what, _ in problems]
    null = ("1", "control character U+0000, character 1 of the name")
    length = 2**19
    assert found[:15] == [
        null,
        ("300001", "control character U+0000, character 4 of the name"),
        null,
        null,
        null,
        ("1", f"at least {length:,} characters, more than 256"),
        ("1", f"at least {length:,} characters, more than 65,792 with all spaces"),
        ("1", f"at least {length // 2:,} characters, more than 256"),
        ("1", f"at least {length // 3:,} characters, more than 256"),
        ("1", f"at least {length - 1:,} characters, more than 256"),
        ("1", "control character U+000D, character 2 of the name"),
        ("1", "control character U+0009, character 2 of the name"),
        ("1", "control character U+0001, character 1 of the name"),
        ("1", "not UTF-8: byte 0xff, byte 1 of the line"),
        ("1", "not UTF-8: byte 0xff, byte 2 of the line"),
    ]
    assert problems[15][0].startswith("/dev/urandom:")
    assert (problems[16][0], problems[16][1]) == ("standard input:1", null[1])
    assert all(hint for _, _, hint in problems)


@pytest.mark.parametrize("name", ["a", "zo\u00eb", "\u674e\u5c0f\u9f99"])
def test_a_file_of_one_name_alone_takes_three_times_its_size(
    tmp_path: Path, small_peak: int, name: str
) -> None:
    """A list of as many names would take twenty times the size of their file."""
    path = tmp_path / "names.txt"
    num_bytes = 8 * 2**20
    path.write_bytes(f"{name}\n".encode() * (num_bytes // len(f"{name}\n".encode())))
    peak, [problem] = problems_and_peak(path)
    assert problem[1] == "1 distinct name, at least 3 needed"
    assert peak <= small_peak + 3 * 8


def load_both(path: Path) -> str:
    """What is wrong with a file, whichever way it is loaded."""
    found = []
    for load in (load_corpus, load_names):
        with pytest.raises(DataError) as caught:
            load(str(path))
        [problem] = caught.value.problems
        assert problem.hint
        found.append(f"{problem.where.removeprefix(str(path))} {problem.what}")
    assert found[0] == found[1]
    return found[0]


def characters(number: int) -> str:
    """As many that a name may hold, from the end of Unicode."""
    return "".join(map(chr, range(0x110000 - number, 0x110000)))


def test_a_million_different_characters_are_refused_where_they_become_too_many(
    tmp_path: Path,
) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(characters(1_000_000)))
    first = f"U+{0x110000 - 1_000_000 + MAX_CHARACTERS:04X}"
    what = "character 1 of the name, makes more than 65,536 different characters"
    assert load_both(path) == f":65537 {first}, {what}"


def test_a_vocabulary_has_at_most_its_most_characters(tmp_path: Path) -> None:
    """Also where they are spread over far more bytes than are read at a time."""
    path = tmp_path / "names.txt"
    fill = "aa\n" * 200_000
    text = "\n".join(["a", *characters(MAX_CHARACTERS - 1)])
    path.write_text(text[:60_000] + "\n" + fill + text[60_000:] + "\n")
    vocabulary, corpus = load_corpus(str(path))
    assert len(vocabulary.characters) == MAX_CHARACTERS
    assert vocabulary.decode(corpus.tokens)[-1] == chr(0x10FFFF)
    with path.open("a") as file:
        file.write("  ab \n")
    number = len(path.read_text().splitlines())
    what = "U+0062, character 2 of the name, makes more than 65,536 different characters"
    assert load_both(path) == f":{number} {what}"


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("before", ["", "emma\n", "emma\n" * 60_000, "zo\u00eb\n\n" * 60_000])
def test_spaces_around_a_name_end_at_the_limit(tmp_path: Path, before: str, is_long: bool) -> None:
    """Wherever the line stands: what a file is does not depend on where it is cut to be read."""
    path = tmp_path / "names.txt"
    spaces = " " * (MAX_SPACES // 2)
    line = f"{spaces}{'b' * 256}{spaces}{' ' * is_long}"
    path.write_text(before + line + "\nava\nida\neva")
    if not is_long:
        assert load_names(str(path))[-4:] == ["b" * 256, "ava", "ida", "eva"]
        return
    number = before.count("\n") + 1
    what = "65,793 characters, more than 65,792 with all spaces"
    assert load_both(path) == f":{number} {what}"


def test_what_is_wrong_late_in_a_file_is_where_it_stands(tmp_path: Path) -> None:
    """Lines are counted over all pieces that were read, blank ones and odd ones, too."""
    path = tmp_path / "names.txt"
    before = b"emma\n" * 60_000 + "zo\u00eb\r\n\n".encode() * 60_000 + b"ida\n" * 120_000
    for line, what in [
        (b"a\tb", "control character U+0009, character 2 of the name"),
        (b"ab\xff", "not UTF-8: byte 0xff, byte 3 of the line"),
        (b"a" * 257, "257 characters, more than 256"),
        (b"\xef\xbb\xbf\x7f", "control character U+007F, character 2 of the name"),
    ]:
        path.write_bytes(before + line + b"\nava\n")
        assert load_both(path) == f":300001 {what}"


def test_a_character_that_is_cut_by_the_reading_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a line that is too long, what was read may end within a character."""
    path = tmp_path / "names.txt"
    monkeypatch.setattr(data, "MAX_SPACES", 0)
    for shift in range(4):
        path.write_bytes(b"a" * shift + "\U0001f600".encode() * 2**18)
        what = f"at least {shift + (2**18 - shift) // 4:,} characters, more than 256"
        assert load_both(path) == f":1 {what}"


def test_a_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    names = [f"{first}{last}" for first in "abcdefgh" for last in "\u00eb\u674ez"] * 9_999
    content = "\n".join(names).encode()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        with open(writing, "wb") as file:
            file.write(content)
        os._exit(0)
    os.close(writing)
    assert load_names(f"/dev/fd/{reading}") == names
    os.close(reading)
    os.wait()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nothing").symlink_to("missing")
    (tmp_path / "here").symlink_to(".")
    refused: dict[str, Callable[[str], bool]] = {
        "loop": lambda what: what == "cannot be read: Too many levels of symbolic links",
        "nothing": lambda what: what == "no such file",
        "here": lambda what: what == "is a directory",
        "/dev/null": lambda what: what == "no names",
        "/proc/self/mem": lambda what: what.startswith("cannot be read: "),
    }
    for name, is_told in refused.items():
        with pytest.raises(DataError) as caught:
            load_names(str(tmp_path / name))
        assert is_told(caught.value.problems[0].what), name
