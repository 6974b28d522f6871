"""Tables and figures of what sweeps found. Reads ledgers and nothing else; loads neither torch nor Ray.

`reports.report` makes and writes a whole report; loading it takes matplotlib along.
"""

from reports.ablation import Ablation, ReportError, ablation

__all__ = ["Ablation", "ReportError", "ablation"]
