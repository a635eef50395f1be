"""Names padded, a few at a time, as models read them that mix positions."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from makemore.config import BowConfig, GRUConfig, LSTMConfig, RNNConfig, Section, TransformerConfig
from makemore.models import causal_attention, jagged, recurrent
from makemore.models.jagged import GROUP_SIZE, PackedNames, PaddedGroup, PaddedNames
from tests.test_models import NAMES, assert_same, batch_of, random_model, small

PADDING: list[type[Section]] = [BowConfig, RNNConfig, GRUConfig, LSTMConfig, TransformerConfig]
PADDED = pytest.mark.parametrize("kind", PADDING, ids=lambda kind: kind.__name__)


def logits_and_gradients(model: Any, names: list[str] = NAMES) -> list[Tensor]:
    batch = batch_of(names)
    logits = model(batch)
    model.zero_grad()
    functional.cross_entropy(logits, batch.targets, reduction="sum").backward()
    return [logits.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


def use_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models pad as on other devices than a CPU. What they do there instead is compared with it
    below."""
    monkeypatch.setattr(causal_attention, "_MAX_SHORT", 0)
    monkeypatch.setattr(recurrent, "_Packed", recurrent._Padded)


# The bag of words pads counts, not what it computes.
@pytest.mark.parametrize("kind", PADDING[1:], ids=lambda kind: kind.__name__)
def test_what_stands_in_the_padding_is_never_seen(
    kind: type[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(small(kind))
    expected = logits_and_gradients(model)
    pad = PaddedGroup.pad
    num_pads = []

    def pad_with_sevens(self: PaddedGroup, x_ND: Tensor) -> Tensor:
        padded_BTD = pad(self, x_ND)
        is_pad = torch.ones(padded_BTD.shape[:2], dtype=torch.bool)
        is_pad.view(-1)[self.slot_N] = False
        num_pads.append(int(is_pad.sum()))
        return torch.where(is_pad[:, :, None], 7.0, padded_BTD)

    monkeypatch.setattr(PaddedGroup, "pad", pad_with_sevens)
    use_padding(monkeypatch)
    assert_same(logits_and_gradients(model), expected)
    # 7 names to 13 positions, of which 43 are real.
    assert set(num_pads) == {7 * 13 - 43}


@PADDED
def test_names_padded_in_groups_are_read_as_names_padded_together(
    kind: type[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(small(kind))
    expected = logits_and_gradients(model)

    use_padding(monkeypatch)
    monkeypatch.setattr(jagged, "GROUP_SIZE", 3)
    assert len(PaddedNames(batch_of(NAMES)).groups) == 3
    assert_same(logits_and_gradients(model), expected)


@PADDED
@pytest.mark.parametrize("is_padded", [False, True], ids=["as on a CPU", "padded"])
def test_the_gradient_of_a_batch_is_the_sum_of_those_of_its_names(
    kind: type[Section], is_padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_padded:
        use_padding(monkeypatch)
    model = random_model(small(kind))
    _, *together = logits_and_gradients(model)
    alone = [logits_and_gradients(model, [name])[1:] for name in NAMES]
    assert_same(together, [torch.stack(parts).sum(0) for parts in zip(*alone, strict=True)])


@PADDED
def test_padding_gives_what_a_cpu_does_instead(
    kind: type[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(small(kind))
    expected = logits_and_gradients(model)
    use_padding(monkeypatch)
    assert_same(logits_and_gradients(model), expected)


def test_packed_names_stand_position_by_position() -> None:
    batch = batch_of(["ab", "", "abcd", "dc"])
    names = PackedNames(batch)
    assert names.num_names_T == [4, 3, 3, 1, 1]
    # The longest first: abcd, ab, dc and the empty name.
    assert names.pack(batch.targets).tolist() == [1, 1, 4, 0, 2, 2, 3, 3, 0, 0, 4, 0]
    assert torch.equal(names.unpack(names.pack(batch.inputs[:, None])), batch.inputs[:, None])


def test_each_group_is_as_long_as_its_longest_name() -> None:
    shapes = []

    def double(x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
        shapes.append(tuple(x_BTD.shape))
        return x_BTD + y_BTD

    many = ["a"] * GROUP_SIZE + ["abc"] * 2
    batch = batch_of(many)
    x_ND = torch.randn(batch.num_chars, 5)
    assert torch.equal(PaddedNames(batch).map(double, x_ND, x_ND), 2 * x_ND)
    # Their ends included.
    assert shapes == [(GROUP_SIZE, 2, 5), (2, 4, 5)]
