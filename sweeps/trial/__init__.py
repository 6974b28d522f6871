"""One job in this process, from its configuration to its scores; knows no Ray."""

from sweeps.trial.head_file import load_head
from sweeps.trial.runner import TrialRunner

__all__ = ["TrialRunner", "load_head"]
