"""What the command line says to bad input: where, what, what to do, and the exit code."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from makemore.checkpoint import load_checkpoint, save_checkpoint
from makemore.run_directory import RunDirectory
from tests.command_line import TINY, Makemore


def test_an_unknown_command_names_the_nearest(makemore: Makemore) -> None:
    result = makemore("trian")
    assert result.code == 2
    assert "trian" in result.error
    assert "train" in result.error


def test_an_unknown_option_names_the_nearest(makemore: Makemore) -> None:
    result = makemore("sample", "--temprature", "1")
    assert result.code == 2
    assert "--temperature" in result.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "mpl"], "did you mean `mlp`"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--model", "mlp", "--config", "x.yaml"], "exclude each other"),
        (["--set", "train.stepz=5"], "did you mean `steps`"),
        (["--set", "train.steps=many"], "expected an integer"),
        (["--set", "train.learning_rate=-1"], "greater than 0"),
        (["--set", "steps"], "KEY=VALUE"),
        (["--seed", "-1"], "seed"),
        (["--device", "tpu"], "unknown device `tpu`"),
        (["--device", "cuda:99"], "no device `cuda:99`"),
        (["--device", "cuda:" + "9" * 5000], "unknown device"),
        (["--set", "train.max_epochs=1e308"], "at most 1e+09"),
        (["--set", "model.hidden_dim=1000000000000"], "at most 65536"),
        (["--resume", "x" * 5000], "no such run"),
        (["--resume", "runs/none"], "no such run"),
    ],
)
def test_bad_arguments_of_train_end_with_2_or_4_and_write_nothing(
    makemore: Makemore, arguments: list[str], message: str
) -> None:
    result = makemore("train", *arguments)
    assert result.code == (4 if "--resume" in arguments else 2)
    assert message in result.error
    assert "hint: " in result.error
    assert not Path("runs").exists()


def test_a_bad_config_reports_every_problem_with_its_line(makemore: Makemore) -> None:
    Path("bad.yaml").write_text(
        "model:\n  kind: mlp\n  num_heads: 4\ntrain:\n  stepz: 5\n  batch_size: big\n"
        "  learning_rate: 0\n"
    )
    result = makemore("train", "--config", "bad.yaml", "--set", "seed=x")
    assert result.code == 2
    problems = [line for line in result.error.splitlines() if line.startswith("error: ")]
    assert [problem.split(": ")[1] for problem in problems] == [
        *(f"bad.yaml:{line}" for line in (3, 5, 6, 7)),
        "--set seed",
    ]


def test_duplicate_keys_are_an_error(makemore: Makemore) -> None:
    Path("twice.yaml").write_text("model: {kind: mlp}\nseed: 1\nseed: 2\n")
    result = makemore("config", "twice.yaml")
    assert result.code == 2
    assert "twice.yaml:3" in result.error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "no names"),
        (b"ada\nben\nada\n", "2 distinct names"),
        (b"ada\nben\xff\ncora\n", "bad.txt:2: not UTF-8: byte 0xff, byte 4"),
        (b"ada\nb\x00n\ncora\n", "bad.txt:2: control character U+0000"),
        (b"ada\n\x1b[31mben\ncora\n", "bad.txt:2: control character U+001B"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "bad.txt:1: not UTF-8"),
        (b"ada\nben\n" + b"x" * 257 + b"\n", "bad.txt:3: 257 characters"),
    ],
)
def test_a_bad_file_of_names_ends_with_3_and_writes_nothing(
    makemore: Makemore, content: bytes | None, message: str
) -> None:
    if content is not None:
        Path("bad.txt").write_bytes(content)
    for command in (["train", "--data"], ["data"]):
        result = makemore(*command, "bad.txt")
        assert result.code == 3
        assert message in result.error
        assert "hint: " in result.error
    assert not Path("runs").exists()


def test_bom_and_crlf_are_accepted(makemore: Makemore) -> None:
    Path("windows.txt").write_bytes("\ufeffada\r\nben\r\n\r\ncora\r\n".encode())
    record = json.loads(makemore("data", "windows.txt", "--json").out)
    assert record["num_names"] == 3
    assert record["alphabet"] == "abcdenor"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "aé"], "'é' is not in the model's alphabet"),
        (["--prompt", "a" * 200, "--max-length", "5"], "200 characters"),
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--top-k", "0"], "error: --top-k: must be 1 or more, got 0"),
        (["--top-p", "1.5"], "top-p"),
        (["--min-p", "-0.5"], "min-p"),
        (["--max-length", "0"], "max-length"),
        (["-n", "-3"], "count"),
        (["-n", "many"], "'--count' / '-n'"),
    ],
)
def test_bad_arguments_of_sample_end_with_2(
    trained: Makemore, arguments: list[str], message: str
) -> None:
    result = trained("sample", *arguments)
    assert result.code == 2
    assert message in result.error


def test_an_unknown_prompt_character_shows_the_alphabet(trained: Makemore) -> None:
    assert "hint: its alphabet: abcdefgh" in trained("sample", "--prompt", "é").error


def test_a_run_directory_that_exists_is_not_touched(trained: Makemore) -> None:
    before = {path: path.read_bytes() for path in Path("runs/mlp-1").rglob("*") if path.is_file()}
    result = trained("train", "--data", "names.txt", "--run", "runs/mlp-1", *TINY)
    assert result.code == 2
    assert "exists already" in result.error
    assert "--resume runs/mlp-1" in result.error
    after = {path: path.read_bytes() for path in Path("runs/mlp-1").rglob("*") if path.is_file()}
    assert before == after


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_a_run_that_does_not_exist_names_the_nearest(trained: Makemore, command: str) -> None:
    result = trained(command, "runs/mpl-1")
    assert result.code == 4
    assert "did you mean `runs/mlp-1`" in result.error


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_without_any_run_the_hint_is_to_train_one(makemore: Makemore, command: str) -> None:
    result = makemore(command)
    assert result.code == 4
    assert "makemore train" in result.error


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
@pytest.mark.parametrize("command", ["sample", "eval"])
def test_a_damaged_checkpoint_is_found_and_the_other_used_loudly(
    trained: Makemore, command: str, damage: str
) -> None:
    path = Path("runs/mlp-1/checkpoints/best.safetensors")
    other = Path("runs/mlp-1/checkpoints/last.safetensors")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged: dict[str, bytes | bytearray] = {
        "cut": data[:1000],
        "flip": data,
        "empty": b"",
        "text": b"ada\nben\n" * 100,
    }
    path.write_bytes(damaged[damage])
    result = trained(command, path)
    assert result.code == 4
    assert str(path) in result.error
    fallen_back = trained(command)
    assert fallen_back.code == 0
    assert fallen_back.err.startswith(f"warning: {path}: ")
    assert f"using {other} instead" in fallen_back.err
    other.write_bytes(damaged[damage])
    result = trained(command)
    assert result.code == 4
    assert str(path) in result.error
    assert str(other) in result.error


def test_a_checkpoint_whose_parts_do_not_fit_together_is_refused(trained: Makemore) -> None:
    path = Path("runs/mlp-1/checkpoints/best.safetensors")
    sound = load_checkpoint(path)
    smaller = dict(sound.config) | {"model": {"kind": "mlp", "hidden_dim": 7}}
    changes: tuple[dict[str, Any], ...] = (
        {"config": smaller},
        {"config": {"model": {"kind": "rubbish"}}},
        {"vocabulary": sound.vocabulary[1:] + sound.vocabulary[:1]},
        {"model": {}},
        {"corpora": {}},
        {"corpora": sound.corpora | {"train": sound.corpora["train"][:0]}},
        {"corpora": sound.corpora | {"val": sound.corpora["test"]}},
        {"split_digest": "0" * 16},
        {"vocabulary": ("\n", *sound.vocabulary[1:])},
    )
    for broken in changes:
        save_checkpoint(path, sound.__class__(**(vars(sound) | broken)))
        result = trained("sample", path)
        assert result.code == 4
        assert str(path) in result.error


def test_an_unknown_or_empty_split_is_a_usage_error(trained: Makemore) -> None:
    assert trained("eval", "--split", "dev").code == 2
    assert "train, val or test" in trained("eval", "--split", "dev").error
    both = trained("eval", "--split", "val", "--data", "names.txt")
    assert both.code == 2
    assert "exclude each other" in both.error


def test_eval_of_names_with_unknown_characters_says_which(trained: Makemore) -> None:
    Path("french.txt").write_text("ada\nanaïs\nben\n")
    result = trained("eval", "--data", "french.txt")
    assert result.code == 3
    assert "'ï'" in result.error
    assert "anaïs" in result.error


def test_a_diverged_run_ends_with_5_and_keeps_its_checkpoint(makemore: Makemore) -> None:
    options = ("--data", "names.txt", "--set", "train.learning_rate=1e38")
    result = makemore("train", *options)
    assert result.code == 5
    assert "error: step " in result.err
    assert "Traceback" not in result.err
    assert makemore("sample").code == 0


def test_a_locked_run_ends_with_6(trained: Makemore) -> None:
    with RunDirectory(Path("runs/mlp-1")).lock():
        result = trained("train", "--resume", "runs/mlp-1")
    assert result.code == 6
    assert str(os.getpid()) in result.error


def test_a_run_directory_that_cannot_be_made_ends_with_7(makemore: Makemore) -> None:
    result = makemore("train", "--data", "names.txt", "--run", "names.txt/run")
    assert result.code == 7
    assert "names.txt" in result.error
