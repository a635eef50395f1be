"""Any file is a run that names can be drawn from, or a CheckpointError.

The files are raw bytes; bytes with a right size and digest around them; and small checkpoints with
a few values changed, as somebody could who knows the format.
"""

import copy
import dataclasses
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

from tests.checkpoint_files import parts, sign, written
from tests.fuzz.driver import Choices, fuzz, instrumented

with instrumented(__name__ == "__main__", has_tensors=True):
    from pathlib import Path

    import torch

    from makemore.checkpoint import Checkpoint, from_bytes, to_bytes
    from makemore.config_loading import config_from_dict, config_to_dict
    from makemore.corpus import Corpus
    from makemore.data import SPLITS, split_digest
    from makemore.errors import CheckpointError, DivergedError
    from makemore.run import Run, open_checkpoint
    from makemore.tensor_file import DTYPES
    from makemore.vocab import Vocabulary
    from tests.forged_checkpoints import SOUND, sound
    from tests.fuzz.refusals import understood
    from tests.hostile_checkpoints import fitted_tables

_CPU = torch.device("cpu")
# Every checkpoint begins like this; `sign` puts the numbers in.
_HEAD = b'{"__metadata__":{"sha256":"","size":"",'
_JSON_TEXTS = ("config", "vocabulary", "step", "best")
_MAX_EDITS = 6


def check(content: bytes) -> None:
    choices = Choices(content)
    kind = choices.one_of("rse")
    if kind == "r":
        _check_file(choices.rest())
    elif kind == "s":
        text, _, tensors = choices.rest().partition(b"\n")
        _check_file(sign(_HEAD + text, tensors))
    else:
        # With the digest of the names that they now have, and every tensor in its place, so that
        # what is read after these is looked at, too.
        repairs = choices.number()
        header, data = _edited(choices)
        if repairs & 2:
            data = _laid_out(header, data)
        _check_file(_closed(header, data), has_its_digest=bool(repairs & 1))


def _check_file(file: bytes, *, has_its_digest: bool = False) -> None:
    checkpoint, problems = understood(lambda: from_bytes(file, "here"), CheckpointError)
    assert all(problem.where == "here" and problem.hint for problem in problems)
    if checkpoint is None:
        return
    again = to_bytes(checkpoint)
    assert to_bytes(from_bytes(again, "again")) == again
    if has_its_digest:
        checkpoint = _with_its_digest(checkpoint)
    run, problems = understood(
        lambda: open_checkpoint(Path("here"), checkpoint, _CPU), CheckpointError
    )
    assert all(problem.where == "here" and problem.hint for problem in problems)
    if run is not None:
        _check_run(run)


def _check_run(run: Run) -> None:
    """It does what a run does, whatever its numbers are."""
    assert config_from_dict(config_to_dict(run.config), "again") == run.config
    assert repr(run).isprintable()
    names, _ = understood(lambda: run.sample(2, max_length=3, seed=1), DivergedError)
    assert run.evaluate("train").loss.num_names == run.corpora["train"].num_names
    for name in names or ():
        assert 1 <= len(name) <= 3
        assert set(name) <= set(run.vocabulary.characters)


def _with_its_digest(checkpoint: Checkpoint) -> Checkpoint:
    characters = checkpoint.vocabulary
    if list(characters) != sorted(set(characters)) or checkpoint.corpora.keys() != set(SPLITS):
        return checkpoint
    corpora = {split: Corpus.of(tokens) for split, tokens in checkpoint.corpora.items()}
    digest = split_digest(Vocabulary(characters), corpora)
    return dataclasses.replace(checkpoint, split_digest=digest)


def _edited(choices: Choices) -> tuple[dict[str, Any], bytes]:
    """The header and the tensors of a small checkpoint with a few values changed."""
    header, data = _opened(choices.one_of(_BASES))
    for _ in range(min(choices.number(), _MAX_EDITS)):
        edit = choices.one_of("vjcdtnrs")
        if edit in "tn":
            data = _with_data(data, edit, choices)
            continue
        if edit == "s":
            _reshape(choices.one_of(list(header.values())), choices)
            continue
        holder, key = choices.one_of(list(_places(header)))
        if edit == "v":
            holder[key] = copy.deepcopy(choices.one_of(_VALUES))
        elif edit == "j":
            holder[key] = _any_json(choices.piece())
        elif edit == "c":
            other, other_key = choices.one_of(list(_places(header)))
            holder[key] = copy.deepcopy(other[other_key])
        elif edit == "d" and key != "__metadata__":
            del holder[key]
        elif edit == "r" and isinstance(holder, dict) and key != "__metadata__":
            name = choices.one_of(_NAMES) or choices.piece().decode(errors="surrogateescape")
            holder[name] = holder.pop(key)
    return header, data


def _reshape(entry: object, choices: Choices) -> None:
    """Another small shape for a tensor, or another type."""
    if isinstance(entry, dict) and isinstance(entry.get("shape"), list):
        if choices.number() & 1:
            entry["dtype"] = choices.one_of(list(DTYPES))
        else:
            entry["shape"] = [number % 9 for number in choices.piece()[:5]]


def _laid_out(header: dict[str, Any], data: bytes) -> bytes:
    """Give every tensor the place that its shape asks for; the bytes are as many."""
    end = 0
    for entry in header.values():
        if isinstance(entry, dict) and isinstance(entry.get("shape"), list):
            dtype = DTYPES.get(entry["dtype"]) if isinstance(entry.get("dtype"), str) else None
            are_sizes = all(type(size) is int and 0 <= size < 2**12 for size in entry["shape"])
            num_numbers = math.prod(entry["shape"]) if are_sizes else 0
            start = end
            if dtype is not None and num_numbers < 2**12:
                end += num_numbers * dtype.itemsize
            entry["data_offsets"] = [start, end]
    return data[:end].ljust(end, b"\0")


