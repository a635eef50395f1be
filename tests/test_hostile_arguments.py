"""Every command with hostile text in every place: it says something, and nothing that acts."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from makemore.messages import visible
from tests.command_line import TINY, Makemore
from tests.hostile_text import (
    ARGUMENTS,
    BIDI_CONTROLS,
    C1,
    DRAWING,
    HIDDEN,
    HOSTILE,
    MARKUP,
    UNDECODABLE,
    read_to_the_end,
    unsafe_characters,
)

TRAIN = ("train", "--data", "names.txt")


def write(path: str, text: str) -> str:
    Path(path).write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def path_of(text: str) -> str:
    return "x/" + text.replace("/", "_")


# For a text, the arguments of a command in whose message it stands.
NAMED: dict[str, Callable[[str], tuple[str, ...]]] = {
    "train --config": lambda text: ("train", "--config", path_of(text)),
    "train --run": lambda text: (*TRAIN, *TINY, "--run", path_of(text)),
    "train --resume": lambda text: ("train", "--resume", path_of(text)),
    "sample RUN": lambda text: ("sample", path_of(text)),
    "eval RUN": lambda text: ("eval", path_of(text)),
    "eval --split": lambda text: ("eval", "--split", path_of(text)),
    "fold RUN": lambda text: ("fold", path_of(text)),
    "verify RUN": lambda text: ("verify", path_of(text)),
}
# The same, where the message may not show it, or as Typer, Python or YAML writes it.
TOLD: dict[str, Callable[[str], tuple[str, ...]]] = {
    "command": lambda text: (text,),
    "option": lambda text: ("sample", f"--{text}"),
    "train argument": lambda text: (*TRAIN, text),
    "train --seed": lambda text: (*TRAIN, "--seed", f"x{text}"),
    "sample -n": lambda text: ("sample", "-n", f"x{text}"),
    "data FILE": lambda text: ("data", f"x/{text}"),
    "train --data": lambda text: ("train", "--data", f"x/{text}"),
    "eval --data": lambda text: ("eval", "--data", f"x/{text}"),
    "train --model": lambda text: (*TRAIN, "--model", text),
    "train --device": lambda text: (*TRAIN, "--device", f"x{text}"),
    "train --set key": lambda text: (*TRAIN, "--set", f"{text}=1"),
    "train --set value": lambda text: (*TRAIN, "--set", f"train.steps=x{text}"),
    "train --set without value": lambda text: (*TRAIN, "--set", text),
    "train --resume --set": lambda text: ("train", "--resume", "mlp-1", "--set", f"x{text}=1"),
    "train source": lambda text: ("train", "--set", f"data.source=x{text}"),
    "sample --prompt": lambda text: ("sample", "--prompt", f"!{text}"),
    "sample --mix": lambda text: ("sample", "--mix", f"x{text}"),
    "eval --weights": lambda text: ("eval", "--ensemble", "--weights", f"x{text}"),
    "fold --out": lambda text: ("fold", "--out", f"x/{text}"),
    "config PRESET": lambda text: ("config", text),
    "config --set": lambda text: ("config", "mlp", "--set", f"model.{text}=1"),
    "data --set": lambda text: ("data", "names.txt", "--set", f"data.{text}=1"),
    "config key": lambda text: ("config", write("key.yaml", f"model: {{kind: mlp}}\nx{text}: 1")),
    "config value": lambda text: ("config", write("value.yaml", f"model: {{kind: 'x{text}'}}")),
    "config escaped": lambda text: (
        *("config", write("escaped.yaml", f"model: {{kind: mlp}}\n{json.dumps('x' + text)}: 1")),
    ),
    "content of data": lambda text: ("data", write("bad.txt", f"anna\n{text}\x1b\x00")),
    "content for eval": lambda text: ("eval", "--data", write("other.txt", f"anna\n!{text}")),
}


@pytest.mark.parametrize("place", NAMED)
def test_a_message_shows_the_text_inert(trained: Makemore, place: str) -> None:
    for text in ARGUMENTS:
        if place == "train --run":
            Path(path_of(text)).mkdir(parents=True)
            (Path(path_of(text)) / "notes").touch()
        result = trained(*NAMED[place](text))
        assert result.code in (2, 3, 4), text
        assert result.out == ""
        assert result.err.startswith("error: ")
        assert not unsafe_characters(result.err)
        # The error and its hint: a newline in the text begins no further line.
        assert result.err.count("\n") <= 2
        assert visible(text.replace("/", "_")) in result.err


@pytest.mark.parametrize("place", TOLD)
def test_a_message_about_a_text_is_inert(trained: Makemore, place: str) -> None:
    for text in ARGUMENTS:
        result = trained(*TOLD[place](text))
        assert result.code in (2, 3, 4, 7), text
        assert result.out == ""
        assert result.err.startswith("error: ")
        assert "Traceback" not in result.err
        assert not unsafe_characters(result.err)


def test_files_with_hostile_names_are_read_and_shown_inert(makemore: Makemore) -> None:
    Path("x").mkdir()
    for text in ARGUMENTS:
        if text in UNDECODABLE:
            continue
        name = path_of(text)
        shutil.copy("names.txt", name)
        result = makemore("data", name)
        assert result.code == 0
        assert f"source      {visible(name)}\n" in result.out
        assert not unsafe_characters(result.out + result.err)
        assert json.loads(makemore("data", name, "--json").out)["source"] == name


def test_runs_with_hostile_names_are_listed_sampled_and_evaluated_inert(
    trained: Makemore,
) -> None:
    for text in ARGUMENTS:
        name = f"runs/{text.replace('/', '_')}"
        shutil.copytree("runs/mlp-1", name)
        for command in (("runs",), ("sample", "-n", "1", name), ("eval", name)):
            result = trained(*command)
            assert result.code == 0, text
            assert not unsafe_characters(result.out + result.err)
        assert result.out.split("\n")[1].startswith(visible(name))
        assert json.loads(trained("eval", name, "--json").out)["run"] == name
        shutil.rmtree(name)


@pytest.mark.parametrize(
    "stem", ["x\x1b[31m", ".hidden", "-x", f"{C1}\x7f", BIDI_CONTROLS, "[bold]:smile:"]
)
def test_a_run_named_after_a_hostile_file_has_a_name_that_can_be_typed(
    makemore: Makemore, stem: str
) -> None:
    write(f"{stem}.yaml", makemore("config", "bigram-count").out)
    result = makemore("train", "--data", "names.txt", "--config", f"./{stem}.yaml")
    assert result.code == 0
    (run,) = os.listdir("runs")
    assert result.out == f"runs/{run}\n"
    assert run.isprintable()
    assert run[0] not in ".-"
    assert makemore("sample", "-n", "1", run).code == 0


def test_records_of_a_run_that_were_tampered_with_are_shown_inert(trained: Makemore) -> None:
    metrics = Path("runs/mlp-1/metrics.jsonl")
    start, *others = metrics.read_text().splitlines()
    for text in HOSTILE:
        hostile = json.loads(start) | {"model": text, "split": text, "split_digest": text}
        metrics.write_text("\n".join([json.dumps(hostile), *others, ""]))
        result = trained("runs")
        assert result.code == 0
        assert not unsafe_characters(result.out)
        assert result.out.startswith(f"split {visible(text)}, digest {visible(text)}\n")
        assert result.out.count("\n") == 3
        listed = json.loads(trained("runs", "--json").out)
        assert listed["model"] == listed["split"] == listed["split_digest"] == text


# Those that are legal in names.
LEGAL = [*BIDI_CONTROLS, *HIDDEN, *(text for text in MARKUP if text.isprintable())]


def test_names_of_hostile_characters_are_shown_inert_and_exact_as_json(
    makemore: Makemore,
) -> None:
    names = [f"a{text}b" for text in LEGAL]
    write("hostile.txt", "\n".join(names * 20) + "\n")
    bigram = ("--model", "bigram-count", "--set", "model.k=0.001")
    result = makemore("train", "--data", "hostile.txt", *bigram, "--set", "data.fractions=[1,0,0]")
    assert result.code == 0, result.err
    alphabet = set("".join(names))
    sampled = ("sample", "-n", "500", "--seed", "1", "--max-length", "60")
    drawn = [json.loads(line)["name"] for line in makemore(*sampled, "--json").out.splitlines()]
    assert set("".join(drawn)) >= {*BIDI_CONTROLS, *HIDDEN}
    shown = makemore(*sampled).out
    assert not unsafe_characters(shown)
    assert shown == "".join(visible(name) + "\n" for name in drawn)
    for command in (("data", "hostile.txt"), ("eval", "--data", "hostile.txt"), ("runs",)):
        for option in ((), ("--json",)) if command[0] != "eval" else ((),):
            result = makemore(*command, *option)
            assert result.code == 0
            assert not unsafe_characters(result.out + result.err)
    assert set(json.loads(makemore("data", "hostile.txt", "--json").out)["alphabet"]) == alphabet


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("train", "--data", "hostile.txt", *TINY), 0),
        (("train", "--data", "x\x1b[31m\u202e\x9b[bold]:smile:.txt", *TINY), 0),
        (("train", "--config", "x\x1b[31m\u202e\x9b[bold]:smile:.yaml"), 2),
        (("sample", "-n", "300"), 0),
        (("sample", "\x1b]0;title\x07\u202e[bold]\udc9b"), 4),
        (("eval", "--data", "other.txt"), 3),
        (("data", "hostile.txt"), 0),
        (("--\x1b[31m",), 2),
        (("sample", "--help"), 0),
    ],
)
def test_on_a_terminal_a_command_shows_nothing_that_acts(
    trained: Makemore, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """With the bar, where there is one; the name of the program is hostile, too."""
    write("hostile.txt", "\n".join([f"ab{text}" for text in LEGAL] * 20))
    shutil.copy("hostile.txt", "x\x1b[31m\u202e\x9b[bold]:smile:.txt")
    write("x\x1b[31m\u202e\x9b[bold]:smile:.yaml", "\x1b")
    write("other.txt", "!\u202e\n")
    program = tmp_path / "x\x1b[31m\u202e[bold]"
    program.write_text("from makemore.cli import main\nmain()\n")
    leader, follower = os.openpty()
    child = subprocess.Popen(
        [sys.executable, program, *arguments],
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(follower)
    screen = read_to_the_end(leader).replace("\r\n", "\n")
    assert child.wait() == code, screen
    assert not unsafe_characters(DRAWING.sub("", screen))
