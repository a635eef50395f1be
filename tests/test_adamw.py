"""AdamW against that of torch, bit by bit."""

import torch
from torch import nn

from makemore.adamw import AdamW


def test_parameters_and_memory_are_those_of_torch_fused() -> None:
    """Two groups, one parameter that has a gradient in some steps only."""
    results = []
    for kind in (AdamW, torch.optim.AdamW):
        generator = torch.Generator().manual_seed(1)
        shapes = [(3, 5), (7,), (2, 2)]
        parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        groups = [
            {"params": [parameters[0], parameters[2]], "weight_decay": 0.3},
            {"params": [parameters[1]], "weight_decay": 0.0},
        ]
        optimizer = kind(groups, betas=(0.8, 0.9), eps=1e-3, fused=True)
        for step in range(5):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            if step % 2 == 0:
                parameters[2].grad = None
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            optimizer.step()
        memory = [optimizer.state[parameter] for parameter in parameters]
        assert [float(part["step"]) for part in memory] == [5, 5, 2]
        results.append([[parameter.detach() for parameter in parameters], memory])
    torch.testing.assert_close(*results, rtol=0, atol=0)
