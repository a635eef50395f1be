"""Characters <-> ids. Id 0 is the boundary: the start and the end of every name.

A token stream is a sequence of names, each followed by one boundary. The vocabulary is all that is
needed to go from names to such a stream and back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BOUNDARY = 0
# Of a vocabulary: as many as the basic plane of Unicode has code points, more than any script has,
# and what bounds the tables and layers that have a row for each.
MAX_CHARACTERS = 2**16


class UnknownCharacterError(Exception):
    """A character that the vocabulary lacks. The caller knows whose mistake it is and says so."""

    def __init__(self, character: str, name: str) -> None:
        super().__init__(character, name)
        self.character = character
        self.name = name


@dataclass(frozen=True)
class Vocabulary:
    """The characters of ids 1, 2, ..., in code point order."""

    characters: tuple[str, ...]

    def __post_init__(self) -> None:
        assert all(len(character) == 1 for character in self.characters)
        assert list(self.characters) == sorted(set(self.characters))

    @classmethod
    def of(cls, names: Iterable[str]) -> "Vocabulary":
        """All characters that occur in `names`."""
        return cls(tuple(sorted(set().union(*names))))

    @property
    def size(self) -> int:
        """Number of ids: the characters and the boundary."""
        return len(self.characters) + 1

    @property
    def token_dtype(self) -> torch.dtype:
        """The smallest integer type that holds every id."""
        if self.size <= 2**8:
            return torch.uint8
        return torch.int16 if self.size <= 2**15 else torch.int32

    def encode(self, names: Sequence[str]) -> Tensor:
        """The token stream of `names`, of type `token_dtype`.

        Raises UnknownCharacterError for the first character that is not in the vocabulary.
        """
        if not names:
            return torch.zeros(0, dtype=self.token_dtype)
        text = "\n".join((*names, ""))
        code_points = _code_points(text)
        ends = torch.tensor([len(name) + 1 for name in names]).cumsum(0) - 1
        # Below every code point, so that `known` is sorted and a newline in a name is unknown.
        code_points[ends] = -1
        known = torch.tensor([-1, *map(ord, self.characters)])
        ids = torch.searchsorted(known, code_points).clamp(max=len(known) - 1)
        unknown = known[ids] != code_points
        if unknown.any():
            where = int(unknown.nonzero()[0])
            name = names[int(torch.searchsorted(ends, where))]
            raise UnknownCharacterError(text[where], name)
        return ids.to(self.token_dtype)

    def decode(self, tokens: Tensor) -> list[str]:
        """The names of a token stream (the inverse of `encode`)."""
        known = torch.tensor(
            [*map(ord, ("\n", *self.characters))], dtype=torch.int32, device=tokens.device
        )
        return _text(known.index_select(0, tokens.int())).split("\n")[:-1]


def _code_points(text: str) -> Tensor:
    # surrogatepass: a prompt from the shell may hold undecodable bytes: unknown, but no crash.
    data = bytearray(text.encode("utf-32-le", "surrogatepass"))
    return torch.frombuffer(data, dtype=torch.int32).long()


def _text(code_points: Tensor) -> str:
    """The inverse of `_code_points`."""
    data = bytearray(4 * len(code_points))
    if data:  # torch makes no tensor of no bytes.
        torch.frombuffer(data, dtype=torch.int32).copy_(code_points)
    return data.decode("utf-32-le", "surrogatepass")
