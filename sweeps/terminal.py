"""Sends a sweep's output to its log, and messages for the user to the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["log", "output_to_log"]


def log(message: str) -> None:
    """Print ``message`` to standard error, which is the sweep's log in every process of a sweep."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def output_to_log(path: Path) -> Iterator["Console"]:
    """Send everything that this process and its children print to the file ``path``.

    Yields:
        A console on the former standard output.
    """
    from rich.console import Console  # workers only log, and need no console

    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    encoding, errors = sys.stdout.encoding, sys.stdout.errors  # the terminal may not be of UTF-8
    out = os.dup(1)
    err = os.dup(2)
    try:
        with path.open("ab") as file, os.fdopen(out, "w", encoding=encoding, errors=errors) as terminal:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            try:
                yield Console(file=terminal)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os.dup2(out, 1)
                os.dup2(err, 2)
    finally:
        os.close(err)
