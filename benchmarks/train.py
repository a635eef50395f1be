"""Real characters a second in training, ours beside the textbook way, at several batch sizes.

    python benchmarks/train.py [--only PRESET...] [--batch-sizes 32 128 512] [--pairs 5]

Both train the model of a preset on the same names in the same process, one right after the other:
ours as `makemore train` does, evaluations not counted, the textbook's as in `textbook.py`. Raw
records go to benchmarks/results/train.jsonl, where a record takes the place of an older one of the
same preset and batch size.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import textbook
import textbook_models
import torch
from measure import machine, read_records, write_records
from pairs import ratios

from makemore import launch
from makemore.config import Config
from makemore.config_loading import load_config
from makemore.data import load_names, split_names
from makemore.shipped_files import preset_names, resolve_preset
from makemore.vocab import Vocabulary

RESULTS = Path(__file__).parent / "results" / "train.jsonl"
SECONDS = 2.0  # of each measurement, about


def our_rate(preset: str, data: str, batch_size: int, num_steps: int, *more: str) -> float:
    """Real characters a second, as the run reports them; `more` are further overrides."""
    rates: list[float] = []

    def note(record: Mapping[str, object]) -> None:
        if record["event"] == "train":
            rates.append(float(str(record["tokens_per_second"])))

    overrides = [
        f"train.{key}={value}"
        for key, value in {
            "batch_size": batch_size,
            "steps": num_steps,
            "log_every": num_steps,
            "evaluate_every": num_steps,
            "max_epochs": "null",
            "patience": "null",
            "num_samples": 0,
        }.items()
    ]
    overrides += more
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        launch.train(preset, data=data, run=run, device="cpu", overrides=overrides, report=note)
    (rate,) = rates
    return rate


def textbook_rate(config: Config, names: list[str], batch_size: int, num_steps: int) -> float:
    assert config.train is not None
    vocabulary = Vocabulary.of(names)
    padded = textbook.TextbookDataset(names, vocabulary)
    torch.manual_seed(1)
    model = textbook_models.build(config.model, vocabulary.size, padded.longest)
    *_, last = textbook.train(
        model,
        padded,
        batch_size=batch_size,
        learning_rate=1e-3,
        num_steps=num_steps,
        seed=1,
        max_gradient_norm=config.train.max_gradient_norm,
    )
    return last.num_chars / last.seconds


def compare(preset: str, data: str, batch_size: int, num_pairs: int) -> dict[str, object]:
    config = load_config(resolve_preset(preset), [f"data.source={data}"])
    assert config.train is not None
    names = split_names(load_names(data), config.data).train
    # A short run of each warms up, and says how many steps fill the time.
    rate = our_rate(preset, data, batch_size, 10)
    textbook_rate(config, names, batch_size, 3)
    chars_per_step = batch_size * (sum(map(len, names)) / len(names) + 1)
    num_steps = max(10, round(SECONDS * rate / chars_per_step))
    measured = ratios(
        lambda: our_rate(preset, data, batch_size, num_steps),
        lambda: textbook_rate(config, names, batch_size, max(5, num_steps // 3)),
        num_pairs,
    )
    is_own = batch_size == config.train.batch_size
    return {"preset": preset, "batch_size": batch_size, "is_own": is_own, **measured, **machine()}


def main() -> None:
    presets = [
        name
        for name in preset_names()
        if "/" not in name and name != "best" and load_config(resolve_preset(name)).train
    ]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=presets, default=presets)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--data", default="names", help="an embedded list or a file of names")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    records = {(str(r["preset"]), r["batch_size"]): r for r in read_records(RESULTS)}
    print("| preset | names a batch | ours, characters/s | textbook | ratio | minimum to maximum |")
    print("|---|---|---|---|---|---|")
    for preset in options.only:
        train = load_config(resolve_preset(preset)).train
        assert train is not None
        own = [] if train.batch_size is None else [train.batch_size]
        for batch_size in sorted({*options.batch_sizes, *own}):
            record = compare(preset, options.data, batch_size, options.pairs)
            print(json.dumps(record), file=sys.stderr)
            records[preset, batch_size] = record
            write_records(RESULTS, list(records.values()))
            print(
                f"| `{preset}` | {batch_size} | {record['ours']:,.0f} | {record['textbook']:,.0f} "
                f"| {record['ratio']:.2f} | {record['minimum']:.2f} to {record['maximum']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
