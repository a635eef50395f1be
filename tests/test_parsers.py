"""Whatever stands in a file of names, a config or a prompt: it is understood, or refused in words.

Thousands of random texts, most of them nearly right. What is accepted means what it says: it is
compared with a plainer reading, or written and read again.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from makemore import data, name_sources
from makemore.config import Config
from makemore.config_loading import config_from_dict, config_to_dict, dump_config, load_config
from makemore.config_reference import reference_yaml
from makemore.data import decoded, is_refused, load_corpus, load_names, parse_names
from makemore.errors import ConfigError, DataError, MakemoreError, Problem, UsageError
from makemore.launch import train as start_run
from makemore.run import Run
from makemore.strict_yaml import parse_yaml, render_value, render_yaml
from makemore.trained_model import DrawOptions
from tests.small_runs import NAMES, SHORT

many = settings(
    max_examples=1000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

T = TypeVar("T")


def understood(
    read: Callable[[], T], refusal: type[MakemoreError]
) -> tuple[T | None, tuple[Problem, ...]]:
    """What was read, or what is wrong with it; any other error is the test's."""
    try:
        return read(), ()
    except refusal as error:
        return None, error.problems


LINES = st.sampled_from(
    [
        *(b"emma", b"ava", b"mia", b"a", b"Anna Maria", b" eve ", b"", b"  ", b"\r", b"zoe\r"),
        *("zo\u00eb".encode(), "\u674e".encode(), "\U0001f600".encode(), b"\xef\xbb\xbf", b"\xc3"),
        *(b"a\tb", b"\0", b"\x1b[2J", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
        *("\u2028".encode(), "\u0085".encode(), b"a" * 20, b"a" * 21, b" " * 40, b"\xff\xfe"),
    ]
)
FILES = st.binary(max_size=60) | st.lists(
    LINES | st.binary(max_size=4) | st.sampled_from([b"\n", b"\r\n", b"\r"]), max_size=40
).map(b"".join)


def plainly_read(content: bytes) -> list[str]:
    """The names of a file, as one would write it in a line."""
    lines = content.decode().removeprefix("\ufeff").split("\n")
    return [name for line in lines if (name := line.removesuffix("\r").strip(" "))]


@many
@given(FILES, st.sampled_from([1, 2, 3, 7, 64, 2**18]), st.sampled_from([0, 3, 2**16]))
def test_any_file_is_its_lines_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, piece: int, most_spaces: int
) -> None:
    """However few bytes are read at a time, and in either of the ways in which names become ids."""
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name_sources, "_PIECE", piece)
        patch.setattr(data, "MAX_SPACES", most_spaces)
        expected, problems = understood(lambda: parse_names(content, "any.txt", 20), DataError)
        assert all(problem.where.startswith("any.txt:") for problem in problems)
        loaded, problems = understood(
            lambda: load_corpus(str(path), max_length=20, fewest=1), DataError
        )
        assert all(problem.where.startswith(str(path)) and problem.hint for problem in problems)
        assert (loaded is None) == (not expected)
        if loaded is not None:
            vocabulary, corpus = loaded
            assert list(decoded(vocabulary, corpus)) == expected
            assert load_names(str(path), max_length=20, fewest=1) == expected
            assert corpus.tokens.dtype == vocabulary.token_dtype
            assert set(vocabulary.characters) == set("".join(expected or ()))
    if expected is not None:
        assert expected == plainly_read(content)
        assert all(len(name) <= 20 for name in expected)
        assert not any(map(is_refused, "".join(expected)))


KEYS = sorted({word.rstrip(":") for word in reference_yaml().split() if word.endswith(":")})
WORDS = st.sampled_from(
    [
        *KEYS,
        *("mlp", "ngram", "ensemble", "transformer", "wavenet", "adamw", "lbfgs", "muon", "step"),
        *("null", "true", "false", "~", "0", "1", "2", "128", "129", "-1", "0.5", "1e-3", "1e999"),
        *("9223372036854775807", "9223372036854775808", "0x10", ".inf", ".nan", "2024-01-01", "-"),
        *("&a", "*a", "!!python/object/apply:os.system", "!!binary", "<<", "'", '"', "\\x41", "%A"),
        *("\u00eb", "\ufeff", "\x1b", "\0", "\u2028", "\ud800"),
    ]
)
GLUE = st.sampled_from([": ", ": {", "}", ", ", "[", "]", "\n", "\n  ", "\n    ", "- ", "? ", "#"])
SOUP = st.lists(WORDS | GLUE | st.text(max_size=3), max_size=40).map("".join)
CONFIGS = [
    "model: {kind: mlp}\n",
    "seed: 3\nmodel:\n  kind: transformer\n  num_layers: 2\ntrain:\n  steps: 10\n",
    "model:\n  kind: ensemble\n  members:\n    - kind: gru\n    - kind: mlp\n      norm: batch\n",
    "model: {kind: ngram, order: 3, smoothing: add-k, k: 0.5}\ndata: {split: lecture}\n",
    "model: {kind: wavenet}\ntrain: {schedule: {kind: step, milestones: [0.5, 0.7]}}\n",
]


@st.composite
def nearly_configs(draw: st.DrawFn) -> str:
    """A config in which some pieces are left out, put twice or replaced."""
    text: str = draw(st.sampled_from(CONFIGS))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 9)))
        text = text[:start] + draw(SOUP | WORDS | GLUE | st.just(text[start:end] * 2)) + text[end:]
    return text


TEXTS = nearly_configs() | SOUP | st.text(max_size=60)


def assert_reloads(config: Config) -> None:
    assert config_from_dict(parse_yaml(dump_config(config), "again").values, "again") == config
    assert config_from_dict(config_to_dict(config), "again") == config


