"""Any text, values or overrides are a configuration that reads back equal, or a ConfigError."""

import json

import yaml

from tests.fuzz.driver import Choices, MemoryFile, fuzz, instrumented

with instrumented(__name__ == "__main__", has_tensors=False):
    from pathlib import Path

    from makemore.config import Config
    from makemore.config_loading import (
        MAX_PROBLEMS,
        config_from_dict,
        config_to_dict,
        dump_config,
        load_config,
    )
    from makemore.config_reference import reference_yaml
    from makemore.errors import ConfigError, Problem
    from makemore.strict_yaml import parse_yaml, render_yaml
    from tests.fuzz.refusals import understood

CONFIGS = (
    "model: {kind: mlp}\n",
    "seed: 3\nmodel:\n  kind: transformer\n  num_layers: 2\ntrain:\n  steps: 10\n",
    "model:\n  kind: ensemble\n  members:\n    - kind: gru\n    - kind: mlp\n      norm: batch\n",
    "model: {kind: ngram, order: 3, smoothing: add-k, k: 0.5}\ndata: {split: lecture}\n",
    "model: {kind: wavenet}\ntrain: {schedule: {kind: step, milestones: [0.5, 0.7]}}\n",
    "model: {kind: bigram}\ndata: {fractions: [1, 0, 0]}\ntrain: {optimizer: {kind: sgd}}\n",
)
# What is rendered takes more lines and signs than what was read; of a text that is as short, not
# more than the bounds of a text.
_SHORT = 1000

_NAMED = {"": None, "~": None, "null": None, "true": True, "false": False}

_file = MemoryFile("config")


def check(content: bytes) -> None:
    choices = Choices(content)
    kind = choices.one_of("tovwp")
    if kind == "t":
        _check_text(choices.rest())
    elif kind == "o":
        _check_overrides(choices.one_of(CONFIGS), choices.rest())
    elif kind == "v":
        _check_values(choices.rest())
    elif kind == "w":
        text, place = choices.one_of(CONFIGS).encode(), choices.number()
        _check_text(text[:place] + _words(choices.rest()) + text[place:])
    else:
        _check_overrides(choices.one_of(CONFIGS), _words(choices.rest()))


def _words(content: bytes) -> bytes:
    """A word for each byte."""
    words = (WORDS[byte % len(WORDS)] for byte in content)
    return "".join(words).encode(errors="surrogateescape")


def _check_text(content: bytes) -> None:
    """A file, and the YAML in it."""
    _file.write(content)
    config, problems = understood(lambda: load_config(Path(_file.path)), ConfigError)
    _assert_placed(problems, _file.path)
    text = content.decode(errors="surrogateescape")
    document, problems = understood(lambda: parse_yaml(text, "any.yaml"), ConfigError)
    _assert_placed(problems, "any.yaml:")
    if config is not None:
        assert document is not None
        _assert_reloads(config)
    if document is not None:
        assert document.values == _plainly_read(yaml.compose(text, Loader=yaml.SafeLoader))
    if document is not None and len(text) <= _SHORT and _is_renderable(document.values):
        rendered = render_yaml(document.values)
        assert rendered.replace("\n", "").isprintable()
        assert parse_yaml(rendered, "again").values == document.values


