"""Configs that were written to do harm: each is refused at once, in words, and nothing is run."""

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from makemore import config_loading
from makemore.config import (
    BowConfig,
    Config,
    EnsembleConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    ModelConfig,
    RNNConfig,
    TransformerConfig,
    WaveNetConfig,
    WaveNetTreeConfig,
)
from makemore.config.section import MAX_LAYERS, MAX_MEMBERS
from makemore.config_loading import MAX_OVERRIDES, config_from_dict, load_config
from makemore.errors import ConfigError, MakemoreError, UsageError
from makemore.models import outline_model
from makemore.strict_yaml import MAX_BYTES, MAX_DEPTH, MAX_LINES, MAX_TOKENS
from makemore.vocab import MAX_CHARACTERS

SECONDS = 0.05
MLP = "model: {kind: mlp}\n"


def full(unit: str, head: str = "", tail: str = "") -> str:
    """As many units as a config has room for."""
    room = MAX_BYTES - len((head + tail).encode())
    return head + unit * (room // len(unit.encode())) + tail


def most(unit: str, num_tokens: int, head: str = "", tail: str = "") -> str:
    """As many units, of so many tokens each, as are read to their end."""
    return head + unit * (MAX_TOKENS // num_tokens - 6) + tail


def laughs(alias: str) -> str:
    lines = [f"a{n}: &a{n} {alias.format(', '.join([f'*a{n - 1}'] * 9))}\n" for n in range(1, 200)]
    return "a0: &a0 [lol]\n" + "".join(lines)


APPLY = '!!python/object/apply:os.system ["touch harm"]'
TEXTS = {
    "a billion laughs in lists": laughs("[{}]"),
    "a billion laughs in sections": laughs("{{b: [{}]}}"),
    "a billion laughs in one list": full("*a,", "a: &a [1]\nb: [", "]"),
    "merged laughs": "a: &a {b: 1}\n" + "".join(f"x{n}: {{<<: *a}}\n" for n in range(900)),
    "an anchor of itself": "a: &a [*a]\n",
    "a tag that changes nothing": f"{MLP}seed: !!int 7\n",
    "an anchor that nobody uses": f"{MLP}seed: &a 7\n",
    "a command in a tag": f"{MLP}seed: {APPLY}\n",
    "a command as a key": f"? {APPLY}\n: 1\n",
    "a command as the document": f"--- {APPLY}\n",
    "an object of Python": "seed: !!python/object/new:os._exit [1]\n",
    "a module of Python": "seed: !!python/module:this\n",
    "a binary value": f"{MLP}seed: !!binary aGFybQ==\n",
    "tags of one's own": full("!a ,", "a: [", "]"),
    "binary values": most("!!binary ,", 2, "a: [", "]"),
    "a tag of escapes": "a: !" + "%41" * 9000 + "\n",
    "anchors": most("&a ,", 2, "a: [", "]"),
    "lists in lists": "[" * 30_000,
    "sections in sections": "{" * 30_000,
    "keys in keys": full("? "),
    "items in items": full("- "),
    "lists in lists by lines": "".join(f"{' ' * n}-\n" for n in range(200)),
    "sections in sections by lines": "".join(f"{' ' * n}a:\n" for n in range(200)),
    "duplicate keys": full("a: 1\n"),
    "duplicate keys on one line": full("a,", "{", "}"),
    "duplicate keys of keys": full("? : ", "{", "}"),
    "numbers": full("1,", "a: [", "]"),
    "as many numbers as are read": most("1,", 2, "a: [", "]"),
    "as many keys as are read": "".join(f"seeds{n}: 1\n" for n in range(MAX_TOKENS // 4 - 9)),
    "as many models as are read": most("x: {kind: mlp}\n", 12, "model:\n"),
    "bad members": most("{kind: x},", 8, "model: {kind: ensemble, members: [", "]}\n"),
    "bad milestones": most("x,", 2, MLP + "train: {schedule: {kind: step, milestones: [", "]}}\n"),
    "empty lists": full("[],", "a: [", "]"),
    "empty strings": full("'',", "a: [", "]"),
    "quotes": full('"'),
    "keys without end": full("?\n"),
    "colons": full(":\n"),
    "documents": full("---\n", MLP),
    "the ends of documents": full("...\n", MLP),
    "directives": full("%A B\n"),
    "a directive": "%" + "a" * 30_000,
    "a version": "%YAML 1." + "1" * 30_000,
    "lines": full("\n"),
    "comments": full("#\n"),
    "words": full("b ", "a: "),
    "lines of words": ("a: " + ("b " * 7 + "\n ") * (MAX_LINES - 1))[: MAX_BYTES - 1],
    "escapes": full("\\x41", 'a: "', '"'),
    "an escape out of range": 'a: "\\UFFFFFFFF"\n',
    "a key": "? " + "a" * 30_000 + "\n: 1\n",
    "a key of many dots": "a." * 15_000 + ": 1\n",
    "an integer": f"{MLP}seed: {'9' * 30_000}\n",
    "a number": f"{MLP}seed: 1.{'9' * 30_000}\n",
    "an exponent": f"{MLP}seed: 1e{'9' * 30_000}\n",
    "infinity": f"{MLP}train: {{learning_rate: 1e999}}\n",
    "a kind": f"model: {{kind: {'a' * 30_000}}}\n",
    "a source": f"{MLP}data: {{source: {'a' * 30_000}}}\n",
    "a string of digits": f"model: {{kind: mlp, hidden_dim: '{'9' * 30_000}'}}\n",
    "nothing": "",
    "spaces": " " * MAX_BYTES,
    "byte order marks": "\ufeff" * 10_000,
    "nulls": "\0" * MAX_BYTES,
    "lone escapes of a terminal": f"{MLP}\x1b[2J: 1\n",
}
CONTENTS = {
    "64 KiB": b"#" * 65_536,
    "100 MB": b"seed: 1\n" * 12_500_000,
    "UTF-16": MLP.encode("utf-16"),
    "UTF-32": MLP.encode("utf-32"),
    "bytes that are no text": bytes(range(256)),
    "half a character": b"seed: \xc3",
    "a surrogate": b"seed: \xed\xa0\x80",
}


def assert_refused(refuse: Callable[[], object], seconds: float = SECONDS) -> MakemoreError:
    """With exit code 2 and a message; the fastest of some tries counts, on this process's clock."""
    fastest = float("inf")
    for _ in range(20):
        started = time.process_time()
        with pytest.raises((ConfigError, UsageError)) as caught:
            refuse()
        fastest = min(fastest, time.process_time() - started)
        if fastest < seconds:
            break
    assert fastest < seconds
    assert caught.value.exit_code == 2
    for problem in caught.value.problems[:20]:
        assert problem.where
        assert problem.what
        assert (problem.what + problem.hint).isprintable()
    first = caught.value.problems[0]
    assert first.hint or "is too large" in first.what or "expected one of" in first.what
    return caught.value


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_hostile_text_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(text.encode()) <= MAX_BYTES, "its shape is to be refused, not its size"
    path = Path("mine.yaml")
    path.write_text(text, encoding="utf-8")
    error = assert_refused(lambda: load_config(path))
    assert error.problems[0].where.startswith("mine.yaml:")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]
    # The same text as a value, where it is one.
    assert_refused(lambda: config_from_dict({"model": {"kind": "mlp"}}, "here", [f"x={text}"]))


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_hostile_file_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert_refused(lambda: load_config(path))


def test_what_is_beyond_a_bound_says_which(tmp_path: Path) -> None:
    def what(text: str) -> str:
        path.write_text(text, encoding="utf-8")
        return assert_refused(lambda: load_config(path)).problems[0].what

    path = tmp_path / "mine.yaml"
    assert what("\n" * (MAX_LINES + 1)) == f"more than {MAX_LINES:,} lines"
    assert what("#" * (MAX_BYTES + 1)) == "longer than 32 KiB"
    assert what(f"a: [{'1,' * MAX_TOKENS}]") == (
        f"more than {MAX_TOKENS:,} keys, values and signs between them"
    )
    assert what("[" * 999) == f"nested deeper than {MAX_DEPTH} levels"


def test_a_device_is_refused(tmp_path: Path) -> None:
    """/dev/zero has no end, and what stands behind another one is nobody's config."""
    link = tmp_path / "mine.yaml"
    link.symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), Path("/dev/full"), Path("/dev/null"), link):
        error = assert_refused(partial(load_config, path))
        assert (error.problems[0].where, error.problems[0].what) == (str(path), "is a device")


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "dangling.yaml").symlink_to("nothing.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.yaml"))
        found = {
            name: assert_refused(partial(load_config, tmp_path / name)).problems[0].what
            for name in (
                "loop.yaml",
                "dangling.yaml",
                "folder.yaml",
                "socket.yaml",
                "a\0b",
                "a" * 999,
            )
        }
    assert found == {
        "loop.yaml": "cannot be read: Too many levels of symbolic links",
        "dangling.yaml": "there is no such file",
        "folder.yaml": "cannot be read: Is a directory",
        "socket.yaml": "cannot be read: No such device or address",
        "a\0b": "cannot be read: embedded null byte",
        "a" * 999: "cannot be read: File name too long",
    }