@many
@given(TEXTS)
@example('a: "\\ud800"')
@example("a: [{b: 1}, c]")
@example("'null': 1")
def test_any_text_is_what_it_renders_to_or_a_config_error(text: str) -> None:
    document, problems = understood(lambda: parse_yaml(text, "any.yaml"), ConfigError)
    assert all(problem.where.startswith("any.yaml:") for problem in problems)
    if document is not None and all(map(is_renderable, sections_in(document.values))):
        rendered = render_yaml(document.values)
        assert parse_yaml(rendered, "again").values == document.values


def is_renderable(section: dict[str, object]) -> bool:
    """As all sections of a config are."""
    return bool(section) and all(render_value(key) == key for key in section)


def sections_in(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, dict):
        yield value
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in below:
        yield from sections_in(item)


@many
@given(TEXTS.map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=60))
@example(b"\xed\xa0\x80: 1")
def test_any_file_is_a_config_that_reloads_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    config, problems = understood(lambda: load_config(path), ConfigError)
    assert all(problem.where.startswith(str(path)) for problem in problems[:20])
    if config is not None:
        assert_reloads(config)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | WORDS
    | st.sampled_from(["mlp", "ensemble", 10**400, "\ud800"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(WORDS, below, max_size=4),
    max_leaves=5,
)


@st.composite
def nearly_values(draw: st.DrawFn) -> dict[str, Any]:
    """The values of a config, as a checkpoint may hold them, in which some are others."""
    values: dict[str, Any] = parse_yaml(draw(st.sampled_from(CONFIGS)), "x").values
    for _ in range(draw(st.integers(0, 3))):
        section: Any = values
        while isinstance(section, dict) and section and draw(st.booleans()):
            below = draw(st.sampled_from(sorted(section, key=str)))
            if not isinstance(section[below], dict):
                break
            section = section[below]
        section[draw(st.sampled_from([*KEYS, "kind", "\ud800"]))] = draw(PLAIN)
    return values


@many
@given(nearly_values() | st.dictionaries(WORDS, PLAIN, max_size=4))
@example({"model": {"kind": "mlp"}, "\ud800": 1})
@example({"model": {"kind": "mlp", "\ud800": 1}})
@example({"model": {"kind": "ensemble", "members": [{"kind": "mlp", "\ud800": 1}, {}]}})
@example({"model": {"kind": "mlp"}, "data": {"\ud800": 1, "source": "\ud800"}})
def test_any_values_are_a_config_that_reloads_or_an_error(values: dict[str, Any]) -> None:
    config, problems = understood(lambda: config_from_dict(values, "any.file"), ConfigError)
    assert all(problem.where == "any.file" and problem.what for problem in problems[:20])
    if config is not None:
        assert_reloads(config)


OVERRIDES = st.lists(
    st.tuples(
        st.lists(st.sampled_from([*KEYS, "0", "1", "65"]) | WORDS, max_size=4).map(".".join),
        st.sampled_from(["=", "=", "=", ""]),
        SOUP | WORDS | st.text(max_size=9),
    ).map("".join),
    max_size=4,
)


@many
@given(st.sampled_from(CONFIGS), OVERRIDES)
@example(CONFIGS[0], ["\udcff=1"])
@example(CONFIGS[0], ["model.\udcff=1"])
@example(CONFIGS[0], ["data.source=\udcff"])
def test_any_overrides_make_a_config_that_reloads_or_an_error(
    text: str, overrides: list[str]
) -> None:
    values = parse_yaml(text, "x").values
    config, problems = understood(lambda: config_from_dict(values, "x", overrides), ConfigError)
    assert all(problem.where.startswith(("--set ", "x")) for problem in problems[:20])
    if config is not None:
        assert_reloads(config)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("parsers")
    (folder / "names.txt").write_text("\n".join(NAMES))
    return start_run(
        "mlp",
        data=str(folder / "names.txt"),
        run=folder / "run",
        device="cpu",
        overrides=[*SHORT, "model.hidden_dim=8"],
    )


PROMPTS = st.text(max_size=8) | st.text("abcdez", max_size=30) | st.sampled_from(NAMES)
DRAW_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats() | st.just(1.0),
        "top_k": st.none() | st.integers(-1, 40) | st.just(2**70),
        "top_p": st.none() | st.floats(-0.1, 1.1) | st.just(float("nan")),
        "min_p": st.none() | st.floats(-0.1, 1.1) | st.just(float("nan")),
        "novel": st.booleans(),
        "unique": st.booleans(),
        "max_length": st.none() | st.integers(-1, 30),
        "seed": st.none() | st.integers(-1, 2**63 - 1),
    },
)


# Hypothesis writes out the whole run, with its tensors, where an example takes long.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(many, max_examples=400)
@given(PROMPTS, st.integers(-1, 5), DRAW_OPTIONS)
@example("\0", 1, {})
@example("\ud800", 1, {})
@example("\n", 1, {})
@example("a\na", 1, {})
@example("a" * 1001, 1, {"max_length": 1000})
def test_any_prompt_begins_the_names_or_is_a_usage_error(
    run: Run, prompt: str, num_names: int, options: DrawOptions
) -> None:
    given: DrawOptions = {**options, "prompt": prompt}
    names, problems = understood(
        lambda: run.sample(num_names, **given),
        UsageError,
    )
    assert all(problem.where.startswith("--") and problem.hint for problem in problems)
    if names is None:
        return
    assert set(prompt) <= set(run.vocabulary.characters)
    assert len(names) <= num_names
    assert all(name.startswith(prompt) for name in names)
    longest = options.get("max_length")
    assert longest is None or all(len(name) <= longest for name in names)
    assert not options.get("unique") or len(set(names)) == len(names)
    assert not options.get("novel") or not set(names) & run.training_names
