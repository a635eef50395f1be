"""The strict subset of YAML: what each scalar means, what is refused, what is rendered."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import makemore
from makemore.errors import ConfigError
from makemore.strict_yaml import (
    MAX_BYTES,
    MAX_DEPTH,
    Place,
    parse_yaml,
    render_value,
    render_yaml,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1.5e+2", -150.0),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("18446744073709551615", 2**64 - 1),
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("[1, [a], {b: 2}]", [1, ["a"], {"b": 2}]),
    ],
)
def test_a_plain_scalar_is_read_as_written(text: str, value: object) -> None:
    read = parse_yaml(f"key: {text}", "x").values["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "off",
        "on",
        "yes",
        "no",
        "True",
        "NULL",
        "017",
        "00.5",
        "0x10",
        "0o17",
        "1_000",
        ".inf",
        "-.inf",
        ".nan",
        "2024-01-01",
        "1:30",
        ".",
        "e5",
        "1e",
        "=",
        "\u0663",
    ],
)
def test_what_only_looks_like_another_type_stays_a_string(text: str) -> None:
    assert parse_yaml(f"key: {text}", "x").values == {"key": text}


@pytest.mark.parametrize("text", ["1", "1e-3", "null", "true", "~", "", "<<"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quoted_scalar_is_a_string(text: str, quote: str) -> None:
    assert parse_yaml(f"key: {quote}{text}{quote}", "x").values == {"key": text}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: &x 2\n", 2, "anchors"),
        ("a: 1\nb: *x\n", 2, "aliases"),
        ("a: 1\nb: !!str 2\n", 2, "tags"),
        ("a: 1\nb: ! 2\n", 2, "tags"),
        ("a: 1\n<<: {b: 2}\n", 2, "merge keys"),
        ("a: 1\nb: 2\na: 3\n", 3, "a: duplicate key, as in f.yaml:1"),
        ("a:\n  b: 1\n  b: 1\n", 3, "a.b: duplicate key, as in f.yaml:2"),
        ("a: 1\n---\nb: 2\n", 2, "more than one document"),
        ("a: 1\n2: b\n", 2, "expected a string as key, got 2"),
        ("null: 1\n", 1, "expected a string as key, got null"),
        ("true: 1\n", 1, "expected a string as key, got true"),
        ("? [a]\n: 1\n", 1, 'expected a string as key, got ["a"]'),
        ("", 1, "expected keys and values, got null"),
        ("- a\n", 1, 'expected keys and values, got ["a"]'),
        ("just text\n", 1, 'expected keys and values, got "just text"'),
        ("a: 1\nb: c: d\n", 2, "not valid YAML: mapping values are not allowed here"),
        ("a:\n\t- b\n", 2, "not valid YAML: found character"),
        ("a: 1\nb: [1\n", 3, "not valid YAML"),
        ("a: 1\nb: \x07\n", 2, 'not valid YAML: the character "\\u0007"'),
        # PyYAML itself ends in a bare ValueError or OverflowError at these three.
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "out of range"),
        ('a: 1\nb: "\\U00110000"\n', 2, "out of range"),
        (f"%YAML 1.{'1' * 5000}\n--- {{}}\n", 1, "out of range"),
        (f"a: 1\nb: {'9' * 5000}\n", 2, "is too large"),
        ("a: 1\nb: 1e999\n", 2, "the number 1e999 is too large"),
        ("a: 1\nb: -1e999\n", 2, "the number -1e999 is too large"),
    ],
)
def test_what_is_not_strict_yaml_is_reported_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    (problem,) = caught.value.problems
    assert problem.where == f"f.yaml:{line}"
    assert part in problem.what
    assert "\n" not in problem.what
    assert len(problem.what) < 120


def test_all_problems_of_the_yaml_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: &x 1\nb: *x\na: 2\nc: !t 3\n", "f.yaml")
    assert [problem.where for problem in caught.value.problems] == [
        "f.yaml:1",
        "f.yaml:2",
        "f.yaml:3",
        "f.yaml:4",
    ]


def test_a_billion_laughs_do_not_expand() -> None:
    text = "a0: &a0 [lol]\n"
    for n in range(1, 40):
        text += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml(text, "f.yaml")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_nesting_ends_at_the_limit(opening: str, closing: str) -> None:
    def nested(depth: int) -> str:  # the mapping around it is the first level
        return "key: " + opening * (depth - 1) + closing * (depth - 1)

    parse_yaml(nested(MAX_DEPTH), "f.yaml")
    with pytest.raises(ConfigError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse_yaml(nested(MAX_DEPTH + 1), "f.yaml")
    with pytest.raises(ConfigError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse_yaml(opening * 5000, "f.yaml")


@pytest.mark.parametrize("character", ["x", "\u00e9"])
def test_size_in_bytes_ends_at_the_limit(character: str) -> None:
    room = MAX_BYTES - len("a: 1\n#")
    text = "a: 1\n#" + " " * (room % 2) + character * (room // len(character.encode()))
    text += " " * (MAX_BYTES - len(text.encode()))
    assert parse_yaml(text, "f.yaml").values == {"a": 1}
    with pytest.raises(ConfigError, match=r"f\.yaml:1: longer than 32 KiB"):
        parse_yaml(text + "\n", "f.yaml")


YAML_PIECES = st.sampled_from(
    [
        *"abc01.~-+?:,[]{}#&*!|>'\"%@`\\ \n\t\r=<\ufeff\u2028\x85\ud800\x00",
        "key: ",
        "- ",
        "\n  ",
        "---\n",
        "...",
        "<<: ",
        "1e9",
        "\\x",
        "\\U0011",
        "%YAML 1.1\n",
        "%TAG ! x\n",
        "!<",
    ]
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(st.text() | st.lists(YAML_PIECES, max_size=40).map("".join))
@example("\ud800")
@example("a: \ufffe")
def test_any_text_is_read_or_is_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        values = parse_yaml(text, "f.yaml").values
        assert json.loads(json.dumps(values, allow_nan=False)) == values


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "~",
        "null",
        "true",
        "1",
        "1e5",
        "017",
        "...",
        "a: b",
        "a #b",
        "'",
        '"',
        "\\",
        "&a",
        "<<",
        " a ",
        "a\nb",
        "\x00",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\u00e9",
        "\U0001f600",
    ],
)
def test_a_string_that_looks_like_something_else_survives(text: str) -> None:
    rendered = render_yaml({"a": {"b": text, "c": [text]}})
    assert parse_yaml(rendered, "x").values == {"a": {"b": text, "c": [text]}}
    assert all(character.isprintable() for character in rendered.replace("\n", ""))


def test_sections_are_rendered_as_blocks_and_lists_on_one_line() -> None:
    values = {"a": {"b": {"c": None}, "d": [1, 0.5, "x", True]}, "e": "1"}
    assert render_yaml(values) == 'a:\n  b:\n    c: null\n  d: [1, 0.5, x, true]\ne: "1"\n'


def test_lists_of_sections_are_rendered_as_blocks() -> None:
    members = [{"kind": "a", "b": {"c": [1, 2]}}, {"kind": "d"}]
    rendered = render_yaml({"model": {"members": members}, "seed": 1})
    assert rendered == (
        "model:\n  members:\n    - kind: a\n      b:\n        c: [1, 2]\n    - kind: d\nseed: 1\n"
    )
    assert parse_yaml(rendered, "x").values == {"model": {"members": members}, "seed": 1}
    on_one_line = "[{kind: a, b: {c: [1, 2]}}, {kind: d}]"
    assert render_value(members) == on_one_line
    assert parse_yaml(f"x: {on_one_line}", "x").values == {"x": members}


def test_what_stands_in_a_list_has_a_place() -> None:
    document = parse_yaml("a:\n  - b: 1\n  - c: 2\n    d: [3,\n      4]\n", "f.yaml")
    where = {path: place.where for path, place in document.places.items()}
    assert where[("a", 0)] == where[("a", 0, "b")] == "f.yaml:2"
    assert where[("a", 1)] == where[("a", 1, "c")] == "f.yaml:3"
    assert where[("a", 1, "d")] == where[("a", 1, "d", 0)] == "f.yaml:4"
    assert where[("a", 1, "d", 1)] == "f.yaml:5"


def test_an_item_of_a_list_is_replaced_with_its_places() -> None:
    document = parse_yaml("a:\n  - b: 1\n    c: 2\n  - d\n", "f.yaml")
    document.set(("a", 0), {"c": 3}, Place(9, "here"))
    assert document.values == {"a": [{"c": 3}, "d"]}
    assert document.place(("a", 0, "c")) == Place(9, "here")
    assert document.place(("a", 1)).where == "f.yaml:4"
    assert document.get(("a", 0, "c")) == 3
    assert document.get(("a", 2)) is None
    assert document.get(("a", "b")) is None
    with pytest.raises(ValueError, match="`a` has 2 items, the first is 0"):
        document.set(("a", 2), 1, Place(9, "here"))


def test_no_other_module_knows_yaml() -> None:
    importers = {
        path.name
        for path in Path(makemore.__file__).parent.rglob("*.py")
        if re.search(r"^ *(import|from) yaml\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importers == {"strict_yaml.py"}
