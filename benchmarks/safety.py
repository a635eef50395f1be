"""What safety costs: verifying a checkpoint, reading back a save, looking for what is not finite.

    python benchmarks/safety.py [--megabytes 100] [--repeat 20] [--threads 2]

Loading a checkpoint with its digest and without alternate, from memory and from the disk (cold); so
do saves with and without their reading back. Medians are shown. The file is as a transformer's
would be, with AdamW's moments. The digest alone says what is to be hidden beside reading, copying
and checking, for which there has to be a second core: `taskset -c 0` shows one. The check of loss
and gradient is timed by itself, and shown as a share of a step of each preset, which is timed in a
short run of one thread. Raw records go to benchmarks/results/safety.jsonl.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from unittest import mock

import torch
from measure import machine, write_records

from makemore import launch, storage, tensor_file
from makemore.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

RESULTS = Path(__file__).parent / "results" / "safety.jsonl"
PRESETS = ("bigram", "mlp", "gru", "transformer")
NUM_STEPS = 200


class NoDigest:
    """A digest that computes nothing, and says what the file says."""

    def __init__(self, head: bytes) -> None:
        self.written = head[35:99].decode()

    def update(self, data: memoryview) -> None:
        pass

    def hexdigest(self) -> str:
        return self.written


def checkpoint_of(megabytes: int) -> Checkpoint:
    """Three groups of equal size, whose tensors have an odd one among them, as models have."""
    generator = torch.Generator().manual_seed(0)
    width = 512
    shapes: dict[str, tuple[int, ...]] = {"output.bias": (27,)}
    num_layers = max(1, megabytes * 2**20 // (3 * 4 * width * width))
    shapes |= {f"layers.{layer}.weight": (width, width) for layer in range(num_layers)}
    model = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    moments = {f"{kind}.{name}": tensor for kind in "mv" for name, tensor in model.items()}
    return Checkpoint(
        config={"model": {"kind": "transformer"}},
        vocabulary=tuple("abcdefghijklmnopqrstuvwxyz"),
        split_digest="0" * 16,
        step=1000,
        best_step=1000,
        best_loss=2.0,
        evaluations_since_best=0,
        evaluated=True,
        model=model,
        optimizer=moments,
        trained={},
        corpora={"train": torch.zeros(1000, dtype=torch.uint8)},
    )


def milliseconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started)


def cost_of_files(megabytes: int, repeat: int) -> dict[str, object]:
    loads = ("load_unverified", "load_verified", "cold_load_unverified", "cold_load_verified")
    names = ("read", "cold_read", "sha256", "save_blind", "save_verified", *loads)
    times: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "last.safetensors"
        save_checkpoint(path, checkpoint_of(megabytes))
        data = path.read_bytes()
        for _ in range(repeat):
            times["save_verified"].append(milliseconds(lambda: storage.write_file(path, data)))
            with mock.patch.object(storage, "_reads_back", return_value=True):
                times["save_blind"].append(milliseconds(lambda: storage.write_file(path, data)))
            times["read"].append(milliseconds(path.read_bytes))
            times["sha256"].append(milliseconds(lambda: hashlib.sha256(data)))
            forget(path)
            times["cold_read"].append(milliseconds(path.read_bytes))
            for prefix in ("cold_", ""):
                with mock.patch.object(tensor_file, "_begin_digest", NoDigest):
                    forget(path, prefix)
                    load = milliseconds(lambda: load_checkpoint(path))
                    times[f"{prefix}load_unverified"].append(load)
                forget(path, prefix)
                load = milliseconds(lambda: load_checkpoint(path))
                times[f"{prefix}load_verified"].append(load)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "what": "files",
        "megabytes": round(len(data) / 1e6, 1),
        "milliseconds": {name: round(value, 1) for name, value in median.items()},
        "verification": cost(times, ""),
        "verification_cold": cost(times, "cold_"),
    }


def cost(times: dict[str, list[float]], prefix: str) -> float:
    """What verification adds to a load, as a share of it: the median of the pairs."""
    loads = (times[f"{prefix}load_verified"], times[f"{prefix}load_unverified"])
    return round(statistics.median(a / b for a, b in zip(*loads, strict=True)) - 1, 4)


def forget(path: Path, prefix: str = "cold_") -> None:
    """Let the system drop what it keeps of a file in memory, for a load that reads the disk."""
    if prefix:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds_of_check(repeat: int = 100_000) -> float:
    """Of what the loop does in a step to find out whether loss and gradient are finite."""
    loss, norm = torch.tensor(2.5), 1.0
    started = time.perf_counter()
    for _ in range(repeat):
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            raise AssertionError
    return (time.perf_counter() - started) / repeat


def seconds_of_step(preset: str) -> float:
    moments: list[float] = []

    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "train":
            moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as directory:
        launch.train(
            preset,
            run=Path(directory) / "run",
            device="cpu",
            overrides=[
                "train.max_epochs=null",
                f"train.steps={NUM_STEPS}",
                f"train.evaluate_every={NUM_STEPS}",
                "train.log_every=10",
                "train.schedule.warmup_steps=0",
            ],
            report=report,
        )
    gaps = [second - first for first, second in pairwise(moments)]
    return statistics.median(gaps) / 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    records: list[dict[str, object]] = []
    for threads in sorted({1, options.threads}):
        torch.set_num_threads(threads)
        records.append({**cost_of_files(options.megabytes, options.repeat), **machine()})
        print(json.dumps(records[-1]), flush=True)
    torch.set_num_threads(1)
    check = seconds_of_check()
    for preset in PRESETS:
        step = seconds_of_step(preset)
        record = {
            "what": "finite",
            "preset": preset,
            "check_microseconds": round(1e6 * check, 2),
            "step_milliseconds": round(1000 * step, 3),
            "share": round(check / step, 6),
        }
        records.append({**record, **machine()})
        print(json.dumps(records[-1]), flush=True)
    write_records(RESULTS, records)


if __name__ == "__main__":
    main()
