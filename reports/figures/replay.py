"""The figure of `conclugen search replay`: what each sampler misses after so many trials."""

import altair as alt
import pandas as pd

from reports.figures.style import PAGE_WIDTH, Drawing, panels_of, static_chart, unique

__all__ = ["replayed_regrets"]

_COLOURS = ("#E1003C", "#0096FF", "#777777", "#C38700", "#00782D", "#A50FD2", "#8796A5")
_PER_ROW = 3


def replayed_regrets(frame: pd.DataFrame) -> Drawing:
    """Draw mean regret against the number of trials, with its 95 % interval, in a panel for each sweep.

    Args:
        frame: columns sweep, strategy, trials, regret, low and high.
    """
    strategies = unique(frame["strategy"])
    base = alt.Chart().encode(
        x=alt.X("trials:Q", title="trials of each subset"),
        color=alt.Color("strategy:N", title=None).scale(domain=strategies, range=list(_COLOURS[: len(strategies)])),
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=12), size=1.2).encode(
        y=alt.Y("regret:Q", title="regret"),
        strokeDash=alt.StrokeDash("strategy:N", title=None).scale(domain=strategies),
    )
    bands = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
    panel = alt.layer(bands, lines).properties(width=PAGE_WIDTH / _PER_ROW - 50, height=90)
    sweeps = unique(frame["sweep"])
    notes = ["mean over subsets and replicates; band: 95 % interval over replicates"]
    return Drawing(None, static_chart(panels_of(panel, "sweep", sweeps), frame, [], _PER_ROW, notes))
