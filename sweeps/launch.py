"""Launching: everything between a valid configuration and a finished sweep in a folder.

Ray starts, works and stops with its output in the sweep's log file; the user sees the display only. A sweep that ends
early, however it ends, leaves its folder with every finished attempt in the ledger.
"""

import shutil
import time
from pathlib import Path

from sweeps.config import ConfigError, SweepConfig
from sweeps.ledger import LedgerError
from sweeps.live import Display, output_to_log
from sweeps.plan import SweepFolder

__all__ = ["SweepFailedError", "launch"]


class SweepFailedError(RuntimeError):
    """The engine stopped before the sweep was finished; the message says where to read why."""


def launch(config: SweepConfig, root: Path, address: str | None = None) -> None:
    """Run a new sweep in the folder ``root`` to its end.

    Args:
        config: the sweep.
        root: its folder; created, and must be empty where it exists.
        address: Ray cluster to run on; None for the one that RAY_ADDRESS names, or else a new one on this machine.

    Raises:
        ConfigError: the folder is taken, there is no such cluster, it has not what the sweep needs, a tracker is
            missing, or there is nothing to start warm from; nothing is written.
        LedgerError: the ledger to start warm from cannot be read; nothing is written.
        SweepFailedError: the engine stopped early.
    """
    if problems := config.tracking.missing():
        raise ConfigError(problems)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError([f"--out {root}: exists and is not an empty folder; choose another, or remove it first."])
    folder, existed = SweepFolder(root), root.exists()
    try:
        folder.prepare(config)
    except OSError as error:
        raise ConfigError([f"--out {root}: cannot be written: {error.strerror}; choose another folder."]) from None
    try:
        _execute(config, folder, address)
    except (ConfigError, LedgerError):
        shutil.rmtree(root)
        if existed:
            root.mkdir()
        raise


def _execute(config: SweepConfig, folder: SweepFolder, address: str | None) -> None:
    with output_to_log(folder.log) as console, Display(console, f"sweep {config.name}") as display:
        display.say("Starting Ray ...")
        # Ray and torch take seconds to load: later than the first line that the user sees, and inside the redirection.
        from sweeps import engine, nodes
        from sweeps.preflight import Preflight
        from sweeps.search import Search
        from sweeps.tracking import tracked

        started, existing = time.monotonic(), not nodes.local_only(address)
        try:
            nodes.connect(address)
            if existing:
                nodes.grow(config.workers, display.say)
            found = nodes.alive_nodes()
            allocation = nodes.allocate(config.workers, found, may_grow=existing)
            if config.budget.gpu_hours is not None and not allocation.gpus:
                raise ConfigError(["budget.gpu_hours: the cluster has no GPUs to spend them on; give budget.hours."])
            preflight = Preflight(config, folder, allocation.gpus, display.say)
            if existing:
                preflight.check(found)
            else:
                preflight.check_here()
            search = Search(config, folder)  # after all refusals: it may write into a database
            display.say(
                f"{allocation.slots} trials at a time, each on {allocation.workers} workers with {allocation.cpus} CPU"
                + (f" and {allocation.gpus} GPU" if allocation.gpus else "")
                + f"; Ray's output goes to {folder.log}"
            )
            capacity = nodes.Capacity(allocation, config.workers, preflight if existing else None, display.say)
            with tracked(config, folder, display.say) as trackers:
                engine.execute(
                    search,
                    folder,
                    capacity,
                    lambda: display.show(search.progress(), max(1, capacity.slots)),
                    trackers,
                )
        except (engine.EngineError, OSError) as error:
            raise SweepFailedError(
                f"the sweep stopped early: {error}\nWhat had finished is in {folder.ledger}; more in {folder.log}."
            ) from error
        finally:
            nodes.disconnect(withdraw=existing and config.workers.concurrent_trials != "auto")
        shutil.rmtree(folder.ray, ignore_errors=True)
        display.say(f"Finished in {time.monotonic() - started:.0f} s.")
