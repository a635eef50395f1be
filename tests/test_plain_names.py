"""Reading in bulk is reading: the same names, or left to those who say what is wrong."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makemore import plain_names
from makemore.data import parse_names
from makemore.errors import DataError
from makemore.plain_names import plain_tokens
from makemore.vocab import Vocabulary

PLAIN = [b"a", b"emma\nava\n", b"emma\nava", b"a\nb\na", b"Anna Maria\nO'Neill\n~!\n"]
ODD = {
    "nothing": b"",
    "a blank line first": b"\nava\n",
    "a blank line": b"emma\n\nava\n",
    "a blank line at the end": b"ava\n\n",
    "a space before a name": b"emma\n ava\n",
    "a space before the first name": b" emma\nava\n",
    "a space after a name": b"emma \nava\n",
    "a space after the last name": b"emma\nava ",
    "two spaces in a row": b"Anna  Maria\n",
    "a carriage return": b"emma\r\nava\r\n",
    "a lone carriage return": b"emma\rava\n",
    "a tab": b"emma\tava\n",
    "a null": b"em\0ma\nava\n",
    "a control character": b"emma\na\x1fva\n",
    "a delete": b"emma\nav\x7fa\n",
    "a letter that is not ASCII": "emma\nzoë\n".encode(),
    "a byte order mark": b"\xef\xbb\xbfemma\nava\n",
    "no text at all": b"\xff\xfe",
}


def read_slowly(data: bytes, max_length: int) -> tuple[Vocabulary, torch.Tensor]:
    names = parse_names(data, "names.txt", max_length)
    vocabulary = Vocabulary.of(names)
    return vocabulary, vocabulary.encode(names)


def assert_read_alike(data: bytes, max_length: int = 256) -> None:
    found = plain_tokens(data, max_length)
    assert found is not None
    vocabulary, tokens = read_slowly(data, max_length)
    assert found.num_line_ends == data.count(b"\n")
    assert found[0] == vocabulary
    assert found[1].dtype == vocabulary.token_dtype
    assert torch.equal(found[1], tokens)


@pytest.fixture(params=[1, 2, 3, 7, 2**15])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are looked at together: whatever is odd also lies between two pieces."""
    monkeypatch.setattr(plain_names, "_PIECE", request.param)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("data", PLAIN)
def test_plain_names_are_read_as_ever(data: bytes) -> None:
    assert_read_alike(data, max_length=20)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
@pytest.mark.parametrize("before", [b"", b"ida\n", b"lena\n"])
def test_what_is_odd_is_left_to_others(data: bytes, before: bytes) -> None:
    plain = before and data == b""
    assert (plain_tokens(before + data, 20) is None) == (not plain)


@pytest.mark.usefixtures("piece")
@pytest.mark.parametrize("max_length", [1, 2, 3, 8, 9])
def test_no_name_that_is_too_long_is_taken(max_length: int) -> None:
    """But all names of up to half of the limit are."""
    for start in range(12):
        for end in (b"", b"\n", b"\na\n"):
            too_long = b"a\n" * start + b"b" * (max_length + 1) + end
            assert plain_tokens(too_long, max_length) is None
    if max_length > 1:
        assert_read_alike((b"b" * (max_length // 2) + b"\n") * 9, max_length)


@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\n", b" ", b"\r", b"\t", b"\xc3\xab"])).map(b"".join)
    | st.lists(st.text("abc'", min_size=1, max_size=6)).map(lambda names: "\n".join(names).encode())
    | st.binary(max_size=20),
    st.integers(1, 12),
)
def test_any_bytes_are_read_alike_or_left_to_others(data: bytes, max_length: int) -> None:
    if plain_tokens(data, max_length) is not None:
        assert_read_alike(data, max_length)
    else:
        try:
            read_slowly(data, max_length)
        except DataError:
            return