def _with_data(data: bytes, edit: str, choices: Choices) -> bytes:
    """The bytes of the tensors with other ones at a place, or of another number."""
    place = choices.number(2) % (len(data) + 1)
    new = struct.pack("<f", choices.one_of(_FLOATS)) if choices.number() & 1 else choices.piece()
    return data[:place] + new + data[place + len(new) :] if edit == "t" else data[:place] + new


def _opened(file: bytes) -> tuple[dict[str, Any], bytes]:
    """The header, with the texts in it that are JSON themselves read."""
    header, data = parts(file)
    metadata = header["__metadata__"]
    metadata.update({name: json.loads(metadata[name]) for name in _JSON_TEXTS})
    return header, data


def _closed(header: dict[str, Any], data: bytes) -> bytes:
    metadata = header.pop("__metadata__")
    if isinstance(metadata, dict):
        texts = {name: json.dumps(metadata[name]) for name in _JSON_TEXTS if name in metadata}
        metadata = {"sha256": "", "size": "", **metadata, **texts}
    return sign(written({"__metadata__": metadata, **header}), data)


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every value inside a JSON value, as what holds it and its key there."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])


def _any_json(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.decode(errors="surrogateescape")


def _small() -> Iterator[Checkpoint]:
    """A checkpoint of each shape that a model's tensors and tables have."""
    yield SOUND
    yield sound({"kind": "bigram"})
    ngram = sound({"kind": "ngram", "order": 2})
    yield dataclasses.replace(ngram, model=fitted_tables())
    yield sound({"kind": "transformer", "num_layers": 1, "num_heads": 1, "embedding_dim": 2})
    yield sound({"kind": "gru", "embedding_dim": 2, "hidden_dim": 2}, "a\u00eb\u674e\U0001f600")
    yield sound({"kind": "mlp", "embedding_dim": 1, "hidden_dim": 2, "norm": "batch"})
    members = [{"kind": "bigram"}, {"kind": "bow", "embedding_dim": 2, "hidden_dim": 2}]
    yield sound({"kind": "ensemble", "members": members})


_BASES = [to_bytes(checkpoint) for checkpoint in _small()]
_FLOATS = (0.0, -1.0, 1e38, -1e38, 1e-45, float("nan"), float("inf"), 1.0)
_VALUES: tuple[object, ...] = (
    *(None, True, False, 0, 1, 2, -1, 4, 8, 255, 256, 65536, 65537, 2**31, 2**32, 2**62, 2**63),
    *(2**64, -(2**63), 0.5, 1e308, float("nan"), float("inf"), "", "a", "/etc/passwd", "\x1b[2J"),
    *(
        "\ud800",
        "\u202e",
        "\u2028",
        [],
        {},
        [0],
        [1],
        [0, 0],
        [2**32, 2**32],
        [[]],
        {"kind": "mlp"},
    ),
    *("mlp", "bigram", "ngram", "transformer", "gru", "ensemble", "wavenet", "U8", "F64", "F32"),
    *("BF16", "BOOL", "I16", "I64", "batch", "layer", "0" * 16, "3", "abc", "abcd", "cba", "aa"),
)
_NAMES = (
    *("", "model.x", "optimizer.x", "trained.x", "corpus.x", "corpus.train", "corpus.val", "x"),
    *("model.keys", "model.weights", "model.amounts", "model.output.bias", "model.", ".", "kind"),
    *("dtype", "shape", "more", "\x1b", "\u202e", "\ud800"),
)
WORDS = (
    *("__metadata__", "sha256", "size", "format", "config", "vocabulary", "split_digest", "step"),
    *("best", "dtype", "shape", "data_offsets", "F32", "BF16", "I64", "U8", "BOOL", "model."),
    *("corpus.train", "optimizer.", "trained.", "[0,0]", "[]", "{}", '":', ',"', "null", "NaN"),
    *("1e999", "9223372036854775808", "\\ud800", "\\u0000", "[" * 40, "\x1b", "\u202e", "kind"),
)


def _unsigned(file: bytes) -> bytes:
    """A file for the second kind of input."""
    header, data = parts(file)
    metadata = header.pop("__metadata__")
    del metadata["sha256"], metadata["size"]
    text = written({"__metadata__": metadata, **header})
    return text.removeprefix(b'{"__metadata__":{') + b"\n" + data


SEEDS = [
    b"",
    *(b"\0" + file for file in _BASES[:3]),
    *(b"\1" + _unsigned(file) for file in _BASES),
    b"\1" + b"[" * 2000,
    *(b"\2\1%c\0" % base for base in range(len(_BASES))),
    *(b"\2\0%c\1\0%c\x0c" % (base, place) for base in range(3) for place in (0, 5, 20, 60)),
    *(b"\2\1%c\2\4\x20\0\1\2\4\x80\0\1\3" % base for base in range(len(_BASES))),
    *(b"\2\3%c\1\7\1\0\2\4\2" % base for base in range(len(_BASES))),
    *(b"\2\3%c\1\7\2\1\3" % base for base in range(len(_BASES))),
    *(b"\2\3%c\2\6\x35\4\3\x3a" % base for base in range(len(_BASES))),
    b'\2\1\0\1\1\x05\x0c{"a":[1,2]}',
    b"\2\0\0\1\3\x07\2\x05\x06",
]

if __name__ == "__main__":
    fuzz(check, SEEDS, WORDS)
