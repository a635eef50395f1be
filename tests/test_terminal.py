"""What reaches a terminal, whatever was to be shown: nothing that acts on it, and no markup."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore.cli import output
from makemore.cli.progress import Progress
from makemore.errors import ConfigError, DataError, Problem
from makemore.messages import escaped, path_argument, visible
from tests.command_line import TINY, Makemore
from tests.hostile_text import (
    ARGUMENTS,
    DRAWING,
    Terminal,
    is_unsafe,
    read_to_the_end,
    texts,
    unsafe_characters,
)


def test_exactly_what_acts_on_a_terminal_is_made_visible() -> None:
    """Every code point there is. The others stay: names of many scripts hold joiners, marks and
    variation selectors."""
    characters = [chr(code_point) for code_point in range(sys.maxunicode + 1)]
    unsafe = [character for character in characters if is_unsafe(character)]
    assert len(unsafe) == 33 + 32 + 2 + 12 + 6 + 3 + 128 + 2048
    shown = [visible(character) for character in unsafe]
    assert all(text.isascii() and text.isprintable() for text in shown)
    assert len(set(shown)) == len(unsafe)
    safe = "".join(character for character in characters if not is_unsafe(character))
    assert visible(safe) == safe
    # What is written into YAML and into messages of its keys shows more, and nothing less.
    assert not any(character.isprintable() for character in unsafe)
    assert all(escaped(character).isascii() for character in unsafe)


@pytest.mark.parametrize(
    "text", ["\u0645\u06cc\u200c\u0646\u0627\u0632", "\u8fbb\U000e0100", "a\xa0b"]
)
def test_names_with_joiners_and_variation_selectors_are_shown_as_they_are(text: str) -> None:
    assert visible(text) == text


@given(texts)
def test_a_line_shows_all_of_a_text_and_ends_once(text: str) -> None:
    for write in (output.write_line, output.say, lambda text: output.write_column([text])):
        with Terminal() as terminal:
            write(text)
            screen = terminal.screen()
        assert screen == visible(text) + "\n"
        assert not unsafe_characters(screen)


@given(texts)
def test_lines_end_at_newlines_alone(text: str) -> None:
    with Terminal() as terminal:
        output.write_lines(text)
        screen = terminal.screen()
    assert not unsafe_characters(screen)
    assert screen == "".join(visible(line) + "\n" for line in text.removesuffix("\n").split("\n"))


@given(st.lists(texts, max_size=4))
def test_a_column_has_a_line_for_each_text(column: list[str]) -> None:
    with Terminal() as terminal:
        output.write_column(column)
        screen = terminal.screen()
    assert not unsafe_characters(screen)
    assert screen == "".join(visible(text) + "\n" for text in column)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4))
def test_a_table_has_a_line_for_each_row(rows: list[tuple[str, str, str]]) -> None:
    with Terminal() as terminal:
        output.write_table(rows)
        screen = terminal.screen()
    assert not unsafe_characters(screen)
    lines = screen.removesuffix("\n").split("\n")
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert all(visible(cell).strip() in line for cell in row)


@given(texts, texts, texts)
def test_a_problem_is_two_lines_in_the_command_line_and_as_an_exception(
    where: str, what: str, hint: str
) -> None:
    with Terminal() as terminal:
        output.say_problem(Problem(what, where, hint))
        screen = terminal.screen()
    assert not unsafe_characters(screen)
    head = ": ".join(visible(part) for part in (where, what) if part)
    lines = [": ".join(part for part in ("error", head) if part)]
    lines += [f"hint: {visible(hint)}"] if hint else []
    assert screen == "\n".join(lines) + "\n"
    for error in (
        DataError(what, where=where, hint=hint),
        ConfigError([Problem(what, where, hint)]),
    ):
        assert not unsafe_characters(str(error))
        assert str(error).count("\n") == len(lines) - 1
        assert visible(what) in str(error)


@given(st.recursive(texts, lambda part: st.lists(part, max_size=3) | st.dictionaries(texts, part)))
def test_json_is_one_inert_line_and_exact(value: Any) -> None:
    with Terminal() as terminal:
        output.write_json(value)
        screen = terminal.screen()
    assert not unsafe_characters(screen)
    assert screen.count("\n") == 1
    # Halves that stand side by side are one character to every reader of JSON.
    assert json.loads(screen) == json.loads(json.dumps(value))


@given(texts.filter(lambda text: not re.search("[\ud800-\udbff][\udc00-\udfff]", text)))
def test_a_text_comes_back_from_json_as_it_was(text: str) -> None:
    with Terminal() as terminal:
        output.write_json({text: [text]})
        assert json.loads(terminal.screen()) == {text: [text]}


def shown_with_a_bar(text: str, columns: int) -> str:
    with pytest.MonkeyPatch.context() as environment, Terminal() as terminal:
        environment.setenv("TERM", "xterm-256color")
        environment.setenv("COLUMNS", str(columns))
        environment.delenv("NO_COLOR", raising=False)
        with Progress() as progress:
            progress.report(start_record(text))
            progress.report({"event": "message", "text": text})
            progress.report({"event": "train", "step": 1, "loss": 2.5, "tokens_per_second": 1000})
            progress.report(
                {"event": "evaluation", "step": 2, "loss": 2, "best": True, "samples": [text, text]}
            )
            output.say(text)
        return terminal.screen()


def start_record(run: str, event: str = "start") -> dict[str, Any]:
    described = {"run": run, "model": run, "device": run, "num_names": {run: 3}}
    return {"event": event, "step": 0, **described, "num_parameters": 7, "num_steps": 10}


@given(texts)
def test_around_a_bar_every_text_is_inert_and_whole(text: str) -> None:
    screen = shown_with_a_bar(text, columns=4000)
    shown = visible(text)
    headline = f"{shown}: {shown}, 7 parameters, 3 {shown} names, {shown}\n"
    assert screen.startswith(headline)
    drawn = screen.removeprefix(headline)
    # Each on a line of its own, from which the bar was erased first.
    assert drawn.count(f"\r\x1b[2K{shown}\n") >= 2
    if text:
        assert f"\r\x1b[2K\x1b[2m{shown}  {shown}\x1b[0m" in drawn
    assert not unsafe_characters(DRAWING.sub("", drawn))
    assert "step 2/10" in re.sub(DRAWING, "", drawn)


@given(texts, st.integers(1, 40))
@settings(max_examples=50)
def test_on_a_narrow_terminal_what_is_cut_is_inert(text: str, columns: int) -> None:
    assert not unsafe_characters(DRAWING.sub("", shown_with_a_bar(text, columns)))


def test_messages_of_many_threads_stand_above_the_bar_and_whole() -> None:
    with pytest.MonkeyPatch.context() as environment, Terminal() as terminal:
        environment.setenv("TERM", "xterm")
        environment.setenv("COLUMNS", "100")
        with Progress() as progress:
            progress.report(start_record("runs/mlp-1"))

            def talk(number: int) -> None:
                for line in range(20):
                    progress.report({"event": "message", "text": f"<{number}.{line}>"})

            threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        screen = terminal.screen()
    for number in range(8):
        assert all(f"\r\x1b[2K<{number}.{line}>\n" in screen for line in range(20))


@pytest.mark.parametrize(
    ("number", "before", "after"),
    [
        (2, "", "; Ctrl-C again leaves at once\n"),
        (15, "SIGTERM: ", "; once more to leave at once\n"),
        (1, "SIGHUP: ", "; once more to leave at once\n"),
    ],
)
def test_the_first_signal_is_named_on_a_line_of_its_own(
    number: int, before: str, after: str
) -> None:
    with Terminal() as terminal:
        with Progress() as progress:
            progress.report({"event": "signal", "number": number, "count": 1})
            assert terminal.screen() == f"{before}stopping{after}"
            progress.report(start_record("runs/mlp-1"))
            progress.report({"event": "signal", "number": number, "count": 1})
        lines = DRAWING.sub("\n", terminal.screen())
        assert f"\n{before}stopping after this step, and saving{after}" in lines


LEAVING = """
import sys, threading
from makemore.cli import output
from makemore.cli.progress import Progress
progress = Progress()
record = {"step": 0, "model": "mlp", "device": "cpu", "num_names": {}, "num_parameters": 7}
if len(sys.argv) > 1:
    progress.report({"event": "start", "run": sys.argv[1], "num_steps": 10, **record})
