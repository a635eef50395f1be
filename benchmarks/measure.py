"""One training as a process of its own, the way a user starts it, and what came out of it."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

import makemore

KARPATHY = "karpathy"  # what records call the published file, whatever its path


def measure(
    preset: str, cwd: str, *, data: str, split: str | None, seed: int, evaluate: str = "val"
) -> dict[str, object]:
    """Train `preset` with `seed` in the directory `cwd`, and evaluate it on the split `evaluate`.

    data: an embedded list or a path; split: `data.split`, or None for that of the preset. Adds to
    what `makemore eval --json` says: the number of parameters, the seconds and where it ran.
    """
    options = ["--data", data, "--seed", str(seed)]
    options += [] if split is None else ["--set", f"data.split={split}"]
    started = time.perf_counter()
    run = json.loads(_makemore("train", "--model", preset, *options, "--json", cwd=cwd))["run"]
    wall_seconds = time.perf_counter() - started
    evaluated = _makemore("eval", run, "--split", evaluate, "--json", cwd=cwd)
    lines = Path(cwd, run, "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    start, end = records[0], records[-1]
    return {
        "preset": preset,
        "data": data if data in ("names", "surnames") else KARPATHY,
        "data_split": start["split"],
        "seed": seed,
        # Counts are there once they are counted.
        "num_parameters": max(record.get("num_parameters", 0) for record in records),
        "num_steps": start["num_steps"],
        "training_seconds": end["seconds"],
        "wall_seconds": round(wall_seconds, 2),
        "best_step": end["best_step"],
        **json.loads(evaluated),
        **machine(),
        "threads": start["num_threads"],
    }


def machine() -> dict[str, object]:
    """Where something was measured, and with which versions."""
    return {
        "makemore": makemore.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def _makemore(*arguments: str, cwd: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "makemore", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def read_records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def write_records(path: Path, records: list[dict[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
