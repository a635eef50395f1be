"""What the README shows is what happens: its blocks are run, its tables compared."""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from makemore.config_loading import load_config
from makemore.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    LockedError,
    StorageError,
    UsageError,
)
from makemore.models import build_model
from makemore.shipped_files import preset_names, resource_path

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(.*?)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def run_in_bash(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """With `makemore` and `python` being this interpreter's."""
    prelude = f'set -euo pipefail; makemore() {{ "{sys.executable}" -m makemore "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", prelude + script], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_it_opens_with_a_sentence_ten_names_and_two_commands() -> None:
    names, commands = blocks("text")[0], blocks("")[0]
    assert len(names.split()) == 10
    assert README.index(names) < README.index(commands)
    assert commands.splitlines() == [
        "pip install -c constraints.txt . && makemore train --model mlp && makemore sample",
        "pip install -c constraints.txt -e '.[test]' && pytest",
    ]


def test_the_names_at_the_top_are_not_names_that_were_learned() -> None:
    known = set(resource_path("data", "names.txt").read_text().split())
    assert not known & set(blocks("text")[0].split())


@pytest.mark.parametrize("block", blocks("sh"))
def test_its_commands_run(block: str, tmp_path: Path) -> None:
    done = run_in_bash(block, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("python"))
def test_its_python_runs(block: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# The lectures have a table of their own, in benchmarks/README.md.
PRESETS = [name for name in preset_names() if "/" not in name]
# Not run three times on both: it has a paragraph, and records of its own.
MEASURED = [name for name in PRESETS if name != "best"]


def test_every_preset_stands_in_the_list_of_presets() -> None:
    listed = {
        name
        for cells in re.findall(r"^\| (`.+?) \|", README, re.MULTILINE)
        for name in re.findall("`([a-z-]+)`", cells)
    }
    assert set(PRESETS) <= listed


def records(file: str) -> list[dict[str, Any]]:
    lines = (REPOSITORY / "benchmarks/results" / file).read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("preset", MEASURED)
def test_its_figures_are_those_of_the_records(preset: str) -> None:
    row = re.search(rf"^\| `{preset}` \| ([0-9,]+) \|(.*)$", README, re.MULTILINE)
    assert row is not None
    cells = [cell.strip() for cell in row[2].split("|")]
    for data, cell in (("names", 0), ("karpathy", 2)):
        runs = [r for r in records("presets.jsonl") if (r["preset"], r["data"]) == (preset, data)]
        assert {r["seed"] for r in runs} >= {1, 2, 3}
        seconds = statistics.median(r["training_seconds"] for r in runs)
        loss = statistics.mean(r["nats_per_char"] for r in runs)
        error = statistics.mean(r["standard_error"] for r in runs)
        assert cells[cell : cell + 2] == [f"{seconds:.1f}", f"{loss:.4f} ± {error:.4f}"]
    assert row[1] == f"{runs[0]['num_parameters']:,}"
    config = load_config(resource_path("configs", f"{preset}.yaml"))
    if config.train is not None:
        # What was measured is what a run has today.
        assert build_model(config.model, 27).num_parameters() == runs[0]["num_parameters"]


def test_the_table_of_the_lectures_is_that_of_the_records() -> None:
    text = (REPOSITORY / "benchmarks/README.md").read_text()
    text = text.partition("<!-- lectures: begin -->")[2].partition("<!-- lectures: end -->")[0]
    runs = records("lectures.jsonl")
    lectures = [name.removeprefix("lectures/") for name in preset_names() if "/" in name]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert set(rows) == set(lectures)
    for name in lectures:
        losses = [r["nats_per_char"] for r in runs if r["preset"] == f"lectures/{name}"]
        if not losses:
            assert "| not measured |" in rows[name]
            continue
        assert f"{statistics.mean(losses):.4f} ± " in rows[name]
        assert f"{min(losses):.4f} to {max(losses):.4f}" in rows[name]


def test_its_exit_codes_are_those_of_the_errors() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", README, re.MULTILINE))
    for error, word in (
        (UsageError, "usage"),
        (ConfigError, "config"),
        (DataError, "data"),
        (CheckpointError, "checkpoint"),
        (DivergedError, "not finite"),
        (LockedError, "another process"),
        (StorageError, "storage"),
    ):
        assert word in rows[str(error.exit_code)]


def test_every_file_that_it_links_to_exists() -> None:
    for path in re.findall(r"\]\(([A-Za-z][^)#]*)\)", README):
        assert (REPOSITORY / path).exists(), path


def test_every_promise_about_safety_has_a_test_cases_and_a_command_that_is_there() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    promises = text.partition("| promise | test |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(promises) >= 12
    for row in promises:
        _, tests, cases, failures, command = row.strip("| ").split(" | ")
        assert cases
        assert failures == "0"
        assert command
        folder = ""
        for name in tests.split(", "):
            folder = name.rpartition("/")[0] or folder
            assert (REPOSITORY / folder / name.rpartition("/")[2]).exists(), name
