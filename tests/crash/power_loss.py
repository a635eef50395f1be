"""The disks that a loss of power leaves: of what was not synced, any part may be gone.

A file's bytes are safe once the file was synced, a name once its directory was. Until then a name
stands for any of the files that it stood for since, or for none, and a file holds any of what it
held since, perhaps in part, with zeros or older bytes in the blocks that were not written yet.
Nothing is assumed about the order, neither between files nor between a file and its name.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.disk_calls import Call, intercepted
from tests.crash.stories import Ending, Files, State, Story, Witness, checkpoints, read, write


@dataclass
class _File:
    """What it held since it was synced, that included; the newest last."""

    contents: list[bytes] = field(default_factory=lambda: [b""])


@dataclass
class _Directory:
    """Name -> what it stood for since the directory was synced, that included; the newest last."""

    names: dict[str, "list[_File | _Directory | None]"] = field(default_factory=dict)

    def now(self, name: str) -> "_File | _Directory | None":
        return self.names.get(name, [None])[-1]

    def set(self, name: str, node: "_File | _Directory | None") -> None:
        self.names.setdefault(name, [None]).append(node)


@dataclass(frozen=True)
class _Survival:
    """What becomes of that which was not synced."""

    name: Callable[[list[_File | _Directory | None]], _File | _Directory | None]
    content: Callable[[list[bytes]], bytes]


class Disk:
    """Follows the calls, and knows what of the tree at `place` is safe."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._root = _Directory()
        self._open: dict[int, _File] = {}
        for name, content in sorted(read(place).items()):
            self._parent(place / name).names[Path(name).name] = [
                _Directory() if content is None else _File([content])
            ]

    def follow(self, call: Call) -> object:
        """Perform a call of `makemore.disk`."""
        result = call.perform()
        parent, name = self._parent(call.path), call.path.name
        match call.name:
            case "make_directory":
                parent.set(name, _Directory())
            case "create" | "open_to_append":
                if parent.now(name) is None:
                    parent.set(name, _File())
                node = parent.now(name)
                assert isinstance(node, _File)
                self._open[result] = node
            case "write" | "truncate":
                self._open[call.arguments[0]].contents.append(call.path.read_bytes())
            case "sync":
                self._sync(call)
            case "close":
                self._open.pop(call.arguments[0], None)
            case "replace":
                source = call.arguments[0]
                parent.set(name, self._parent(source).now(source.name))
                self._parent(source).set(source.name, None)
            case "unlink":
                parent.set(name, None)
        return result

    def remains(self, survival: _Survival) -> Files:
        found: Files = {}

        def visit(directory: _Directory, prefix: str) -> None:
            for name, nodes in directory.names.items():
                node = survival.name(nodes)
                if isinstance(node, _Directory):
                    found[prefix + name] = None
                    visit(node, f"{prefix}{name}/")
                elif node is not None:
                    found[prefix + name] = survival.content(node.contents)

        visit(self._root, "")
        return found

    def _sync(self, call: Call) -> None:
        if (file := self._open.get(call.arguments[0])) is not None:
            del file.contents[:-1]
            return
        directory = self._parent(call.path / "any")
        now = {name: directory.now(name) for name in directory.names}
        directory.names = {name: [node] for name, node in now.items() if node is not None}

    def _parent(self, path: Path) -> _Directory:
        directory = self._root
        for name in path.relative_to(self._place).parts[:-1]:
            node = directory.now(name)
            assert isinstance(node, _Directory)
            directory = node
        return directory


def power_losses(story: Story, place: Path, num_random: int = 2, seed: int = 0) -> list[State]:
    """Disks that a loss of power in the story could leave: after each call the worst cases, and as
    many at random."""
    write(story.before, place)
    witness = Witness(place)
    disk = Disk(place)
    chance = random.Random(seed)
    states: list[State] = []

    def follow(call: Call) -> object:
        result = disk.follow(call)
        survivals = {**_WORST, **{f"chance {i}": _by_chance(chance) for i in range(num_random)}}
        for what, survival in survivals.items():
            files = disk.remains(survival)
            states.append(State(f"{call}; {what}", files, witness.promise))
        return result

    with intercepted(follow):
        story.command(place / "run", witness.report)
    return distinct(states)


def distinct(states: list[State]) -> list[State]:
    """Of those with the same files, the last one, which is promised the most."""
    by_files = {tuple(sorted(state.files.items())): state for state in states}
    return list(by_files.values())


def assert_safe(ending: Ending, states: list[State]) -> None:
    """In each state, `best` and `last` are versions of theirs, and none that was at rest when
    something was reported since is lost."""
    for state in states:
        try:
            ages = ending.ages(checkpoints(state.files))
            names = ("best", "last")
            promised = ending.ages(state.promise.checkpoints)
            for name, age, least in zip(names, ages, promised, strict=True):
                assert age >= least, f"{name} is lost"
        except BaseException as error:
            error.add_note(f"power lost after {state.after}")
            raise


def _oldest(contents: list[bytes]) -> bytes:
    return contents[0]


def _newest(contents: list[bytes]) -> bytes:
    return contents[-1]


def _num_safe(contents: list[bytes]) -> int:
    """How many bytes at the beginning were never in doubt."""
    shortest = min(contents, key=len)
    if all(content.startswith(shortest) for content in contents):
        return len(shortest)
    columns = enumerate(zip(*contents, strict=False))
    return next((i for i, values in columns if len(set(values)) > 1), len(shortest))


def _zeros(contents: list[bytes]) -> bytes:
    """The size survives, the blocks do not."""
    safe, newest = _num_safe(contents), contents[-1]
    return newest[:safe] + bytes(len(newest) - safe)


def _cut(contents: list[bytes]) -> bytes:
    safe, newest = _num_safe(contents), contents[-1]
    return newest[: safe + (len(newest) - safe) // 2]


_WORST = {
    "nothing unsynced survives": _Survival(lambda nodes: nodes[0], _oldest),
    "names survive without data": _Survival(lambda nodes: nodes[-1], _oldest),
    "names survive with zeros for data": _Survival(lambda nodes: nodes[-1], _zeros),
    "names survive with half of the data": _Survival(lambda nodes: nodes[-1], _cut),
    "data survives without names": _Survival(lambda nodes: nodes[0], _newest),
}


def _by_chance(chance: random.Random) -> _Survival:
    def content(contents: list[bytes]) -> bytes:
        kept = chance.choice((_oldest, _newest, _zeros, _cut))(
            contents[: chance.randint(1, len(contents))]
        )
        if len(contents) > 1 and chance.random() < 0.25:
            # Of a file that was there before.
            safe = min(_num_safe(contents), len(kept))
            kept = kept[:safe] + chance.randbytes(len(kept) - safe)
        return kept

    return _Survival(chance.choice, content)
