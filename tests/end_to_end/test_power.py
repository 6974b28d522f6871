"""Power failures between any two writes: what was never synchronised is gone, and the search goes on all the same.

The simulated disk is stricter than any file system: it keeps of a file or folder only what was there at its last fsync.
"""

import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Report
from sweeps.ledger import Ledger
from sweeps.search import Search
from sweeps.search.journal import mend_journal
from tests.end_to_end.mortal_search import Killed, outcome, quality, ranges, run


class Disk:
    """A disk that holds what was synchronised; its power fails at a given fsync, before or after it has happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self._root = root
        self._files: dict[int, bytes] = {}  # by inode
        self._folders: dict[int, dict[str, int]] = {}
        self._open: dict[int, int] = {}  # keeps the numbers of inodes from being used again
        self._remaining, self._sync_first = -1, False
        self._synchronise = os.fsync
        monkeypatch.setattr(os, "fsync", self._fsync)
        self._start()

    def fail(self, after: int, *, sync_first: bool) -> None:
        self._remaining, self._sync_first = after, sync_first

    def restart(self) -> None:
        """Make the folder what it is after the power failure."""
        self._remaining = -1
        inode, lost = self._root.stat().st_ino, self._root.with_name("lost")
        self._root.rename(lost)
        self._restore(inode, self._root)
        shutil.rmtree(lost)
        for descriptor in self._open.values():
            os.close(descriptor)
        self._files, self._folders, self._open = {}, {}, {}
        self._start()

    def _start(self) -> None:
        for path in (self._root, *self._root.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            self._note(descriptor)
            os.close(descriptor)

    def _restore(self, inode: int, path: Path) -> None:
        if inode in self._folders:
            path.mkdir()
            for name, entry in self._folders[inode].items():
                self._restore(entry, path / name)
        elif inode in self._files:
            path.write_bytes(self._files[inode])
        # else only its name was synchronised

    def _fsync(self, descriptor: int) -> None:
        self._remaining -= 1
        if self._remaining == 0 and not self._sync_first:
            raise Killed
        self._synchronise(descriptor)
        self._note(descriptor)
        if self._remaining == 0:
            raise Killed

    def _note(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            entries = {name: os.stat(name, dir_fd=descriptor).st_ino for name in os.listdir(descriptor)}
            self._folders[status.st_ino] = entries
            for name, inode in entries.items():
                if stat.S_ISDIR(os.stat(name, dir_fd=descriptor).st_mode):
                    self._folders.setdefault(inode, {})
        else:
            self._files[status.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        if status.st_ino not in self._open:
            self._open[status.st_ino] = os.dup(descriptor)


@pytest.fixture
def write_search(write_config: Callable[..., Path]) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        budget = {"trials_per_subset": 6, "epochs": 6, "seeds": 1}
        return write_config(**{"subsets": ["Con", "ConGen"], "budget": budget, "probe": {"every": 2}, **changes})

    return write


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_goes_on_from_what_was_synchronised(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    path = write_search(space=str(ranges(tmp_path)))
    run(path, SweepFolder(tmp_path / "whole"))
    whole = outcome(SweepFolder(tmp_path / "whole"))
    (tmp_path / "sweep").mkdir()
    folder = SweepFolder(tmp_path / "sweep")
    disk = Disk(monkeypatch, folder.root)
    chance = random.Random(seed)
    failures = 0
    while True:
        disk.fail(chance.randrange(1, 60), sync_first=chance.random() < 0.5)
        try:
            mend_journal(folder)
            run(path, folder)
        except Killed:
            failures += 1
            disk.restart()
            Ledger(folder.ledger).mend()
        else:
            break
    assert failures > 4
    assert outcome(folder) == whole


def test_a_failed_trial_that_runs_again_in_another_storage_keeps_its_values(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails while the record is set aside; the next session has yet another storage."""
    path = write_search(subsets=["Con"], baselines=[], search={"pruner": "none"})
    key = "search-Con-00004"
    original = SweepFolder(tmp_path / "original")
    config = load_config(path)
    original.prepare(config)
    search = Search(config, original)
    while (job := search.next_job()) is not None:
        search.report(
            job.key, Report(epochs=6, value=quality(job, 6), state="failed" if job.key == key else "complete")
        )
    before = outcome(original)[key]
    count = 0

    def resumed(folder: SweepFolder, name: str, *, retry_failed: bool) -> Search:
        storage = f"storage=sqlite:///{tmp_path}/{name}.db"
        return Search(load_config(path, [storage]), folder, retry_failed=retry_failed)

    gone = False
    while not gone:
        count += 1
        folder = SweepFolder(tmp_path / f"sweep-{count}")
        shutil.copytree(original.root, folder.root)
        disk = Disk(monkeypatch, folder.root)
        disk.fail(count, sync_first=True)
        with pytest.raises(Killed):
            resumed(folder, f"first-{count}", retry_failed=True)
        disk.restart()
        gone = key not in Ledger(folder.ledger)
    job = resumed(folder, "second", retry_failed=False).next_job()
    assert job is not None
    assert (job.key, job.hyperparameters) == (key, before["hyperparameters"])
