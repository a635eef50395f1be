"""Everything that a run is at one step, in one tensor file, whole or absent.

The file is a `tensor_file`: any safetensors reader opens it, and a changed, missing or added byte
is found. No pickle is read or written. The config is carried, not interpreted.
"""

import io
import json
import math
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from makemore import storage
from makemore.errors import CheckpointError
from makemore.messages import printable
from makemore.tensor_file import DTYPES, UnusableFileError, pack, read_json, unpack
from makemore.vocab import MAX_CHARACTERS

_HINT = "use the other checkpoint of this run, or train again"

# The texts of a checkpoint, and how many characters each has at most.
_TEXTS = {
    "config": 2**17,
    # In quotes; a backslash and a quotation mark take two characters.
    "vocabulary": MAX_CHARACTERS + 4,
    "split_digest": 128,
    "step": 32,
    "best": 256,
}
_BEST = ("step", "loss", "evaluations_since", "evaluated")
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
    evaluated: bool
    """Whether the state has been evaluated, where its step asks for that; false where a run was
    stopped before it was."""
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
    """Write the checkpoint to `path`, whole or not at all. StorageError, or as `to_bytes`."""
    storage.write_file(path, to_bytes(checkpoint))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint at `path`. Raises CheckpointError where it is missing or damaged."""
    where = str(path)
    try:
        # Without waiting for somebody to write into a FIFO, and without taking a terminal.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                return _load(file, status.st_size, where)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            "no checkpoint here", where=where, hint="check the path, or train first"
        ) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise CheckpointError(what, where=where, hint=_HINT) from error
    raise CheckpointError("cannot be read: not a file", where=where, hint=_HINT)


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as a file's bytes: the same content gives the same bytes.

    Raises CheckpointError for more tensors than a checkpoint can hold.
    """
    problem = _problem(checkpoint)
    # What could not be loaded again must not replace a checkpoint that can.
    assert problem is None, problem
    best = {
        "step": checkpoint.best_step,
        "loss": checkpoint.best_loss,
        "evaluations_since": checkpoint.evaluations_since_best,
        "evaluated": checkpoint.evaluated,
    }
    texts = {
        "config": json.dumps(checkpoint.config, allow_nan=False),
        "vocabulary": json.dumps("".join(checkpoint.vocabulary), ensure_ascii=False),
        "split_digest": checkpoint.split_digest,
        "step": str(checkpoint.step),
        "best": json.dumps(best, allow_nan=False),
    }
    assert all(len(text) <= _TEXTS[name] for name, text in texts.items())
    tensors = {
        f"{group}.{name}": tensor
        for group, named in _groups(checkpoint)
        for name, tensor in named.items()
    }
    try:
        return pack(texts, tensors)
    except UnusableFileError as error:
        hint = "choose a model of fewer layers or members"
        raise CheckpointError(str(error), where="a checkpoint", hint=hint) from error


def from_bytes(data: bytes, where: str) -> Checkpoint:
    """The checkpoint in a file's bytes, its tensors in memory of their own.

    Raises:
        CheckpointError: the bytes are damaged, no checkpoint, or of another format. No bytes raise
            anything else, and no size that they claim takes memory that they do not fill.
    """
    return _load(io.BytesIO(data), len(data), where)


def _load(file: io.BufferedIOBase, size: int, where: str) -> Checkpoint:
    try:
        return unpack(file, size, _TEXTS, _checked)
    except UnusableFileError as error:
        raise CheckpointError(str(error), where=where, hint=error.hint or _HINT) from error


def _checked(texts: dict[str, str], tensors: dict[str, Tensor]) -> Checkpoint:
    """The checkpoint in the texts and tensors of a file. Raises UnusableFileError."""
    checkpoint = _read(texts, tensors)
    problem = _problem(checkpoint)
    if problem is not None:
        raise UnusableFileError(problem)
    return checkpoint


