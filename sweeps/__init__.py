"""The sweeper: configuration, search, trials, execution on Ray, ledger, command line and Python interface.

For notebooks and scripts (:mod:`sweeps.api`)::

    import sweeps

    sweep = sweeps.open("runs/first")
    sweep.table("weighted_f1")

The names are loaded when they are used, so that `import sweeps` stays light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.api import Best, Sweep, run
    from sweeps.api import open_sweep as open  # noqa: A004  # used as sweeps.open

__all__ = ["Best", "Sweep", "open", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
    from sweeps import api

    return getattr(api, "open_sweep" if name == "open" else name)
