"""The contract of a language model: two methods that must agree.

Shape suffixes, here and in every model: B names, N characters in the batch, T positions of one
padded name, V vocabulary, C context, D embedding, H heads, K head size, F hidden units.
`logits_NV` is a tensor of N rows and V columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from makemore.corpus import Batch, Corpus

# What a model remembers of the names that it is writing: tensors whose first dimension is B, so
# that a caller who holds it can select names with `tuple(part[rows] for part in state)`.
State = tuple[Tensor, ...]


class LanguageModel(nn.Module, ABC):
    """A distribution over the next character, given those before it in the name.

    It knows neither a loss nor an optimizer, a file or a data set. In eval mode, `forward` and
    `step` give the same logits, a later character changes no earlier logits, and neither the order
    nor the company of names in a batch changes anything. A linear layer that gives the logits is
    called `output`: Muon leaves it alone.
    """

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Logits (N, V) of all positions of whole names at once: for training and evaluation.

        (M, V) for a batch of windows, which only models that look through windows take.
        """

    @abstractmethod
    def start(self, num_names: int) -> State:
        """The state before the first character of `num_names` names."""

    @abstractmethod
    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        """One character of each name in, logits (B, V) of the next one and the new state out."""

    def num_parameters(self) -> int:
        """Numbers that were learned or counted."""
        return sum(parameter.numel() for parameter in self.parameters())


class FiniteContextModel(LanguageModel):
    """A model that remembers of a name which one of finitely many contexts it stands in: a number
    from 0 to num_contexts - 1, which is its state. Where they are few, names can be drawn from a
    table of them."""

    @property
    @abstractmethod
    def num_contexts(self) -> int: ...

    @property
    @abstractmethod
    def first_context(self) -> int:
        """Where a name stands before its first boundary is read."""

    @abstractmethod
    def next_context(self, context_B: Tensor, ids_B: Tensor) -> Tensor:
        """(B,) where names stand after one more character each."""

    @abstractmethod
    def context_logits(self, context_B: Tensor) -> Tensor:
        """Logits (B, V) of the next character."""

    def start(self, num_names: int) -> State:
        device = next(self.parameters()).device
        return (torch.full((num_names,), self.first_context, device=device),)

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        context_B = self.next_context(state[0], ids_B)
        return self.context_logits(context_B), (context_B,)


class ClosedFormModel(LanguageModel):
    """A model that is fitted in one pass over the corpus, without gradient steps.

    How large its tensors are depends on the names, so they are loaded by a method of their own.
    """

    @abstractmethod
    def fit(self, corpus: Corpus, held_out: Corpus) -> None:
        """Set the tables from the names of `corpus`; what was there before is forgotten.

        `held_out` are names to choose by, where the config asks for a choice.
        """

    @abstractmethod
    def load_tables(self, tables: Mapping[str, Tensor]) -> None:
        """Become the model that `tables` are the `state_dict()` of.

        Raises ValueError with what is wrong, and stays as it was, where they are those of no model
        with this config and vocabulary.
        """

    @abstractmethod
    def description(self) -> dict[str, object]:
        """What the fit settled on, given, estimated or chosen: JSON-ready."""
