"""How gradients become updates: the optimizers of torch.optim behind one interface.

The sources of the methods stand in the descriptions of `makemore.config.optimizers`. What an
optimizer remembers is a flat table of tensors, so that a checkpoint can hold it.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from makemore import lbfgs_memory
from makemore.adamw import AdamW
from makemore.config import (
    AdadeltaConfig,
    AdagradConfig,
    AdamaxConfig,
    AdamConfig,
    AdamWConfig,
    AMSGradConfig,
    LBFGSConfig,
    MuonConfig,
    NAdamConfig,
    RMSpropConfig,
    SGDConfig,
    TrainConfig,
)
from makemore.muon import Muon

# Scalars that torch keeps on the CPU, unless a fused kernel reads them.
_COUNTERS = ("step", "mu_product")

# The layer that gives the logits, of a model or of the member of a mixture.
_OUTPUT = re.compile(r"(members\.\d+\.)*output")


class Optimizer:
    """The torch.optim optimizers of a model: one, or for Muon two (Muon for the matrices of hidden
    layers, AdamW beside it).

    Raises UsageError where Muon finds no such matrix.
    """

    def __init__(self, config: TrainConfig, model: nn.Module) -> None:
        self._parameters = dict(model.named_parameters())
        self._optimizers = _build(config, model)
        self._owners = {
            parameter: optimizer
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        self._has_memory = False

    @property
    def needs_closure(self) -> bool:
        """Whether a step evaluates the loss itself, as often as it likes."""
        return isinstance(self._optimizers[0], torch.optim.LBFGS)

    def zero_grad(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None

    def step(self, rate: float, closure: Callable[[], Tensor] | None = None) -> None:
        """Update the parameters by their gradients.

        closure: clears the gradients, computes the loss and its gradients, and returns the loss;
        for L-BFGS, and for it alone.
        """
        assert (closure is not None) == self.needs_closure
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("rate_factor", 1.0)
            optimizer.step(closure)  # type: ignore[arg-type] # asks for a float, takes a tensor
        self._has_memory = True

    def tensors(self) -> dict[str, Tensor]:
        """What is remembered from step to step, as `<parameter>/<quantity>` -> tensor.

        Nothing before the first step. The next step may change the tensors.
        """
        # Adagrad has zeros from the start on.
        if not self._has_memory:
            return {}
        return {
            f"{name}/{quantity}": value
            for name, parameter in self._parameters.items()
            for quantity, value in self._pack(
                self._owners[parameter].state.get(parameter, {})
            ).items()
        }

    def _pack(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        if self.needs_closure:
            # It stands at the first parameter alone.
            return lbfgs_memory.pack(state) if state else {}
        return {quantity: value for quantity, value in state.items() if value is not None}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`, for those that `misfit` finds nothing wrong with."""
        memories: dict[str, dict[str, Tensor]] = {}
        for full_name, tensor in tensors.items():
            name, _, quantity = full_name.rpartition("/")
            memories.setdefault(name, {})[quantity] = tensor
        for name, memory in memories.items():
            parameter = self._parameters[name]
            optimizer = self._owners[parameter]
            on_cpu = () if optimizer.defaults.get("fused") else _COUNTERS
            copied = {
                quantity: tensor.to("cpu" if quantity in on_cpu else parameter.device, copy=True)
                for quantity, tensor in memory.items()
            }
            state = lbfgs_memory.unpack(copied) if self.needs_closure else copied
            optimizer.state[parameter] = state
        self._has_memory = bool(tensors)


