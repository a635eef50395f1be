"""Looked-up rows and their gradients against those of torch.nn."""

import pytest
import torch
from torch import nn

from makemore.models.embedding import Embedding


@pytest.mark.parametrize("shape", [(6,), (4, 3), (0, 3), ()], ids=str)
def test_rows_and_their_gradients_are_those_of_torch(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    weight_VD = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    ids = torch.randint(5, shape, generator=generator)
    factors = torch.randn(*shape, 2, generator=generator, dtype=torch.float64)
    results = []
    for kind in (Embedding, nn.Embedding):
        table = kind.from_pretrained(weight_VD, freeze=False)
        rows = table(ids)
        (rows * factors).sum().backward()
        results.append([rows.detach(), table.weight.grad])
    torch.testing.assert_close(*results)
