import math
from itertools import pairwise
from typing import Any, get_args

import pytest

from makemore.config import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    OneCycleSchedule,
    ScheduleConfig,
    StepSchedule,
    TrainConfig,
    TriangularSchedule,
)
from makemore.learning_rate import learning_rate

SCHEDULES: tuple[Any, ...] = get_args(get_args(ScheduleConfig)[0])
all_schedules = pytest.mark.parametrize("kind", SCHEDULES)


def rates(schedule: Any, num_steps: int, peak: float = 8.0) -> list[float]:
    config = TrainConfig(learning_rate=peak, schedule=schedule)
    return [learning_rate(config, step, num_steps) for step in range(num_steps)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ConstantSchedule(), [8, 8, 8]),
        # Warm-up: the first rate is above 0, the last one is the peak, and so is the next.
        (ConstantSchedule(warmup_steps=4), [2, 4, 6, 8, 8, 8]),
        (LinearSchedule(), [8, 7.2, 6.4, 5.6, 4.8, 4, 3.2, 2.4, 1.6, 0.8]),
        (LinearSchedule(), [8]),
        (LinearSchedule(final_fraction=0.5), [8, 7.5, 7, 6.5, 6, 5.5, 5, 4.5]),
        (LinearSchedule(final_fraction=1.0), [8, 8]),
        # Four steps up, then the line from 8 to 0 over the other eight.
        (LinearSchedule(warmup_steps=4), [2, 4, 6, 8, 8, 7, 6, 5, 4, 3, 2, 1]),
        (LinearSchedule(warmup_steps=4), [2, 4, 6, 8]),
        (LinearSchedule(warmup_steps=4), [2, 4, 6, 8, 8]),
        (LinearSchedule(warmup_steps=8), [1, 2, 3, 4]),
        (
            CosineSchedule(),
            [8, 4 + 2 * math.sqrt(3), 6, 4, 2, 4 - 2 * math.sqrt(3)],
        ),
        (CosineSchedule(final_fraction=0.5), [8, 7, 5]),
        (CosineSchedule(warmup_steps=2), [4, 8, 8, 6, 2]),
        (StepSchedule(), [8, 8, 8, 8, 8, 0.8, 0.8, 0.8, 0.8, 0.8]),
        (StepSchedule(milestones=(0.25, 0.75), factor=0.5), [8, 8, 4, 4, 4, 4, 2, 2]),
        # A milestone is a share of the steps after the warm-up.
        (StepSchedule(warmup_steps=2, factor=2.0), [4, 8, 8, 8, 16, 16]),
        (ExponentialSchedule(final_fraction=0.0625), [8, 4, 2, 1]),
        (ExponentialSchedule(final_fraction=1.0), [8, 8]),
        (ExponentialSchedule(final_fraction=0.25, warmup_steps=1), [8, 8, 4]),
        # One cycle of eight steps, two of four; both ends at a quarter of the peak.
        (TriangularSchedule(final_fraction=0.25), [2, 3.5, 5, 6.5, 8, 6.5, 5, 3.5]),
        (TriangularSchedule(final_fraction=0.25, num_cycles=2), [2, 5, 8, 5, 2, 5, 8, 5]),
        # A warm-up ends where the schedule starts, not at the peak.
        (TriangularSchedule(final_fraction=0.5, warmup_steps=2), [2, 4, 4, 6, 8, 6]),
        (TriangularSchedule(final_fraction=1.0), [8, 8, 8]),
        (TriangularSchedule(final_fraction=0.25), [2]),
        # Half a cosine up over three steps, half a cosine down over three.
        (
            OneCycleSchedule(peak=0.5, initial_fraction=0.5, final_fraction=0.25),
            [4, 5, 7, 8, 6.5, 3.5],
        ),
        (
            OneCycleSchedule(peak=0.25, initial_fraction=0.5, final_fraction=0.0),
            [4, 8, 6, 2],
        ),
        (
            OneCycleSchedule(peak=0.5, initial_fraction=0.25, final_fraction=0.0, warmup_steps=2),
            [1, 2, 2, 8],
        ),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else str(len(value)),
)
def test_the_rates_of_a_run_are_as_by_hand(schedule: Any, expected: list[float]) -> None:
    assert rates(schedule, len(expected)) == pytest.approx(expected)


