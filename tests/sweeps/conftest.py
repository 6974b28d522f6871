"""Fixtures that several tests of `sweeps` share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from sweeps.config import load_config


@pytest.fixture
def parse_run(write_config: Callable[..., Path]) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Return a function that parses the arguments of ``conclugen sweep run`` as the command line does, without a run.

    Wrong arguments raise, and so do settings that fit no configuration.
    """
    from sweeps.cli import app

    def parse(arguments: Sequence[str]) -> dict[str, Any]:
        sweep, run, *rest = arguments
        root: Any = typer.main.get_command(app)
        parsed = root.commands[sweep].commands[run].make_context("conclugen sweep run", rest).params
        load_config(write_config(), parsed["overrides"] or ())
        return dict(parsed)

    return parse
