"""Tables of what sweeps found. Reads ledgers and nothing else; loads neither torch nor Ray."""

from reports.ablation import Ablation, ReportError, ablation
from reports.confusion import confusion
from reports.ranking import ranking
from reports.render import terminal_table, write_tables

__all__ = ["Ablation", "ReportError", "ablation", "confusion", "ranking", "terminal_table", "write_tables"]
