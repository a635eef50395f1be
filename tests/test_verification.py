"""`makemore verify`: which files of a run are sound."""

import json
import os
from pathlib import Path

import pytest

from makemore.checkpoint import load_checkpoint
from makemore.run_directory import RunDirectory
from tests.command_line import Makemore

FILES = ("checkpoints/best.safetensors", "checkpoints/last.safetensors", "config.yaml")


def findings(out: str) -> dict[str, bool]:
    records = [json.loads(line) for line in out.splitlines()]
    return {record["file"]: record["sound"] for record in records}


@pytest.mark.parametrize("arguments", [[], ["runs/mlp-1"], ["mlp-1"]])
def test_a_sound_run_is_sound(trained: Makemore, arguments: list[str]) -> None:
    result = trained("verify", *arguments)
    assert result.code == 0
    assert [line.split()[0] for line in result.out.splitlines()] == ["sound"] * 4
    assert set(findings(trained("verify", "--json").out).values()) == {True}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "link"])
def test_the_damaged_file_is_named_and_the_others_are_sound(
    trained: Makemore, file: str, damage: str
) -> None:
    path = Path("runs/mlp-1", file)
    data = bytearray(path.read_bytes())
    data[0] ^= 0x80  # in the config, no UTF-8 any more
    path.unlink()
    if damage == "link":
        path.symlink_to("/dev/null")
    elif damage != "gone":
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2] + b"\n&")
    result = trained("verify", "runs/mlp-1", "--json")
    assert result.code == 4
    assert result.err.startswith("error: 1 file is damaged or missing")
    assert {name for name, is_sound in findings(result.out).items() if not is_sound} == {str(path)}


def test_records_that_are_none_are_damage_and_a_torn_last_line_is_not(trained: Makemore) -> None:
    metrics = RunDirectory(Path("runs/mlp-1")).metrics
    sound = metrics.read_text()
    metrics.write_text(sound + '{"torn')
    assert trained("verify").code == 0
    metrics.write_text("{}\n" + sound)
    result = trained("verify")
    assert result.code == 4
    assert f"DAMAGED  {metrics}: 1 of 7 lines are no records" in result.out
    metrics.write_text("")
    assert trained("verify").code == 4


def test_a_config_of_another_model_is_damage(trained: Makemore) -> None:
    config = Path("runs/mlp-1/config.yaml")
    config.write_text(config.read_text().replace("hidden_dim: 8", "hidden_dim: 9"))
    result = trained("verify")
    assert result.code == 4
    assert f"DAMAGED  {config}: not the model of its checkpoints" in result.out


def test_what_a_kill_left_is_named_and_no_damage(trained: Makemore) -> None:
    left = Path("runs/mlp-1/checkpoints/.last.safetensors.123.0123abcd.tmp")
    left.write_bytes(b"half")
    result = trained("verify")
    assert result.code == 0
    assert f"{left}: left by a kill" in result.out
    assert left.exists()


def test_a_run_that_was_killed_after_its_first_best_is_sound(trained: Makemore) -> None:
    run = RunDirectory(Path("runs/mlp-1"))
    untrained = ("--set", "train.steps=1", "--set", "train.learning_rate=100", "--run", "first")
    assert trained("train", "--data", "names.txt", *untrained).code == 0
    run = RunDirectory(Path("first"))
    assert load_checkpoint(run.best).step == 0
    run.last.unlink()
    result = trained("verify", "first")
    assert result.code == 0
    assert f"sound    {run.last}: not written yet" in result.out


@pytest.mark.parametrize("file", [*FILES, "checkpoints"])
def test_links_are_named_and_not_followed(trained: Makemore, file: str) -> None:
    path = Path("runs/mlp-1", file)
    path.rename("elsewhere")
    path.symlink_to(Path("elsewhere").absolute())
    result = trained("verify", "mlp-1")
    assert result.code == 4
    assert "a link, which is not followed" in result.out or file == "checkpoints"


def test_a_folded_checkpoint_is_verified_too(makemore: Makemore) -> None:
    options = ("--data", "names.txt", "--set", "train.steps=4", "--set", "model.hidden_dim=8")
    assert makemore("train", "--model", "mlp-batchnorm", *options).code == 0
    run = RunDirectory(Path("runs/mlp-batchnorm-1"))
    run.best.write_bytes(b"")
    folded = makemore("fold")
    assert folded.code == 0
    assert folded.err.startswith("warning: ")
    assert folded.out == f"{run.folded}\n"
    assert f"sound    {run.folded}: step 4" in makemore("verify").out
    with run.folded.open("ab") as file:
        file.write(b"x")
    assert f"DAMAGED  {run.folded}: " in makemore("verify").out
    Path("copy.safetensors").write_bytes(run.last.read_bytes())
    assert "--out FILE" in makemore("fold", "copy.safetensors").error


def test_a_checkpoint_file_is_verified_by_itself(trained: Makemore) -> None:
    path = Path("runs/mlp-1/checkpoints/last.safetensors")
    assert trained("verify", path).out == f"sound    {path}: step 20, 20 tensors\n"
    with path.open("ab") as file:
        file.write(b"x")
    assert trained("verify", path).code == 4


def test_verifying_changes_nothing_and_needs_no_right_to_write(trained: Makemore) -> None:
    def state() -> list[tuple[str, int, bytes]]:
        files = [path for path in sorted(Path("runs").rglob("*")) if path.is_file()]
        return [(str(path), path.stat().st_mtime_ns, path.read_bytes()) for path in files]

    before = state()
    with RunDirectory(Path("runs/mlp-1")).lock():
        held = state()
        assert trained("verify").code == 0
        assert state() == held
    assert [entry[0] for entry in state()] == [entry[0] for entry in before]


def test_what_is_no_run_is_refused(makemore: Makemore) -> None:
    assert makemore("verify").code == 4
    assert makemore("verify", "nothing").code == 4
    os.mkfifo("pipe")
    assert makemore("verify", "pipe").code == 4
