import hashlib
import http.server
import os
import pwd
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from makemore import download
from makemore.data import load_names
from makemore.download import cache_path, karpathy_names
from makemore.errors import DataError, MakemoreError, StorageError

BODY = b"emma\nolivia\nava"


def reply(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body


@dataclass
class Server:
    """Answers every request with the bytes of `reply`, and counts them."""

    url: str
    reply: bytes
    num_requests: int = 0
    announced: list[str] = field(default_factory=list)

    def fetch(self) -> Path:
        return karpathy_names(self.announced.append)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; and no proxy, whatever the environment says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.num_requests += 1
            self.wfile.write(state.reply)

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        state = Server(f"http://127.0.0.1:{listener.server_port}/names.txt", reply(BODY))
        monkeypatch.setattr(download, "URL", state.url)
        monkeypatch.setattr(download, "SHA256", hashlib.sha256(BODY).hexdigest())
        monkeypatch.setattr(download, "NUM_BYTES", len(BODY))
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listener.shutdown()
        thread.join()


def test_the_file_is_downloaded_once_and_then_read_from_the_cache(
    server: Server, cache: Path
) -> None:
    path = server.fetch()
    assert path == cache / "makemore" / "karpathy-names.txt"
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == [path.name]
    assert server.fetch() == path
    assert server.num_requests == 1
    assert server.announced == [f"downloading {server.url} to {path} (15 bytes, once)"]


def test_load_names_knows_the_file_as_karpathy(server: Server) -> None:
    names = load_names("karpathy", announce=server.announced.append)
    assert names == ["emma", "olivia", "ava"]
    assert len(server.announced) == server.num_requests == 1
    assert load_names("karpathy") == names
    assert server.num_requests == 1


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (reply(b""), "not the published file: its sha256 is e3b0c442"),
        (reply(BODY[:-1]), "not the published file"),
        (reply(BODY.replace(b"emma", b"anna")), "not the published file"),
        (reply(BODY + b"\n"), "not the published file"),
        # Nobody waits for the rest of what is too long.
        (reply(BODY * 9, headers="Content-Length: 1000000000000\r\n"), "not the published file"),
        (reply(BODY, "404 Not Found"), "cannot be downloaded: Not Found"),
        (reply(BODY, "503 Service Unavailable"), "cannot be downloaded: Service Unavailable"),
        (reply(b"9\r\nemma", headers="Transfer-Encoding: chunked\r\n"), "cannot be downloaded"),
        (b"220 mail.example ESMTP\r\n", "cannot be downloaded: 220 mail.example ESMTP"),
        (b"", "cannot be downloaded"),
    ],
    ids=[
        "empty",
        "shorter",
        "changed",
        "longer",
        "endless",
        "404",
        "503",
        "torn chunk",
        "no HTTP",
        "no answer",
    ],
)
def test_any_other_answer_is_an_error_and_nothing_is_kept(
    server: Server, cache: Path, answer: bytes, what: str
) -> None:
    """An answer that is no HTTP, as some networks give it before a login, was once a traceback."""
    server.reply = answer
    with pytest.raises(DataError) as caught:
        server.fetch()
    [problem] = caught.value.problems
    assert problem.what.startswith(what)
    assert problem.where == server.url
    assert problem.hint == (
        f"download {server.url} by hand and save it as {cache_path()}, or give its path to --data"
    )
    assert not cache.exists()
    server.reply = reply(BODY)
    assert server.fetch().read_bytes() == BODY
    assert len(server.announced) == server.num_requests == 2


