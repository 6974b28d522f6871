"""What has finished: records, and the folder that they lie in. All that `reports` may read of a sweep."""

from sweeps.ledger.records import (
    BASELINES,
    LOSSES,
    SUMMARY_METRICS,
    TUNED_BASELINES,
    Hardware,
    LedgerError,
    Metric,
    Predictions,
    Record,
    ScoredSplit,
    Stage,
    State,
    instruments,
    label_budgets,
    method_of,
    variant,
    with_former_settings,
)
from sweeps.ledger.store import Ledger

__all__ = [
    "BASELINES",
    "LOSSES",
    "SUMMARY_METRICS",
    "TUNED_BASELINES",
    "Hardware",
    "Ledger",
    "LedgerError",
    "Metric",
    "Predictions",
    "Record",
    "ScoredSplit",
    "Stage",
    "State",
    "instruments",
    "label_budgets",
    "method_of",
    "variant",
    "with_former_settings",
]
