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
    names = {path.stem for path in resource_path("configs").glob("*.yaml")}
    return sorted(names - {"reference"})


def resolve_preset(name: str) -> Path:
    """The file of a preset; a UsageError if there is none of that name."""
    names = preset_names()
    if name not in names:
        near = nearest(name, names)
        hint = f"did you mean `{near}`? " if near else ""
        hint += f"the presets are {', '.join(names)}"
        raise UsageError(f"unknown preset `{printable(name)}`", hint=hint)
    return resource_path("configs", f"{name}.yaml")
