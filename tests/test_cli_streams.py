"""The command line on terminals, in pipes, and when it is stopped."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from makemore.checkpoint import load_checkpoint
from makemore.cli import output
from makemore.run_directory import RunDirectory
from tests.command_line import TINY, Makemore, shell


@pytest.mark.parametrize("command", ["sample -n 100000", "--help", "train --help", "runs"])
def test_a_closed_pipe_is_silent(trained: Makemore, tmp_path: Path, command: str) -> None:
    done = shell(f"makemore {command} | head -n 2", tmp_path)
    assert len(done.stdout.splitlines()) == 2
    done = shell(f"makemore {command} | true", tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0


def test_an_error_that_nobody_reads_keeps_its_exit_code(trained: Makemore, tmp_path: Path) -> None:
    assert shell("makemore sample nope 2>&-", tmp_path).returncode == 4
    assert shell("makemore sample nope 2> >(exec true)", tmp_path).returncode == 4


def test_training_goes_on_where_nobody_reads_its_progress(
    makemore: Makemore, tmp_path: Path
) -> None:
    """A broken stderr once ended the run, with exit code 0 and no checkpoint."""
    for redirection in ("2> >(exec true)", "2>&-", "2>/dev/full"):
        done = shell(f"makemore train --data names.txt {' '.join(TINY)} {redirection}", tmp_path)
        assert done.returncode == 0
        run = tmp_path / done.stdout.strip()
        assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["event"] == "end"


def test_a_closed_stdout_is_no_reason_to_fail(makemore: Makemore, tmp_path: Path) -> None:
    done = shell(f"makemore train --data names.txt {' '.join(TINY)} >&-", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["sample -n 10", "--help", "--version", "runs", "config mlp"])
def test_a_full_stdout_ends_with_7(trained: Makemore, tmp_path: Path, command: str) -> None:
    done = shell(f"makemore {command} > /dev/full", tmp_path)
    assert done.returncode == 7
    assert done.stderr.startswith("error: standard output: ")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_without_a_terminal_progress_is_plain_lines_on_stderr(
    trained: Makemore, tmp_path: Path
) -> None:
    done = shell(f"makemore train --data names.txt {' '.join(TINY)}", tmp_path)
    assert done.stdout == "runs/mlp-2\n"
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_ctrl_c_saves_says_how_to_go_on_and_ends_with_130(
    makemore: Makemore, tmp_path: Path
) -> None:
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "makemore", "train", "--data", "names.txt"),
            *("--set", "train.steps=1000000", "--set", "train.evaluate_every=1000000"),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    # The first line is written when the run has started.
    assert child.stderr.readline().startswith("runs/mlp-1: mlp")
    metrics = tmp_path / "runs/mlp-1/metrics.jsonl"
    while '"event": "train"' not in metrics.read_text():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == ""
    assert "the checkpoint is saved" in err
    assert "makemore train --resume runs/mlp-1" in err
    step = load_checkpoint(RunDirectory(tmp_path / "runs/mlp-1").last).step
    assert step > 0
    steps = f"train.steps={step + 2}"
    assert makemore("train", "--resume", "runs/mlp-1", "--set", steps).code == 0


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, {"\u2501", "loss", "best validation", "tokens/s"}),
        (80, {"loss", "best validation", "tokens/s"}),
        (60, {"loss", "best validation"}),
        (36, {"loss"}),
    ],
)
def test_on_a_terminal_there_is_one_progress_bar_with_samples(
    makemore: Makemore, tmp_path: Path, width: int, shown: set[str]
) -> None:
    """The step is never cut; on a narrow terminal the bar goes, then the speed, then the rest."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "makemore", "train", "--data", "names.txt", *TINY],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(width)},
    )
    os.close(follower)
    screen = b""
    while select.select([leader], [], [], 60)[0]:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux: the other side is closed.
            break
        if not part:
            break
        screen += part
    os.close(leader)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait() == 0
    # The last lines are not the progress: they tell the loss in any width.
    text, closing, _ = screen.decode().partition("best validation loss")
    assert closing
    assert "step 20/20" in text
    assert "0:00" in text  # the time left
    parts = {"\u2501", "loss", "best validation", "tokens/s"}
    assert {part for part in parts if part in text} == shown


def test_a_column_of_texts_is_written_as_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    safe, unsafe = ["ab", "de la x", "\u00e9"], ["a\u202eb", "\x1b[31m", "b\nc", "\u2028", "\udc80"]
    for texts in (safe, unsafe, [*safe, *unsafe], ["x"], []):
        output.write_column(texts)
        column = capsys.readouterr().out
        for text in texts:
            output.write_line(text)
        assert column == capsys.readouterr().out
        assert column.count("\n") == len(texts)
