"""Launching: everything between a valid configuration and a finished sweep in a folder.

Ray starts, works and stops with its output in the sweep's log file; the user sees the display only. A sweep that ends
early, however it ends, leaves its folder with every finished attempt in the ledger.
"""

import shutil
import time
from pathlib import Path

from sweeps.config import ConfigError, SweepConfig
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
        ConfigError: the folder is taken, there is no such cluster, or it has not what the sweep needs; nothing is
            written.
        SweepFailedError: the engine stopped early.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError([f"--out {root}: exists and is not an empty folder; choose another, or remove it first."])
    folder, existed = SweepFolder(root), root.exists()
    try:
        folder.prepare(config)
    except OSError as error:
        raise ConfigError([f"--out {root}: cannot be written: {error.strerror}; choose another folder."]) from None
    try:
        _execute(config, folder, address)
    except ConfigError:
        shutil.rmtree(root)
        if existed:
            root.mkdir()
        raise


def _execute(config: SweepConfig, folder: SweepFolder, address: str | None) -> None:
    with output_to_log(folder.log) as console, Display(console, f"sweep {config.name}") as display:
        display.say("Starting Ray ...")
        # Ray and torch take seconds to load: later than the first line that the user sees, and inside the redirection.
        from sweeps import cluster, engine
        from sweeps.preflight import Preflight
        from sweeps.search import Search

        started, existing = time.monotonic(), not cluster.local_only(address)
        try:
            cluster.connect(address)
            if existing:
                cluster.grow(config.workers, display.say)
            nodes = cluster.alive_nodes()
            allocation = cluster.allocate(config.workers, nodes, may_grow=existing)
            preflight = Preflight(config, folder, allocation.gpus, display.say)
            if existing:
                preflight.check(nodes)
            else:
                preflight.check_here()
            search = Search(config, folder)  # after all refusals: it may write into a database
            display.say(
                f"{allocation.slots} trials at a time, each on {allocation.workers} workers with {allocation.cpus} CPU"
                + (f" and {allocation.gpus} GPU" if allocation.gpus else "")
                + f"; Ray's output goes to {folder.log}"
            )
            capacity = cluster.Capacity(allocation, config.workers, preflight if existing else None, display.say)
            engine.execute(search, folder, capacity, lambda: display.show(search.progress(), max(1, capacity.slots)))
        except (engine.EngineError, OSError) as error:
            raise SweepFailedError(
                f"the sweep stopped early: {error}\nWhat had finished is in {folder.ledger}; more in {folder.log}."
            ) from error
        finally:
            cluster.disconnect(withdraw=existing and config.workers.concurrent_trials != "auto")
        shutil.rmtree(folder.ray, ignore_errors=True)
        display.say(f"Finished in {time.monotonic() - started:.0f} s.")
