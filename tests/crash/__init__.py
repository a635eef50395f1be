"""Stops, faults and losses of power: what is on the disk then is enough to go on, bit for bit."""

import pytest

# What they assert is told in full, too.
pytest.register_assert_rewrite(
    *(
        f"tests.crash.{name}"
        for name in ("faults", "kills", "power_loss", "random_kills", "stories")
    )
)