@all_schedules
@pytest.mark.parametrize("num_steps", [1, 2, 3, 5000])
@pytest.mark.parametrize("warmup_steps", [0, 1, 7])
def test_every_step_is_made_at_a_rate_above_0_and_at_most_the_peak(
    kind: Any, num_steps: int, warmup_steps: int
) -> None:
    found = rates(kind(warmup_steps=warmup_steps), num_steps, peak=0.25)
    assert min(found) > 0
    assert max(found) <= 0.25


@all_schedules
def test_the_peak_is_reached(kind: Any) -> None:
    assert max(rates(kind(), 1000, peak=0.25)) == 0.25


@all_schedules
@pytest.mark.parametrize("warmup_steps", [1, 4, 500])
def test_a_warm_up_rises_in_a_line_to_where_the_schedule_starts(
    kind: Any, warmup_steps: int
) -> None:
    """And leaves the schedule as it is, over fewer steps."""
    plain = rates(kind(), 100)
    warm = rates(kind(warmup_steps=warmup_steps), 100 + warmup_steps)
    assert warm[warmup_steps:] == plain
    line = [plain[0] * (step + 1) / warmup_steps for step in range(warmup_steps)]
    assert warm[:warmup_steps] == pytest.approx(line)


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind is not StepSchedule])
@pytest.mark.parametrize("warmup_steps", [0, 2000])
def test_the_rate_does_not_jump(kind: Any, warmup_steps: int) -> None:
    found = rates(kind(warmup_steps=warmup_steps), 10_000, peak=1.0)
    assert max(abs(first - second) for first, second in pairwise(found)) < 1e-3


@pytest.mark.parametrize(
    ("schedule", "final"),
    [
        (ExponentialSchedule(), 0.01),
        (LinearSchedule(), 0.0),
        (CosineSchedule(), 0.0),
        (TriangularSchedule(num_cycles=3), 0.01),
        (OneCycleSchedule(), 0.0001),
        (LinearSchedule(final_fraction=0.3), 0.3),
        (CosineSchedule(final_fraction=0.3), 0.3),
        (OneCycleSchedule(final_fraction=0.3), 0.3),
    ],
)
def test_the_last_step_stands_one_before_the_final_rate(schedule: Any, final: float) -> None:
    config = TrainConfig(learning_rate=1.0, schedule=schedule)
    assert learning_rate(config, 999_999, 1_000_000) == pytest.approx(final, abs=1e-5)


@pytest.mark.parametrize("kind", [ExponentialSchedule, LinearSchedule, CosineSchedule])
def test_a_decay_falls_in_every_step(kind: Any) -> None:
    found = rates(kind(), 1000)
    assert all(first > second for first, second in pairwise(found))


def test_an_exponential_decay_falls_by_the_same_factor_in_every_step() -> None:
    found = rates(ExponentialSchedule(final_fraction=0.001), 100)
    assert [second / first for first, second in pairwise(found)] == pytest.approx(
        [0.001 ** (1 / 100)] * 99
    )


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (ExponentialSchedule, "final_fraction"),
        (TriangularSchedule, "final_fraction"),
        (OneCycleSchedule, "initial_fraction"),
    ],
)
def test_a_fraction_at_which_a_step_would_learn_nothing_is_refused(kind: Any, key: str) -> None:
    assert getattr(kind(**{key: 1e-9}), key) == 1e-9
    with pytest.raises(ValueError, match="greater than 0"):
        kind(**{key: 0.0})
