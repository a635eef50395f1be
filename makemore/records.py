"""One line of metrics.jsonl <-> a record: what happened in a run, for its readers.

A line may come from somebody else's run, or a failing disk: one that is not as a run writes it is
no record, and no reader sees it.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any


def render_record(record: Mapping[str, object]) -> str:
    """The record on one line."""
    return json.dumps(record)


def parse_record(line: str) -> dict[str, Any] | None:
    """The record in a line: `event` and `step`, and everything known of its type; else None."""
    try:
        record = json.loads(line)
    except (RecursionError, ValueError):
        return None
    if not isinstance(record, dict) or not {"event", "step"} <= record.keys():
        return None
    known = record.keys() & _IS_SOUND.keys()
    return record if all(_IS_SOUND[key](record[key]) for key in known) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    # A bool is an int to isinstance().
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(float(str(value)))


_IS_SOUND: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("event", "run", "model", "split", "split_digest", "device"), _is_text),
    **dict.fromkeys(("step", "num_parameters", "num_steps", "num_threads"), _is_count),
    # None where it is infinite, which JSON cannot say.
    **dict.fromkeys(("loss", "standard_error"), lambda value: value is None or _is_number(value)),
    "seconds": lambda value: _is_number(value) and value >= 0,
    "best": lambda value: isinstance(value, bool),
}
