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
        address: Ray cluster to run on; None starts one on this machine.

    Raises:
        ConfigError: the folder is taken, the cluster has not what the sweep needs, or a tracker is missing; nothing is
            written.
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
    except ConfigError:
        shutil.rmtree(root)
        if existed:
            root.mkdir()
        raise


def _execute(config: SweepConfig, folder: SweepFolder, address: str | None) -> None:
    with output_to_log(folder.log) as console, Display(console, f"sweep {config.name}") as display:
        display.say("Starting Ray ...")
        # Ray and torch take seconds to load: later than the first line that the user sees, and inside the redirection.
        from sweeps import engine
        from sweeps.search import Search
        from sweeps.tracking import tracked

        started = time.monotonic()
        search = Search(config, folder)
        try:
            engine.connect(address)
            allocation = engine.allocate(config)
            display.say(
                f"{allocation.slots} trials at a time, each on {allocation.workers} workers with {allocation.cpus} CPU"
                + (f" and {allocation.gpus} GPU" if allocation.gpus else "")
                + f"; Ray's output goes to {folder.log}"
            )
            with tracked(config, folder, display.say) as trackers:
                engine.execute(
                    search, folder, allocation, lambda: display.show(search.progress(), allocation.slots), trackers
                )
        except (engine.EngineError, OSError) as error:
            raise SweepFailedError(
                f"the sweep stopped early: {error}\nWhat had finished is in {folder.ledger}; more in {folder.log}."
            ) from error
        finally:
            engine.disconnect()
        shutil.rmtree(folder.ray, ignore_errors=True)
        display.say(f"Finished in {time.monotonic() - started:.0f} s.")