def test_a_link_to_a_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MLP)
    (tmp_path / "link.yaml").symlink_to("mine.yaml")
    assert load_config(tmp_path / "link.yaml").model == MLPConfig()


def test_a_pipe_that_nobody_writes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open it would wait without end, and so would to read it."""
    monkeypatch.setattr(config_loading, "PATIENCE_SECONDS", 0.01)
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    error = assert_refused(lambda: load_config(path))
    assert error.problems[0].what == "nothing came through this pipe for 0.01 seconds"


@pytest.fixture
def pipe() -> Iterator[Callable[[bytes, bool], Path]]:
    """The path of a pipe, as a shell gives for `<(command)`, through which bytes come, or come
    again and again until nobody reads."""
    threads: list[threading.Thread] = []
    ends: list[int] = []

    def start(content: bytes, is_endless: bool = False) -> Path:
        reading, writing = os.pipe()

        def write() -> None:
            with open(writing, "wb", buffering=0) as file:
                try:
                    file.write(content)
                    while is_endless:
                        file.write(content)
                except BrokenPipeError:
                    pass

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        ends.append(reading)
        return Path(f"/dev/fd/{reading}")

    yield start
    for end in ends:
        os.close(end)
    for thread in threads:
        thread.join()


def test_a_config_may_come_through_a_pipe(pipe: Callable[[bytes, bool], Path]) -> None:
    text = MLP + "#" * 20_000 + "\nseed: 7\n"
    assert load_config(pipe(text.encode(), False)) == Config(model=MLPConfig(), seed=7)


def test_an_endless_pipe_is_left(pipe: Callable[[bytes, bool], Path]) -> None:
    path = pipe(b"#" * 4096, True)
    error = assert_refused(lambda: load_config(path))
    assert error.problems[0].what == "longer than 32 KiB"


def nested(depth: int) -> object:
    return {"a": nested(depth - 1)} if depth else 1


def doubled() -> object:
    """Fifteen lists, each of which stands three times in the next one."""
    values: object = [1]
    for _ in range(15):
        values = [values, values, values]
    return values


VALUES: dict[str, Mapping[str, object]] = {
    "deep": {"model": nested(900)},
    "one list many times": {"model": doubled()},
    "many keys": {f"key {n}": 1 for n in range(100_000)},
    "many values": {"model": {"kind": "ensemble", "members": [1] * 100_000}},
    "many models": {"model": {"kind": "ensemble", "members": [{"kind": "mlp"}] * 1_400}},
    "many milestones": {
        "model": {"kind": "mlp"},
        "train": {"schedule": {"kind": "step", "milestones": ["x"] * 2_900}},
    },
    "a key": {"a" * 10_000_000: 1},
    "a kind": {"model": {"kind": "a" * 10_000_000}},
    "a source": {"model": {"kind": "mlp"}, "data": {"source": "a" * 30_000}},
    "a surrogate": {"model": {"kind": "mlp"}, "data": {"source": "\ud800"}},
    "a key that is a surrogate": {"model": {"kind": "mlp"}, "\ud800": 1},
    "an integer": {"model": {"kind": "mlp"}, "seed": 10**4000},
    "infinity": {"model": {"kind": "mlp"}, "train": {"learning_rate": float("inf")}},
    "not a number": {"model": {"kind": "mlp"}, "train": {"learning_rate": float("nan")}},
    "the constructor's keys": {"model": {"kind": "mlp", "__class__": "Config", "__init__": 1}},
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_hostile_values_are_refused_at_once(values: Mapping[str, object]) -> None:
    """As they may stand in a checkpoint, whose config anybody may have written."""

    def refuse() -> Config:
        return config_from_dict(values, "last.safetensors")

    fastest = float("inf")
    for _ in range(20):
        started = time.process_time()
        with pytest.raises(ConfigError) as caught:
            refuse()
        fastest = min(fastest, time.process_time() - started)
        if fastest < SECONDS:
            break
    assert fastest < SECONDS
    assert all("last.safetensors" in str(problem) for problem in caught.value.problems[:20])
    assert len(str(caught.value)) < 10_000


def test_overrides_have_the_bounds_of_a_file() -> None:
    start = {"model": {"kind": "mlp"}}

    def what(*overrides: str) -> str:
        error = assert_refused(lambda: config_from_dict(start, "here", overrides))
        assert error.problems[0].where.startswith("--set")
        return error.problems[0].what

    assert what("seed=" + "1" * MAX_BYTES) == "longer than 32 KiB"
    assert "more than 3,000 keys" in what("seed=[" + "1," * MAX_TOKENS + "]")
    assert what("x=" + "[" * 9_999) == f"nested deeper than {MAX_DEPTH} levels"
    assert what("a" * 9_999_999 + "=1").startswith("longer than 32 KiB")
    assert what("a." * 5_000 + "=1").startswith("expected a dotted key")
    most_of_all = ["seed=1"] * MAX_OVERRIDES
    assert config_from_dict(start, "here", most_of_all).seed == 1
    assert what(*most_of_all, "seed=1") == "201 overrides, more than 200"


LARGEST: list[ModelConfig] = [
    MLPConfig(num_layers=MAX_LAYERS, norm="batch", activation="prelu", residual=True),
    MLPConfig(num_layers=MAX_LAYERS, norm="layer", activation="prelu", residual=True),
    *(kind(num_layers=MAX_LAYERS, norm="layer") for kind in (RNNConfig, GRUConfig, LSTMConfig)),
    BowConfig(context_length=65_536, embedding_dim=65_536, hidden_dim=65_536),
    WaveNetConfig(num_layers=4, num_stacks=32, hidden_dim=65_536, skip_dim=65_536),
    WaveNetTreeConfig(context_length=1024, activation="prelu"),
    TransformerConfig(
        num_layers=MAX_LAYERS,
        query_key_norm=True,
        feed_forward="gated",
        activation="prelu",
        embedding_length=64,
        embedding_dim=65_536,
        context_length=65_536,
    ),
    TransformerConfig(num_layers=MAX_LAYERS, positions="sinusoidal", context_length=65_536),
    TransformerConfig(num_layers=MAX_LAYERS, positions="rotary", context_length=65_536),
    EnsembleConfig(
        members=(TransformerConfig(query_key_norm=True, feed_forward="gated", activation="prelu"),)
        * MAX_MEMBERS
    ),
]


@pytest.mark.parametrize("config", LARGEST, ids=lambda config: config.kind)
def test_the_largest_models_are_outlined_at_once(config: ModelConfig) -> None:
    """Of a checkpoint, the config is believed that far before a tensor is compared with it."""
    fastest = float("inf")
    for _ in range(5):
        started = time.process_time()
        model = outline_model(config, MAX_CHARACTERS + 1)
        fastest = min(fastest, time.process_time() - started)
    assert fastest < 1
    assert len(model.state_dict()) <= 4096
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("{kind: mlp, num_layers: 129}", "num_layers: must be at most 128, got 129"),
        ("{kind: gru, num_layers: 129}", "num_layers: must be at most 128, got 129"),
        ("{kind: transformer, num_layers: 129}", "num_layers: must be at most 128, got 129"),
        (
            "{kind: wavenet, num_layers: 3, num_stacks: 43}",
            "num_stacks: must make at most 128 layers in all, got 129",
        ),
        (
            "{kind: ensemble, members: [{kind: gru, num_layers: 127}, {kind: rnn, num_layers: 2}]}",
            "members: must have at most 128 layers together, got 129",
        ),
        (
            f"{{kind: ensemble, members: [{'{kind: bigram}, ' * 33}]}}",
            "members: must have at most 32 items, "
            'got [{"kind": "bigram"}, {"kind": "bigram"}, {"kind": "bigram...',
        ),
    ],
)
def test_no_model_has_more_layers(model: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict({}, "here", [f"model={model}"])
    assert [problem.what for problem in caught.value.problems] == [f"model.{what}"]
