"""How near training a transformer comes to what the machine can do.

    python benchmarks/floor.py [--shapes 4x64 6x256] [--batch-sizes 32 128 512 1024 2048]
                               [--rounds 5] [--peer PATH]

Real characters a second (ends of names included, pads not) in training makemore.py's default
transformer, 4 layers 64 wide with 4 heads, or another shape of it; and the share of the machine's
rate that this is: 6 operations a weight of the linear layers and a character (Kaplan et al. 2020),
attention and all else for nothing, over the rate of products of 1024 x 1024 float32 matrices, which
is measured in every round. With --peer, the makemore.py at PATH is timed in the same rounds, at its
own batch size of 32 names.

Raw records go to benchmarks/results/floor.jsonl, where a record takes the place of an older one of
the same shape and batch size.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import torch
from measure import machine, read_records, write_records
from peer import Peer
from torch import nn
from train import our_rate

from makemore.config_loading import load_config
from makemore.data import load_names, split_names
from makemore.models import build_model
from makemore.shipped_files import resolve_preset
from makemore.vocab import Vocabulary

RESULTS = Path(__file__).parent / "results" / "floor.jsonl"
PRESET = "lectures/makemore-transformer"
SECONDS = 3.0  # of each measurement, about


def product_rate() -> float:
    """Operations a second in float32 products of 1024 x 1024 matrices."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    out = left @ right
    started, num_products = time.perf_counter(), 20
    for _ in range(num_products):
        torch.mm(left, right, out=out)
    return num_products * 2 * 1024**3 / (time.perf_counter() - started)


def operations_per_char(overrides: list[str], vocabulary_size: int) -> int:
    config = load_config(resolve_preset(PRESET), overrides)
    model = build_model(config.model, vocabulary_size)
    layers = (module for module in model.modules() if isinstance(module, nn.Linear))
    return 6 * sum(layer.weight.numel() for layer in layers)


def peer_rate(peer: Peer, mean_chars: float, num_steps: int = 50) -> float:
    steps = peer.train_steps(peer.build("transformer"))
    for _ in islice(steps, 5):
        pass
    started = time.perf_counter()
    for _ in islice(steps, num_steps):
        pass
    return num_steps * 32 * mean_chars / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["4x64", "6x256"], metavar="LAYERSxWIDTH")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128, 512, 1024, 2048])
    parser.add_argument("--data", default="names", help="an embedded list or a file of names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="a makemore.py")
    options = parser.parse_args()
    names = load_names(options.data)
    train = split_names(names, load_config(resolve_preset("mlp")).data).train
    mean_chars = sum(map(len, train)) / len(train) + 1
    peer = None if options.peer is None else Peer(options.peer, train, names)
    records = {_key(record): record for record in read_records(RESULTS)}
    print("| shape | names a batch | characters/s | of the product rate | times makemore.py |")
    print("|---|---|---|---|---|")
    for shape in options.shapes:
        num_layers, width = map(int, shape.split("x"))
        more = [
            f"model.num_layers={num_layers}",
            f"model.embedding_dim={width}",
            "train.replacement=false",
            "data.split=hash",
        ]
        operations = operations_per_char(more, Vocabulary.of(train).size)
        for batch_size in options.batch_sizes:
            rate = our_rate(PRESET, options.data, batch_size, 3, *more)
            num_steps = max(3, round(SECONDS * rate / (batch_size * mean_chars)))
            rounds = []
            for _ in range(options.rounds):
                products = product_rate()
                ours = our_rate(PRESET, options.data, batch_size, num_steps, *more)
                rival = peer_rate(peer, mean_chars) if peer and shape == "4x64" else None
                share = ours * operations / ((products + product_rate()) / 2)
                rounds.append((ours, share, rival and ours / rival, rival))
            record: dict[str, object] = {"shape": shape, "batch_size": batch_size}
            for place, name in enumerate(("rate", "share", "times_peer", "peer_rate")):
                values = [value for r in rounds if (value := r[place]) is not None]
                if values:
                    record |= {
                        name: statistics.median(values),
                        f"{name}_min": min(values),
                        f"{name}_max": max(values),
                    }
            record |= machine()
            print(json.dumps(record), file=sys.stderr)
            records[_key(record)] = record
            write_records(RESULTS, list(records.values()))
            times = _range(record, "times_peer", "{:.1f}") if "times_peer" in record else ""
            print(
                f"| {shape} | {batch_size} | {_range(record, 'rate', '{:,.0f}')} "
                f"| {_range(record, 'share', '{:.0%}')} | {times} |",
                flush=True,
            )


def _range(record: Mapping[str, object], name: str, form: str) -> str:
    middle, low, high = (form.format(record[name + end]) for end in ("", "_min", "_max"))
    return f"{middle} ({low} to {high})"


def _key(record: Mapping[str, object]) -> tuple[str, str]:
    return str(record["shape"]), str(record["batch_size"])


if __name__ == "__main__":
    main()
