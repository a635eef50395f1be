"""Train every lecture preset at the published number of steps, beside the published figures.

    python benchmarks/lectures.py [--karpathy PATH] [--seeds 1 2 3] [--only PRESET...] [--jobs 1]

Every training is a process of its own, in a temporary directory; `--jobs 2` runs two at a time. Raw
records go to benchmarks/results/lectures.jsonl, where a record takes the place of an older one of
the same preset and seed, so a run can be split into several; the table of all records goes into
benchmarks/README.md.
"""

import argparse
import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from measure import measure, read_records, write_records

RESULTS = Path(__file__).parent / "results" / "lectures.jsonl"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- lectures: begin -->\n", "<!-- lectures: end -->\n"

# Preset -> the split that is evaluated, the published figure, and what there is to say about it.
# Sources: the notebooks of Karpathy's lectures (nn-zero-to-hero), the READMEs of makemore and of
# EurekaLabs' ngram and mlp repositories; in float64 where the published sum was float32.
PUBLISHED: dict[str, tuple[str, float, str]] = {
    "part1-counts": ("train", 2.4545768, "whole file, exact"),
    "part1-network": ("train", 2.46, "whole file, after 200 steps, rounded"),
    "part2-mlp": ("val", 2.170, ""),
    "part3-softmax-fix": ("val", 2.13, ""),
    "part3-tanh-fix": ("val", 2.103, ""),
    "part3-kaiming": ("val", 2.107, ""),
    "part3-batchnorm": ("val", 2.105, ""),
    "part5-context-3": ("val", 2.105, ""),
    "part5-context-8": ("val", 2.027, ""),
    "part5-tree": ("val", 2.029, ""),
    "part5-tree-fixed": ("val", 2.022, ""),
    "part5-tree-large": ("val", 1.9937, ""),
    "eureka-4gram": ("val", 2.1064, "published for a test split of its own"),
    "eureka-mlp": ("val", 2.06, "published for a validation split of its own"),
    "makemore-transformer": ("test", 1.9655, "makemore split, as measured with that script"),
}


def table(records: list[dict[str, object]]) -> str:
    """A row a preset: the mean over seeds ± the standard error of one loss, and the range."""
    lines = [
        "| preset | parameters | steps | published | measured | over seeds | seconds | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for preset, (split, published, remark) in PUBLISHED.items():
        group = [record for record in records if record["preset"] == f"lectures/{preset}"]
        if not group:
            figure = f"{split if split != 'val' else 'dev'} {published:.4g}"
            lines.append(f"| `{preset}` | | | {figure} | not measured | | | {remark} |")
            continue
        losses = [float(str(record["nats_per_char"])) for record in group]
        error = statistics.mean(float(str(record["standard_error"])) for record in group)
        seconds = statistics.median(float(str(record["training_seconds"])) for record in group)
        remarks = [remark] if remark else []
        remarks += [] if len(group) >= 3 else [f"seeds: {len(group)}"]
        lines.append(
            f"| `{preset}` | {group[0]['num_parameters']:,} | {group[0]['num_steps']:,} "
            f"| {split if split != 'val' else 'dev'} {published:.4g} "
            f"| {statistics.mean(losses):.4f} ± {error:.4f} "
            f"| {min(losses):.4f} to {max(losses):.4f} | {seconds:.1f} | {'; '.join(remarks)} |"
        )
    return "\n".join(lines) + "\n"


def write_table(records: list[dict[str, object]]) -> None:
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(before + BEGIN + "\n" + table(records) + "\n" + END + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--karpathy", default="karpathy", help="path of the published names.txt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--table", action="store_true", help="only write the table once more")
    options = parser.parse_args()
    data = options.karpathy
    if data != "karpathy":
        data = str(Path(data).resolve())
    records = {(str(r["preset"]), r["seed"]): r for r in read_records(RESULTS)}
    wanted = [] if options.table else [(p, seed) for seed in options.seeds for p in options.only]
    with tempfile.TemporaryDirectory() as cwd, ThreadPoolExecutor(options.jobs) as pool:
        started = [
            pool.submit(
                measure,
                f"lectures/{preset}",
                cwd,
                data=data,
                split=None,
                seed=seed,
                evaluate=PUBLISHED[preset][0],
            )
            for preset, seed in wanted
        ]
        try:
            for done in as_completed(started):
                record = done.result()
                print(json.dumps(record), file=sys.stderr)
                records[str(record["preset"]), record["seed"]] = record
                write_records(RESULTS, sorted(records.values(), key=_place))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    write_table(list(records.values()))
    print(table(list(records.values())), end="")


def _place(record: dict[str, object]) -> tuple[int, int]:
    preset = str(record["preset"]).removeprefix("lectures/")
    return list(PUBLISHED).index(preset), int(str(record["seed"]))


if __name__ == "__main__":
    main()
