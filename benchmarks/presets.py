"""Train every preset on the embedded names and on the published file, and print the README's table.

    python benchmarks/presets.py [--karpathy PATH] [--seeds 1 2 3]

Runs in a temporary directory, one training at a time, each as a process of its own, the way a user
starts it. Raw records go to benchmarks/results/presets.jsonl: one line a run, with what
`makemore eval --split val --json` says about it and the seconds of its training.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from measure import measure, read_records, write_records

from makemore.shipped_files import preset_names

RESULTS = Path(__file__).parent / "results" / "presets.jsonl"


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
        print(table(read_records(RESULTS)))
        return
    karpathy = options.karpathy
    if karpathy != "karpathy":
        karpathy = str(Path(karpathy).resolve())
    records = []
    with tempfile.TemporaryDirectory() as cwd:
        for data, split in (("names", "hash"), (karpathy, "lecture")):
            for preset in preset_names():
                for seed in options.seeds:
                    records.append(measure(preset, cwd, data=data, split=split, seed=seed))
                    print(json.dumps(records[-1]), file=sys.stderr)
    write_records(RESULTS, records)
    print(table(records))


if __name__ == "__main__":
    main()
