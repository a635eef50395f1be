"""Whether a long run grows: 100,000 steps and 500 checkpoints of a tiny model, in one process.

    python benchmarks/soak.py [--steps 100000] [--checkpoints 500]

At every checkpoint the memory of the process, its open files, its threads and the size of the run
directory are read. After a warm-up of a tenth of the run, memory may grow by 1 % (the median of the
last tenth over that of the tenth after the warm-up), open files and threads not at all, and the
directory by its records alone. Prints one JSON line, appends it to benchmarks/results/soak.jsonl,
and exits with 1 where a bound is broken. Linux only: it reads /proc.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from measure import machine, write_records

from makemore import launch

RESULTS = Path(__file__).parent / "results" / "soak.jsonl"
PAGE = os.sysconf("SC_PAGE_SIZE")
MAX_GROWTH = 0.01


class Observer:
    """What the process and its run directory hold, at every checkpoint."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.memory: list[int] = []
        self.open_files: list[int] = []
        self.threads: list[int] = []
        self.disk: list[int] = []
        self.records: list[int] = []

    def report(self, record: Mapping[str, object]) -> None:
        if record["event"] != "evaluation":
            return
        self.memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE)
        self.open_files.append(len(os.listdir("/proc/self/fd")))
        self.threads.append(len(os.listdir("/proc/self/task")))
        files = [path for path in self.run.rglob("*") if path.is_file()]
        self.disk.append(sum(path.stat().st_size for path in files))
        self.records.append((self.run / "metrics.jsonl").stat().st_size)

    def summary(self) -> dict[str, object]:
        tenth = len(self.memory) // 10
        before, after = (
            statistics.median(part)
            for part in (self.memory[tenth : 2 * tenth], self.memory[-tenth:])
        )
        settled = slice(tenth, None)
        pairs = zip(self.disk, self.records, strict=True)
        without_records = [disk - records for disk, records in pairs]
        return {
            "checkpoints": len(self.memory),
            "memory_after_warmup": before,
            "memory_at_the_end": after,
            "memory_growth": after / before - 1,
            "open_files": sorted(set(self.open_files[settled])),
            "system_threads": sorted(set(self.threads[settled])),
            "disk_without_records": [min(without_records[settled]), max(without_records[settled])],
            "records": self.records[-1],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--checkpoints", type=int, default=500)
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        observer = Observer(run)
        launch.train(
            "mlp",
            run=run,
            device="cpu",
            overrides=[
                "model.hidden_dim=8",
                "train.max_epochs=null",
                f"train.steps={options.steps}",
                f"train.evaluate_every={options.steps // options.checkpoints}",
                "train.batch_size=16",
                "train.log_every=100",
                "train.num_samples=1",
            ],
            report=observer.report,
        )
    record = {
        "steps": options.steps,
        **observer.summary(),
        "seconds": round(time.perf_counter() - started, 1),
        **machine(),
    }
    print(json.dumps(record))
    write_records(RESULTS, [record])
    growth = record["memory_growth"]
    assert isinstance(growth, float)
    is_bounded = (
        growth <= MAX_GROWTH
        and len(set(observer.open_files[len(observer.open_files) // 10 :])) == 1
        and len(set(observer.threads[len(observer.threads) // 10 :])) == 1
    )
    sys.exit(0 if is_bounded else 1)


if __name__ == "__main__":
    main()
