"""Malicious checkpoint files, made anew for the tests: what somebody could send to be loaded.

Each has a sound size and digest where it is not about these, so that it gets as far as it can.
`python -m tests.hostile_checkpoints DIRECTORY` loads all that `write_all` made in a directory, and
says what became of each.
"""

import gzip
import io
import json
import math
import os
import pickle
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from makemore.checkpoint import load_checkpoint, to_bytes
from makemore.config_loading import config_from_dict, config_to_dict
from makemore.corpus import Corpus
from makemore.errors import CheckpointError
from makemore.models import ClosedFormModel, build_model
from makemore.run import load
from makemore.tensor_file import MAX_HEADER
from tests.checkpoint_files import parts, sign, written
from tests.forged_checkpoints import (
    BYTES,
    SOUND,
    entry,
    forged,
    sound,
    with_config,
    with_entries,
    with_model,
    with_text_after_metadata,
    with_texts,
)

MARKER = "executed"
# What Python says it does: a file opened or removed, a command or program run, and so on.
WATCHED = (
    "compile",
    "ctypes",
    "exec",
    "import",
    "open",
    "os",
    "pickle",
    "shutil",
    "socket",
    "subprocess",
)


class Payload:
    """What unpickling executes: a command that creates the marker."""

    def __init__(self, directory: Path) -> None:
        self.command = f"touch {directory / MARKER}"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (self.command,)


def pickles(directory: Path) -> Iterator[tuple[str, bytes]]:
    payload = Payload(directory)
    for protocol in range(6):
        yield f"pickle-{protocol}", pickle.dumps(payload, protocol)
        head = BYTES[:126]
        yield f"pickle-{protocol}-behind-a-head", head + pickle.dumps(payload, protocol)
    saved = io.BytesIO()
    torch.save({"model": payload}, saved)
    yield "torch-save", saved.getvalue()
    saved = io.BytesIO()
    torch.save({"model": payload}, saved, _use_new_zipfile_serialization=False)
    yield "torch-save-legacy", saved.getvalue()
    # The header of a NumPy array of objects, which NumPy would unpickle.
    numpy_header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(numpy_header))
    yield "numpy-objects", magic + numpy_header + pickle.dumps(payload)
    pickled = pickle.dumps(payload).hex()
    yield "pickle-in-the-config", with_config(lambda config: config.update(state=pickled))
    tag = f"!!python/object/apply:os.system ['touch {directory / MARKER}']"
    yield "yaml-in-the-config", with_config(lambda config: config.update(seed=tag))
    yield "yaml-for-a-config", with_texts(config=f"seed: {tag}")
    data = pickle.dumps(payload)
    yield (
        "pickle-for-a-tensor",
        with_entries({"model.x": entry("U8", [len(data)], 0, len(data))}, data),
    )


def archives(directory: Path) -> Iterator[tuple[str, bytes]]:
    for name, inside in (("zip", b"text"), ("zip-bomb", bytes(2**24)), ("zip-of-itself", BYTES)):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("../../archive/data.pkl", inside)
        yield name, archive.getvalue()
    yield "gzip-bomb", gzip.compress(bytes(2**24))
    yield "gzip-of-a-checkpoint", gzip.compress(BYTES)
    yield "script", f"#!/bin/sh\ntouch {directory / MARKER}\n".encode()
    yield "text", b"error: this is no checkpoint\n" * 100
    yield "elf", b"\x7fELF\x02\x01\x01" + bytes(200)
    yield "empty", b""
    yield "zeros", bytes(2**16)
    yield "ones", b"\xff" * 2**16


