"""Megabytes a second of counting n-grams, from a file to all counts, ours beside the textbook way.

    python benchmarks/count.py [--sizes 1 10 100 1000] [--pairs 5] [--order 5]

The files are made first: names that a bigram model of the embedded list draws. Ours reads a file
and counts as `makemore train --model ngram` does; `textbook_counts.py` counts at most the first
10 MB of it, so that of a large file only the rates can be compared. Each size is measured in a
process of its own, whose largest memory is noted after the first count, and before the textbook's.
Raw records go to benchmarks/results/count.jsonl, where a record takes the place of an older one of
the same size and order.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import textbook_counts
import torch
from measure import machine, read_records, write_records
from pairs import ratios

from makemore.corpus import Corpus
from makemore.data import load_corpus, load_names
from makemore.models.ngram_counts import count
from makemore.vocab import Vocabulary

RESULTS = Path(__file__).parent / "results" / "count.jsonl"
MB = 10**6
TEXTBOOK_BYTES = 10 * MB
# Characters drawn side by side, so few that torch divides no operation among its threads, and
# one after another.
_STREAMS, _LENGTH = 2**15 - 1, 256
_STEPS = 2**14  # of probability


def write_file(path: Path, num_bytes: int, seed: int = 1) -> None:
    """Write `num_bytes` bytes of drawn names, the last one as long as fits."""
    names = load_names("names")
    vocabulary = Vocabulary.of(names)
    batch = Corpus.of(vocabulary.encode(names)).batch(torch.arange(len(names)))
    size = vocabulary.size
    pairs = torch.bincount(batch.inputs * size + batch.targets, minlength=size * size)
    # For each id and each step of probability, the id that follows.
    cumulative = pairs.view(size, size).double().cumsum(1)
    share = (torch.arange(_STEPS) + 0.5).double() / _STEPS
    next_ids = torch.searchsorted(cumulative / cumulative[:, -1:], share.expand(size, -1).clone())
    generator = torch.Generator().manual_seed(seed)
    letters = b"\n" + "".join(vocabulary.characters).encode() + bytes(256 - size)
    block = bytearray(_STREAMS * _LENGTH)
    ids = torch.frombuffer(block, dtype=torch.uint8).view(_STREAMS, _LENGTH)
    with path.open("wb") as file:
        while file.tell() < num_bytes:
            last = torch.zeros(_STREAMS, dtype=torch.int64)
            for place in range(_LENGTH - 1):
                step = torch.randint(_STEPS, last.shape, generator=generator)
                last = next_ids.view(-1)[last * _STEPS + step]
                ids[:, place] = last
            # The last name of a stream ends with it; it has one character at least.
            ids[:, -2].clamp_(min=1)
            ids[:, -1] = 0
            file.write(block.translate(letters)[: num_bytes - file.tell()])


def our_rate(path: Path, order: int) -> float:
    """Megabytes a second, from opening the file."""
    started = time.perf_counter()
    vocabulary, corpus = load_corpus(str(path))
    count(corpus, vocabulary.size, order)
    return path.stat().st_size / MB / (time.perf_counter() - started)


def textbook_rate(path: Path, order: int) -> float:
    started = time.perf_counter()
    textbook_counts.count_ngrams(path, order)
    return path.stat().st_size / MB / (time.perf_counter() - started)


def peak_megabytes() -> float:
    """The most memory that this process has held so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes * 1024 / MB, 1)


def compare(path: Path, order: int, num_pairs: int) -> dict[str, object]:
    imports = peak_megabytes()
    our_rate(path, order)
    peak = peak_megabytes()
    size = path.stat().st_size / MB
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "part.txt")
        with path.open("rb") as file:
            part.write_bytes(file.read(TEXTBOOK_BYTES))
        measured = ratios(
            lambda: our_rate(path, order), lambda: textbook_rate(part, order), num_pairs
        )
        textbook_size = part.stat().st_size / MB
    return {
        "megabytes": size,
        "order": order,
        "textbook_megabytes": textbook_size,
        "pairs": num_pairs,
        **measured,
        "peak_megabytes": peak,
        "peak_megabytes_of_imports": imports,
        **machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 1000], metavar="MB")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--file", type=Path, help="measure this one, and print its record only")
    options = parser.parse_args()
    if options.file is not None:
        print(json.dumps(compare(options.file, options.order, options.pairs)))
        return
    records = {(r["megabytes"], r["order"]): r for r in read_records(RESULTS)}
    print("| MB | ours, MB/s | textbook | ratio | minimum to maximum | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    for megabytes in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "names.txt")
            write_file(path, megabytes * MB)
            command = [sys.executable, __file__, "--file", str(path)]
            command += ["--pairs", str(options.pairs), "--order", str(options.order)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        record = json.loads(done.stdout)
        print(json.dumps(record), file=sys.stderr)
        records[record["megabytes"], record["order"]] = record
        write_records(RESULTS, list(records.values()))
        print(
            f"| {megabytes:,} | {record['ours']:.1f} | {record['textbook']:.2f} "
            f"| {record['ratio']:.0f} | {record['minimum']:.0f} to {record['maximum']:.0f} "
            f"| {record['peak_megabytes']:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
