"""Figures of a report, drawn with matplotlib from frames of numbers.

A figure depends on its numbers alone. While matplotlib loads, it reads the user's settings: an `MPLBACKEND` that a
notebook has set, or a `matplotlibrc` in the working directory. Either may stop it. So this package loads matplotlib
with its own defaults, before any module of the package does, and keeps its log from the user.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def _without_settings() -> Iterator[None]:
    """Make matplotlib's folder of defaults the working directory, where it looks for `matplotlibrc` first."""
    backend = os.environ.pop("MPLBACKEND", None)
    spec = find_spec("matplotlib")
    folder = os.open(".", os.O_RDONLY)
    try:
        if spec is not None and spec.origin is not None:
            os.chdir(Path(spec.origin).parent / "mpl-data")
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


if "matplotlib" not in sys.modules:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its warnings are about fonts and folders of the user
    with _without_settings():
        import matplotlib  # noqa: F401
