"""The textbook form of every model that is trained by gradient (see `textbook.py`).

Each is that of the config, with the same units and, given the same weights, the same logits; its
first weights are drawn as torch.nn draws them. Where the textbook leaves a choice (attention, the
average), it is the one that was faster on a CPU.

Shape suffixes, beside those of `makemore.models.base`: S skip channels, E the embeddings of a
window side by side, R nodes of all windows.
"""

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional

from makemore.config import (
    BigramConfig,
    BowConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    ModelConfig,
    RecurrentSection,
    RNNConfig,
    TransformerConfig,
    WaveNetConfig,
    WaveNetTreeConfig,
)

_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}
_NORMS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
}
# Of options that have others, the values that are textbook.
_VALUES: dict[str, tuple[object, ...]] = {
    "activation": tuple(_ACTIVATIONS),
    "residual": (False,),
    "norm_statistics": (None, "running"),
    "norm_over": (None, "batch_and_time"),
    "positions": ("learned",),
    "norm_place": ("before",),
    "query_key_norm": (False,),
    "feed_forward": ("plain",),
    "tied_embeddings": (False,),
}


def windows(ids_BT: Tensor, length: int) -> Tensor:
    """(B, T, C): each id and those before it, boundaries before the start."""
    return functional.pad(ids_BT, (length - 1, 0)).unfold(1, length, 1)


def hidden_layer(config: MLPConfig | WaveNetTreeConfig, in_dim: int) -> nn.Sequential:
    """(N, in) -> (N, F): linear -> norm -> activation -> dropout."""
    return nn.Sequential(
        nn.Linear(in_dim, config.hidden_dim, bias=config.norm != "batch"),
        _NORMS[config.norm](config.hidden_dim),
        _ACTIVATIONS[config.activation](),
        nn.Dropout(config.dropout),
    )


class MLP(nn.Module):
    """Embeddings of the last few characters, side by side -> hidden layers -> logits."""

    def __init__(self, config: MLPConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.context_length = config.context_length
        in_dims = [config.context_length * config.embedding_dim]
        in_dims += [config.hidden_dim] * (config.num_layers - 1)
        self.embedding = nn.Embedding(vocabulary_size, config.embedding_dim)
        self.hidden = nn.Sequential(*(hidden_layer(config, in_dim) for in_dim in in_dims))
        self.output = nn.Linear(config.hidden_dim, vocabulary_size)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTE = self.embedding(windows(ids_BT, self.context_length)).flatten(2)
        logits_NV = self.output(self.hidden(x_BTE.flatten(0, 1)))
        logits_BTV: Tensor = logits_NV.unflatten(0, ids_BT.shape)
        return logits_BTV


class Recurrent(nn.Module):
    """Embedding -> recurrent layers -> logits."""

    def __init__(self, config: RNNConfig | GRUConfig | LSTMConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, config.embedding_dim)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        options: dict[str, Any] = {"num_layers": config.num_layers, "batch_first": True}
        if config.num_layers > 1:
            options["dropout"] = config.dropout  # between the layers
        if isinstance(config, RNNConfig):
            options["nonlinearity"] = config.activation
        build_layers = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config.kind]
        self.layers = build_layers(config.embedding_dim, config.hidden_dim, **options)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden_dim, vocabulary_size)

    def forward(self, ids_BT: Tensor) -> Tensor:
        hidden_BTF, _ = self.layers(self.embedding_dropout(self.embedding(ids_BT)))
        logits_BTV: Tensor = self.output(self.dropout(hidden_BTF))
        return logits_BTV


