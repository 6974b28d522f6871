"""A sweep's folder as an object: its trials, tables, effects and best configurations as pandas frames.

Everything is read from the folder, and nothing is written. A running sweep may be opened; each call sees the records
that are there then.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports import EQUIVALENT
from reports.statistics.ablation import ablation
from reports.statistics.factorial import factorial
from reports.statistics.findings import Finding
from reports.statistics.inference import Scores, confirmed_scores
from reports.statistics.intervals import intervals
from reports.statistics.pairs import pairs
from sweeps.api.best import Best, best_of, why_none
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Metric, Record, Stage

if TYPE_CHECKING:
    from conclugen.model import ConCluGenHead

__all__ = ["Sweep", "open_sweep"]


def open_sweep(folder: str | Path) -> "Sweep":
    """Open a sweep's folder, running or finished.

    Raises:
        sweeps.config.ConfigError: the folder holds no sweep, or its configuration cannot be read.
    """
    return Sweep(Path(folder))


class Sweep:
    """A sweep, by its folder.

    Methods that read records raise `sweeps.ledger.LedgerError` if a record cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._layout = SweepFolder(folder)
        if not self._layout.config.is_file():
            raise ConfigError([f"{folder}: holds no sweep (config.yaml is missing); give the --out of a sweep run."])
        self._seen: tuple[int, list[Record]] | None = None

    @property
    def folder(self) -> Path:
        """The sweep folder."""
        return self._layout.root

    @property
    def config(self) -> SweepConfig:
        """The configuration, with every default written out."""
        return load_config(self._layout.config, alone=True, written=True)

    def records(self) -> list[Record]:
        """Return the records of all finished jobs, as `sweeps.ledger` describes them."""
        changed = self._layout.ledger.stat().st_mtime_ns  # a record is a file that appears whole
        if self._seen is None or self._seen[0] != changed:
            self._seen = (changed, list(Ledger(self._layout.ledger)))
        return list(self._seen[1])

    def status(self) -> pd.DataFrame:
        """Return a row per search, then one for confirmations: planned, running and finished jobs, best objective.

        ``improvement`` and ``improvement_high`` say what one more trial of a search may gain, as `sweep status` does.
        """
        from sweeps.folder.early_ends import read_early_ends
        from sweeps.folder.lock import running
        from sweeps.search.forecasts import forecasts
        from sweeps.search.progress import from_records

        config, records = self.config, self.records()
        unfinished = self._layout.running_keys() if running(self._layout) else []
        rows = from_records(
            config, records, unfinished, read_early_ends(self._layout, config), forecasts(config, records)
        )
        return pd.DataFrame(rows).set_index("name").drop(columns="reasons")

    def trials(self) -> pd.DataFrame:
        """Return a row per search trial: how it ended, its objective, hyperparameters and validation scores.

        Hyperparameters have their own names as columns. A score's column is split/set@budget/metric, such as
        ``val/digits@5/weighted_f1``. Values that a trial does not have are missing.
        """
        return _frame(self.records(), "search")

    def finalists(self) -> pd.DataFrame:
        """Return a row per run of a finalist, with the columns of :meth:`trials`."""
        return _frame(self.records(), "finalist")

    def confirmations(self) -> pd.DataFrame:
        """Return a row per confirmation run, with the columns of :meth:`trials` and scores on test, too."""
        return _frame(self.records(), "confirm")

    def table(self, metric: str = "weighted_f1") -> pd.DataFrame:
        """Return the mean test score of each method (rows) in each column of the ablation table.

        Columns are sets and their label budgets, such as ``digits@5``. Results that are missing are NaN.

        Raises:
            ValueError: no confirmed method has the metric.
        """
        frame = ablation([self._finished()]).frame
        if metric not in set(frame["metric"]):
            raise ValueError(f"{metric!r} is no metric of this sweep; it has {', '.join(dict.fromkeys(frame.metric))}.")
        wide = frame[frame["metric"] == metric].pivot_table("mean", "method", "dataset", sort=False, dropna=False)
        return wide.rename_axis(columns=None)

    def intervals(self) -> pd.DataFrame:
        """Return the 95 % interval of each score; columns as in :func:`reports.statistics.intervals.intervals`."""
        return intervals(self._scores())

    def pairs(self, equivalent: float = EQUIVALENT) -> pd.DataFrame:
        """Return the paired tests of every two methods; see :func:`reports.statistics.pairs.pairs`.

        Args:
            equivalent: the largest difference that does not matter.
        """
        return pairs(self._scores(), equivalent)

    def effects(self) -> pd.DataFrame:
        """Return what each loss contributes; see :func:`reports.statistics.factorial.factorial`."""
        return factorial(self._scores())

    def findings(self, equivalent: float = EQUIVALENT) -> list[Finding]:
        """Return what the report finds, as sentences with their numbers, the most important first.

        Args:
            equivalent: the largest difference that does not matter.
        """
        from reports.report import report

        content = report([self._finished()], [self.folder], "", equivalent=equivalent)
        return [*content.findings, *content.further]

    def differences(self, other: "Sweep") -> pd.DataFrame:
        """Return what differs from another sweep; see :func:`sweeps.api.differences.differences`."""
        from sweeps.api.differences import differences

        return differences(self, other)

    def best(self, method: str) -> Best:
        """Return the configuration that won a method's search.

        Args:
            method: the method's name in records, such as ``ConClu``.

        Raises:
            ValueError: the method is not searched, or no trial has run its whole budget.
        """
        config = self.config
        if method not in config.arms:
            raise ValueError(f"{method!r} is not searched here; searched are {', '.join(config.arms)}.")
        best = best_of(self.records(), method, config.load_space(), config.search.finalists)
        if best is None:
            raise ValueError(f"{method}: {why_none(self.records(), method)}")
        return best

    def head(self, method: str) -> "ConCluGenHead":
        """Return the kept head of a method's best confirmation run, from raw features to representations; loads torch.

        Raises:
            sweeps.config.ConfigError: the sweep keeps no such head, or it is damaged.
        """
        from sweeps.actions.export import load_best

        return load_best(self._layout, method)

    def watch(self, every: float = 5.0) -> None:
        """Show progress and the best objective so far in a notebook, until the sweep ends or the cell is interrupted.

        Args:
            every: seconds between two looks at the folder.

        Raises:
            ModuleNotFoundError: this is no notebook (IPython is missing); use `conclugen sweep status` there.
        """
        from sweeps.api.watching import watch

        watch(self, every)

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the sweep."""
        heading = f"<strong>Sweep {self.config.name}</strong>"
        return heading + self.status().to_html(na_rep="", float_format="{:.3f}".format)

    def __repr__(self) -> str:
        return f"sweeps.open({str(self.folder)!r})"

    def _scores(self) -> list[Scores]:
        return confirmed_scores([self._finished()])

    def _finished(self) -> list[Record]:
        """Return the records.

        Raises:
            ValueError: there is none yet.
        """
        records = self.records()
        if not records:
            raise ValueError(f"{self.folder}: has no finished job yet.")
        return records


def _frame(records: Sequence[Record], stage: Stage) -> pd.DataFrame:
    rows = [_row(record) for record in sorted(records, key=lambda record: record.started) if record.stage == stage]
    return pd.DataFrame(rows, columns=None if rows else list(_FIELDS))


_FIELDS = ("key", "method", "number", "seed", "state", "value", "origin", "reason", "epochs", "started", "ended")


def _row(record: Record) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in _FIELDS}
    seconds = {f"seconds/{name}": value for name, value in record.seconds.items()}
    scores = {_score_name(metric): metric.value for metric in record.metrics}
    return {**fields, **record.hyperparameters, **scores, **seconds}


def _score_name(metric: Metric) -> str:
    place = f"{metric.dataset}@{metric.labels}" if metric.labels else metric.dataset
    instrument = f" ({metric.instrument})" if metric.instrument else ""
    return f"{metric.split}/{place}{instrument}/{metric.metric}"
