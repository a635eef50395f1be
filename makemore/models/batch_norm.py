"""Batch normalization (Ioffe & Szegedy 2015), with exact statistics after training.

While it trains, the layer keeps running averages of the mean and variance of its batches. After
training, the statistics of the whole training split can take their place (the paper's algorithm 2):
no average over past weights, and no chance in which batches came last.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from makemore.corpus import Corpus
from makemore.models.base import LanguageModel


class BatchNorm(nn.BatchNorm1d):
    """Over the rows of (N, F): N real characters, no pads. Batch statistics mix positions, so a
    model with this layer is causal only in eval mode.

    statistics: what eval mode uses after training, `running` averages or, which None means,
    `recomputed` ones.
    """

    def __init__(self, num_features: int, statistics: str | None = None) -> None:
        super().__init__(num_features)
        self.statistics = statistics or "recomputed"


@torch.no_grad()
def recompute_statistics(
    model: LanguageModel,
    corpus: Corpus,
    batch_size: int,
    between: Callable[[], None] = lambda: None,
) -> int:
    """Set the statistics of every BatchNorm that asks for it to those of the whole `corpus`.

    Returns how many layers there were. One pass over the corpus for each, in the order of the
    layers, so that each sees the inputs that it will see in eval mode. The sums are float64, the
    variance is the population's. The model's mode is left as it was found. `between` is called
    between two batches, and ends the pass by raising.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, BatchNorm) and module.statistics == "recomputed"
    ]
    was_training = model.training
    model.eval()
    try:
        for layer in layers:
            mean, variance = _input_moments(model, layer, corpus, batch_size, between)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
    finally:
        model.train(was_training)
    return len(layers)


def _input_moments(
    model: LanguageModel,
    layer: BatchNorm,
    corpus: Corpus,
    batch_size: int,
    between: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """Mean and variance (F,), float64, of what goes into `layer` over the whole corpus."""
    sums: list[Tensor] = []
    num_rows = 0

    def accumulate(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal num_rows
        rows_NF = inputs[0].double()
        num_rows += len(rows_NF)
        sums.append(torch.stack([rows_NF.sum(0), rows_NF.square().sum(0)]))

    hook = layer.register_forward_pre_hook(accumulate)
    try:
        for batch in corpus.batches(batch_size):
            between()
            model(batch)
    finally:
        hook.remove()
    mean, mean_square = torch.stack(sums).sum(0) / num_rows
    return mean, mean_square - mean.square()


@torch.no_grad()
def fold(linear: nn.Linear, norm: BatchNorm) -> nn.Linear:
    """The linear layer that does what `norm(linear(x))` does in eval mode.

    Its weights are those of `linear` times gain / sqrt(variance + epsilon), computed in float64.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * scale
    if linear.bias is not None:
        bias += linear.bias.double() * scale
    folded = nn.Linear(
        linear.in_features,
        linear.out_features,
        device=linear.weight.device,
        dtype=linear.weight.dtype,
    )
    folded.weight.copy_(linear.weight.double() * scale[:, None])
    folded.bias.copy_(bias)
    return folded