BEFORE
progress.report({"event": "signal", "number": 15, "count": 2})
"""
# A thread that waits for a reader, and holds what it writes with meanwhile.
STUCK = """
def write():
    while True:
        sys.stderr.write("x" * 4096)
        sys.stderr.flush()
        output.say("x" * 4095)
threading.Thread(target=write, daemon=True).start()
while output.is_heard():
    pass
progress.report({"event": "signal", "number": 15, "count": 1})
"""


def leave(stderr: int, *run: str, before: str = "") -> "subprocess.Popen[bytes]":
    code = LEAVING.replace("BEFORE", before)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", code, *run]
    return subprocess.Popen(command, stderr=stderr, env=environment)


@pytest.mark.parametrize(
    ("run", "resume"),
    [
        ("runs/mlp-1", "makemore train --resume runs/mlp-1"),
        ("-x y", "makemore train --resume './-x y'"),
        ("a\x1b[31m'", "makemore train --resume 'a^[[31m'\"'\"''"),
    ],
)
def test_the_second_signal_ends_the_process_with_the_cursor_shown(run: str, resume: str) -> None:
    leader, follower = os.openpty()
    child = leave(follower, run)
    os.close(follower)
    screen = read_to_the_end(leader).replace("\r\n", "\n")
    assert child.wait() == 128 + 15
    assert screen.endswith(
        "\x1b[?25h\ninterrupted: left at once; the newest checkpoint is sound\n"
        f"hint: go on with `{resume}`\n"
    )


def test_before_a_run_has_started_there_is_nothing_to_go_on_with() -> None:
    child = leave(subprocess.PIPE)
    _, err = child.communicate()
    assert child.returncode == 128 + 15
    assert err == b"interrupted: left at once\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_signals_wait_for_no_reader(is_terminal: bool) -> None:
    """Nobody reads, and another thread holds the locks of the display and of stderr."""
    reader, writer = os.openpty() if is_terminal else os.pipe()
    child = leave(writer, "runs/mlp-1", before=STUCK)
    try:
        assert child.wait(timeout=60) == 128 + 15
    finally:
        child.kill()
        os.close(reader)
        os.close(writer)


def test_training_goes_on_where_its_terminal_is_gone(makemore: Makemore, tmp_path: Path) -> None:
    leader, follower = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "makemore", "train", "--data", "names.txt", *TINY],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(follower)
    assert os.read(leader, 1)
    os.close(leader)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert out == b"runs/mlp-1\n"


BUGS = """
import sys, threading, warnings
from makemore import cli

