"""Real processes, killed at random moments of their saves, until they end."""

from pathlib import Path

import pytest

from tests.crash.random_kills import kill


def test_runs_that_are_killed_at_random_moments_of_their_saves_end_bitwise(tmp_path: Path) -> None:
    result = kill(40, 1, tmp_path)
    assert result["failed_resumes"] == 0
    assert result["kills_inside_a_save"] == 40


@pytest.mark.long
def test_a_thousand_kills_inside_saves_lose_nothing(tmp_path: Path) -> None:
    result = kill(1000, 1, tmp_path)
    assert result["failed_resumes"] == 0
    by_operation = result["by_operation"]
    assert isinstance(by_operation, dict)
    # All along the save.
    assert {"in create", "in write", "in sync", "in replace"} <= by_operation.keys()
