"""What verifying a checkpoint costs beyond reading it: loading with its digest and without.

Run it from the repository: `python benchmarks/load.py [--megabytes 100] [--repeat 20]`.

The file is as a transformer's would be, with AdamW's moments. Loads with and without a digest
alternate, and the median of each is shown; the digest alone says what is to be hidden beside the
reading and the copying, for which there has to be a second core: `taskset -c 0` shows one.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from makemore import tensor_file
from makemore.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


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
    shapes = {"output.bias": (27,)}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    times: dict[str, list[float]] = {"read": [], "sha256": [], "unverified": [], "verified": []}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "last.safetensors"
        save_checkpoint(path, checkpoint_of(options.megabytes))
        data = path.read_bytes()
        for _ in range(options.repeat):
            times["read"].append(milliseconds(path.read_bytes))
            times["sha256"].append(milliseconds(lambda: hashlib.sha256(data)))
            with mock.patch.object(tensor_file, "_begin_digest", NoDigest):
                times["unverified"].append(milliseconds(lambda: load_checkpoint(path)))
            times["verified"].append(milliseconds(lambda: load_checkpoint(path)))
    median = {name: statistics.median(values) for name, values in times.items()}
    cost = median["verified"] / median["unverified"] - 1
    shown = "  ".join(f"{name} {value:.0f} ms" for name, value in median.items())
    print(
        f"{len(data) / 1e6:.0f} MB, {options.threads} threads:  {shown}  verification {cost:+.1%}"
    )


if __name__ == "__main__":
    main()
