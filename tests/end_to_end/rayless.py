"""Whole sessions without Ray: they launch and resume as usual, but run jobs in this process, and can be killed.

This module loads every module that a session loads while it runs. A process that is forked after the import therefore
starts at once.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sweeps.actions.run import launch, resume
from sweeps.config import load_config
from sweeps.estimate.room import Node
from sweeps.execution import cluster, executor, preflight, tracking  # noqa: F401  # one is imported only to load it
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.search import Search
from tests.sweeps.simulation import run_jobs


def without_ray(replace: Callable[[Any, str, Any], None], *, train: bool) -> None:
    """Replace Ray for launching and resuming: this process runs the jobs, and this machine is the cluster.

    Args:
        replace: sets an attribute, such as ``monkeypatch.setattr``.
        train: whether to run the jobs, in one slot; otherwise every sweep ends at once.
    """

    def execute(search: Search, folder: SweepFolder, *rest: object) -> None:
        if train:
            run_jobs(load_config(folder.config), search, folder)

    replace(cluster, "connect", lambda address: None)
    replace(cluster, "disconnect", lambda **options: None)
    replace(cluster, "alive_nodes", lambda: [Node("a", "localhost", 1, 0)])
    replace(preflight.Preflight, "check", lambda self, nodes: None)
    replace(executor, "execute", execute)


WRITES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "fsync", "open")
"""The audit events that count as events of the file system; `open` counts only if it opens for writing."""


def mortal_session(path: Path, root: Path, deadline: int, measured: Path) -> None:
    """Launch the sweep ``path`` in ``root``, or resume it if it has begun; to be called in a process of its own.

    The process kills itself just before event number ``deadline`` of the file system, counted from 1. A process that
    survives writes the number of events and the seconds that it took into ``measured``.
    """
    events = 0
    start = time.monotonic()

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal events
        if event not in WRITES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        events += 1
        if events == deadline:
            os.kill(os.getpid(), signal.SIGKILL)

    synchronise = os.fsync

    def fsync(descriptor: int) -> None:
        count("fsync", ())
        synchronise(descriptor)

    os.fsync = fsync
    sys.addaudithook(count)
    torch.set_num_threads(1)
    without_ray(setattr, train=True)
    if (root / "config.yaml").is_file():
        resume(root, Interrupts(""))
    else:
        launch(load_config(path), root, Interrupts(""))
    measured.write_text(f"{events} {time.monotonic() - start}", encoding="utf-8")
