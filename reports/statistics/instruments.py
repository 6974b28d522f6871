"""Whether a conclusion depends on the instrument: the effects of the losses as each instrument reads them.

A representation is read off labelled data by the sweep's probe, and where the configuration asks for it by others, too
(``probe.also``). An effect whose sign differs between them is as much about the instrument as about the loss.
"""

from collections.abc import Sequence

import pandas as pd

from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns
from reports.statistics.factorial import factorial
from sweeps.ledger import Record

__all__ = ["COLUMNS", "instrument_effects", "opposed", "settled"]

COLUMNS = (
    "dataset",
    "metric",
    "quantity",
    "kind",
    "instrument",
    "value",
    "ci_low",
    "ci_high",
    "n_seeds",
    "same_sign",
)
_ROUNDING = 1e-9  # a value nearer to 0 has no sign
_EFFECT = ["dataset", "metric", "quantity", "kind"]


def instrument_effects(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per effect of a loss and instrument, where there are several instruments.

    ``dataset`` is the column of the ablation table that the sweep's probe reads; the other instruments read the same
    heads, at the same label budget. ``same_sign`` says whether all instruments give the effect one sign.

    Args:
        ledgers: of one or more sweeps.
    """
    kinds = dict[str, str]()
    for records in ledgers:
        kind = latest_config(records)["probe"]["kind"] if len(latest_config(records)["probe"]["also"]) else ""
        kinds |= {name: column.instrument or kind for name, column in planned_columns(records).items()}
    frame = factorial(ledgers)
    columns = [PlannedColumn.named(name) for name in frame["dataset"]]
    frame = frame.assign(
        instrument=[kinds[name] for name in frame["dataset"]],
        dataset=[column._replace(instrument="").name for column in columns],
    )
    frame = frame[frame["instrument"] != ""]
    effects = frame.groupby(_EFFECT, sort=False)["value"]
    frame = frame.assign(same_sign=(effects.transform("max") <= _ROUNDING) | (effects.transform("min") >= -_ROUNDING))
    order = {name: place for place, name in enumerate(dict.fromkeys(frame["dataset"]))}
    return frame.sort_values("dataset", key=lambda names: names.map(order), kind="stable")[list(COLUMNS)]


def opposed(frame: pd.DataFrame, metric: str) -> list[str]:
    """Return a sentence for each effect on ``metric`` whose sign differs between instruments.

    Args:
        frame: from :func:`instrument_effects`.
        metric: the one to tell of.
    """
    sentences = []
    rows = frame[(frame["metric"] == metric) & ~frame["same_sign"].astype(bool)]
    for (dataset, _, quantity, kind), read in rows.groupby(_EFFECT, sort=False):
        values = ", ".join(
            f"{row['value']:+.3f} by {row['instrument']}"
            + ("" if settled(row["ci_low"], row["ci_high"]) else " (may be 0)")
            for row in read.to_dict("records")
        ).replace("-", "−")
        sentences.append(f"{dataset}, {kind} {quantity}: {values}.")
    return sentences


def settled(low: float, high: float) -> bool:
    """Whether an interval leaves 0 out; one that does not exist leaves nothing out."""
    return low > 0 or high < 0
