# mypy: untyped-calls-exclude=IPython
"""The live view of a sweep in a notebook: its progress, and the objective of each trial with the best so far.

The chart is an SVG image, as in the report's files: every notebook shows it, without a network.
"""

import time
from typing import TYPE_CHECKING

from reports.figures.search import search_history
from reports.figures.style import svg
from reports.statistics.searches import trial_history
from sweeps.folder.layout import SweepFolder
from sweeps.folder.lock import running

if TYPE_CHECKING:
    from sweeps.api.sweep import Sweep

__all__ = ["view", "watch"]


def watch(sweep: "Sweep", every: float) -> None:
    """Show a sweep, and show it anew until no process runs it or the cell is interrupted.

    Args:
        sweep: the sweep.
        every: seconds between two looks at its folder.
    """
    from IPython.display import HTML, display

    shown = display(HTML(view(sweep)), display_id=True)
    try:
        while running(SweepFolder(sweep.folder)):
            time.sleep(every)
            shown.update(HTML(view(sweep)))
    except KeyboardInterrupt:  # the notebook's stop button
        return


def view(sweep: "Sweep") -> str:
    """Return progress and curves of a sweep as HTML; a sweep without a finished trial has no curve."""
    history = trial_history([records] if (records := sweep.records()) else [])
    chart = "" if history.empty else svg(search_history(history))
    return sweep._repr_html_() + chart[chart.find("<svg") :]
