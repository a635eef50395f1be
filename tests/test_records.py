"""The records of a run, also of one that came from somebody else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makemore.records import parse_record, render_record
from makemore.run import Run
from makemore.run_directory import RunDirectory
from tests.command_line import Makemore

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = (
    *("event", "step", "run", "model", "split", "split_digest", "device", "num_parameters"),
    *("num_steps", "num_threads", "loss", "standard_error", "seconds", "best"),
)


def test_every_record_of_a_run_is_read_back(train: Callable[..., Run], tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    train("run", report=lambda record: told.append(dict(record)))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [parse_record(line) for line in lines] == told
    assert [render_record(record) for record in told] == lines


@given(st.text())
def test_any_line_is_a_record_or_none(line: str) -> None:
    record = parse_record(line)
    assert record is None or (isinstance(record["event"], str) and record["step"] >= 0)


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", "[" * 10_000, "1", '{"event": "end"}', '{"step": 1}', "9" * 5000, "\0"],
)
def test_a_line_that_is_no_record_is_none(line: str) -> None:
    assert parse_record(line) is None


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [[], {}, "x\x1b[31m", True, -1, 1.5, "inf", None, 10**400])
def test_a_record_of_a_strange_value_breaks_no_reader(
    key: str, value: object, makemore: Makemore
) -> None:
    """`runs` and `--resume` read all runs that are here, whoever made them."""
    assert makemore("train", "--model", "bigram-count", "--data", "names.txt").code == 0
    metrics = RunDirectory(Path("runs/bigram-count-1")).metrics
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(json.dumps(line | {key: value}) + "\n" for line in lines))
    listed = makemore("runs")
    assert listed.code == 0
    assert "\x1b" not in listed.out
    assert makemore("runs", "--json").code == 0
    assert makemore("train", "--resume", "runs/bigram-count-1").code == 0


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_what_is_read_has_the_types_that_readers_expect(values: dict[str, Any]) -> None:
    record = parse_record(json.dumps({"event": "end", "step": 1, **values}))
    if record is None:
        return
    for key, types in (("step", int), ("model", str), ("split_digest", str), ("best", bool)):
        assert type(record.get(key, types())) is types
    assert 0 <= record.get("seconds", 0.0) < float("inf")
    assert record.get("loss") is None or abs(record["loss"]) < float("inf")
