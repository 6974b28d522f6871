"""Fixtures that several tests of the sweeper share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from sweeps.cli import app
from sweeps.config import load_config


@pytest.fixture
def parse_run(write_config: Callable[..., Path]) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Read the arguments of ``conclugen`` as the command line does, without running; refused arguments raise.

    They have to be of ``sweep run``, and what they set has to fit a configuration.
    """

    def parse(arguments: Sequence[str]) -> dict[str, Any]:
        sweep, run, *rest = arguments
        root: Any = typer.main.get_command(app)
        parsed = root.commands[sweep].commands[run].make_context("conclugen sweep run", rest).params
        load_config(write_config(), parsed["overrides"] or ())
        return dict(parsed)

    return parse
