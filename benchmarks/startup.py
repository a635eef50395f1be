"""Seconds from the start of a command to its end, beside what starting Python and torch takes.

    python benchmarks/startup.py [--rounds 7] [--peer PATH/makemore.py]

Every command is a fresh process. A round runs all of them, one after the other, so that what slows
the machine slows all; a first round, which is not counted, warms the file system and writes the
bytecode. The last floor is a script that imports at its top all that it may need. Raw records go
to benchmarks/results/startup.jsonl.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import machine, write_records

RESULTS = Path(__file__).parent / "results" / "startup.jsonl"
TORCH = "python -c 'import torch'"
FLOORS = {
    "python -c pass": ["-c", "pass"],
    TORCH: ["-c", "import torch"],
    "python -c 'import torch, typer, rich, yaml'": ["-c", "import torch, typer, rich, yaml"],
}
COMMANDS = ["train", "sample", "eval", "fold", "runs", "config", "data"]
RUNS = {"bigram-count": [], "ngram": [], "mlp": ["--set", "train.steps=1"]}


def run_python(arguments: list[str], cwd: str) -> float:
    """The seconds of one process. Raises CalledProcessError where it fails."""
    # As for a user, whose modules are compiled once.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.perf_counter() - started


def timed_commands() -> dict[str, list[str]]:
    """What is typed -> the arguments of Python; the runs are those of `RUNS`."""
    lines = ["--version", "--help", *(f"{command} --help" for command in COMMANDS)]
    lines += ["runs", "config mlp", "data"]
    lines += [f"sample {run} -n 10" for run in RUNS] + [f"eval {run}" for run in RUNS]
    ours = {f"makemore {line}": ["-m", "makemore", *line.split()] for line in lines}
    return {**FLOORS, **ours}


def measure_rounds(
    commands: dict[str, list[str]], num_rounds: int, cwd: str
) -> list[dict[str, object]]:
    """A record for each command; `of_torch` is its time over that of importing torch."""
    rounds = [
        {command: run_python(arguments, cwd) for command, arguments in commands.items()}
        for _ in range(num_rounds + 1)
    ][1:]
    return [
        {
            "command": command,
            "seconds": round(statistics.median(seconds[command] for seconds in rounds), 3),
            "minimum": round(min(seconds[command] for seconds in rounds), 3),
            "maximum": round(max(seconds[command] for seconds in rounds), 3),
            "of_torch": round(statistics.median(s[command] / s[TORCH] for s in rounds), 2),
            "rounds": num_rounds,
            **machine(),
        }
        for command in commands
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", type=Path, help="another program; its --help is timed as well")
    options = parser.parse_args()
    commands = timed_commands()
    with tempfile.TemporaryDirectory() as folder:
        if options.peer:
            arguments = [str(options.peer.resolve()), "--help"]
            try:
                run_python(arguments, folder)
                commands[f"python {options.peer.name} --help"] = arguments
            except subprocess.CalledProcessError as error:
                reason = str(error.stderr).strip().rpartition("\n")[2]
                print(f"{options.peer} --help fails and is left out: {reason}", file=sys.stderr)
        for preset, overrides in RUNS.items():
            train = ["-m", "makemore", "train", "--model", preset, "--run", f"runs/{preset}"]
            run_python([*train, *overrides], folder)
        records = measure_rounds(commands, options.rounds, folder)
    write_records(RESULTS, records)
    print("| command | seconds | minimum to maximum | of torch's import |")
    print("|---|---|---|---|")
    for record in records:
        print(
            f"| `{record['command']}` | {record['seconds']:.2f} | {record['minimum']:.2f} to "
            f"{record['maximum']:.2f} | {record['of_torch']:.2f} |"
        )


if __name__ == "__main__":
    main()