class Bow(nn.Module):
    """x = character + position; x + average of x so far; x + mlp(x); logits."""

    def __init__(self, config: BowConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.embedding_dim
        self.character_embedding = nn.Embedding(vocabulary_size, width)
        self.position_embedding = nn.Embedding(config.context_length, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.hidden_dim),
            nn.Tanh(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_dim, width),
        )
        self.output = nn.Linear(width, vocabulary_size)

    def forward(self, ids_BT: Tensor) -> Tensor:
        num_positions = ids_BT.shape[1]
        x_BTD = self.character_embedding(ids_BT)
        x_BTD = x_BTD + self.position_embedding.weight[:num_positions]
        # A product with a matrix took 0.8 times as long as a running sum.
        causal_TT = x_BTD.new_ones(num_positions, num_positions).tril()
        x_BTD = x_BTD + causal_TT / causal_TT.sum(1, keepdim=True) @ x_BTD
        logits_BTV: Tensor = self.output(x_BTD + self.mlp(x_BTD))
        return logits_BTV


def causal_convolution(
    in_dim: int, out_dim: int, kernel_size: int, dilation: int = 1
) -> nn.Sequential:
    """(B, in, T) -> (B, out, T): zeros before the start, nothing after the end.

    Linear layers of shifted inputs took half as long on a CPU, but Conv1d is the textbook's way.
    """
    return nn.Sequential(
        nn.ConstantPad1d(((kernel_size - 1) * dilation, 0), 0.0),
        nn.Conv1d(in_dim, out_dim, kernel_size, dilation=dilation),
    )


class WaveNet(nn.Module):
    """Causal convolution -> dilated ones with gates and residuals -> sum of skips -> logits."""

    def __init__(self, config: WaveNetConfig, vocabulary_size: int) -> None:
        super().__init__()
        dim, skip_dim, kernel_size = config.hidden_dim, config.skip_dim, config.kernel_size
        dilations = [kernel_size**i for i in range(config.num_layers)] * config.num_stacks
        self.embedding = nn.Embedding(vocabulary_size, dim)
        self.input = causal_convolution(dim, dim, kernel_size)
        self.gates = nn.ModuleList(
            causal_convolution(dim, 2 * dim, kernel_size, dilation) for dilation in dilations
        )
        self.residuals = nn.ModuleList(nn.Conv1d(dim, dim, 1) for _ in dilations[1:])
        self.dropout = nn.Dropout(config.dropout)
        # A sum needs one bias only.
        self.skips = nn.ModuleList(
            nn.Conv1d(dim, skip_dim, 1, bias=index == 0) for index in range(len(dilations))
        )
        self.hidden = nn.Conv1d(skip_dim, skip_dim, 1)
        self.output = nn.Conv1d(skip_dim, vocabulary_size, 1)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BFT = self.input(self.embedding(ids_BT).mT)
        skips_BST: list[Tensor] = []
        for index, (gate, skip) in enumerate(zip(self.gates, self.skips, strict=True)):
            filter_BFT, gate_BFT = gate(x_BFT).chunk(2, dim=1)
            gated_BFT = self.dropout(filter_BFT.tanh() * gate_BFT.sigmoid())
            skips_BST.append(skip(gated_BFT))
            if index < len(self.residuals):
                x_BFT = x_BFT + self.residuals[index](gated_BFT)
        skip_BST = sum(skips_BST[1:], start=skips_BST[0]).relu()
        logits_BVT: Tensor = self.output(self.hidden(skip_BST).relu())
        return logits_BVT.mT


