"""The effects of the losses by each instrument, to see whether a conclusion depends on the instrument.

The sweep's probe scores a representation on labelled data. If the configuration asks for it (``probe.also``), further
instruments score it, too. An effect whose sign differs between instruments is as much about the instrument as about the
loss.
"""

from collections.abc import Sequence

import pandas as pd

from reports.statistics.ablation import PlannedColumn, latest_config, planned_columns
from sweeps.ledger import Record

__all__ = ["COLUMNS", "instrument_effects"]

COLUMNS = (
    "dataset",
    "metric",
    "quantity",
    "kind",
    "instrument",
    "value",
    "low",
    "high",
    "p_holm",
    "n_seeds",
    "same_sign",
)
_ROUNDING = 1e-9  # a value nearer to 0 has no sign


def instrument_effects(ledgers: Sequence[Sequence[Record]], effects: pd.DataFrame) -> pd.DataFrame:
    """Return one row per effect of a loss and instrument, for sweeps with several instruments.

    ``dataset`` is the column of the ablation table for the sweep's probe. The other instruments score the same heads at
    the same label budget. ``same_sign`` says whether all instruments give the effect the same sign.

    Args:
        ledgers: records of one or more sweeps.
        effects: from :func:`reports.statistics.factorial.factorial`.
    """
    kinds = dict[str, str]()
    for records in ledgers:
        probe = latest_config(records)["probe"]
        kind = probe["kind"] if probe["also"] else ""
        kinds |= {name: column.instrument or kind for name, column in planned_columns(records).items()}
    columns = [PlannedColumn.named(name) for name in effects["dataset"]]
    frame = effects.assign(
        instrument=[kinds[name] for name in effects["dataset"]],
        dataset=[column._replace(instrument="").name for column in columns],
    )
    frame = frame[frame["instrument"] != ""]
    values = frame.groupby(["dataset", "metric", "quantity", "kind"], sort=False)["value"]
    frame = frame.assign(same_sign=(values.transform("max") <= _ROUNDING) | (values.transform("min") >= -_ROUNDING))
    order = {name: place for place, name in enumerate(dict.fromkeys(frame["dataset"]))}
    return frame.sort_values("dataset", key=lambda names: names.map(order), kind="stable")[list(COLUMNS)]
