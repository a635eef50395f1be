"""Any prompt, with any options of the sampler, begins all names that come, or is a UsageError."""

import struct
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

from tests.fuzz.driver import Choices, fuzz, instrumented

with instrumented(__name__ == "__main__", has_tensors=True):
    from pathlib import Path

    from makemore.errors import UsageError
    from makemore.launch import train
    from makemore.run import Run
    from makemore.sampling import Chunk
    from tests.fuzz.refusals import understood
    from tests.small_runs import NAMES, SHORT

_MORE_NAMES = ["zo\u00eb", "anna maria", "\u674e", "\U0001f600a", "e\u0308"]
_MODELS = {
    "bigram": ["model.kind=bigram", *SHORT],
    "mlp": ["model.hidden_dim=4", *SHORT],
    "gru": ["model={kind: gru, embedding_dim: 2, hidden_dim: 4}", *SHORT],
    "ngram": ["model={kind: ngram, order: 3}"],
}
_FLOATS = (0.0, 1.0, 0.5, 0.9, 1e-300, 1e300, 2.0, -0.0, -1.0)


@cache
def _runs() -> list[Run]:
    """A model of each kind of drawing, trained for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder, "names.txt")
        names.write_text("\n".join(NAMES + _MORE_NAMES), encoding="utf-8")
        return [
            train("mlp", data=str(names), run=Path(folder, kind), device="cpu", overrides=overrides)
            for kind, overrides in _MODELS.items()
        ]


def check(content: bytes) -> None:
    choices = Choices(content)
    run = choices.one_of(_runs())
    num_names = choices.one_of((1, 2, 3, 0, 20, -1, 300))
    options = _options(choices)
    if options.get("novel") or options.get("unique"):
        # A hundred candidates are drawn for each name, ten thousand at least.
        num_names = min(num_names, 20)
    prompt = choices.rest().decode(errors="surrogateescape")
    chunks, problems = understood(
        lambda: list(run.draw_chunks(num_names, prompt=prompt, **options)), UsageError
    )
    assert all(problem.where.startswith("--") and problem.hint for problem in problems)
    if chunks is not None:
        _check_names(run, chunks, num_names, prompt, options)
        if options.get("seed") is not None:
            again = run.sample(num_names, prompt=prompt, **options)
            assert again == [name for chunk in chunks for name in chunk.names]


def _options(choices: Choices) -> dict[str, Any]:
    """Each option of the sampler, or not."""
    given = choices.number()
    readers: list[tuple[str, Callable[[], object]]] = [
        ("seed", lambda: choices.one_of((1, 0, None, -1, 2**63 - 1, 2**64, 2**70))),
        ("max_length", lambda: choices.number() % 64 - 2),
        ("temperature", lambda: _float(choices)),
        ("top_p", lambda: _float(choices)),
        ("min_p", lambda: _float(choices)),
        ("top_k", lambda: choices.one_of((1, 2, 30, 0, -1, 2**31, 2**63, 2**64))),
        ("novel", lambda: True),
        ("unique", lambda: True),
    ]
    return {name: read() for bit, (name, read) in enumerate(readers) if given >> bit & 1}


def _float(choices: Choices) -> float:
    """One that matters, or one of any bits."""
    chosen = choices.number()
    if chosen < len(_FLOATS):
        return _FLOATS[chosen]
    found: float = struct.unpack("<d", choices.number(8).to_bytes(8, "little"))[0]
    return found


def _check_names(
    run: Run, chunks: list[Chunk], num_names: int, prompt: str, options: dict[str, Any]
) -> None:
    names = [name for chunk in chunks for name in chunk.names]
    characters = set(run.vocabulary.characters)
    assert set(prompt) <= characters
    are_fewer = options.get("novel") or options.get("unique")
    assert len(names) <= num_names if are_fewer else len(names) == num_names
    longest = max([len(prompt), *(2 * len(name) for name in run.training_names)])
    for name in names:
        assert name.startswith(prompt)
        assert 1 <= len(name) <= options.get("max_length", longest)
        assert set(name) <= characters
    for chunk in chunks:
        assert len(chunk.log_probabilities) == len(chunk.names)
        # Rounded sums of logarithms of numbers up to 1.
        assert bool((chunk.log_probabilities <= 1e-6).all()), chunk
    assert not options.get("unique") or len(set(names)) == len(names)
    assert not options.get("novel") or not set(names) & run.training_names


WORDS = (
    *("emma", "anna maria", "zo\u00eb", "\u674e", "\U0001f600", "e\u0308", "\n", "\0", "\x1b[2J"),
    *("\u202e", "\ud800", "z" * 20, "a" * 40),
)
_PROMPTS = (
    b"",
    b"a",
    b"em",
    b"zo\xc3\xab",
    b"anna maria",
    b"\xff",
    b"\x1b[2J\n",
    b"q\0",
    b"a" * 40,
)
SEEDS = [
    # The model, how many names, which options are given, then these, then the prompt.
    *(b"%c\2\1\0" % model + prompt for model in range(4) for prompt in _PROMPTS[:4]),
    *(b"%c\1\7\0\x0c\2" % (index % 4) + prompt for index, prompt in enumerate(_PROMPTS)),
    *(b"%c\4\xfd\0\1\3\2\2" % model + b"a" for model in range(4)),
    *(b"%c\1\x3f\0\x08\0\1\1\0" % model for model in range(4)),
    b"\1\1\4\xff" + struct.pack("<d", float("nan")) + b"a",
    b"\1\1\5\0\xff" + struct.pack("<d", 5e-324) + b"mi",
]

if __name__ == "__main__":
    fuzz(check, SEEDS, WORDS)