def _plainly_read(node: yaml.Node | None) -> object:
    """What PyYAML's tree of a text means, without its own guesses at types."""
    if isinstance(node, yaml.MappingNode):
        keys = [_plainly_read(key) for key, _ in node.value]
        assert len(set(keys)) == len(keys), keys
        return {key: _plainly_read(value) for key, (_, value) in zip(keys, node.value, strict=True)}
    if isinstance(node, yaml.SequenceNode):
        return [_plainly_read(item) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    text: str = node.value
    if node.style is not None:
        return text
    if text in _NAMED:
        return _NAMED[text]
    # Python also reads `1_000`, `nan`, `infinity` and ` 1`.
    if (
        not text.isascii()
        or set(text) & set("_abcdfghijklmnopqrstuvwxyzAINF \t\n")
        or _is_padded(text)
    ):
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _is_padded(text: str) -> bool:
    """Whether a number begins with zeros, which is octal to some readers."""
    digits = text.lstrip("+-")
    return digits[:1] == "0" and digits[1:2].isdigit()


def _check_overrides(text: str, content: bytes) -> None:
    """As many arguments of a command line, which hold no NUL."""
    overrides = content.decode(errors="surrogateescape").split("\0")
    values = parse_yaml(text, "x").values
    config, problems = understood(lambda: config_from_dict(values, "x", overrides), ConfigError)
    _assert_placed(problems, ("--set", "x"))
    assert values == parse_yaml(text, "x").values
    if config is not None:
        _assert_reloads(config)


def _check_values(content: bytes) -> None:
    """What JSON can hold, and what only Python's: NaN, halves of a pair, numbers without end."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        config, problems = understood(lambda: config_from_dict(values, "x"), ConfigError)
        _assert_placed(problems, "x")
        if config is not None:
            _assert_reloads(config)


def _assert_placed(problems: tuple[Problem, ...], where: str | tuple[str, ...]) -> None:
    assert len(problems) <= MAX_PROBLEMS + 1 or where == "any.yaml:"
    for problem in problems:
        assert problem.where.startswith(where) or problem.what.startswith("and "), problem


def _assert_reloads(config: Config) -> None:
    values = config_to_dict(config)
    assert config_from_dict(json.loads(json.dumps(values, allow_nan=False)), "again") == config
    text = dump_config(config)
    assert text.replace("\n", "").isprintable()
    assert config_from_dict(parse_yaml(text, "again").values, "again") == config


def _is_renderable(value: object) -> bool:
    """Whether sections are not empty and their keys plain, and no list has sections and more."""
    if isinstance(value, dict):
        plain = (key.isidentifier() and key.isascii() for key in value)
        words = value.keys() & {"null", "true", "false"}
        return bool(value) and not words and all(plain) and all(map(_is_renderable, value.values()))
    if isinstance(value, list):
        are_sections = {isinstance(item, dict) for item in value}
        return len(are_sections) < 2 and all(map(_is_renderable, value))
    return True


WORDS = (
    *sorted({word for word in reference_yaml().split() if word.endswith(":")}),
    *("mlp", "ngram", "ensemble", "transformer", "wavenet", "wavenet-tree", "gru", "lstm", "bow"),
    *("adamw", "lbfgs", "muon", "sgd", "cosine", "onecycle", "windows", "lecture", "makemore"),
    *("null", "true", "false", "~", "0.5", "1e-3", "1e999", "9223372036854775808", "0x10", ".nan"),
    *("&a", "*a", "!!binary", "<<", "'", '"', "\\x41", "\\UFFFFFFFF", "\\ud800", "%YAML 1.1"),
    *('"null"', "'true'", '"1"', '""', '"\\UFFFFFFFF"', '"\\U00110000"', '"\\x1b"', "'<<'"),
    *(": ", ": {", "}", ", ", "[", "]", "\n  ", "\n- ", "? ", " #", "|\n", ">-\n", "=", "\0"),
    *(
        "\n",
        "\n    ",
        ".",
        " ",
        "a",
        "b: ",
        "0",
        "1",
        "2",
        "-1",
        ".5",
        "1e9",
        "01",
        "1_0",
        "{}",
        "[]",
    ),
    *("\u00eb", "\ufeff", "\x1b", "\u2028", "\x85", "\u202e", "NaN", "Infinity", "2024-01-01"),
)
_TEXTS = (
    *CONFIGS,
    reference_yaml()[:3000],
    "a: &a [*a, *a]\n",
    "a: 'b'\nc: [\"d\", 'e f', \"\\U0001F600\", -1.5e3]\nd:\n  - e: |\n      f\n",
    "a: {b: 1, b: 2}\n<<: {c: !!python/object/apply:os.system [x]}\n",
    'a: "\\ud800"\nb: 1e999\n',
    "{" * 30,
    "model: {kind: mlp, \u202e: 1, ? [1]: 2}\n",
)
_OVERRIDES = (
    "train.steps=5",
    "model={kind: ngram, order: 2}\0data.fractions=[1, 0, 0]",
    "model.members.0.hidden_dim=8\0model.members.1={kind: mlp}",
    "train.optimizer.kind=lbfgs\0train.optimizer.max_iterations=3\0train.batch_size=null",
    "=\0.=\0a.b\0model.kind=\0data.source=-\0\udcff=\udcff",
)
_VALUES = (
    *(json.dumps(parse_yaml(text, "x").values) for text in CONFIGS),
    json.dumps(config_to_dict(config_from_dict({"model": {"kind": "mlp"}}, "x"))),
    '{"model": {"kind": "mlp", "\\ud800": NaN}, "seed": 1e999}',
    '{"model": ' + "[" * 30 + "]" * 30 + "}",
)
SEEDS = [
    *(b"\0" + text.encode() for text in _TEXTS),
    *(
        b"\1%c" % number + text.encode(errors="surrogateescape")
        for number, text in zip((0, 1, 2, 0, 5), _OVERRIDES, strict=True)
    ),
    *(b"\2" + text.encode() for text in _VALUES),
    *(b"\3%c\x13" % number + bytes(range(200 + number, 205 + number)) for number in range(6)),
    *(b"\4%c" % number + bytes(range(150 + number, 156 + number)) for number in range(6)),
]

if __name__ == "__main__":
    fuzz(check, SEEDS, WORDS)
