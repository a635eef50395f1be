"""Checkpoint files taken apart, changed and signed again, as somebody with a text editor could."""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from typing import Any


def sign(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with a right size and digest around any header that begins as ours does."""
    size = b"%016d" % (8 + len(header) + len(data))
    header = re.sub(rb'"sha256":"[^"]*"', b'"sha256":"%s"' % (b"0" * 64), header, count=1)
    header = re.sub(rb'"size":"[^"]*"', b'"size":"%s"' % size, header, count=1)
    unsigned = struct.pack("<Q", len(header) if length is None else length) + header + data
    return unsigned.replace(b"0" * 64, hashlib.sha256(unsigned).hexdigest().encode(), 1)


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and what follows it."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def written(header: dict[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


def tampered(file: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with its header changed and signed again."""
    header, data = parts(file)
    change(header)
    return sign(written(header), data)
