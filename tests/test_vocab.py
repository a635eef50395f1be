import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from makemore.vocab import BOUNDARY, UnknownCharacterError, Vocabulary

names = st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs"))))


def characters(num_characters: int) -> tuple[str, ...]:
    return tuple(chr(0x10000 + i) for i in range(num_characters))


def test_three_names_by_hand() -> None:
    vocabulary = Vocabulary.of(["ab", "b", "ca"])
    assert vocabulary.characters == ("a", "b", "c")
    assert vocabulary.size == 4
    assert vocabulary.encode(["ab", "b", "ca"]).tolist() == [1, 2, 0, 2, 0, 3, 1, 0]
    assert vocabulary.decode(torch.tensor([3, 0, 0, 1, 2, 0])) == ["c", "", "ab"]


def test_ids_follow_the_order_of_code_points_and_leave_0_to_the_boundary() -> None:
    vocabulary = Vocabulary.of(["éa", "Z😀", " a"])
    assert BOUNDARY == 0
    assert vocabulary.characters == (" ", "Z", "a", "é", "😀")
    assert vocabulary.encode([" Zaé😀"]).tolist() == [1, 2, 3, 4, 5, 0]


@given(names)
def test_encode_equals_a_look_up_and_decode_takes_it_back(names: list[str]) -> None:
    vocabulary = Vocabulary.of(names)
    ids = {character: i for i, character in enumerate(sorted(set("".join(names))), start=1)}
    tokens = vocabulary.encode(names)
    assert tokens.tolist() == [i for name in names for i in (*map(ids.__getitem__, name), 0)]
    assert tokens.dtype == vocabulary.token_dtype
    assert vocabulary.decode(tokens) == vocabulary.decode(tokens.long()) == names


@pytest.mark.parametrize("vocabulary", [Vocabulary(()), Vocabulary(("a",))])
def test_no_names_are_no_tokens(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode([]).tolist() == []
    assert vocabulary.encode([]).dtype == torch.uint8
    assert vocabulary.decode(vocabulary.encode([])) == []
    assert vocabulary.encode([""]).tolist() == [BOUNDARY]


@pytest.mark.parametrize(
    ("num_characters", "dtype"),
    [
        (0, torch.uint8),
        (2**8 - 1, torch.uint8),
        (2**8, torch.int16),
        (2**15 - 1, torch.int16),
        (2**15, torch.int32),
    ],
)
def test_tokens_take_the_smallest_type_that_holds_every_id(
    num_characters: int, dtype: torch.dtype
) -> None:
    vocabulary = Vocabulary(characters(num_characters))
    tokens = vocabulary.encode(["".join(vocabulary.characters)])
    assert tokens.dtype == dtype
    assert tokens.tolist() == [*range(1, num_characters + 1), 0]


@pytest.mark.parametrize(
    ("prompts", "character", "name"),
    [
        (["qb", "b"], "q", "qb"),
        (["b", "bdq", "b"], "q", "bdq"),
        (["bb", "", "bq"], "q", "bq"),
        (["bd", "xb", "q"], "x", "xb"),
        (["bcd"], "c", "bcd"),
        (["B"], "B", "B"),
        (["bé"], "é", "bé"),
        (["b😀d"], "😀", "b😀d"),
        (["b\0"], "\0", "b\0"),
        (["b", "b\udcffd"], "\udcff", "b\udcffd"),
        (["\ud83d"], "\ud83d", "\ud83d"),
        (["d", "b\nd"], "\n", "b\nd"),
        (["d\n"], "\n", "d\n"),
    ],
)
def test_an_unknown_character_is_told_with_its_name(
    prompts: list[str], character: str, name: str
) -> None:
    """A newline once ended a name here: a prompt of two lines was sampled as two names."""
    with pytest.raises(UnknownCharacterError) as caught:
        Vocabulary(("b", "d")).encode(prompts)
    assert (caught.value.character, caught.value.name) == (character, name)


def test_an_empty_vocabulary_knows_no_character() -> None:
    with pytest.raises(UnknownCharacterError):
        Vocabulary(()).encode(["a"])


@pytest.mark.parametrize("wrong", [("b", "a"), ("a", "a"), ("ab",), ("",)])
def test_characters_are_single_distinct_and_sorted(wrong: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        Vocabulary(wrong)
