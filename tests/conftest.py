import os
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline is an assertion about time, which a busy machine breaks.
settings.register_profile("makemore", deadline=None)
settings.load_profile("makemore")

SHARED = Path(__file__).parents[2] / "shared" / "data" / "karpathy-names.txt"


@pytest.fixture(scope="session")
def karpathy_path() -> Path:
    """The published names.txt that all figures of the lectures refer to."""
    path = Path(os.environ.get("MAKEMORE_KARPATHY_NAMES") or SHARED)
    if not path.is_file():
        pytest.skip(
            "the published names.txt is not part of this project; download it (README of data/) "
            "and set MAKEMORE_KARPATHY_NAMES to its path"
        )
    return path
