"""Whole sessions without Ray: launching and resuming as they are, with the jobs in this process; and their sudden end.

Loads what a session loads while it runs, so that a process that is forked from one that has loaded this starts at once.
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
from sweeps.execution import cluster, executor, preflight, tracking  # noqa: F401  # the last two: see above
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.search import Search
from tests.sweeps.simulation import run_jobs


def without_ray(replace: Callable[[Any, str, Any], None], *, train: bool) -> None:
    """Have launching and resuming do all they do, but for Ray: in this process, on a cluster that is this machine.

    Args:
        replace: sets an attribute, such as ``monkeypatch.setattr``.
        train: run the jobs, in one slot; else every sweep ends at once.
    """

    def execute(search: Search, folder: SweepFolder, *rest: object) -> None:
        if train:
            run_jobs(load_config(folder.config), search, folder)

    replace(cluster, "connect", lambda address: None)
    replace(cluster, "disconnect", lambda **options: None)
    replace(cluster, "alive_nodes", lambda: [Node("a", "localhost", 1, 0)])
    replace(executor, "execute", execute)


WRITES = ("os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "fsync", "open")
"""What counts as an event of the file system; the last where it opens for writing."""


def mortal_session(path: Path, root: Path, deadline: int, measured: Path) -> None:
    """Launch the sweep ``path`` in ``root``, or resume it where it has begun; for a process of its own.

    The process kills itself when the file system is about to see the event number ``deadline``, from 1; one that
    survives writes how many there were, and how many seconds it took, into ``measured``.
    """
    events, started = 0, time.monotonic()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
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
        note("fsync", ())
        synchronise(descriptor)

    os.fsync = fsync
    sys.addaudithook(note)
    torch.set_num_threads(1)
    without_ray(setattr, train=True)
    if (root / "config.yaml").is_file():
        resume(root, Interrupts(""))
    else:
        launch(load_config(path), root, Interrupts(""))
    measured.write_text(f"{events} {time.monotonic() - started}")
