"""One tensor file, whole or absent: everything that a run is at one step.

A checkpoint is a safetensors file that any safetensors reader opens. Its metadata carries a sha256
over the whole file, so that a changed, missing or added byte is found before anything is believed;
the digest finds damage, it does not prove who wrote the file. No pickle is read or written. The
config is carried, not interpreted.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, TensorSpec, deserialize, serialize
from torch import Tensor

from makemore import storage
from makemore.errors import CheckpointError

FORMAT = 1

_HINT = "use the other checkpoint of this run, or train again"

# Every format begins like this: the digest stands at a fixed place, so that no text in a config or
# a vocabulary can be taken for it, and is checked before anything is parsed.
_HEAD = re.compile(
    rb'.{8}\{"__metadata__":\{"sha256":"([0-9a-f]{64})","size":"([0-9]{16})"', re.DOTALL
)
_DIGEST = slice(35, 99)
_SIZE = slice(109, 125)

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_TOKEN_DTYPES = (torch.uint8, torch.int16, torch.int32)


# Without eq: two checkpoints are compared by their bytes, tensors have no one truth value.
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run after `step` updates. Tensors keep their type, shape and bits; names are flat."""

    config: dict[str, object]
    """JSON-ready: what `json.loads` can give."""
    vocabulary: tuple[str, ...]
    """The characters in the order of their ids 1, 2, ...; id 0 is the boundary."""
    split_digest: str
    step: int
    best_step: int | None
    """The step with the lowest validation loss so far."""
    best_loss: float | None
    """That loss in nats per character; None without validation names, or where none was finite."""
    evaluations_since_best: int
    model: dict[str, Tensor]
    """Finite numbers only."""
    optimizer: dict[str, Tensor]
    trained: dict[str, Tensor]
    """The model's state in training where `model` holds the average of its weights, else empty."""
    corpora: dict[str, Tensor]
    """Split -> its names as ids (uint8, int16 or int32), each name followed by 0."""

    def with_config(self, config: dict[str, object]) -> "Checkpoint":
        return replace(self, config=config)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint to `path`, whole or not at all. Raises StorageError."""
    storage.write_file(path, to_bytes(checkpoint))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint at `path`. Raises CheckpointError where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            "no checkpoint here", where=str(path), hint="check the path, or train first"
        ) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise CheckpointError(what, where=str(path), hint=_HINT) from error
    return from_bytes(data, str(path))


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as a file's bytes: the same content gives the same bytes."""
    problem = _problem(checkpoint)
    # What could not be loaded again must not replace a checkpoint that can.
    assert problem is None, problem
    # serialize() reads raw addresses: this dictionary keeps the memory behind them alive.
    tensors = {
        f"{group}.{name}": tensor.detach().cpu().contiguous()
        for group, named in _groups(checkpoint)
        for name, tensor in named.items()
    }
    plain = serialize({name: _spec(tensor) for name, tensor in tensors.items()})
    header_end = 8 + int.from_bytes(plain[:8], "little")
    best = {
        "step": checkpoint.best_step,
        "loss": checkpoint.best_loss,
        "evaluations_since": checkpoint.evaluations_since_best,
    }
    # serialize() would write metadata in random order, and the digest needs its fixed place.
    metadata = {
        "sha256": "0" * 64,
        "size": "0" * 16,
        "format": str(FORMAT),
        "config": json.dumps(checkpoint.config, allow_nan=False),
        "vocabulary": json.dumps(checkpoint.vocabulary),
        "split_digest": checkpoint.split_digest,
        "step": str(checkpoint.step),
        "best": json.dumps(best, allow_nan=False),
    }
    header = json.dumps(
        {"__metadata__": metadata, **json.loads(plain[8:header_end])},
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    # The format asks for data that begins at a multiple of 8.
    header += b" " * (-len(header) % 8)
    data = bytearray(len(header).to_bytes(8, "little") + header + plain[header_end:])
    data[_SIZE] = b"%016d" % len(data)
    data[_DIGEST] = _digest(data)
    return bytes(data)


def from_bytes(data: bytes, where: str) -> Checkpoint:
    """The checkpoint in a file's bytes, its tensors in memory of their own.

    Raises:
        CheckpointError: the bytes are damaged, no checkpoint, or of another format. No bytes raise
            anything else, and no size that they claim takes memory that they do not fill.
    """
    head = _HEAD.match(data)
    if head is None:
        raise CheckpointError(
            "not a checkpoint of makemore, or cut short near its beginning", where=where, hint=_HINT
        )
    if len(data) < int(head[2]):
        what = f"cut short: {len(data)} of {int(head[2])} bytes are left"
        raise CheckpointError(what, where=where, hint=_HINT)
    if _digest(data) != head[1]:
        what = "altered: its bytes do not match its own sha256"
        raise CheckpointError(what, where=where, hint=_HINT)
    try:
        # Checks every length against the file's before it believes it, the header's as well.
        views = dict(deserialize(data))  # type: ignore[no-untyped-call] # its stub has no types
        metadata = _read_metadata(data)
        number = _json("format", metadata["format"])
        if not _is_count(number):
            raise ValueError("its format is not a number")
        if number != FORMAT:
            raise CheckpointError(
                f"written in checkpoint format {number}; this version reads {FORMAT}",
                where=where,
                hint="use the version of makemore that wrote it",
            )
        checkpoint = _read(metadata, views)
    except SafetensorError as error:
        what = "not a usable checkpoint: its tensors cannot be read"
        raise CheckpointError(what, where=where, hint=_HINT) from error
    except (RecursionError, ValueError) as error:
        what = f"not a usable checkpoint: {error}"
        raise CheckpointError(what, where=where, hint=_HINT) from error
    problem = _problem(checkpoint)
    if problem is not None:
        raise CheckpointError(f"not a usable checkpoint: {problem}", where=where, hint=_HINT)
    return checkpoint


def _groups(checkpoint: Checkpoint) -> Iterable[tuple[str, dict[str, Tensor]]]:
    return (
        ("model", checkpoint.model),
        ("optimizer", checkpoint.optimizer),
        ("trained", checkpoint.trained),
        ("corpus", checkpoint.corpora),
    )


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        data_ptr=tensor.data_ptr(),
        data_len=tensor.nbytes,
    )


