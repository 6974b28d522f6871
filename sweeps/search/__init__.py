"""What runs next: the only user of Optuna."""

from sweeps.search.search import Search

__all__ = ["Search"]
