"""Train every preset on the embedded names and on the published file, and print the README's table.

    python benchmarks/presets.py [--karpathy PATH] [--seeds 1 2 3]

Runs in a temporary directory, one training at a time, each as a process of its own, the way a user
starts it. Raw records go to benchmarks/results/presets.jsonl: one line a run, with what
`makemore eval --split val --json` says about it and the seconds of its training.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import makemore
from makemore.shipped_files import preset_names

RESULTS = Path(__file__).parent / "results" / "presets.jsonl"


def command(*arguments: str, cwd: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "makemore", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def measure(preset: str, data: str, split: str, seed: int, cwd: str) -> dict[str, object]:
    """Train one preset, and evaluate what came out on the validation names."""
    started = time.perf_counter()
    options = ["--data", data, "--set", f"data.split={split}", "--seed", str(seed)]
    trained = json.loads(command("train", "--model", preset, *options, "--json", cwd=cwd))
    wall_seconds = time.perf_counter() - started
    evaluation = json.loads(command("eval", trained["run"], "--json", cwd=cwd))
    start = json.loads(Path(cwd, trained["run"], "metrics.jsonl").read_text().splitlines()[0])
    return {
        "preset": preset,
        "data": "karpathy" if split == "lecture" else data,
        "data_split": split,
        "seed": seed,
        "num_parameters": start["num_parameters"],
        "training_seconds": trained["seconds"],
        "wall_seconds": round(wall_seconds, 2),
        "best_step": trained["best_step"],
        **evaluation,
        "makemore": makemore.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def table(records: list[dict[str, object]]) -> str:
    """A row a preset: for each data set the median seconds and the mean loss over seeds, with the
    standard error of one loss and the range over seeds."""
    sets = list(dict.fromkeys((str(r["data"]), str(r["data_split"])) for r in records))
    head = [f"{data}, {split}: s | nats/char | over seeds" for data, split in sets]
    lines = [f"| preset | parameters | {' | '.join(head)} |", "|---" * (2 + 3 * len(sets)) + "|"]
    for preset in dict.fromkeys(r["preset"] for r in records):
        cells = []
        for data_set in sets:
            group = [
                r
                for r in records
                if (r["preset"], r["data"], r["data_split"]) == (preset, *data_set)
            ]
            losses = [float(str(r["nats_per_char"])) for r in group]
            seconds = statistics.median(float(str(r["training_seconds"])) for r in group)
            error = statistics.mean(float(str(r["standard_error"])) for r in group)
            cells += [
                f"{seconds:.1f}",
                f"{statistics.mean(losses):.4f} ± {error:.4f}",
                f"{min(losses):.4f} to {max(losses):.4f}",
            ]
        lines.append(f"| `{preset}` | {group[0]['num_parameters']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--karpathy", default="karpathy", help="path of the published names.txt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--table", action="store_true", help="only print what was measured before")
    options = parser.parse_args()
    if options.table:
        print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))
        return
    karpathy = options.karpathy
    if karpathy != "karpathy":
        karpathy = str(Path(karpathy).resolve())
    records = []
    with tempfile.TemporaryDirectory() as cwd:
        for data, split in (("names", "hash"), (karpathy, "lecture")):
            for preset in preset_names():
                for seed in options.seeds:
                    records.append(measure(preset, data, split, seed, cwd))
                    print(json.dumps(records[-1]), file=sys.stderr)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(record) + "\n" for record in records))
    print(table(records))


if __name__ == "__main__":
    main()
