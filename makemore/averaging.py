"""An exponential moving average of the weights, which is often better than the last of them.

After Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging" (1992), who weigh
all steps alike. The exponential window, and its decay that grows in the first steps, are those of
TensorFlow's ExponentialMovingAverage.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from makemore.models import LanguageModel


class Average:
    """average <- decay * average + (1 - decay) * weights, after every update.

    In its first steps the decay is smaller, (1 + t) / (10 + t) after t updates, so that the random
    weights of the start are soon forgotten.
    """

    def __init__(self, decay: float, model: LanguageModel) -> None:
        self.decay = decay
        self.model = model
        self._average = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update number `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.model.named_parameters():
            self._average[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[dict[str, Tensor]]:
        """Let the model be the average for a while; yields the state that it has in training."""
        trained = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self._average, strict=False)
        try:
            yield trained
        finally:
            self.model.load_state_dict(trained)

    def load(self, trained: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, where the model is the average, and `trained` what it was."""
        parameters = dict(self.model.named_parameters())
        self._average = {name: p.detach().clone() for name, p in parameters.items()}
        self.model.load_state_dict(trained)