def _digest(data: bytes | bytearray) -> bytes:
    """The sha256, in hexadecimal, of the file with zeros for the digest itself."""
    digest = hashlib.sha256()
    with memoryview(data) as view:
        digest.update(view[: _DIGEST.start])
        digest.update(b"0" * 64)
        digest.update(view[_DIGEST.stop :])
    return digest.hexdigest().encode()


def _read_metadata(data: bytes) -> dict[str, str]:
    """The header's metadata. Raises ValueError, and RecursionError for JSON nested too deeply."""
    header = _json("header", data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    wanted = ("format", "config", "vocabulary", "split_digest", "step", "best")
    for key in wanted:
        if key not in metadata:
            raise ValueError(f"its {key} is missing")
    return metadata


def _read(metadata: dict[str, str], views: dict[str, Any]) -> Checkpoint:
    """Put the parts together; their values are still to be checked. Raises as above."""
    best = _json("best", metadata["best"])
    if not isinstance(best, dict) or best.keys() != {"step", "loss", "evaluations_since"}:
        raise ValueError("its best is not step, loss and evaluations_since")
    vocabulary = _json("vocabulary", metadata["vocabulary"])
    groups: dict[str, dict[str, Tensor]] = {
        group: {} for group in ("model", "optimizer", "trained", "corpus")
    }
    # deserialize() gives them in random order.
    for full_name in sorted(views):
        group, _, name = full_name.partition(".")
        if group not in groups:
            raise ValueError(f"a tensor of an unknown kind, {full_name!r}")
        groups[group][name] = _tensor(full_name, views[full_name])
    return Checkpoint(
        config=_json("config", metadata["config"]),
        vocabulary=tuple(vocabulary) if isinstance(vocabulary, list) else vocabulary,
        split_digest=metadata["split_digest"],
        step=_json("step", metadata["step"]),
        best_step=best["step"],
        best_loss=best["loss"],
        evaluations_since_best=best["evaluations_since"],
        model=groups["model"],
        optimizer=groups["optimizer"],
        trained=groups["trained"],
        corpora=groups["corpus"],
    )


def _json(what: str, text: str | bytes) -> Any:
    """Strict JSON: no key twice, and no NaN or Infinity, which are Python's addition."""

    def refuse_constant(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    try:
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=unique)
    except ValueError as error:
        raise ValueError(f"its {what} cannot be read: {error}") from error


def _tensor(name: str, view: dict[str, Any]) -> Tensor:
    if view["dtype"] not in _DTYPES:
        raise ValueError(f"tensor {name!r} is of the unknown type {view['dtype']}")
    dtype = _DTYPES[view["dtype"]]
    try:
        # frombuffer() takes no empty buffer; elsewhere it keeps the bytearray, which nobody shares.
        if not view["data"]:
            return torch.empty(view["shape"], dtype=dtype)
        return torch.frombuffer(view["data"], dtype=dtype).reshape(view["shape"])
    except (RuntimeError, TypeError) as error:
        # An empty shape such as (2**63, 0) passes safetensors.
        raise ValueError(f"tensor {name!r} has an impossible shape") from error


def _problem(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a checkpoint, in words; None where it is sound.

    Looks at types too, since the values may come from a file.
    """
    if not isinstance(checkpoint.config, dict):
        return "its config is not a mapping"
    if not _is_vocabulary(checkpoint.vocabulary):
        return "its vocabulary is not a list of distinct characters"
    if not _is_count(checkpoint.step):
        return "its step is not a count"
    if not _is_best(checkpoint.best_step, checkpoint.best_loss, checkpoint.step):
        return "its best is not one of its steps with a finite loss"
    if not _is_count(checkpoint.evaluations_since_best):
        return "its evaluations since the best are not a count"
    for group, named in _groups(checkpoint):
        for name, tensor in named.items():
            if tensor.dtype not in _DTYPES.values():
                return f"tensor {f'{group}.{name}'!r} is of the unknown type {tensor.dtype}"
    for group, named in (("model", checkpoint.model), ("trained", checkpoint.trained)):
        for name, tensor in named.items():
            # NaN compares false, so this finds it as well.
            if not bool(tensor.isfinite().all()):
                return f"tensor {f'{group}.{name}'!r} holds NaN or infinity"
    for name, tokens in checkpoint.corpora.items():
        if not _is_token_stream(tokens, len(checkpoint.vocabulary) + 1):
            return f"tensor {f'corpus.{name}'!r} is not a stream of its vocabulary's ids"
    return None


def _is_count(value: object) -> bool:
    # A bool is an int to isinstance().
    return type(value) is int and value >= 0


def _is_best(best_step: object, best_loss: object, step: int) -> bool:
    if best_step is None:
        return best_loss is None
    has_step = type(best_step) is int and 0 <= best_step <= step
    return has_step and (
        best_loss is None or (isinstance(best_loss, float) and math.isfinite(best_loss))
    )


def _is_vocabulary(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and all(isinstance(character, str) and len(character) == 1 for character in value)
        and len(set(value)) == len(value)
    )


def _is_token_stream(tokens: Tensor, vocabulary_size: int) -> bool:
    if tokens.dtype not in _TOKEN_DTYPES or tokens.dim() != 1:
        return False
    if tokens.numel() == 0:
        return True
    return bool(tokens.min() >= 0 and tokens.max() < vocabulary_size and tokens[-1] == 0)
