"""Where output goes: what Ray prints into the log, what the user reads onto the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

__all__ = ["output_to_log"]


@contextmanager
def output_to_log(log: Path) -> Iterator[Console]:
    """Send everything that this process and its children print to ``log``; yield a console on the old output."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = os.dup(1), os.dup(2)
    try:
        with log.open("ab") as file, os.fdopen(out, "w") as terminal:
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
