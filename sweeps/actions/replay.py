"""Replay: runs a finished job again from its record alone, to check that it gives the same numbers.

A replay runs in this process, without Ray: a record must not depend on the slot or machine that ran the job.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conclugen.counts import counted
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
    """One recorded value beside the replayed one: a number, or the reason of a failure."""

    what: str
    """The name of the value."""
    recorded: float | str | None
    replayed: float | str | None

    @property
    def equal(self) -> bool:
        """Whether both values are the same, up to rounding."""
        if not (isinstance(self.recorded, int | float) and isinstance(self.replayed, int | float)):
            return self.recorded == self.replayed
        return math.isclose(self.recorded, self.replayed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def replay(folder: SweepFolder, key: str) -> list[Difference]:
    """Run a job again and return all its numbers beside the recorded ones; the sweep folder is only read.

    The replay computes in one process, with as many threads as the record names. It uses a GPU if the sweep would use
    one here. Several workers, or another kind of processor, add in another order and may give other numbers.

    Args:
        folder: the sweep folder.
        key: the job's key, such as ``search-Con-00003``.

    Raises:
        ConfigError: there is no such record, or the sweep's features have changed or are damaged.
        LedgerError: the record cannot be read.
    """
    record = next((record for record in Ledger(folder.ledger) if record.key == key), None)
    if record is None:
        raise ConfigError([f"--trial {key}: {folder.root} has no such record; {folder.ledger} has one file for each."])
    config = _config(folder, record)
    threads = torch.get_num_threads() if record.hardware is None else record.hardware.threads
    with tempfile.TemporaryDirectory() as path, computing(threads):
        scratch = SweepFolder(Path(path))
        scratch.prepare(config)
        device = torch.device("cuda" if on_gpus(config) else "cpu")
        values, final = run_again(TrialRunner(config, scratch, device), job_of(config, record), record)
    return list(_differences(record, values, final))


def _config(folder: SweepFolder, record: Record) -> SweepConfig:
    """Return the configuration of the job's record, with today's paths of its features and search space."""
    today = load_config(folder.config, written=True).model_dump(mode="json")
    paths: dict[str, Any] = {name: today[name] for name in ("features", "space")}
    downstream = set(record.config["features"]["downstream"])
    paths["features"]["downstream"] = {
        name: path for name, path in paths["features"]["downstream"].items() if name in downstream
    }
    config = SweepConfig.model_validate({**record.config, **paths})
    if (features := provenance(config)["features"]) != record.features:
        fingerprints = f"{dict(record.features)}, but now they are {features}"
        raise ConfigError([f"features: {record.key} was run on features with the fingerprints {fingerprints}."])
    sets = dict.fromkeys([config.features.pretrain, *config.features.downstream.values()])
    if damaged := [message for path in sets for message in damaged_shards(path)]:
        raise ConfigError(damaged)
    return config


def job_of(config: SweepConfig, record: Record) -> Job:
    """Return the job that ``record`` records."""
    arms = [arm for searched in config.arms.values() for arm in (searched, *config.confirmed_on(searched))]
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
        search=arm.search,
    )


def run_again(runner: TrialRunner, job: Job, record: Record) -> tuple[dict[int, float | None], Report]:
    """Run ``job`` as far as its record goes; return the objective at each probe by epoch, and the last report."""
    reports: list[Report] = []

    def report(progress: Report) -> bool:
        reports.append(progress)
        return not (record.state == "pruned" and progress.epochs >= record.epochs)

    try:
        final = runner.run(job, report)
    except Exception as error:  # a failed job is expected to fail again, and its reason is compared too
        last = reports[-1] if reports else Report(epochs=0)
        final = replace(last, state="failed", reason=reason_of(error, job))
    last = reports[-1] if final is None else final
    return {probe.epochs: probe.value for probe in [*reports, last]}, last


def _differences(record: Record, values: dict[int, float | None], final: Report) -> Iterator[Difference]:
    if "failed" in (record.state, final.state):
        yield Difference("failure", record.reason or None, final.reason or None)
    yield Difference("epochs", record.epochs, final.epochs)
    for epochs, value in record.history:
        yield Difference(f"objective after {counted(epochs, 'epoch')}", value, values.get(epochs))
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
