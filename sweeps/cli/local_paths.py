"""Paths of this machine among a command's arguments: ``~`` and variables are replaced, addresses are refused.

A shell replaces neither in ``--out=~/runs`` nor in quotes. Only feature sets may be remote: without the refusal,
`--out s3://bucket/run` makes a local folder named `s3:`.
"""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from conclugen.settings.paths import PathError, expanded
from sweeps.cli.console import bad_input
from sweeps.config import ConfigError

__all__ = ["with_local_paths"]

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(.+)")  # a path has lost one of the address's two slashes


def with_local_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``command``, which then gets expanded paths, and refuses those that are none with every problem."""

    @wraps(command)
    def checked(**arguments: Any) -> Any:
        problems: list[str] = []
        local = {name: _local(value, problems) for name, value in arguments.items()}
        with bad_input():
            if problems:
                raise ConfigError(problems)
        return command(**local)

    return checked


def _local(value: Any, problems: list[str]) -> Any:
    """Return an argument with its paths expanded; add a message to ``problems`` for each that is no path here."""
    if isinstance(value, list):
        return [_local(entry, problems) for entry in value]
    if not isinstance(value, Path):
        return value
    if (match := _ADDRESS.fullmatch(str(value))) is not None:
        problems.append(
            f"{match[1]}://{match[2]}: is an address, and only feature sets may have one; give a path on this machine."
        )
        return value
    try:
        return Path(expanded(str(value)))
    except PathError as error:
        problems.append(f"{value}: {error}")
        return value
