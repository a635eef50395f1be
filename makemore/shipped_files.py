"""Where the files shipped with makemore are found."""

from pathlib import Path

from makemore.errors import UsageError
from makemore.messages import nearest, printable


def resource_path(*parts: str) -> Path:
    """The path of a file shipped with makemore: inside a plain install, else in the repository."""
    package = Path(__file__).parent
    shipped = package / "resources"
    return (shipped if shipped.is_dir() else package.parent).joinpath(*parts)


def preset_names() -> list[str]:
    """The presets, and after them those in folders: `lectures/part3-batchnorm`."""
    home = resource_path("configs")
    names = {path.relative_to(home).with_suffix("").as_posix() for path in home.rglob("*.yaml")}
    return sorted(names - {"reference"}, key=lambda name: ("/" in name, name))


def resolve_preset(name: str) -> Path:
    """The file of a preset; a UsageError if there is none of that name."""
    # Only a name of the list is made a path: `../x` and `/x` are no presets.
    if name not in preset_names():
        raise UsageError(f"unknown preset `{printable(name)}`", hint=preset_hint(name))
    return resource_path("configs", f"{name}.yaml")


def preset_hint(name: str) -> str:
    """Which preset was probably meant by `name`, and which there are, folders as a whole."""
    names = preset_names()
    # A preset in a folder may have been named without it.
    meant = {known.rpartition("/")[2]: known for known in reversed(names)}
    near = nearest(name.removesuffix(".yaml"), [*names, *meant])
    hint = f"did you mean `{meant.get(near, near)}`? " if near else ""
    listed = dict.fromkeys(f"{known.split('/')[0]}/*" if "/" in known else known for known in names)
    return f"{hint}the presets are {', '.join(listed)}"
