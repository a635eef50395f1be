"""Whatever happened to a byte of a checkpoint, it is found before anything is believed."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from makemore.checkpoint import load_checkpoint, to_bytes
from makemore.errors import CheckpointError
from makemore.run import Run
from tests.command_line import Makemore


@pytest.fixture
def file(train: Callable[..., Run]) -> Path:
    """The last checkpoint of a small run, which a test may damage."""
    run = train("run", "model.hidden_dim=4", "model.embedding_dim=2")
    return run.path.with_name("last.safetensors")


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert caught.value.exit_code == 4
    (problem,) = caught.value.problems
    assert problem.where == str(path)
    assert problem.hint
    return problem.what


def damaged(path: Path) -> Iterator[int]:
    """Every place in the file, its byte changed to its complement and then to one at random."""
    generator = random.Random(0)
    data = path.read_bytes()
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for place, byte in enumerate(data):
            others = [value for value in range(256) if value not in (byte, byte ^ 0xFF)]
            for value in (byte ^ 0xFF, generator.choice(others)):
                os.pwrite(descriptor, bytes([value]), place)
                yield place
            os.pwrite(descriptor, bytes([byte]), place)
    finally:
        os.close(descriptor)


def test_every_changed_byte_of_a_real_checkpoint_is_found(file: Path) -> None:
    before = file.read_bytes()
    header_start, head_end = 8, before.index(b',"format"')
    num_cases = 0
    for place in damaged(file):
        what = refusal(file)
        num_cases += 1
        if place >= head_end:
            assert what == "altered: its bytes do not match its own sha256"
        elif place < header_start:
            # The length of the header: what it says then may be possible or not.
            assert what.startswith("altered: ")
    assert num_cases == 2 * len(before)
    sys.stdout.write(f"{num_cases} changed bytes found\n")
    assert file.read_bytes() == before
    assert to_bytes(load_checkpoint(file)) == before


def test_every_length_that_a_real_checkpoint_is_cut_to_is_found(file: Path) -> None:
    size = file.stat().st_size
    for length in reversed(range(size)):
        os.truncate(file, length)
        assert "cut short" in refusal(file)
    sys.stdout.write(f"{size} shorter files found\n")


def test_the_command_line_names_a_damaged_file(file: Path, makemore: Makemore) -> None:
    data = bytearray(file.read_bytes())
    for place in range(0, len(data), len(data) // 10):
        data[place] ^= 1
        file.write_bytes(data)
        result = makemore("sample", file, "--device", "cpu")
        data[place] ^= 1
        assert result.code == 4
        assert result.error.startswith(f"error: {file}: ")


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is asked for first, and what is read is what counts."""
    real = os.fstat

    def cut_after(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        os.truncate(file, 1000)
        return status

    monkeypatch.setattr(os, "fstat", cut_after)
    assert refusal(file).startswith("cut short: 1000 of ")
