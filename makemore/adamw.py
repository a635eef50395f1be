"""AdamW (Loshchilov & Hutter 2019) whose step is little more than its kernel.

For a small model, what torch.optim does around the kernel at each step takes longer than the
kernel.
"""

from typing import Any

import torch
from torch import Tensor


class AdamW(torch.optim.AdamW):
    """As in torch.optim with `fused`: the same kernel, the same memory."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            memories = [self._memory(parameter) for parameter in parameters]
            steps = [memory["step"] for memory in memories]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters,
                [parameter.grad for parameter in parameters],
                [memory["exp_avg"] for memory in memories],
                [memory["exp_avg_sq"] for memory in memories],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return None

    def _memory(self, parameter: Tensor) -> dict[str, Tensor]:
        memory: dict[str, Tensor] = self.state[parameter]
        if not memory:
            memory["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            memory["exp_avg"] = torch.zeros_like(parameter)
            memory["exp_avg_sq"] = torch.zeros_like(parameter)
        return memory
