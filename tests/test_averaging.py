"""The average of the weights against its recurrence by hand."""

import pytest
import torch

from makemore.averaging import Average
from makemore.config import BigramConfig, MLPConfig
from makemore.models import build_model
from tests.test_models import batch_of, random_model, small


def set_all(model: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def values(model: torch.nn.Module) -> list[float]:
    return [value for parameter in model.parameters() for value in parameter.flatten().tolist()]


def test_an_average_follows_its_recurrence() -> None:
    model = build_model(BigramConfig(), 3)
    set_all(model, 1.0)
    average = Average(0.5, model)
    expected = 1.0
    for step, value in enumerate([4.0, -2.0, 8.0, 0.0, 3.0, 1.0, 6.0, 2.0, 9.0, 5.0, 7.0], start=1):
        set_all(model, value)
        average.update(step)
        # The decay of the first steps is (1 + t) / (10 + t), which reaches a half at t = 8.
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        with average.in_place():
            assert values(model) == pytest.approx([expected] * 9, rel=1e-5)
        assert values(model) == [value] * 9


def test_in_place_the_model_is_the_average_and_afterwards_it_is_itself() -> None:
    """Its statistics too, which whoever looks at the average may recompute."""
    model = random_model(small(MLPConfig, norm="batch"), torch.float32)
    average = Average(0.9, model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with average.in_place() as trained:
        assert all(torch.equal(trained[name], before[name]) for name in before)
        for buffer in model.buffers():
            buffer.zero_()
        for parameter in model.parameters():
            parameter.data.zero_()
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    with average.in_place():
        names = [name for name, _ in model.named_parameters()]
        assert all(torch.equal(model.state_dict()[name], before[name]) for name in names)


def test_an_average_that_is_loaded_goes_on_as_if_it_had_never_stopped() -> None:
    model, other = (build_model(BigramConfig(), 3) for _ in range(2))
    average = Average(0.9, model)
    for step in (1, 2, 3):
        set_all(model, 10.0 * step)
        average.update(step)
    with average.in_place() as trained:
        # What a checkpoint holds: the average as the model, and the weights in training.
        other.load_state_dict(model.state_dict())
    resumed = Average(0.9, other)
    resumed.load(trained)
    for each in (average, resumed):
        set_all(each.model, -5.0)
        each.update(4)
    with average.in_place(), resumed.in_place():
        assert torch.equal(model(batch_of(["ab"])), other(batch_of(["ab"])))
