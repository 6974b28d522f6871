"""Runs a sweep from Python, as `conclugen sweep run` does."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.api.sweep import Sweep, open_sweep
from sweeps.config import load_config

__all__ = ["run"]


def run(config: Mapping[str, Any] | str | Path, out: str | Path, *, address: str | None = None) -> Sweep:
    """Run a new sweep to its end, and open it.

    Call it in the main thread: Ctrl-C ends the sweep as on the command line, with everything saved.

    Args:
        config: the configuration as a mapping, whose relative paths count from the working directory; or the path of a
            YAML file.
        out: the sweep folder; must be new or empty.
        address: Ray cluster to run on. None for the one that RAY_ADDRESS names, or else a new one on this machine.

    Raises:
        sweeps.config.ConfigError: the configuration is refused; ``problems`` lists every problem, and nothing is
            written.
        sweeps.actions.sweep_run.SweepFailedError: the sweep stopped early.
        KeyboardInterrupt: the sweep was interrupted; `conclugen sweep resume` goes on.
    """
    from sweeps.estimate.refusals import LATER

    checked = load_config(config if isinstance(config, Mapping) else Path(config), later=LATER)
    from sweeps.actions.run import launch
    from sweeps.interrupts import Interrupts

    with _signals_restored():
        launch(checked, Path(out), Interrupts(f"go on with: conclugen sweep resume {out}"), address)
    return open_sweep(out)


@contextmanager
def _signals_restored() -> Iterator[None]:
    """Give a notebook its own handlers back, after a sweep has had the signals."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: it was not installed from Python
                signal.signal(number, handler)
