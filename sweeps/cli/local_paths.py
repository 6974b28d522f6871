"""Refusal of addresses where a command takes a path of this machine.

Only feature sets may be remote. Without the refusal, `--out s3://bucket/run` makes a local folder named `s3:`.
"""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from sweeps.cli.console import bad_input
from sweeps.config import ConfigError

__all__ = ["with_local_paths"]

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(.+)")  # a path has lost one of the address's two slashes


def with_local_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``command``, which then refuses an address among its paths and names every one."""

    @wraps(command)
    def checked(**arguments: Any) -> Any:
        values = [value for given in arguments.values() for value in (given if isinstance(given, list) else [given])]
        addresses = [match for value in values if isinstance(value, Path) and (match := _ADDRESS.fullmatch(str(value)))]
        with bad_input():
            if addresses:
                raise ConfigError(
                    [
                        f"{match[1]}://{match[2]}: is an address, and only feature sets may have one; give a path on "
                        "this machine."
                        for match in addresses
                    ]
                )
        return command(**arguments)

    return checked