class Unraisable:
    def __del__(self):
        raise ValueError("of an object " + sys.argv[2])

def boom(text: str) -> None:
    warnings.warn("a warning " + text)
    thread = threading.Thread(target=lambda: [][text], name=text)
    thread.start()
    thread.join()
    Unraisable()
    raise ValueError("a bug " + text)

cli.app.command("boom")(boom)
cli.main()
"""


@pytest.mark.parametrize("text", ["".join(ARGUMENTS), "[bold]:smile:", "\x1b[31m\u202e\x9b\udc80"])
def test_tracebacks_and_warnings_are_whole_and_inert(text: str) -> None:
    leader, follower = os.openpty()
    child = subprocess.Popen([sys.executable, "-c", BUGS, "boom", text], stderr=follower)
    os.close(follower)
    screen = read_to_the_end(leader).replace("\r\n", "\n")
    assert child.wait() == 1
    assert not unsafe_characters(screen)
    # A newline in a message is one in a traceback, too.
    shown = "\n".join(map(visible, text.split("\n")))
    assert f"UserWarning: a warning {shown}\n" in screen
    assert f"Exception in thread {visible(text)}:\nTraceback (most recent call last):\n" in screen
    assert f"ValueError: of an object {shown}\n" in screen
    assert screen.endswith(f"ValueError: a bug {shown}\n")
    assert screen.count("Traceback (most recent call last):\n") == 3


def test_a_path_is_an_argument_of_a_shell() -> None:
    for path in ("runs/mlp-1", "a b", "-x", "$(id)", "'", "~", "*"):
        line = f"printf %s {path_argument(path)}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        assert Path(done.stdout) == Path(path)
        assert not done.stdout.startswith("-")
