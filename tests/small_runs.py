"""Small runs for tests: the names, models of every kind in few numbers, and ways to be stopped."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

# fmt: off
NAMES = [
    "ada", "adele", "alan", "alma", "amos", "anna", "arlo", "asa", "astrid",
    "ben", "bela", "boris", "bram", "carl", "cora", "dana", "dora", "edda",
    "egon", "elias", "ella", "emil", "emma", "erik", "esra", "ezra", "fay",
    "felix", "fred", "gale", "gina", "greta", "hana", "hugo", "ida", "ilse",
    "ines", "iris", "isak", "ivan", "jana", "joel", "jona", "kai", "karl",
    "lara", "lea", "lena", "leo", "lina", "linus", "lola", "luca", "mara",
    "mats", "maya", "mila", "mina", "nora", "odin", "olga", "omar", "otto",
    "pola", "rhea", "rosa", "ruben", "sara", "sila", "tara", "theo", "tilda",
    "uma", "vera", "willa", "yara", "yves", "zara", "zeno",
]
# fmt: on

SMALL = {
    "bigram": ["model.kind=bigram"],
    "mlp": ["model.hidden_dim=16"],
    "mlp-batchnorm": ["model.hidden_dim=16", "model.norm=batch"],
    "transformer": [
        "model={kind: transformer, num_layers: 2, num_heads: 2, embedding_dim: 8, dropout: 0.2}"
    ],
    "sgd": ["model.hidden_dim=16", "train.optimizer={kind: sgd, momentum: 0.9, nesterov: true}"],
    "gru": ["model={kind: gru, hidden_dim: 8, embedding_dim: 8, num_layers: 2, dropout: 0.2}"],
    "wavenet": ["model={kind: wavenet, hidden_dim: 8, skip_dim: 8, num_layers: 2, dropout: 0.2}"],
    "ensemble with muon": [
        "model={kind: ensemble, members: [{kind: bow, embedding_dim: 8, hidden_dim: 8},"
        " {kind: wavenet-tree, context_length: 4, embedding_dim: 4, hidden_dim: 8, dropout: 0.2}]}",
        "train.optimizer={kind: muon, weight_decay: 0.1}",
    ],
    "lbfgs": [
        "model.hidden_dim=8",
        "model.dropout=0.2",
        "train.batch_size=null",
        "train.learning_rate=0.3",
        "train.optimizer={kind: lbfgs, max_iterations: 1, line_search: none}",
    ],
    "averaged": [
        "model.hidden_dim=16",
        "model.norm=batch",
        "train.average_decay=0.7",
        "train.replacement=true",
        "train.l1_penalty=0.01",
        "train.l1_method=subgradient",
        "train.label_smoothing=0.1",
        "train.optimizer={kind: nadam}",
    ],
}
SHORT = [
    "train.steps=12",
    "train.batch_size=20",
    "train.evaluate_every=4",
    "train.log_every=1",
    "train.num_samples=2",
]


def untimed(directory: Path) -> list[dict[str, object]]:
    """The records of a run without what a clock or a path says."""
    clocks = ("seconds", "tokens_per_second", "run")
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in clocks} for record in records]


def assert_equal_runs(first: Path, second: Path) -> None:
    for name in ("last", "best"):
        files = [path / "checkpoints" / f"{name}.safetensors" for path in (first, second)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert untimed(first) == untimed(second)


def signal_at(step: int, number: int) -> Callable[[Mapping[str, object]], None]:
    """A report that sends this process a signal when `step` was taken."""

    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "train" and record["step"] == step:
            os.kill(os.getpid(), number)

    return report


class CrashError(Exception):
    pass


def die_at(step: int) -> Callable[[Mapping[str, object]], None]:
    """A report at which the loop is torn down where it stands, unsaved, as by a crash."""

    def report(record: Mapping[str, object]) -> None:
        if record["event"] == "train" and record["step"] == step:
            raise CrashError

    return report
