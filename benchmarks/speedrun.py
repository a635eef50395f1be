"""Seconds of training to a loss: ours beside the textbook way, or beside a makemore.py.

    python benchmarks/speedrun.py [--karpathy PATH] [--split makemore] [--target 1.9655]
                                  [--seeds 1 2 3] [--only PRESET...] [--peer PATH]

A preset is trained to its end, as `makemore train` does, and evaluated once. The rival is
makemore.py's default transformer (4 layers, 4 heads, 64 wide, batches of 32 names, AdamW at the
constant rate 5e-4), trained and evaluated every 500 steps until it reaches the target, or for
13,000 steps; its seconds are of these steps alone. Without --peer it is the textbook's
(`textbook.py`), with --peer that of the script at PATH. It is trained once, amid our runs.

The target is what makemore.py reached in 13,000 steps on the test names of the `makemore` split.
Recipes are chosen with `--split hash --on val`; LOG.md says how. Raw records go to
benchmarks/results/speedrun.jsonl, where a record takes the place of an older one of the same
preset, split and seed.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import textbook
import textbook_models
import torch
from measure import machine, read_records, write_records
from peer import Peer, our_config
from torch import Tensor, nn

from makemore import launch
from makemore.config_loading import load_config
from makemore.data import SPLITS, Splits, load_names, split_names
from makemore.shipped_files import resolve_preset
from makemore.vocab import Vocabulary

RESULTS = Path(__file__).parent / "results" / "speedrun.jsonl"
PRESETS = ("speedrun", "speedrun-transformer", "ngram")
NUM_STEPS, EVALUATE_EVERY = 13_000, 500


def our_run(preset: str, data: str, split: str, part: str, seed: int) -> dict[str, object]:
    """The loss of one training, and its seconds: from the first step to the last evaluation."""
    ends: list[Mapping[str, object]] = []

    def note(record: Mapping[str, object]) -> None:
        if record["event"] == "end":
            ends.append(record)

    with tempfile.TemporaryDirectory() as folder:
        run = launch.train(
            preset,
            data=data,
            run=Path(folder, "run"),
            device="cpu",
            seed=seed,
            overrides=[f"data.split={split}"],
            report=note,
        )
        (end,) = ends
        evaluation = run.evaluate(part)
    return {
        "preset": preset,
        "seed": seed,
        "steps": end["step"],
        "seconds": end["seconds"],
        "nats_per_char": evaluation.loss.nats_per_char,
        "standard_error": evaluation.loss.standard_error,
    }


class Logits(nn.Module):
    """A model of the script, which also returns a loss."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs_BT: Tensor) -> Tensor:
        logits_BTV: Tensor = self.model(inputs_BT)[0]
        return logits_BTV


def rival(
    splits: Splits, names: list[str], peer: Path | None
) -> tuple[nn.Module, Iterator[object]]:
    """A model (B, T) -> (B, T, V), and what trains it, a step each time."""
    if peer is not None:
        script = Peer(peer, splits.train, names)
        model = script.build("transformer")
        return Logits(model), script.train_steps(model)
    padded = textbook.TextbookDataset(splits.train, Vocabulary.of(names))
    longest = max(map(len, names))
    torch.manual_seed(1)
    model = textbook_models.build(our_config("transformer", longest), padded.num_ids, longest)
    return model, textbook.train(
        model, padded, batch_size=32, learning_rate=5e-4, num_steps=NUM_STEPS, seed=1
    )


def rival_run(
    splits: Splits, names: list[str], part: str, target: float, peer: Path | None
) -> dict[str, object]:
    """The best loss of every 500 steps, and the seconds until the target, or of all steps."""
    model, steps = rival(splits, names, peer)
    held_out = textbook.TextbookDataset(splits.of(part), Vocabulary.of(names))
    best, best_step, seconds = math.inf, 0, 0.0
    for step in range(1, NUM_STEPS + 1):
        started = time.perf_counter()
        next(steps)
        seconds += time.perf_counter() - started
        if step % EVALUATE_EVERY:
            continue
        loss = textbook.evaluate(model, held_out)
        model.train()
        print(f"rival: step {step}, {loss:.4f}, {seconds:.1f} s", file=sys.stderr)
        if loss < best:
            best, best_step = loss, step
        if loss <= target:
            break
    return {
        "preset": "textbook" if peer is None else "makemore.py",
        "seed": 1,
        "steps": step,
        "seconds": round(seconds, 2),
        "nats_per_char": best,
        "best_step": best_step,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--karpathy", default="karpathy", help="path of the published names.txt")
    parser.add_argument("--split", default="makemore", choices=["hash", "lecture", "makemore"])
    parser.add_argument("--on", default="test", choices=SPLITS, help="what is evaluated")
    parser.add_argument("--target", type=float, default=1.9655)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", default=list(PRESETS), metavar="PRESET")
    parser.add_argument("--no-rival", action="store_true")
    parser.add_argument("--peer", type=Path, help="a makemore.py")
    options = parser.parse_args()
    data = options.karpathy
    names = load_names(data)
    splits = split_names(
        names, load_config(resolve_preset("mlp"), [f"data.split={options.split}"]).data
    )

    def note(record: dict[str, object]) -> dict[str, object]:
        record |= {"data_split": options.split, "on": options.on, **machine()}
        print(json.dumps(record), file=sys.stderr)
        records[_key(record)] = record
        write_records(RESULTS, list(records.values()))
        return record

    records = {_key(record): record for record in read_records(RESULTS)}
    # The first training of a process pays for what is imported when it is first needed.
    our_run("bigram", data, options.split, options.on, 1)
    runs = []
    for number, seed in enumerate(options.seeds):
        for preset in options.only:
            runs.append(note(our_run(preset, data, options.split, options.on, seed)))
        if number == len(options.seeds) // 2 and not options.no_rival:
            slow = note(rival_run(splits, names, options.on, options.target, options.peer))
    print("| preset | seeds | nats/char | at most the target | seconds | times fewer |")
    print("|---|---|---|---|---|---|")
    if not options.no_rival:
        print(f"| {slow['preset']} | 1 | {slow['nats_per_char']:.4f} | | {slow['seconds']} | |")
    for preset in options.only:
        own = [run for run in runs if run["preset"] == preset]
        losses = [float(str(run["nats_per_char"])) for run in own]
        seconds = [float(str(run["seconds"])) for run in own]
        times = (
            "" if options.no_rival else _range([float(str(slow["seconds"])) / s for s in seconds])
        )
        reached = sum(loss <= options.target for loss in losses)
        print(
            f"| `{preset}` | {len(own)} | {min(losses):.4f} to {max(losses):.4f} "
            f"| {reached} of {len(own)} | {_range(seconds)} | {times} |"
        )


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _key(record: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(record[part]) for part in ("preset", "data_split", "on", "seed"))


if __name__ == "__main__":
    main()
