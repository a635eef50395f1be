"""A safetensors file with a digest over all of it: bytes <-> named tensors and named texts.

Any safetensors reader opens such a file. Its metadata carries a sha256 over the whole of it, so
that a changed, missing or added byte is found before anything is believed. The digest finds damage,
it does not prove who wrote the file, so nothing in a file is trusted either: every size is checked
against the file's own before it takes memory, and what Python makes of the header is bounded. What
the tensors and texts mean is left to others.
"""

import hashlib
import json
import math
import mmap
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BufferedIOBase
from typing import Any, NoReturn, TypeVar

import torch
from safetensors import TensorSpec, serialize
from torch import Tensor

from makemore.messages import printable
from makemore.runtime import one_thread

FORMAT = 2

# Every format begins like this: the digest stands at a fixed place, so that no text in a config or
# a vocabulary can be taken for it, and can be checked before anything is parsed.
_HEAD = re.compile(
    rb'.{8}\{"__metadata__":\{"sha256":"([0-9a-f]{64})","size":"([0-9]{16})"', re.DOTALL
)
_DIGEST = slice(35, 99)
_SIZE = slice(109, 125)
_HEAD_LENGTH = 126

# Bounds on what a header may ask of its reader: three times 4,096 tensors, as of a model, its
# average and its optimizer, and 65,536 characters stay below. In JSON, a comma stands between any
# two values, so their number bounds how many objects Python makes of a text.
MAX_HEADER = 2 * 2**20
_MAX_COMMAS = 2**17
_MAX_DIMENSIONS = 16
_MAX_NUMBERS = 2**48

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

_CHUNK = 4 * 2**20

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


_Made = TypeVar("_Made")
# Texts and tensors -> what a reader wants. Raises UnusableFileError where they are not that.
Make = Callable[[dict[str, str], dict[str, Tensor]], _Made]


