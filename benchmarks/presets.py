"""Train every preset on the embedded names and on the published file, and print the README's table.

    python benchmarks/presets.py [--karpathy PATH] [--seeds 1 2 3] [--only PRESET...]

Runs in a temporary directory, one training at a time, each as a process of its own, the way a user
starts it. Raw records go to benchmarks/results/presets.jsonl, where a record takes the place of an
older one of the same preset, data and seed: one line a run, with what `makemore eval --split val
--json` says about it and the seconds of its training. The preset `best`, which takes ten minutes,
is measured on the leak-free split of the published file instead of the embedded names.
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
    presets = [name for name in preset_names() if "/" not in name]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--karpathy", default="karpathy", help="path of the published names.txt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=presets, default=presets)
    parser.add_argument("--table", action="store_true", help="only print what was measured before")
    options = parser.parse_args()
    data = options.karpathy
    if data != "karpathy":
        data = str(Path(data).resolve())
    records = {_key(record): record for record in read_records(RESULTS)}
    with tempfile.TemporaryDirectory() as cwd:
        for preset in [] if options.table else options.only:
            for source, split in (
                (data if preset == "best" else "names", "hash"),
                (data, "lecture"),
            ):
                for seed in options.seeds:
                    record = measure(preset, cwd, data=source, split=split, seed=seed)
                    print(json.dumps(record), file=sys.stderr)
                    records[_key(record)] = record
                    in_order = sorted(records.items(), key=lambda item: _place(presets, item[0]))
                    write_records(RESULTS, [record for _, record in in_order])
    print(table([record for record in records.values() if record["preset"] != "best"]))


def _key(record: dict[str, object]) -> tuple[str, str, int]:
    return str(record["preset"]), str(record["data_split"]), int(str(record["seed"]))


def _place(presets: list[str], key: tuple[str, str, int]) -> tuple[bool, int, int]:
    preset, split, seed = key
    return split == "lecture", presets.index(preset), seed


if __name__ == "__main__":
    main()