def misfit(
    config: TrainConfig, model: nn.Module, tensors: Mapping[str, Tensor], step: int
) -> str | None:
    """None if `tensors` are what the optimizer of `config` remembers of `model` after `step` steps:
    the same names, shapes, types and counts of steps; else what is wrong, in words.

    Fused kernels believe the shapes that they are given, so tensors from a file come here first.
    Other numbers are not judged: a memory that is not finite makes training diverge, and there it
    is found.
    """
    expected = _expected(config, model, tensors) if step else {}
    for name, wanted in expected.items():
        if name not in tensors:
            return f"{name!r} is missing"
        found = tensors[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            return f"{name!r} is {_described(found)}, not {_described(wanted)}"
        if name.endswith(("/n_iter", "/func_evals")) and not _is_count(found.item()):
            return f"{name!r} is {found.item():g}, which is no count"
        # 2**24 is where float32 ends to count.
        if name.endswith("/step") and found.item() != min(step, 2**24):
            return f"{name!r} is {found.item():g} after {step} steps"
    unknown = [name for name in tensors if name not in expected]
    return f"{unknown[0]!r} is unknown" if unknown else None


def num_bytes(config: TrainConfig, model: nn.Module) -> int:
    """How much the optimizer of `config` remembers of `model`, at most."""
    if isinstance(config.optimizer, LBFGSConfig):
        # Two vectors for each past update, and a few for the last one.
        num_vectors = 2 * config.optimizer.history_size + 4
        return num_vectors * sum(parameter.nbytes for parameter in model.parameters())
    return sum(tensor.nbytes for tensor in _expected(config, model, {}).values())


def _is_count(number: float) -> bool:
    return number >= 0 and number.is_integer()


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _expected(
    config: TrainConfig, model: nn.Module, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Tensors with the names, shapes and types of what is remembered after a step."""
    if isinstance(config.optimizer, LBFGSConfig):
        name, first = next(iter(model.named_parameters()))
        own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items()}
        num_components = sum(parameter.numel() for parameter in model.parameters())
        memory = lbfgs_memory.expected(
            own, num_components, first.dtype, config.optimizer.history_size
        )
        return {f"{name}/{quantity}": tensor for quantity, tensor in memory.items()}
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = Optimizer(config, twin)
    optimizer.step(config.learning_rate)
    return optimizer.tensors()


def _build(config: TrainConfig, model: nn.Module) -> list[torch.optim.Optimizer]:
    """`fused` and `foreach` where torch has them: the same formulas, in fewer kernels."""
    parameters = list(model.parameters())
    match config.optimizer:
        case SGDConfig(momentum=momentum, nesterov=nesterov):
            return [torch.optim.SGD(parameters, momentum=momentum, nesterov=nesterov, fused=True)]
        case AdagradConfig(epsilon=epsilon):
            return [torch.optim.Adagrad(parameters, eps=epsilon, fused=True)]
        case AdadeltaConfig(rho=rho, epsilon=epsilon):
            return [torch.optim.Adadelta(parameters, rho=rho, eps=epsilon, foreach=True)]
        case RMSpropConfig() as rmsprop:
            return [
                torch.optim.RMSprop(
                    parameters,
                    alpha=rmsprop.alpha,
                    eps=rmsprop.epsilon,
                    momentum=rmsprop.momentum,
                    centered=rmsprop.centered,
                    foreach=True,
                )
            ]
        case AdamConfig() | AMSGradConfig() as adam:
            return [
                torch.optim.Adam(
                    parameters,
                    betas=(adam.beta1, adam.beta2),
                    eps=adam.epsilon,
                    amsgrad=isinstance(adam, AMSGradConfig),
                    fused=True,
                )
            ]
        case AdamaxConfig() as adamax:
            betas = (adamax.beta1, adamax.beta2)
            return [torch.optim.Adamax(parameters, betas=betas, eps=adamax.epsilon, foreach=True)]
        case NAdamConfig() as nadam:
            return [
                torch.optim.NAdam(
                    parameters,
                    betas=(nadam.beta1, nadam.beta2),
                    eps=nadam.epsilon,
                    momentum_decay=nadam.momentum_decay,
                    foreach=True,
                )
            ]
        case AdamWConfig() as adamw:
            return [_adamw(adamw, parameters)]
        case LBFGSConfig() as lbfgs:
            return [
                torch.optim.LBFGS(
                    parameters,
                    max_iter=lbfgs.max_iterations,
                    # By default a quarter more than iterations, too few for one line search.
                    max_eval=lbfgs.max_iterations + 25,
                    history_size=lbfgs.history_size,
                    line_search_fn=None if lbfgs.line_search == "none" else lbfgs.line_search,
                )
            ]
        case MuonConfig() as muon:
            hidden = _hidden_matrices(model)
            return [
                Muon(
                    hidden,
                    momentum=muon.momentum,
                    nesterov=muon.nesterov,
                    weight_decay=muon.weight_decay,
                ),
                _adamw(muon, [p for p in parameters if all(p is not q for q in hidden)]),
            ]
        case _ as unknown:
            assert_never(unknown)


def _adamw(config: AdamWConfig | MuonConfig, parameters: list[nn.Parameter]) -> AdamW:
    """Weight decay applies to matrices, not to biases and gains."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    rate_factor = config.adamw_factor if isinstance(config, MuonConfig) else 1.0
    return AdamW(
        [{**group, "rate_factor": rate_factor} for group in groups if group["params"]],
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def _hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The weights of hidden linear layers. A recurrent layer's are several matrices in one, for
    which Muon does less than AdamW."""
    parameters = dict(model.named_parameters())
    return [
        parameters[f"{name}.weight"]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not _OUTPUT.fullmatch(name)
    ]