class UnusableFileError(Exception):
    """What is wrong with a file, in printable words, and what to do, where that is special."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.hint = hint


def pack(texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of the file: the same content gives the same bytes, whatever its order.

    Raises UnusableFileError for more tensors than `unpack` would read.
    """
    # serialize() reads raw addresses: this dictionary keeps the memory behind them alive.
    plain_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    plain = serialize({name: _spec(tensor) for name, tensor in plain_tensors.items()})
    header_end = 8 + int.from_bytes(plain[:8], "little")
    # serialize() would write metadata in random order, and the digest needs its fixed place.
    metadata = {"sha256": "0" * 64, "size": "0" * 16, "format": str(FORMAT), **texts}
    header = json.dumps(
        {"__metadata__": metadata, **json.loads(plain[8:header_end])},
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    # The format asks for data that begins at a multiple of 8.
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER or header.count(b",") > _MAX_COMMAS:
        raise UnusableFileError(f"{len(tensors)} tensors are more than a file can describe")
    data = bytearray(len(header).to_bytes(8, "little") + header + plain[header_end:])
    data[_SIZE] = b"%016d" % len(data)
    digest = _begin_digest(data)
    with memoryview(data) as view:
        digest.update(view[_HEAD_LENGTH:])
    data[_DIGEST] = digest.hexdigest().encode()
    return bytes(data)


def unpack(file: BufferedIOBase, size: int, limits: Mapping[str, int], make: Make[_Made]) -> _Made:
    """What `make` makes of the texts and tensors of a file of `size` bytes, which is read once.

    `limits` are the names of the texts and how many characters each has at most. `make` works
    beside the digest: what it returns is kept back until the digest is known to match, so it must
    have no other effect.

    Raises:
        UnusableFileError: the bytes are damaged, no such file, of another format, or nothing that
            `make` takes. No bytes raise anything else.
    """
    head = file.read(_HEAD_LENGTH)
    wanted = _check_head(head, size)
    # Not a bytearray, which would fill itself with zeros first.
    view = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    view[:_HEAD_LENGTH] = head
    digest, position = _begin_digest(head), _HEAD_LENGTH
    made: _Made | UnusableFileError
    # The digest costs nothing where a second core computes it: hashlib lets other threads go on.
    with ThreadPoolExecutor(1) as hasher:
        while position < size:
            num_read = file.readinto(view[position : position + _CHUNK])
            if not num_read:
                raise UnusableFileError(f"cut short: {position} of {size} bytes are left")
            hasher.submit(digest.update, view[position : position + num_read])
            position += num_read
        try:
            with one_thread():
                made = make(*_parse(view, limits))
        except UnusableFileError as error:
            made = error
    # Whatever is wrong with altered bytes, that they were altered is what to say.
    if digest.hexdigest().encode() != wanted:
        raise UnusableFileError("altered: its bytes do not match its own sha256")
    if isinstance(made, UnusableFileError):
        raise made
    return made


def read_json(what: str, text: str | bytes) -> Any:
    """Strict JSON: no key twice, and no NaN or Infinity, which are Python's
    addition. Raises UnusableFileError, where `what` names the text."""

    def refuse_constant(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    try:
        return json.loads(text, parse_constant=refuse_constant, object_pairs_hook=unique)
    except RecursionError as error:
        raise UnusableFileError(f"its {what} is nested too deeply") from error
    except ValueError as error:
        raise UnusableFileError(f"its {what} cannot be read: {error}") from error


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        data_ptr=tensor.data_ptr(),
        data_len=tensor.nbytes,
    )


def _begin_digest(head: bytes | bytearray) -> "hashlib._Hash":
    """The sha256 of the beginning of a file, with zeros for the digest itself."""
    return hashlib.sha256(head[: _DIGEST.start] + b"0" * 64 + head[_DIGEST.stop : _HEAD_LENGTH])


def _check_head(head: bytes, size: int) -> bytes:
    """The digest that the file should have, where its sizes fit together."""
    matched = _HEAD.match(head)
    if matched is None:
        what = "not a checkpoint of makemore, or altered or cut short near its beginning"
        raise UnusableFileError(what)
    written = int(matched[2])
    if size < written:
        raise UnusableFileError(f"cut short: {size} of {written} bytes are left")
    if size > written:
        raise UnusableFileError(f"altered: {size} bytes where {written} were written")
    length = int.from_bytes(head[:8], "little")
    if not _HEAD_LENGTH <= 8 + length <= min(size, 8 + MAX_HEADER):
        raise UnusableFileError(f"altered: its header cannot have {length} bytes")
    if size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        what = f"its {size} bytes are more than the memory of this machine"
        raise UnusableFileError(what, "load it on a larger machine")
    return matched[1]


def _parse(view: memoryview, limits: Mapping[str, int]) -> tuple[dict[str, str], dict[str, Tensor]]:
    start = 8 + int.from_bytes(view[:8], "little")
    text = bytes(view[8:start])
    if text.count(b",") > _MAX_COMMAS:
        raise UnusableFileError("its header has too many parts")
    header = read_json("header", text)
    # The head was checked: this key is the first, and none stands twice.
    texts = header.pop("__metadata__")
    _check_format(texts.get("format"))
    for name, limit in limits.items():
        if name not in texts:
            raise UnusableFileError(f"its {name} is missing")
        if not isinstance(texts[name], str) or len(texts[name]) > limit:
            raise UnusableFileError(f"its {name} is no text of at most {limit} characters")
    if texts.keys() != {"sha256", "size", "format", *limits}:
        raise UnusableFileError("it has metadata of an unknown kind")
    # JSON can escape half a character, which no text that is written back can hold.
    if _HALF_CHARACTER.search("".join((*header, *texts.values()))):
        raise UnusableFileError("its header is not Unicode text")
    return {name: texts[name] for name in limits}, _tensors(header, view, start)


def _check_format(text: object) -> None:
    if not isinstance(text, str):
        raise UnusableFileError("its format is missing")
    if re.fullmatch("[0-9]{1,9}", text) is None:
        raise UnusableFileError("its format is not a number")
    if int(text) != FORMAT:
        what = f"written in checkpoint format {int(text)}; this version reads {FORMAT}"
        raise UnusableFileError(what, "use the version of makemore that wrote it")


def _tensors(entries: dict[str, Any], view: memoryview, start: int) -> dict[str, Tensor]:
    """The tensors, which fill the file from `start` to its end in the order of their entries."""
    tensors, position = {}, 0
    for name, entry in entries.items():
        dtype, shape, end = _layout(name, entry, position)
        if end > len(view) - start:
            raise UnusableFileError(f"tensor `{printable(name)}` ends after the file")
        if end == position:
            # frombuffer() takes no empty buffer.
            tensors[name] = torch.empty(shape, dtype=dtype)
        else:
            # A copy, where torch wants its memory: the last bits of a product can depend on that.
            data = torch.frombuffer(view[start + position : start + end], dtype=torch.uint8)
            tensors[name] = data.clone().view(dtype).reshape(shape)
        position = end
    if position != len(view) - start:
        raise UnusableFileError("it has bytes that belong to no tensor")
    return tensors


def _layout(name: str, entry: Any, begin: int) -> tuple[torch.dtype, list[int], int]:
    """Type, shape and end of the tensor that begins at `begin`."""
    what = f"tensor `{printable(name)}`"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise UnusableFileError(f"{what} is not described by type, shape and place")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise UnusableFileError(f"{what} is of an unknown type")
    if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS:
        raise UnusableFileError(f"{what} has an impossible shape")
    # Without its zeros, so that nothing overflows in an empty tensor either.
    if math.prod(size for size in shape if size) > _MAX_NUMBERS:
        raise UnusableFileError(f"{what} has an impossible shape")
    end = begin + math.prod(shape) * DTYPES[code].itemsize
    if not _are_counts(offsets) or offsets != [begin, end]:
        raise UnusableFileError(f"{what} is not where its shape and the tensors before it say")
    return DTYPES[code], shape, end


def _are_counts(values: object) -> bool:
    # A bool is an int to isinstance().
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
