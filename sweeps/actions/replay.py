"""Replaying: one finished attempt once more, from nothing but its record, to see that it comes to the same.

In this process, without Ray: what a record says must not depend on which slot of which machine ran it.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conclugen.features.manifest import damaged_shards
from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.folder.comparability import provenance
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import Ledger, Metric, Record
from sweeps.trial import TrialRunner
from sweeps.trial.failures import reason_of
from sweeps.trial.hardware import computing, on_gpus

__all__ = ["Difference", "job_of", "replay", "run_again"]

_TOLERANCE = 1e-6  # of scores and losses


@dataclass(frozen=True)
class Difference:
    """What the record has and the replay should have: a number, or the reason of a failure."""

    what: str
    recorded: float | str | None
    replayed: float | str | None

    @property
    def equal(self) -> bool:
        """Whether the two are the same, up to rounding."""
        if not (isinstance(self.recorded, int | float) and isinstance(self.replayed, int | float)):
            return self.recorded == self.replayed
        return math.isclose(self.recorded, self.replayed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def replay(folder: SweepFolder, key: str) -> list[Difference]:
    """Run an attempt again and return all its numbers beside the recorded ones; the sweep's folder is only read.

    On a CPU, with as many threads as it had. What several workers did together, or another kind of processor, adds in
    another order, and may come to other numbers.

    Args:
        folder: the sweep's.
        key: of the attempt, such as ``search-Con-00003``.

    Raises:
        ConfigError: there is no such record, or its features are not what they were, or damaged.
        LedgerError: the record cannot be read.
    """
    record = next((record for record in Ledger(folder.ledger) if record.key == key), None)
    if record is None:
        raise ConfigError([f"--trial {key}: is no record of {folder.root}; the files in {folder.ledger} are."])
    config = _config(folder, record)
    threads = torch.get_num_threads() if record.hardware is None else record.hardware.threads
    with tempfile.TemporaryDirectory() as scratch, computing(threads):
        own = SweepFolder(Path(scratch))
        own.prepare(config)
        device = torch.device("cuda" if on_gpus(config) else "cpu")
        values, final = run_again(TrialRunner(config, own, device), job_of(config, record), record)
    return list(_differences(record, values, final))


def _config(folder: SweepFolder, record: Record) -> SweepConfig:
    """The sweep as it was when the attempt ran, with its features and space where they are now."""
    now = load_config(folder.config, written=True).model_dump(mode="json")
    places: dict[str, Any] = {name: now[name] for name in ("features", "space")}
    known = set(record.config["features"]["downstream"])
    places["features"]["downstream"] = {n: f for n, f in places["features"]["downstream"].items() if n in known}
    config = SweepConfig.model_validate({**record.config, **places})
    if (features := provenance(config)["features"]) != record.features:
        raise ConfigError([f"features: {record.key} was run on {dict(record.features)}, and these are {features}."])
    sets = dict.fromkeys([config.features.pretrain, *config.features.downstream.values()])
    if damaged := [message for folder in sets for message in damaged_shards(folder)]:
        raise ConfigError(damaged)
    return config


def job_of(config: SweepConfig, record: Record) -> Job:
    """Return the job that ``record`` is the end of."""
    arms = [arm for own in config.arms.values() for arm in (own, *config.confirmed_on(own))]
    arms += config.untuned
    arm = next(arm for arm in arms if arm.name == record.method)
    return Job(
        stage=record.stage,
        method=arm.method,
        number=record.number,
        seed=record.seed,
        hyperparameters=record.hyperparameters,
        modalities=arm.modalities,
        labels=arm.labels,
    )


def run_again(runner: TrialRunner, job: Job, record: Record) -> tuple[dict[int, float | None], Report]:
    """Run ``job`` as far as its record goes; return the objective at each probe (by epoch), and the last report."""
    reports: list[Report] = []

    def report(progress: Report) -> bool:
        reports.append(progress)
        return not (record.state == "pruned" and progress.epochs >= record.epochs)

    try:
        final = runner.run(job, report)
    except Exception as error:  # what failed is expected to fail again, and is compared as well
        last = reports[-1] if reports else Report(epochs=0)
        final = replace(last, state="failed", reason=reason_of(error, job))
    last = reports[-1] if final is None else final
    return {past.epochs: past.value for past in [*reports, last]}, last


def _differences(record: Record, values: dict[int, float | None], final: Report) -> Iterator[Difference]:
    if "failed" in (record.state, final.state):
        yield Difference("failure", record.reason or None, final.reason or None)
    yield Difference("epochs", record.epochs, final.epochs)
    for epochs, value in record.history:
        yield Difference(f"objective after {epochs} epochs", value, values.get(epochs))
    yield Difference("objective", record.value, final.value)
    for name, loss in record.losses.items():
        yield Difference(f"loss {name}", loss, final.losses.get(name))
    replayed = {_name(metric): metric.value for metric in final.metrics}
    for metric in record.metrics:
        yield Difference(_name(metric), metric.value, replayed.get(_name(metric)))


def _name(metric: Metric) -> str:
    labels = f"@{metric.labels}" if metric.labels else ""
    instrument = f" ({metric.instrument})" if metric.instrument else ""
    return f"{metric.dataset}{labels}{instrument} {metric.split} {metric.metric}"
