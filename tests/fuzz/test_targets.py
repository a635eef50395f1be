"""The targets hold for their seeds, and need no atheris for that."""

from types import ModuleType

import pytest

from tests.fuzz import fuzz_checkpoint, fuzz_config, fuzz_data, fuzz_prompt
from tests.fuzz.driver import Choices

TARGETS = [fuzz_data, fuzz_config, fuzz_checkpoint, fuzz_prompt]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_every_seed_is_understood_or_refused(target: ModuleType) -> None:
    assert len(target.SEEDS) > 20
    for seed in target.SEEDS:
        target.check(seed)


def test_choices_are_read_in_order_and_are_0_at_the_end() -> None:
    choices = Choices(b"\1\0\2\3xyzw")
    assert choices.one_of("ab") == "b"
    assert choices.number(2) == 512
    assert choices.piece() == b"xyz"
    assert choices.rest() == b"w"
    assert choices.number(8) == 0
    assert choices.piece() == choices.rest() == b""
