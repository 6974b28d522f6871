"""What runs next: which trials, confirmations and baselines. The only user of Optuna in `sweeps`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.search.search import Search

__all__ = ["Search"]


def __getattr__(name: str) -> Any:
    """Load :class:`Search`, and Optuna with it, on first use: `sweeps.search.progress` needs neither."""
    if name == "Search":
        from sweeps.search.search import Search

        return Search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
