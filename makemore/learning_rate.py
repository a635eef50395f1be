"""The learning rate as a pure function of the step.

The sources of the schedules stand in the descriptions of `makemore.config.schedules`.
"""

import math
from typing import assert_never

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


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """The rate of update `step` (0-based) of `num_steps`.

    Warm-up rises linearly over the first `warmup_steps` updates, to where the schedule starts; the
    schedule runs over the rest. The first update is made at a rate above 0, and so is the last: a
    linear decay to 0 would be there one update later.
    """
    schedule = config.schedule
    if step < schedule.warmup_steps:
        share = _share_of_peak(schedule, 0.0) * (step + 1) / schedule.warmup_steps
    else:
        progress = (step - schedule.warmup_steps) / max(1, num_steps - schedule.warmup_steps)
        share = _share_of_peak(schedule, progress)
    return config.learning_rate * share


def _share_of_peak(schedule: ScheduleConfig, progress: float) -> float:
    """The rate as a fraction of its peak, where `progress` in [0, 1) of the schedule is done."""
    match schedule:
        case ConstantSchedule():
            return 1.0
        case StepSchedule(milestones=milestones, factor=factor):
            return math.prod(factor for milestone in milestones if progress >= milestone)
        case ExponentialSchedule(final_fraction=final):
            return math.pow(final, progress)
        case LinearSchedule(final_fraction=final):
            return 1.0 + (final - 1.0) * progress
        case CosineSchedule(final_fraction=final):
            return _half_cosine(1.0, final, progress)
        case TriangularSchedule(num_cycles=num_cycles, final_fraction=final):
            distance_from_peak = abs(2.0 * (progress * num_cycles % 1.0) - 1.0)
            return 1.0 + (final - 1.0) * distance_from_peak
        case OneCycleSchedule(peak=peak, initial_fraction=initial, final_fraction=final):
            if progress < peak:
                return _half_cosine(initial, 1.0, progress / peak)
            return _half_cosine(1.0, final, (progress - peak) / (1.0 - peak))
        case _ as unknown:
            assert_never(unknown)


def _half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a period of a cosine."""
    return end + (start - end) * (1.0 + math.cos(math.pi * progress)) / 2.0