def lengths() -> Iterator[tuple[str, bytes]]:
    header, data = BYTES[8 : 8 + struct.unpack("<Q", BYTES[:8])[0]], parts(BYTES)[1]
    for length in (0, 1, 2, 125, len(header) - 1, len(header) + 1, len(BYTES) - 8, len(BYTES)):
        yield f"header-of-{length}", sign(header, data, length)
    for power in (22, 31, 32, 40, 62, 63):
        yield f"header-of-2-to-the-{power}", sign(header, data, 2**power)
    yield "header-of-2-to-the-64-less-1", sign(header, data, 2**64 - 1)
    yield "size-of-10-to-the-16-less-1", BYTES[:109] + b"9" * 16 + BYTES[125:]
    yield "size-of-0", BYTES[:109] + b"0" * 16 + BYTES[125:]
    yield "bytes-after-the-end", BYTES + b"\n"
    yield "two-checkpoints", BYTES + BYTES
    yield "bytes-after-the-tensors", sign(header, data + b"\0" * 8)
    yield "tensors-missing-at-the-end", sign(header, data[:-8])
    yield "half-a-file", BYTES[: len(BYTES) // 2]
    yield "digest-of-zeros", BYTES[:35] + b"0" * 64 + BYTES[99:]
    yield "digest-in-capitals", BYTES[:35] + BYTES[35:99].upper() + BYTES[99:]
    yield "digest-of-another-file", BYTES[:-1] + b"\x01"
    second = b'"sha256":"' + b"0" * 64 + b'",'
    yield "digest-twice", sign(header.replace(b'"format"', second + b'"format"', 1), data)


def headers() -> Iterator[tuple[str, bytes]]:
    comma = b',"a":'
    big = MAX_HEADER - 2000
    yield "json-deep-lists", with_text_after_metadata(comma + b"[" * 100_000 + b"]" * 100_000)
    yield "json-deep-unclosed", with_text_after_metadata(comma + b"[" * big)
    yield "json-deep-objects", with_text_after_metadata(comma + b'{"a":' * 100_000)
    yield "json-many-lists", with_text_after_metadata(comma + b"[" + b"[]," * (big // 3) + b"0]")
    yield "json-many-objects", with_text_after_metadata(comma + b"[" + b"{}," * (big // 3) + b"0]")
    keys = b"".join(b',"%x":1' % number for number in range(400_000))
    yield "json-many-keys", with_text_after_metadata(keys)
    keys = b"".join(b',"%x":1' % number for number in range(120_000))
    yield "json-as-many-keys-as-pass", with_text_after_metadata(keys)
    entries = {f"model.{i}": entry("U8", [0], 0, 0) for i in range(20_000)}
    yield "json-many-tensors", with_entries(entries)
    yield "json-long-shape", with_entries({"model.x": entry("U8", [1] * 120_000, 0, 1)}, b"1")
    yield "json-long-number", with_text_after_metadata(comma + b"1" * big)
    yield "json-long-fraction", with_text_after_metadata(comma + b"0." + b"1" * big)
    yield "json-long-name", with_text_after_metadata(b',"' + b"x" * big + b'":{}')
    yield (
        "json-long-name-of-emoji",
        with_text_after_metadata(b',"' + "😀".encode() * (big // 4) + b'":1'),
    )
    yield "json-too-long", with_text_after_metadata(b" " * MAX_HEADER)
    yield "json-nan", with_text_after_metadata(comma + b"NaN")
    yield "json-infinity", with_text_after_metadata(comma + b"-Infinity")
    yield "json-not-closed", with_text_after_metadata(comma)
    yield "json-of-two", with_text_after_metadata(b"}{")
    yield "json-not-utf-8", with_text_after_metadata(b',"model.\xff\xfe":{}')
    yield "json-lone-surrogate", with_text_after_metadata(b',"model.\\ud800":{}')
    yield "json-nul", with_text_after_metadata(b',"model.\x00":{}')
    yield "json-second-metadata", with_text_after_metadata(b',"__metadata__":{}')
    twice = b',"model.x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' * 2
    yield "tensor-twice", with_text_after_metadata(twice)
    keys_twice = b',"model.x":{"dtype":"U8","dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    yield "type-twice", with_text_after_metadata(keys_twice)
    metadata = written({"__metadata__": parts(BYTES)[0]["__metadata__"]})
    yield "step-twice", sign(metadata.replace(b'"step":', b'"step":"9","step":', 1))
    escape = "\x1b]0;owned\x07\x1b[2J\u202e\r\n"
    yield "control-characters-in-a-name", with_entries({f"model.{escape}": entry("U8", [1], 0, 9)})
    yield "control-characters-in-a-group", with_entries({escape: entry("U8", [0], 0, 0)})
    yield "control-characters-in-a-type", with_entries({"model.x": entry(escape, [0], 0, 0)})
    yield "control-characters-in-metadata", with_texts(**{escape: escape})
    yield "control-characters-in-the-format", with_texts(format=escape)
    yield "control-characters-in-the-step", with_texts(step=escape)
    yield "name-of-a-path", with_entries({"../../../etc/passwd": entry("U8", [0], 0, 0)})
    yield "name-of-an-attribute", with_entries({"model.__class__": entry("F32", [0], 0, 0)})


def layouts() -> Iterator[tuple[str, bytes]]:
    one = {"model.a": entry("F32", [1], 0, 4)}
    yield "overlapping", with_entries(one | {"model.b": entry("F32", [1], 0, 4)}, bytes(4))
    yield "overlapping-in-part", with_entries(one | {"model.b": entry("F32", [1], 2, 6)}, bytes(6))
    yield "gap", with_entries(one | {"model.b": entry("F32", [1], 8, 12)}, bytes(12))
    yield "gap-at-the-start", with_entries({"model.a": entry("F32", [1], 4, 8)}, bytes(8))
    yield "into-the-header", with_entries({"model.a": entry("F32", [2], -8, 0)})
    yield "backwards", with_entries({"model.a": entry("F32", [1], 4, 0)}, bytes(4))
    yield "after-the-end", with_entries({"model.a": entry("F32", [2], 0, 8)}, bytes(4))
    yield "offsets-of-2-to-the-63", with_entries({"model.a": entry("U8", [2**63], 0, 2**63)})
    yield "offsets-that-wrap", with_entries({"model.a": entry("U8", [0], 2**64, 2**64)})
    yield "offsets-of-fractions", with_entries({"model.a": entry("F32", [1], 0.0, 4.0)}, bytes(4))
    yield "offsets-of-truths", with_entries({"model.a": entry("U8", [1], False, True)}, bytes(1))
    yield "offsets-of-texts", with_entries({"model.a": entry("U8", [1], "0", "1")}, bytes(1))
    yield "three-offsets", with_entries({"model.a": entry("U8", [1], 0, 1, 1)}, bytes(1))
    yield "no-offsets", with_entries({"model.a": entry("U8", [1])}, bytes(1))
    yield "shape-bomb", with_entries({"model.a": entry("F32", [2**60], 0, 2**62)})
    yield "shape-bomb-that-wraps", with_entries({"model.a": entry("F32", [2**32] * 2, 0, 0)})
    yield "shape-bomb-of-many", with_entries({"model.a": entry("U8", [2**19] * 16, 0, 4)}, bytes(4))
    yield "shape-empty-and-huge", with_entries({"model.a": entry("F32", [0, 2**62, 2**62], 0, 0)})
    yield "shape-empty-beyond-64-bits", with_entries({"model.a": entry("U8", [2**63, 0], 0, 0)})
    yield "shape-of-many-dimensions", with_entries({"model.a": entry("U8", [1] * 100, 0, 1)}, b"1")
    yield "shape-negative", with_entries({"model.a": entry("F32", [-1, -1], 0, 4)}, bytes(4))
    yield "shape-of-a-fraction", with_entries({"model.a": entry("F32", [1.0], 0, 4)}, bytes(4))
    yield "shape-of-a-truth", with_entries({"model.a": entry("U8", [True], 0, 1)}, bytes(1))
    yield "shape-of-a-text", with_entries({"model.a": entry("U8", "1", 0, 1)}, bytes(1))
    yield "shape-null", with_entries({"model.a": entry("U8", None, 0, 1)}, bytes(1))
    for code in ("F16", "F8_E4M3", "C64", "U64", "F4", "O", "", "f32", ["F32"], {"F32": 1}, None):
        name = f"type-{code!s}".replace("'", "").replace(" ", "")
        yield name, with_entries({"model.a": entry(code, [0], 0, 0)})
    others: list[object] = [
        *(None, [], 1, "F32", {}, {"dtype": "U8"}, {**one["model.a"], "more": 1}),
    ]
    for value in others:
        yield (
            f"tensor-is-{len(str(value))}-{type(value).__name__}",
            with_entries({"model.a": value}),
        )


def weights() -> Iterator[tuple[str, bytes]]:
    first = next(iter(SOUND.model))
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for number in (math.nan, math.inf, -math.inf):
            tensor = torch.full(SOUND.model[first].shape, number, dtype=dtype)
            name = f"weights-{number}-{str(dtype).removeprefix('torch.')}"
            yield name, forged(model={**SOUND.model, first: tensor})
    signalling = torch.full((1,), 0x7F800001, dtype=torch.int32).view(torch.float32)
    yield "weights-signalling", forged(model={**SOUND.model, first: signalling})
    yield "weights-averaged-nan", forged(trained={first: torch.tensor([math.nan])})
    for dtype in (torch.int64, torch.uint8, torch.bool, torch.float64):
        tensor = SOUND.model[first].to(dtype)
        yield (
            f"weights-of-{str(dtype).removeprefix('torch.')}",
            forged(model={**SOUND.model, first: tensor}),
        )
    yield "weights-missing", forged(model={k: v for k, v in SOUND.model.items() if k != first})
    yield "weights-none", forged(model={})
    yield "weights-more", forged(model={**SOUND.model, "more": torch.zeros(1)})
    yield "weights-transposed", forged(model={**SOUND.model, first: SOUND.model[first].T})
    yield "weights-scalar", forged(model={**SOUND.model, first: torch.tensor(0.0)})
    many = {f"{index}": torch.zeros(0) for index in range(4000)}
    yield "weights-of-many-names", forged(model={**SOUND.model, **many})


def lies() -> Iterator[tuple[str, bytes]]:
    """Metadata and corpora that are not what they say."""
    for key in ("format", "config", "vocabulary", "split_digest", "step", "best", "size"):
        header, data = parts(BYTES)
        del header["__metadata__"][key]
        yield f"without-{key}", sign(written(header), data)
    for number in (0, 1, 3, 2**31):
        yield f"format-{number}", with_texts(format=str(number))
    yield "format-long", with_texts(format="1" * 5000)
    for step in ("-1", "1e3", "true", "null", "[]", "9" * 30, "1" * 5000, "NaN"):
        yield f"step-{step[:5]}-{len(step)}", with_texts(step=step)
    best = '{{"step":{},"loss":{},"evaluations_since":{},"evaluated":{}}}'
    wrong: list[tuple[object, ...]] = [
        *((11, 2.0, 0, "true"), (-1, 2.0, 0, "true"), ("null", 2.0, 0, "true")),
        *((10, "NaN", 0, "true"), (10, "1e999", 0, "true"), (10, '"2"', 0, "true")),
        *((10, 2.0, -1, "true"), (10, 2.0, 0, 1), (10, 2.0, 0, "null"), (10, [[]], 0, "true")),
    ]
    for values in wrong:
        name = "best-" + "-".join(str(value).strip('"') for value in values)
        yield name, with_texts(best=best.format(*values))
    yield "vocabulary-unsorted", forged(vocabulary=("c", "b", "a"))
    yield "vocabulary-repeated", with_texts(vocabulary='"aab"')
    yield "vocabulary-shorter", with_texts(vocabulary='"ab"')
    yield "vocabulary-longer", with_texts(vocabulary='"abcd"')
    yield "vocabulary-other", with_texts(vocabulary='"xyz"')
    yield "vocabulary-empty", with_texts(vocabulary='""')
    yield "vocabulary-of-a-list", with_texts(vocabulary='["a","b","c"]')
    yield "vocabulary-of-controls", to_bytes(sound(characters="\0\x1b\x9b"))
    yield "vocabulary-of-lines", with_texts(vocabulary='"\\nbc"')
    yield "vocabulary-of-a-surrogate", with_texts(vocabulary='"ab\\ud800"')
    yield "vocabulary-huge", with_texts(vocabulary=json.dumps("x" * 200_000))
    everything = "".join(map(chr, range(0x10000, 0x10000 + 100_000)))
    yield "vocabulary-of-everything", with_texts(vocabulary=json.dumps(everything))
    yield "split-digest-of-other-names", with_texts(split_digest="0" * 16)
    yield "split-digest-of-controls", with_texts(split_digest="\x1b[31m")
    yield "split-digest-long", with_texts(split_digest="0" * 10_000)
    train = SOUND.corpora["train"]
    streams: dict[str, torch.Tensor] = {
        "beyond-the-vocabulary": torch.tensor([4, 0], dtype=torch.uint8),
        "negative": torch.tensor([-1, 0], dtype=torch.int16),
        "without-an-end": torch.tensor([1], dtype=torch.uint8),
        "of-two-dimensions": train.reshape(1, -1),
        "of-int64": train.long(),
        "of-float": train.float(),
        "empty": train[:0],
        "of-empty-names": torch.zeros(100_000, dtype=torch.uint8),
        "of-other-names": torch.tensor([2, 0], dtype=torch.uint8),
    }
    for name, tokens in streams.items():
        yield f"corpus-{name}", forged(corpora={**SOUND.corpora, "train": tokens})
    yield "corpus-missing", forged(corpora={"train": train})
    yield "corpus-more", forged(corpora={**SOUND.corpora, "../x": train})


def configs() -> Iterator[tuple[str, bytes]]:
    yield "config-of-another-kind", with_model(kind="bigram")
    yield "config-of-an-ngram", with_model(kind="ngram")
    yield "config-of-no-kind", with_model(hidden_dim=4)
    yield "config-of-an-unknown-kind", with_model(kind="../../evil")
    yield "config-of-a-class", with_model(kind="makemore.models.Mixture")
    yield "config-of-other-sizes", with_model(kind="mlp", embedding_dim=3, hidden_dim=4)
    yield (
        "config-of-huge-sizes",
        with_model(kind="mlp", context_length=1024, embedding_dim=65536, hidden_dim=65536),
    )
    yield (
        "config-of-huge-heads",
        with_model(kind="transformer", num_layers=128, num_heads=16, embedding_dim=65536),
    )
    yield "config-of-many-layers", with_model(kind="transformer", num_layers=1024)
    yield "config-of-many-stacks", with_model(kind="wavenet", num_layers=11, num_stacks=64)
    deep = {"kind": "transformer", "num_layers": 128}
    yield "config-of-many-members", with_model(kind="ensemble", members=[deep] * 64)
    shallow = {"kind": "mlp", "embedding_dim": 2, "hidden_dim": 4}
    yield "config-of-more-members", with_model(kind="ensemble", members=[shallow] * 2000)
    nested: dict[str, object] = {"kind": "ensemble", "members": [shallow, shallow]}
    for _ in range(30):
        nested = {"kind": "ensemble", "members": [nested, nested][:2] if _ < 8 else [nested]}
    yield "config-of-nested-ensembles", with_model(**nested)
    for number in ("1e999", "-1", "0", "NaN", "9" * 19, "9" * 400):
        text = json.dumps(SOUND.config).replace('"hidden_dim": 4', f'"hidden_dim": {number}')
        yield f"config-of-size-{number[:4]}-{len(number)}", with_texts(config=text)
    for text in ("", "null", "[]", "1", '"x"', "{", "{}{}", '{"seed":1,"seed":2}', "[" * 200_000):
        yield f"config-{text[:10]}-{len(text)}".replace('"', ""), with_texts(config=text)
    yield "config-too-long", with_texts(config=json.dumps({"a": "x" * 2**18}))
    many = {f"key-{index}": index for index in range(15_000)}
    yield "config-of-many-keys", with_texts(config=json.dumps(many))
    yield "config-of-many-lists", with_texts(config=json.dumps({"seed": [[]] * 60_000}))
    deep_list: list[object] = []
    for _ in range(900):
        deep_list = [deep_list]
    yield "config-deep", with_config(lambda config: config.update(seed=deep_list))
    yield "config-of-an-unknown-key", with_config(lambda config: config.update({"\x1b[2J": 1}))
    yield "config-of-attributes", with_config(lambda config: config.update({"__class__": "x"}))
    for path in ("/etc/passwd", "../../secret", "http://127.0.0.1:9/", "/dev/zero"):
        name = path.replace("/", "-").replace(":", "")

        def lie(config: dict[str, Any], path: str = path) -> None:
            config["data"]["source"] = path
            config["data"]["split"] = path

        yield f"config-of-a-path{name}", with_config(lie)
    yield (
        "config-of-a-long-source",
        with_config(lambda config: config["data"].update(source="x" * 100_000)),
    )


def tables() -> Iterator[tuple[str, bytes]]:
    """Of n-grams, whose sizes no config knows."""
    config = config_to_dict(config_from_dict({"model": {"kind": "ngram", "order": 2}}, ""))
    fitted = fitted_tables()
    keys, share, ones = fitted["keys"], fitted["probabilities"], fitted["weights"]
    below_zero, no_number = share.clone(), share.clone()
    below_zero[0], no_number[0] = -1, math.nan
    changes: dict[str, dict[str, torch.Tensor]] = {
        "unfitted": sound({"kind": "ngram", "order": 2}).model,
        "negative": {"keys": torch.cat([torch.tensor([-(2**63)]), keys[1:]])},
        "huge": {"keys": torch.cat([keys[:-1], torch.tensor([2**63 - 1])])},
        "unsorted": {"keys": keys.flip(0)},
        "repeated": {"keys": keys[:1].expand(len(keys))},
        "of-a-context-too-few": {"weights": ones[:-1]},
        "of-nothing": {"keys": keys[:0], "probabilities": share[:0]},
        "without-weights": {"weights": ones[:0]},
        "of-many-weights": {"weights": torch.ones(100_000, dtype=torch.float64)},
        "that-do-not-sum": {"probabilities": share * 2},
        "below-zero": {"probabilities": below_zero},
        "of-nan": {"probabilities": no_number},
        "of-float-keys": {"keys": keys.double()},
        "of-no-order": {"amounts": fitted["amounts"][:0]},
        "of-great-order": {"amounts": torch.zeros(100_000, 3, dtype=torch.float64)},
        "of-infinite-amounts": {"amounts": torch.full_like(fitted["amounts"], math.inf)},
        "of-negative-amounts": {"amounts": torch.full_like(fitted["amounts"], -1)},
        "of-two-dimensions": {"keys": keys[None]},
    }
    for name, change in changes.items():
        yield f"tables-{name}", forged(config=config, model={**fitted, **change})


def fitted_tables() -> dict[str, torch.Tensor]:
    config = config_from_dict({"model": {"kind": "ngram", "order": 2}}, "")
    model = build_model(config.model, len(SOUND.vocabulary) + 1)
    assert isinstance(model, ClosedFormModel)
    names = Corpus.of(SOUND.corpora["train"])
    model.fit(names, names)
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents, of all that are plain files."""
    yield from pickles(directory)
    yield from archives(directory)
    for group in (lengths, headers, layouts, weights, lies, configs, tables):
        yield from group()


def special_files(directory: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Names, and what makes a file that is not plain at a path."""
    yield "link-to-zeros", lambda path: path.symlink_to("/dev/zero")
    yield "link-to-nothing", lambda path: path.symlink_to("/dev/null")
    yield "link-to-a-directory", lambda path: path.symlink_to(directory)
    yield "link-to-a-file", lambda path: path.symlink_to("/etc/passwd")
    yield "link-dangling", lambda path: path.symlink_to("missing")
    yield "link-to-itself", lambda path: path.symlink_to(path.name)
    yield "link-to-memory", lambda path: path.symlink_to("/proc/self/mem")
    yield "link-to-the-terminal", lambda path: path.symlink_to("/dev/tty")
    yield "fifo", os.mkfifo
    yield "directory", Path.mkdir
    yield "unreadable-name-\udc80", lambda path: path.write_bytes(b"")

    def sparse(path: Path) -> None:
        size = 2**40
        path.write_bytes(BYTES[:109] + b"%016d" % size + BYTES[125:])
        os.truncate(path, size)

    def sparse_zeros(path: Path) -> None:
        path.write_bytes(b"")
        os.truncate(path, 2**40)

    yield "sparse", sparse
    yield "sparse-zeros", sparse_zeros


def write_all(directory: Path) -> list[str]:
    """Make every file in the directory; their names."""
    names = []
    for name, data in files(directory):
        (directory / name.replace("/", "-")).write_bytes(data)
        names.append(name.replace("/", "-"))
    for name, make in special_files(directory):
        make(directory / name)
        names.append(name)
    assert len(set(names)) == len(names)
    return names


def _outcome(read: Callable[[Path], object], path: Path) -> str | None:
    """What the refusal says; None where there is none."""
    try:
        read(path)
    except CheckpointError as error:
        return str(error)
    return None


def main(directory: Path) -> None:
    """Load every file, each in a process of its own; a line of JSON for each."""
    names = sorted(os.listdir(directory))
    with tempfile.TemporaryDirectory() as elsewhere:
        good = Path(elsewhere) / "sound"
        good.write_bytes(BYTES)
        load(good, device="cpu")
    for kind in ("ngram", "transformer", "wavenet", "bigram"):
        build_model(config_from_dict({"model": {"kind": kind}}, "").model, 4)
    events: list[str] = []

    def record(event: str, arguments: tuple[object, ...]) -> None:
        if event.partition(".")[0] in WATCHED:
            events.append(f"{event} {' '.join(map(str, arguments))}")

    sys.addaudithook(record)
    for name in names:
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            _measure(directory / name, events)
            sys.stdout.flush()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, name


def _measure(path: Path, events: list[str]) -> None:
    events.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    messages = [_outcome(lambda path: load(path, device="cpu"), path)]
    seconds = time.perf_counter() - started
    messages.append(_outcome(load_checkpoint, path))
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    outcome = {"name": path.name, "seconds": seconds, "megabytes": megabytes}
    sys.stdout.write(json.dumps({**outcome, "messages": messages, "events": events}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
