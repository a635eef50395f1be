"""Batch normalization folded into the linear layers before it: the same model, without the layer.

In eval mode batch normalization multiplies and adds constants, which a linear layer can do itself
(Jacob et al. 2018, section 3.2).
"""

import copy
from dataclasses import dataclass, replace

import torch

from makemore.checkpoint import Checkpoint
from makemore.config_loading import config_to_dict
from makemore.corpus import Corpus
from makemore.errors import UsageError
from makemore.evaluation import BATCH_SIZE
from makemore.models import LanguageModel
from makemore.models.batch_norm import BatchNorm
from makemore.models.hidden import HiddenLayer
from makemore.run import Run


@dataclass(frozen=True)
class Folded:
    """A checkpoint without batch normalization, and what became of it."""

    checkpoint: Checkpoint
    num_folded: int
    largest_difference: float
    """Of any logit, over the validation names, or the training names where there are none."""


def fold_batch_norm(run: Run) -> Folded:
    """The best state of `run` with every batch normalization folded. It cannot be trained on.

    Raises UsageError where there is none, or one that normalizes each node of a level apart.
    """
    hint = "train one, for example `makemore train --model mlp-batchnorm`"
    if not any(isinstance(module, BatchNorm) for module in run.model.modules()):
        raise UsageError("there is no batch normalization to fold", where=run.name, hint=hint)
    model = copy.deepcopy(run.model)
    num_folded = 0
    for module in model.modules():
        if isinstance(module, HiddenLayer) and isinstance(module.norm, BatchNorm):
            module.fold()
            num_folded += 1
    if any(isinstance(module, BatchNorm) for module in model.modules()):
        what = "`norm_over: batch` normalizes each node apart, which no one layer can do"
        raise UsageError(what, where=run.name, hint=hint)
    corpus = run.corpora["val"] if run.corpora["val"].num_names else run.corpora["train"]
    checkpoint = replace(
        run.checkpoint,
        config=_without_batch_norm(config_to_dict(run.config)),
        model=model.state_dict(),
        optimizer={},
        trained={},
    )
    return Folded(checkpoint, num_folded, _largest_difference(run.model, model, corpus))


def _without_batch_norm(section: dict[str, object]) -> dict[str, object]:
    """A config, or a section of it, in which every `norm: batch` is none."""
    changed: dict[str, object] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            changed[key] = _without_batch_norm(value)
        elif key == "members":
            assert isinstance(value, list)
            changed[key] = [_without_batch_norm(member) for member in value]
        elif key in ("norm_statistics", "norm_over"):
            changed[key] = None
        else:
            changed[key] = "none" if (key, value) == ("norm", "batch") else value
    return changed


@torch.no_grad()
def _largest_difference(first: LanguageModel, second: LanguageModel, corpus: Corpus) -> float:
    differences = [
        (first(batch).double() - second(batch).double()).abs().max()
        for batch in corpus.batches(BATCH_SIZE)
    ]
    return float(torch.stack(differences).max())