class WaveNetTree(nn.Module):
    """A window of characters -> pairs -> pairs of pairs -> ... -> one node -> logits."""

    def __init__(self, config: WaveNetTreeConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.context_length = config.context_length
        self.embedding = nn.Embedding(vocabulary_size, config.embedding_dim)
        num_levels = config.context_length.bit_length() - 1
        in_dims = [config.embedding_dim] + [config.hidden_dim] * (num_levels - 1)
        self.levels = nn.ModuleList(hidden_layer(config, 2 * in_dim) for in_dim in in_dims)
        self.output = nn.Linear(config.hidden_dim, vocabulary_size)

    def forward(self, ids_BT: Tensor) -> Tensor:
        nodes_RF = self.embedding(windows(ids_BT, self.context_length)).flatten(0, 2)
        for level in self.levels:
            nodes_RF = level(nodes_RF.view(-1, 2 * nodes_RF.shape[1]))
        logits_BTV: Tensor = self.output(nodes_RF).unflatten(0, ids_BT.shape)
        return logits_BTV


class Transformer(nn.Module):
    """Embeddings of characters and position -> blocks -> norm -> logits."""

    def __init__(self, config: TransformerConfig, vocabulary_size: int) -> None:
        super().__init__()
        width = config.embedding_dim
        # A table for the character itself, and one for that at each distance before it.
        self.character_embeddings = nn.ModuleList(
            nn.Embedding(vocabulary_size, width) for _ in range(config.embedding_length)
        )
        self.position_embedding = nn.Embedding(config.context_length, width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.num_layers)))
        self.norm = _NORMS[config.norm](width)
        self.output = nn.Linear(width, vocabulary_size, bias=False)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.position_embedding.weight[: ids_BT.shape[1]]
        for distance, embedding in enumerate(self.character_embeddings):
            x_BTD = x_BTD + embedding(functional.pad(ids_BT, (distance, 0))[:, : ids_BT.shape[1]])
        logits_BTV: Tensor = self.output(self.norm(self.blocks(self.dropout(x_BTD))))
        return logits_BTV


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        hidden_dim = config.hidden_dim or 4 * width
        self.num_heads = config.num_heads
        self.attention_norm = _NORMS[config.norm](width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            _NORMS[config.norm](width),
            nn.Linear(width, hidden_dim),
            _ACTIVATIONS[config.activation](),
            nn.Linear(hidden_dim, width),
            nn.Dropout(config.dropout),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        query_BHTK, key_BHTK, value_BHTK = (
            part_BTD.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part_BTD in self.query_key_value(self.attention_norm(x_BTD)).chunk(3, dim=2)
        )
        # Took 0.8 to 0.9 times as long as an explicit mask and softmax, forward and backward.
        mixed_BHTK = functional.scaled_dot_product_attention(
            query_BHTK, key_BHTK, value_BHTK, is_causal=True
        )
        x_BTD = x_BTD + self.dropout(self.mixed(mixed_BHTK.transpose(1, 2).flatten(2)))
        return x_BTD + cast(Tensor, self.mlp(x_BTD))


_MODELS: dict[type, Any] = {
    # A table: the embedding of a character is the logits of the next one.
    BigramConfig: lambda _, vocabulary_size: nn.Embedding(vocabulary_size, vocabulary_size),
    MLPConfig: MLP,
    RNNConfig: Recurrent,
    GRUConfig: Recurrent,
    LSTMConfig: Recurrent,
    BowConfig: Bow,
    WaveNetConfig: WaveNet,
    WaveNetTreeConfig: WaveNetTree,
    TransformerConfig: Transformer,
}


def build(config: ModelConfig, vocabulary_size: int, longest: int) -> nn.Module:
    """An untrained model of ids (B, T) -> logits (B, T, V), for names of `longest` characters.

    Raises ValueError for a kind or an option that is not textbook, naming it. What `initialization`
    and `output_factor` say of the first weights is not heeded.
    """
    kind = type(config)
    if kind not in _MODELS:
        raise ValueError(f"`kind: {config.kind}` has no textbook model")
    values = dict(_VALUES)
    if isinstance(config, RecurrentSection):
        values["norm"] = ("none",)
    for option, value in config:
        if value not in values.get(option, (value,)):
            raise ValueError(f"`{option}: {value}` is not textbook in `{config.kind}`")
    if isinstance(config, BowConfig | TransformerConfig) and config.context_length <= longest:
        what = f"fewer than the {longest + 1} positions of the longest name"
        raise ValueError(f"`context_length: {config.context_length}`, {what}")
    model: nn.Module = _MODELS[kind](config, vocabulary_size)
    return model
