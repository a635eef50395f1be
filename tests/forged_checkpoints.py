"""A sound checkpoint, and ways to forge another one whose size and digest are right."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import torch

from makemore.checkpoint import Checkpoint, to_bytes
from makemore.config_loading import config_from_dict, config_to_dict
from makemore.corpus import Corpus
from makemore.data import split_digest
from makemore.models import build_model
from makemore.tensor_file import pack
from makemore.vocab import Vocabulary
from tests.checkpoint_files import parts, sign, tampered, written


def sound(model: dict[str, object] | None = None, characters: str = "abc") -> Checkpoint:
    """What `load` takes: an untrained model with three names."""
    values = {"model": model or {"kind": "mlp", "embedding_dim": 2, "hidden_dim": 4}}
    config = config_from_dict(values, "")
    vocabulary = Vocabulary(tuple(characters))
    splits = zip(("train", "val", "test"), characters, strict=False)
    corpora = {split: vocabulary.encode([name]) for split, name in splits}
    torch.manual_seed(0)
    network = build_model(config.model, vocabulary.size)
    return Checkpoint(
        config=config_to_dict(config),
        vocabulary=vocabulary.characters,
        split_digest=split_digest(vocabulary, {k: Corpus.of(v) for k, v in corpora.items()}),
        step=10,
        best_step=10,
        best_loss=2.0,
        evaluations_since_best=0,
        evaluated=True,
        model={name: tensor.detach() for name, tensor in network.state_dict().items()},
        optimizer={},
        trained={},
        corpora=corpora,
    )


SOUND = sound()
BYTES = to_bytes(SOUND)


def forged(**changes: Any) -> bytes:
    """The sound checkpoint with other values, which nothing checks before they are written."""
    header, _ = parts(BYTES)
    checkpoint = dataclasses.replace(SOUND, **changes)
    best = json.loads(header["__metadata__"]["best"])
    texts = {
        "config": json.dumps(checkpoint.config),
        "vocabulary": json.dumps("".join(checkpoint.vocabulary)),
        "split_digest": checkpoint.split_digest,
        "step": str(checkpoint.step),
        "best": json.dumps(best | {"step": checkpoint.best_step, "loss": checkpoint.best_loss}),
    }
    groups = {
        "model": checkpoint.model,
        "optimizer": checkpoint.optimizer,
        "trained": checkpoint.trained,
        "corpus": checkpoint.corpora,
    }
    tensors = {
        f"{group}.{n}": tensor for group, named in groups.items() for n, tensor in named.items()
    }
    return pack(texts, tensors)


def with_texts(**texts: str) -> bytes:
    return tampered(BYTES, lambda header: header["__metadata__"].update(texts))


def with_config(change: Callable[[dict[str, Any]], object]) -> bytes:
    config = json.loads(json.dumps(SOUND.config))
    change(config)
    return forged(config=config)


def with_model(**model: object) -> bytes:
    return with_config(lambda config: config.update(model=model))


def with_entries(entries: dict[str, Any], data: bytes = b"") -> bytes:
    """The sound metadata in front of other tensors."""
    metadata = parts(BYTES)[0]["__metadata__"]
    return sign(written({"__metadata__": metadata, **entries}), data)


def entry(dtype: object, shape: object, *offsets: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def with_text_after_metadata(text: bytes, data: bytes = b"") -> bytes:
    """The sound metadata, then anything in place of tensors."""
    metadata = written({"__metadata__": parts(BYTES)[0]["__metadata__"]})
    return sign(metadata[:-1] + text + b"}", data)
