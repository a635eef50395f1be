"""Names as tensors: jagged, without one pad.

A `Corpus` holds names in the CSR layout, also called `cu_seqlens`: one stream of tokens and the
offset at which each name starts. A `Batch` is the same for some names, as inputs and targets.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from makemore.vocab import BOUNDARY


@dataclass(frozen=True)
class Batch:
    """Some names as N pairs of a character and the one that follows it.

    inputs (N,) int64: the boundary, then the characters of the name.
    targets (N,) int64: the characters of the name, then the boundary.
    offsets (B+1,) int64: name b stands at offsets[b]:offsets[b+1].
    rows (M,) int64 or None: where only some of the N are to be predicted, which ones; for models
    that look through windows alone (`makemore.models.jagged.contexts`).
    """

    inputs: Tensor
    targets: Tensor
    offsets: Tensor
    rows: Tensor | None = None

    @property
    def num_names(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_chars(self) -> int:
        return len(self.targets)

    def lengths(self) -> Tensor:
        """(B,) predicted characters of each name, its end included."""
        return self.offsets.diff()

    def positions(self) -> Tensor:
        """(N,) place of each character in its name, from 0."""
        starts = self.offsets[:-1].repeat_interleave(self.lengths(), output_size=self.num_chars)
        return torch.arange(self.num_chars, device=starts.device) - starts

    def split(self, num_names: int) -> list["Batch"]:
        """The names in order, `num_names` at a time, nothing copied; not for windows."""
        assert self.rows is None
        if self.num_names <= num_names:
            return [self]
        parts = []
        for first in range(0, self.num_names, num_names):
            offsets = self.offsets[first : first + num_names + 1]
            start, end = int(offsets[0]), int(offsets[-1])
            parts.append(Batch(self.inputs[start:end], self.targets[start:end], offsets - start))
        return parts


@dataclass(frozen=True)
class Corpus:
    """All names of one split: tokens (num_chars,), a stream with a boundary after every name."""

    tokens: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> "Corpus":
        """From a token stream, in which every name is followed by a boundary."""
        assert len(tokens) == 0 or tokens[-1] == BOUNDARY
        return cls(tokens)

    @cached_property
    def offsets(self) -> Tensor:
        """(num_names+1,) int64: where each name starts, and where the last one ends.

        Found when first asked for: they take more memory than the tokens, and counts need none.
        """
        ends = (self.tokens == BOUNDARY).nonzero().flatten()
        return functional.pad(ends + 1, (1, 0))

    @cached_property
    def lengths(self) -> Tensor:
        """(num_names,) predicted characters of each name, its end included."""
        return self.offsets.diff()

    @property
    def num_names(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_chars(self) -> int:
        """Characters that a model predicts: those of the names, and one end a name."""
        return len(self.tokens)

    @property
    def longest(self) -> int:
        """Characters of the longest name, its end not included; 0 for no names."""
        return int(self.lengths.max()) - 1 if self.num_names else 0

    def to(self, device: torch.device) -> "Corpus":
        return Corpus(self.tokens.to(device))

    def batch(self, indices: Tensor) -> Batch:
        """The names at `indices` (B,) int64, in that order."""
        # index_select, because a step of a small model is little more than such calls.
        starts = self.offsets.index_select(0, indices)
        lengths = self.lengths.index_select(0, indices)
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        num_chars = int(offsets[-1])
        shifts = (starts - offsets[:-1]).repeat_interleave(lengths, output_size=num_chars)
        places = torch.arange(num_chars, device=shifts.device).add_(shifts)
        targets = self.tokens.index_select(0, places).long()
        # Start and end share an id, so the boundary that ends one name is the input that starts the
        # next, and the last one that of the first.
        return Batch(targets.roll(1), targets, offsets)

    def windows(self, indices: Tensor) -> Batch:
        """The characters at `indices` (M,) int64 of `tokens`, to be predicted from those before
        them: rows of the whole corpus, of which nothing is copied."""
        return replace(self._whole, rows=indices)

    @cached_property
    def _whole(self) -> Batch:
        return self.batch(torch.arange(self.num_names, device=self.offsets.device))

    def select(self, indices: Tensor) -> "Corpus":
        """The names at `indices` (B,) int64 as a corpus of their own, in that order."""
        parts = [self.batch(part).targets.to(self.tokens.dtype) for part in indices.split(2**14)]
        return Corpus.of(torch.cat(parts))

    def streams(self, num_chars: int) -> Iterator[Tensor]:
        """The tokens of whole names in order, of as few as have `num_chars`, at a time."""
        start = 0
        while start < self.num_chars:
            end = min(start + num_chars, self.num_chars)
            while self.tokens[end - 1] != BOUNDARY:
                end += 1
            yield self.tokens[start:end]
            start = end

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All names in order, `batch_size` at a time."""
        for start in range(0, self.num_names, batch_size):
            end = min(start + batch_size, self.num_names)
            yield self.batch(torch.arange(start, end, device=self.offsets.device))