def test_without_a_network_the_error_says_how_to_get_the_file_by_hand(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bound and not listening: the port refuses, and nobody else can take it.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/names.txt"
        monkeypatch.setattr(download, "URL", url)
        with pytest.raises(DataError, match=r"cannot be downloaded: .*refused") as caught:
            karpathy_names(lambda text: None)
    assert caught.value.exit_code == 3
    assert url in caught.value.problems[0].hint
    assert str(cache / "makemore" / "karpathy-names.txt") in caught.value.problems[0].hint
    assert not cache.exists()


@pytest.mark.parametrize("damaged", [b"", BODY[:-1], BODY + b"\n", b"\0" * len(BODY)])
def test_a_damaged_cache_is_told_and_neither_used_nor_replaced(
    server: Server, damaged: bytes
) -> None:
    path = server.fetch()
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="not the published file") as caught:
        server.fetch()
    assert caught.value.problems[0].where == str(path)
    assert caught.value.problems[0].hint == "delete it, and it will be downloaded again"
    assert path.read_bytes() == damaged
    assert server.num_requests == 1
    path.unlink()
    assert server.fetch().read_bytes() == BODY
    assert server.num_requests == 2


def test_a_file_that_was_saved_by_hand_needs_no_network(server: Server) -> None:
    cache_path().parent.mkdir(parents=True)
    cache_path().write_bytes(BODY)
    assert server.fetch() == cache_path()
    assert (server.num_requests, server.announced) == (0, [])


@pytest.mark.parametrize("root", [None, "", "relative", "./cache", "~/cache"])
def test_a_cache_that_is_not_absolute_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if root is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", root)
    assert cache_path() == tmp_path / ".cache" / "makemore" / "karpathy-names.txt"


def test_a_user_without_a_home_is_told_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, a user's number may have no entry, and no HOME: that was a traceback."""

    def fail(_user: object) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pwd, "getpwuid", fail)
    with pytest.raises(StorageError, match=r"no home directory.*\n.*set XDG_CACHE_HOME"):
        cache_path()


def file_as_cache(cache: Path) -> None:
    cache.write_bytes(b"")


def file_as_directory(cache: Path) -> None:
    cache.mkdir()
    (cache / "makemore").write_bytes(b"")


def directory_as_file(cache: Path) -> None:
    (cache / "makemore" / "karpathy-names.txt").mkdir(parents=True)


def dangling_link(cache: Path) -> None:
    cache.mkdir()
    (cache / "makemore").symlink_to(cache / "nowhere" / "makemore")


def loop_of_links(cache: Path) -> None:
    cache.mkdir()
    (cache / "makemore").symlink_to("makemore")


def no_permission_to_write(cache: Path) -> None:
    cache.mkdir(mode=0o500)


def no_permission_to_enter(cache: Path) -> None:
    (cache / "makemore").mkdir(parents=True)
    cache.chmod(0)


not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.mark.parametrize(
    "spoil",
    [
        file_as_cache,
        file_as_directory,
        directory_as_file,
        dangling_link,
        loop_of_links,
        pytest.param(no_permission_to_write, marks=not_root),
        pytest.param(no_permission_to_enter, marks=not_root),
    ],
)
def test_a_cache_that_cannot_be_used_is_an_error_of_the_user(
    server: Server, cache: Path, spoil: Callable[[Path], None]
) -> None:
    """Each of these was once a traceback."""
    spoil(cache)
    with pytest.raises(MakemoreError) as caught:
        server.fetch()
    assert caught.value.exit_code == 7
    [problem] = caught.value.problems
    assert problem.where.startswith(str(cache))
    assert problem.what
    assert problem.hint
    cache.chmod(0o700)


def test_the_pinned_size_and_checksum_are_those_of_the_published_file(karpathy_path: Path) -> None:
    data = karpathy_path.read_bytes()
    assert len(data) == download.NUM_BYTES == 228_145
    assert hashlib.sha256(data).hexdigest() == download.SHA256


def test_the_real_file_arrives_whole(
    server: Server, karpathy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = karpathy_path.read_bytes()
    server.reply = reply(data)
    monkeypatch.setattr(download, "SHA256", hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(download, "NUM_BYTES", len(data))
    assert server.fetch().read_bytes() == data
