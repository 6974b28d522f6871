"""Runs one job in this process, from its hyperparameters to its scores, without Ray."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.trial.head_file import load_head
    from sweeps.trial.runner import TrialRunner

__all__ = ["TrialRunner", "load_head"]


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that `sweeps.trial.hardware` loads no scikit-learn."""
    if name == "TrialRunner":
        from sweeps.trial.runner import TrialRunner

        return TrialRunner
    if name == "load_head":
        from sweeps.trial.head_file import load_head

        return load_head
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
