"""How soon a training answers a signal, and how soon it has saved and ended.

    python benchmarks/signals.py [--signals 30] [--seed 1]

Every signal (SIGINT, SIGTERM or SIGHUP, at a random moment within the first seconds) goes to a
fresh process: of a preset, or of a transformer whose step takes a good part of a second, most of it
in one call of torch. Measured are the milliseconds to the first line about it, and to the end of
the process; beside them stands the time of one step. A third of the processes gets a second signal
at the answer to the first. Raw records go to benchmarks/results/signals.jsonl.
"""

import argparse
import json
import os
import random
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import machine, write_records

from makemore.checkpoint import load_checkpoint
from makemore.run_directory import RunDirectory

RESULTS = Path(__file__).parent / "results" / "signals.jsonl"
ENDLESS = ["train.steps=1000000", "train.max_epochs=null"]
MODELS = {
    "mlp": ["--model", "mlp"],
    "transformer": ["--model", "transformer"],
    "transformer 6x256, 512 names": [
        *("--model", "transformer", "--set", "model.num_layers=6", "--set", "model.num_heads=8"),
        *("--set", "model.embedding_dim=256", "--set", "train.batch_size=512"),
    ],
}


class Reader:
    """stderr of a process, with the time at which its parts came."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self.descriptor = process.stderr.fileno()
        self.text = b""

    def read_until(self, moment: float, *, pattern: bytes | None = None) -> float | None:
        """Read until then, or until the pattern has come, whose moment is returned."""
        while (left := moment - time.monotonic()) > 0:
            if not select.select([self.descriptor], [], [], left)[0]:
                break
            part = os.read(self.descriptor, 65536)
            if not part:
                break
            self.text += part
            if pattern is not None and re.search(pattern, self.text):
                return time.monotonic()
        return None


def measure(model: str, delay: float, number: signal.Signals, is_twice: bool) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as directory:
        options = [part for option in ENDLESS for part in ("--set", option)]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "makemore", "train", *MODELS[model], "--run", "run"),
                *options,
            ],
            cwd=directory,
            stderr=subprocess.PIPE,
        )
        reader = Reader(process)
        run = RunDirectory(Path(directory, "run"))
        # Before that, Python itself is being loaded.
        while not run.path.exists():
            assert process.poll() is None
        reader.read_until(time.monotonic() + delay)
        sent = time.monotonic()
        process.send_signal(number)
        answered = reader.read_until(sent + 60, pattern=b"stopping")
        assert answered is not None, reader.text
        if is_twice:
            process.send_signal(number)
        process.wait(60)
        ended = time.monotonic()
        assert process.returncode == 128 + number
        sound = [load_checkpoint(path).step for path in run.checkpoints()]
        train = [record for record in run.records() if record["event"] == "train"]
        return {
            "model": model,
            "signal": number.name,
            "delay_seconds": round(delay, 2),
            "second_signal": is_twice,
            "answer_ms": round(1000 * (answered - sent), 1),
            "end_ms": round(1000 * (ended - (answered if is_twice else sent)), 1),
            "steps_saved": sound,
            "num_train_records": len(train),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    records: list[dict[str, object]] = []
    for index in range(options.signals):
        model = list(MODELS)[index % len(MODELS)]
        number = generator.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        record = measure(model, generator.uniform(0, 6), number, generator.random() < 1 / 3)
        records.append({**record, **machine()})
        print(json.dumps(record), flush=True)
    for model in MODELS:
        of_model = [record for record in records if record["model"] == model]
        for key in ("answer_ms", "end_ms"):
            values = [
                float(str(r[key])) for r in of_model if key == "answer_ms" or not r["second_signal"]
            ]
            print(f"{model}: {key} median {statistics.median(values)} max {max(values)}")
    write_records(RESULTS, records)


if __name__ == "__main__":
    main()
