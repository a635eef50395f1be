"""Names a second in sampling, ours beside the textbook way, at several numbers of names.

    python benchmarks/sample.py [--only PRESET...] [--nums 1 1000 100000] [--pairs 5]
                                [--peer PATH]

Ours is `sample_chunks`, all that it gives included: names as text, and their log-probabilities.
The textbook's is `textbook.sample`, a thousand names side by side, where it is fastest, and the
names as text; where many are asked for, the first ten thousand of them. Both models were trained
alike for a moment, so that names have about the length that they should have.

With --peer, a makemore.py of the user's (see `peer.py`) is the rival, each of its models at its
default shape, and all its names side by side, as it draws them; it never stops before the longest
name's length, so that its weights make no difference to its speed.

Raw records go to benchmarks/results/sample.jsonl, where a record takes the place of an older one of
the same model, number of names and rival.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import textbook
import textbook_models
import torch
from measure import machine, read_records, write_records
from pairs import ratios
from peer import KINDS, Peer, our_config
from torch import nn
from torch.nn import functional

from makemore.config import BigramConfig, ModelConfig, NgramConfig
from makemore.config_loading import load_config
from makemore.corpus import Corpus
from makemore.data import load_names
from makemore.models import ClosedFormModel, FiniteContextModel, LanguageModel, build_model
from makemore.sampling import Sampler, sample_chunks
from makemore.shipped_files import preset_names, resolve_preset
from makemore.vocab import Vocabulary

RESULTS = Path(__file__).parent / "results" / "sample.jsonl"
NUM_STEPS, BATCH_SIZE = 300, 128  # of the moment of training
SIDE_BY_SIDE, MOST = 1000, 10_000  # of the textbook's names

Draw = Callable[[int], list[str]]


def trained(config: ModelConfig, names: Sequence[str], vocabulary: Vocabulary) -> LanguageModel:
    torch.manual_seed(1)
    corpus = Corpus.of(vocabulary.encode(names))
    model = build_model(config, vocabulary.size)
    if isinstance(model, ClosedFormModel):
        model.fit(corpus, corpus)
        return model
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate(config))
    for _ in range(NUM_STEPS):
        batch = corpus.batch(torch.randint(len(names), (BATCH_SIZE,)))
        loss = functional.cross_entropy(model(batch), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def learning_rate(config: ModelConfig) -> float:
    return 0.1 if isinstance(config, BigramConfig) else 0.003


def our_draw(model: LanguageModel, names: Sequence[str], vocabulary: Vocabulary) -> Draw:
    training_names = frozenset(names)
    max_length = 2 * max(map(len, names))  # as `makemore sample` has it

    def draw(num_names: int) -> list[str]:
        chunks = sample_chunks(
            model,
            vocabulary,
            training_names,
            num_names=num_names,
            sampler=Sampler(),
            max_length=max_length,
            seed=1,
        )
        return [name for chunk in chunks for name in chunk.names]

    return draw


def textbook_draw(
    config: ModelConfig, ours: LanguageModel, names: Sequence[str], vocabulary: Vocabulary
) -> Draw | None:
    """None for what has no textbook model: n-grams of more than two characters."""
    padded = textbook.TextbookDataset(names, vocabulary)
    if isinstance(config, NgramConfig):
        if config.order != 2 or not isinstance(ours, FiniteContextModel):
            return None
        ids_V = torch.arange(vocabulary.size)
        with torch.no_grad():
            logits_VV = ours.step(ids_V, ours.start(vocabulary.size))[0].float()
        model: nn.Module = nn.Embedding.from_pretrained(logits_VV)
    else:
        torch.manual_seed(1)
        model = textbook_models.build(config, vocabulary.size, padded.longest)
        options = {"batch_size": BATCH_SIZE, "num_steps": NUM_STEPS, "seed": 1}
        for _ in textbook.train(model, padded, learning_rate=learning_rate(config), **options):
            pass
    generator = torch.Generator().manual_seed(1)
    characters = ("", *vocabulary.characters)

    def draw(num_names: int) -> list[str]:
        rows: list[list[int]] = []
        while len(rows) < num_names:
            side_by_side = min(SIDE_BY_SIDE, num_names - len(rows))
            rows += textbook.sample(model, side_by_side, padded.longest, generator)
        return ["".join([characters[i] for i in row]) for row in rows]

    return draw


def rate(draw: Draw, num_names: int) -> float:
    """Names a second, from as many rounds as fill a fifth of a second."""
    started, rounds = time.perf_counter(), 0
    while True:
        draw(num_names)
        rounds += 1
        seconds = time.perf_counter() - started
        if seconds > 0.2:
            return rounds * num_names / seconds


def compare(
    label: str, ours: Draw, theirs: Draw | None, rival: str, num_names: int, num_pairs: int
) -> dict[str, object]:
    record: dict[str, object] = {"model": label, "num_names": num_names, "rival": rival}
    their_number = min(num_names, MOST)
    # A round of each warms up.
    record["our_mean_length"] = round(_mean_length(ours(num_names)), 2)
    if theirs is None:
        rates = sorted(rate(ours, num_names) for _ in range(num_pairs))
        record |= {"ours": rates[num_pairs // 2]}
    else:
        record["their_mean_length"] = round(_mean_length(theirs(their_number)), 2)
        measured = ratios(
            lambda: rate(ours, num_names), lambda: rate(theirs, their_number), num_pairs
        )
        measured["theirs"] = measured.pop("textbook")
        record |= measured
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**record, "peak_mib_so_far": peak_kib // 1024, **machine()}


def _mean_length(names: list[str]) -> float:
    return sum(map(len, names)) / len(names)


def line(record: dict[str, object]) -> str:
    cells = [f"`{record['model']}`", f"{record['num_names']:,}", f"{record['ours']:,.0f}"]
    if "ratio" in record:
        cells += [f"{record['theirs']:,.0f}", f"{record['ratio']:.1f}"]
        cells += [f"{record['minimum']:.1f} to {record['maximum']:.1f}"]
    return f"| {' | '.join([*cells, *['-'] * (6 - len(cells))])} |"


def main() -> None:
    presets = [name for name in preset_names() if "/" not in name and name != "best"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=sorted({*presets, *KINDS}))
    parser.add_argument("--nums", type=int, nargs="+", help="default: 1 1000 100000; peer: 10000")
    parser.add_argument("--data", default="names", help="an embedded list or a file of names")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="a makemore.py to compare with instead")
    options = parser.parse_args()
    names = load_names(options.data)
    vocabulary = Vocabulary.of(names)
    peer = None if options.peer is None else Peer(options.peer, names)
    records = {(r["model"], r["num_names"], r["rival"]): r for r in read_records(RESULTS)}
    print("| model | names | ours, names/s | rival | ratio | minimum to maximum |")
    print("|---|---|---|---|---|---|")
    for label in options.only or (presets if peer is None else KINDS):
        if peer is None:
            config = load_config(resolve_preset(label)).model
            model = trained(config, names, vocabulary)
            theirs, rival = textbook_draw(config, model, names, vocabulary), "textbook"
        else:
            model = trained(our_config(label, peer.longest), names, vocabulary)
            theirs, rival = peer_draw(peer, label), "peer"
        ours = our_draw(model, names, vocabulary)
        for num_names in options.nums or ([1, 1000, 100_000] if peer is None else [10_000]):
            record = compare(label, ours, theirs, rival, num_names, options.pairs)
            print(json.dumps(record), file=sys.stderr)
            records[label, num_names, rival] = record
            write_records(RESULTS, list(records.values()))
            print(line(record), flush=True)


def peer_draw(peer: Peer, kind: str) -> Draw:
    model = peer.build(kind)
    for _ in islice(peer.train_steps(model), NUM_STEPS):
        pass
    return lambda num_names: peer.sample(model, num_names)


if __name__ == "__main__":
    main()
