"""The published file of names, fetched once and verified.

It is not part of makemore: `--data karpathy` downloads it from its public repository into the
user's cache directory (XDG) and accepts nothing but the exact file that every published figure of
the makemore lectures refers to.
"""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from makemore.errors import DataError
from makemore.storage import write_file

URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"
SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
NUM_BYTES = 228_145

_TIMEOUT_SECONDS = 20.0


def cache_path() -> Path:
    """Where the file is kept: `$XDG_CACHE_HOME/makemore`, by default `~/.cache/makemore`."""
    # The XDG specification: a relative path is to be ignored.
    root = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return cache / "makemore" / "karpathy-names.txt"


def karpathy_names(announce: Callable[[str], None]) -> Path:
    """The path of the verified file; downloads it if it is not in the cache yet.

    `announce` is told before anything is fetched. Raises DataError without a network, and for a
    file that is not the published one, in which case nothing is kept.
    """
    path = cache_path()
    if path.exists():
        _verify(path.read_bytes(), str(path), hint="delete it, and it will be downloaded again")
        return path
    announce(f"downloading {URL} to {path} ({NUM_BYTES:,} bytes, once)")
    by_hand = f"download {URL} by hand and save it as {path}, or give its path to --data"
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT_SECONDS) as response:
            # One byte more than there should be is enough to know that it is another file.
            data = response.read(NUM_BYTES + 1)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"cannot be downloaded: {reason}", where=URL, hint=by_hand) from error
    _verify(data, URL, hint=by_hand)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)
    return path


def _verify(data: bytes, where: str, *, hint: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        what = f"not the published file: its sha256 is {found}, not {SHA256}"
        raise DataError(what, where=where, hint=hint)
