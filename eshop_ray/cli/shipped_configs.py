"""Configs that come with the package, which a command line may give by their name."""

from pathlib import Path

from eshop_ray.errors import UserError, find_nearest

FOLDER = Path(__file__).parents[1] / "configs"


def list_configs() -> list[str]:
    """Return the names of the shipped configs, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def is_setting(word: str) -> bool:
    """Return whether a word in the place of CONFIG is `section.field=value`."""
    return "=" in word and not Path(word).is_file()


def find_config(config: str) -> Path:
    """Return the file that CONFIG of a command line means: a path, or the name of a shipped config.

    A file or a path wins over a name; a file that does not exist is left to the reader of configs to complain of.

    Raises:
        UserError: if this is a setting, or looks like the name of a shipped config and is none.
    """
    if is_setting(config):
        raise UserError(f"CONFIG is missing before {config}; give a YAML file, or one of {', '.join(list_configs())}")
    path = Path(config)
    if path.suffix or path.name != config or path.is_file():
        return path
    names = list_configs()
    if config not in names:
        nearest = find_nearest(config, names)
        raise UserError(
            f"config {config}: no such file, and no config of that name comes with the package; did you mean "
            f"`{nearest}`? Give a YAML file, or one of {', '.join(names)}"
        )
    return FOLDER / f"{config}.yaml"
