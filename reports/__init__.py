"""Tables of what sweeps found. Reads ledgers and nothing else; loads neither torch nor Ray."""

from reports.ablation import Ablation, ReportError, ablation
from reports.render import terminal_table, write_tables

__all__ = ["Ablation", "ReportError", "ablation", "terminal_table", "write_tables"]
