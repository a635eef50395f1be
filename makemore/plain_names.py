"""A file of plain names -> tokens, in bulk: without an object for each name.

Plain is what nearly every file is: printable ASCII, lines that end with LF, no blank ones, and no
spaces around a name or two in a row. `plain_tokens` gives for such a file what
`data.parse_names` and `Vocabulary` do, and leaves every other one to them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from makemore.vocab import BOUNDARY, Vocabulary

# Bytes, about: stays in a core's cache, and torch divides it among no threads of its own.
_PIECE = 2**15
_NEWLINE, _SPACE, _DELETE = 10, 32, 127


class PlainNames(NamedTuple):
    """Names as a vocabulary and their token stream, a byte each, and the line ends between them."""

    vocabulary: Vocabulary
    tokens: Tensor
    num_line_ends: int


def plain_tokens(data: bytes, max_length: int) -> PlainNames | None:
    """The names in the bytes of a file.

    None for a file that is not plain, or may have a name of more than `max_length` characters.
    """
    if not data.isascii() or data[:1] <= b" " or data[-1:] == b" ":
        return None
    # Where every block has a line's end, no name is longer than two blocks without a character.
    block = max_length // 2 + 1
    piece = block * max(1, _PIECE // block)
    occurrences = torch.zeros(256, dtype=torch.int64)
    for start in range(0, len(data), piece):
        # Each piece with the last byte of the one before, which may have been in no block.
        byte_N = _as_tensor(data[max(start - 1, 0) : start + piece])
        if len(byte_N) > 1 and torch.maximum(byte_N[1:], byte_N[:-1]).amin() <= _SPACE:
            return None
        whole = len(byte_N) // block * block
        if whole and byte_N[:whole].view(-1, block).amin(1).amax() > _NEWLINE:
            return None
        occurrences += torch.bincount(byte_N[start > 0 :], minlength=256)
    found = set(occurrences.nonzero().flatten().tolist()) - {_NEWLINE}
    if min(found) < _SPACE or _DELETE in found:
        return None
    vocabulary = Vocabulary(tuple(map(chr, sorted(found))))
    id_of_byte = bytes.maketrans(
        b"\n" + "".join(vocabulary.characters).encode(), bytes(range(vocabulary.size))
    )
    # A boundary ends the last name, too, whether a newline does or not. Not torch.zeros(), which
    # would divide the work among threads.
    token_N = torch.empty(len(data) + (data[-1] != _NEWLINE), dtype=torch.uint8)
    token_N[-1] = BOUNDARY
    for start in range(0, len(data), piece):
        ids = _as_tensor(data[start : start + piece].translate(id_of_byte))
        token_N[start : start + len(ids)] = ids
    return PlainNames(vocabulary, token_N, int(occurrences[_NEWLINE]))


def _as_tensor(data: bytes) -> Tensor:
    # A copy, because a tensor may be written to.
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