def _groups(checkpoint: Checkpoint) -> Iterable[tuple[str, dict[str, Tensor]]]:
    return (
        ("model", checkpoint.model),
        ("optimizer", checkpoint.optimizer),
        ("trained", checkpoint.trained),
        ("corpus", checkpoint.corpora),
    )


def _read(texts: dict[str, str], tensors: dict[str, Tensor]) -> Checkpoint:
    """Put the parts together; their values are still to be checked. Raises UnusableFileError."""
    read = {name: read_json(name, texts[name]) for name in ("config", "vocabulary", "step", "best")}
    best, vocabulary = read["best"], read["vocabulary"]
    if not isinstance(best, dict) or best.keys() != set(_BEST):
        raise UnusableFileError(f"its best is not {', '.join(_BEST)}")
    if not isinstance(vocabulary, str):
        raise UnusableFileError("its vocabulary is not a text")
    groups: dict[str, dict[str, Tensor]] = {
        group: {} for group in ("model", "optimizer", "trained", "corpus")
    }
    for full_name in sorted(tensors):
        group, _, name = full_name.partition(".")
        if group not in groups:
            raise UnusableFileError(f"a tensor of an unknown kind, `{printable(full_name)}`")
        groups[group][name] = tensors[full_name]
    return Checkpoint(
        config=read["config"],
        vocabulary=tuple(vocabulary),
        split_digest=texts["split_digest"],
        step=read["step"],
        best_step=best["step"],
        best_loss=best["loss"],
        evaluations_since_best=best["evaluations_since"],
        evaluated=best["evaluated"],
        model=groups["model"],
        optimizer=groups["optimizer"],
        trained=groups["trained"],
        corpora=groups["corpus"],
    )


def _problem(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a checkpoint, in words; None where it is sound.

    Looks at types too, since the values may come from a file.
    """
    if not isinstance(checkpoint.config, dict):
        return "its config is not a mapping"
    if not _is_vocabulary(checkpoint.vocabulary):
        return f"its vocabulary is not at most {MAX_CHARACTERS} distinct characters"
    if not _is_count(checkpoint.step):
        return "its step is not a count"
    if not _is_best(checkpoint.best_step, checkpoint.best_loss, checkpoint.step):
        return "its best is not one of its steps with a finite loss"
    if not _is_count(checkpoint.evaluations_since_best):
        return "its evaluations since the best are not a count"
    if type(checkpoint.evaluated) is not bool:
        return "whether its best was evaluated is neither true nor false"
    for group, named in _groups(checkpoint):
        for name, tensor in named.items():
            if tensor.dtype not in DTYPES.values():
                return (
                    f"tensor `{printable(f'{group}.{name}')}` is of the unknown type {tensor.dtype}"
                )
    for group, named in (("model", checkpoint.model), ("trained", checkpoint.trained)):
        for name, tensor in named.items():
            # NaN compares false, so this finds it as well.
            if not bool(tensor.isfinite().all()):
                return f"tensor `{printable(f'{group}.{name}')}` holds NaN or infinity"
    for name, tokens in checkpoint.corpora.items():
        if not _is_token_stream(tokens, len(checkpoint.vocabulary) + 1):
            return f"tensor `{printable(f'corpus.{name}')}` is not a stream of its vocabulary's ids"
    return None


def _is_count(value: object) -> bool:
    # A bool is an int to isinstance(). More than 64 bits no tensor holds.
    return type(value) is int and 0 <= value < 2**63


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
        and len(value) <= MAX_CHARACTERS
        and all(isinstance(character, str) and len(character) == 1 for character in value)
        and not any("\ud800" <= character <= "\udfff" for character in value)
        and len(set(value)) == len(value)
    )


def _is_token_stream(tokens: Tensor, vocabulary_size: int) -> bool:
    if tokens.dtype not in _TOKEN_DTYPES or tokens.dim() != 1:
        return False
    if tokens.numel() == 0:
        return True
    # As Python's numbers: beside a tensor, 256 would become a uint8, which is 0.
    low, high = (int(bound) for bound in tokens.aminmax())
    return low >= 0 and high < vocabulary_size and int(tokens[-1]) == 0
