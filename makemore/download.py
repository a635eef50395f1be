"""The published file of names, fetched once and verified.

It is not part of makemore: `--data karpathy` downloads it from its public repository into the
user's cache directory (XDG) and accepts nothing but the exact file that every published figure of
the makemore lectures refers to.
"""

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from makemore.errors import DataError, StorageError
from makemore.storage import create_directory, write_file

URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"
SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
NUM_BYTES = 228_145

_TIMEOUT_SECONDS = 20.0


def cache_path() -> Path:
    """Where the file is kept: `$XDG_CACHE_HOME/makemore`, by default `~/.cache/makemore`.

    Raises StorageError for a user without a home directory.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG specification: a relative path is to be ignored.
        cache = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    except RuntimeError as error:
        hint = "set XDG_CACHE_HOME to an absolute path"
        raise StorageError("no home directory", where="~/.cache", hint=hint) from error
    return cache / "makemore" / "karpathy-names.txt"


def karpathy_names(announce: Callable[[str], None]) -> Path:
    """The path of the verified file; downloads it if it is not in the cache yet.

    `announce` is told before anything is fetched. Raises DataError without a network, and for a
    file that is not the published one, in which case nothing is kept; StorageError where the cache
    cannot be read or written.
    """
    path = cache_path()
    if (cached := _read_cache(path)) is not None:
        _verify(cached, str(path), hint="delete it, and it will be downloaded again")
        return path
    announce(f"downloading {URL} to {path} ({NUM_BYTES:,} bytes, once)")
    by_hand = f"download {URL} by hand and save it as {path}, or give its path to --data"
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT_SECONDS) as response:
            # One byte more than there should be is enough to know that it is another file.
            data = response.read(NUM_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        # An HTTPError is also the response, still open.
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = getattr(error, "reason", error)
        raise DataError(f"cannot be downloaded: {reason}", where=URL, hint=by_hand) from error
    _verify(data, URL, hint=by_hand)
    with contextlib.suppress(FileExistsError):
        create_directory(path.parent)
    write_file(path, data)
    return path


def _read_cache(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = "remove what is there, or set XDG_CACHE_HOME to another directory"
        raise StorageError(
            f"cannot be read: {error.strerror}", where=str(path), hint=hint
        ) from error


def _verify(data: bytes, where: str, *, hint: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        what = f"not the published file: its sha256 is {found}, not {SHA256}"
        raise DataError(what, where=where, hint=hint)
