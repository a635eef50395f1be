"""What ten times the names cost: of each model an epoch, or the fit, on ten times as many names.

    python benchmarks/scaling.py [--only PRESET...] [--pairs 5]

The names are the embedded ones, and nine more of each, its letters in another order. An epoch costs
its characters divided by the characters a second, both of the training names alone; what a run does
once, such as its evaluations, is not in it. Pairs of a small and a large run, in turn first, give
the median, minimum and maximum of the ratio of their costs. Raw records go to
benchmarks/results/scaling.jsonl, where a record takes the place of an older one of the same preset.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from measure import machine, read_records, write_records
from pairs import ratios
from train import our_rate

from makemore.config import Config
from makemore.config_loading import load_config
from makemore.corpus import Corpus
from makemore.data import load_names, split_names
from makemore.models import ClosedFormModel, build_model
from makemore.shipped_files import preset_names, resolve_preset
from makemore.vocab import Vocabulary

RESULTS = Path(__file__).parent / "results" / "scaling.jsonl"
TIMES, SECONDS = 10, 1.0


def larger(names: list[str]) -> list[str]:
    shuffle = random.Random(1).sample
    return [*names, *("".join(shuffle(name, len(name))) for name in names * (TIMES - 1))]


def fits_a_second(config: Config, names: list[str]) -> float:
    vocabulary = Vocabulary.of(names)
    corpus = Corpus.of(vocabulary.encode(names))
    model = build_model(config.model, vocabulary.size)
    assert isinstance(model, ClosedFormModel)
    started, num_fits = time.perf_counter(), 0
    while time.perf_counter() < started + SECONDS / 5 or num_fits == 0:
        model.fit(corpus, corpus)
        num_fits += 1
    return num_fits / (time.perf_counter() - started)


def main() -> None:
    presets = [name for name in preset_names() if "/" not in name and name != "best"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=presets, default=presets)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    names = load_names("names")
    many = larger(names)
    records = {str(record["preset"]): record for record in read_records(RESULTS)}
    print("| preset | ten times the names cost | minimum to maximum |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "many.txt")
        path.write_text("".join(f"{name}\n" for name in many))
        for preset in options.only:
            config = load_config(resolve_preset(preset))
            parts = [split_names(part, config.data).train for part in (names, many)]
            few_chars, many_chars = (sum(map(len, part)) + len(part) for part in parts)
            if config.train is None:
                few_fits, many_fits = (partial(fits_a_second, config, part) for part in parts)
                measured = ratios(few_fits, many_fits, options.pairs)
                factor = 1.0
            else:
                size = config.train.batch_size or len(parts[0])
                rate = our_rate(preset, "names", size, 10)
                num_steps = max(10, round(SECONDS * rate / (size * few_chars / len(parts[0]))))
                sources = ("names", str(path))
                few, more = (partial(our_rate, preset, x, size, num_steps) for x in sources)
                measured = ratios(few, more, options.pairs)
                factor = many_chars / few_chars
            cost = {name: measured[name] * factor for name in ("ratio", "minimum", "maximum")}
            cost["names"] = len(parts[1]) / len(parts[0])
            record = {"preset": preset, **cost, **machine()}
            print(json.dumps(record), file=sys.stderr)
            records[preset] = record
            write_records(RESULTS, list(records.values()))
            low, high = cost["minimum"], cost["maximum"]
            print(f"| `{preset}` | {cost['ratio']:.2f} | {low:.2f} to {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
