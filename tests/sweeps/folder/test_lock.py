"""One process at a time runs a sweep: the lock of its folder."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweeps.config import ConfigError
from sweeps.folder.layout import SweepFolder
from sweeps.folder.lock import held, running

HOLD = """
import sys, signal
from pathlib import Path
from sweeps.folder.layout import SweepFolder
from sweeps.folder.lock import held
with held(SweepFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    signal.pause()
"""
TRY = """
import sys
from pathlib import Path
from sweeps.config import ConfigError
from sweeps.folder.layout import SweepFolder
from sweeps.folder.lock import held, running
folder = SweepFolder(Path(sys.argv[1]))
print(running(folder))
try:
    with held(folder):
        print("taken over")
except ConfigError as error:
    print(error)
"""
WITHOUT_FLOCK = """
import errno, fcntl, warnings
def missing(*arguments):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = missing
warnings.simplefilter("ignore")
"""


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A sweep's folder without content."""
    return SweepFolder(tmp_path)


@contextmanager
def holder(folder: SweepFolder, setup: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds the lock after it has run ``setup``; kill it at the end."""
    command = [sys.executable, "-c", setup + HOLD, folder.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.send_signal(signal.SIGKILL)


def deny_locking(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let this process meet ``code`` when it acquires a lock, as a process does that may only read the folder."""

    def denied(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("sweeps.folder.lock.FileLock", denied)


def test_a_second_process_is_refused_until_the_first_is_dead(folder: SweepFolder) -> None:
    assert not running(folder)
    with holder(folder):
        assert running(folder)
        with pytest.raises(ConfigError, match=r"process \d+ on .* runs this sweep; wait for it"), held(folder):
            pass
    assert not running(folder)
    with held(folder):
        pass


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_process_that_may_only_read_the_folder_sees_whether_the_sweep_runs(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with holder(folder):
        deny_locking(monkeypatch, code)
        assert running(folder)
    assert not running(folder)
    folder.lock.unlink()
    assert not running(folder)


def test_the_lock_excludes_where_the_file_system_has_no_flock(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt() -> list[str]:
        command = [sys.executable, "-c", WITHOUT_FLOCK + TRY, folder.root]
        return subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout.splitlines()

    def missing(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    with holder(folder, WITHOUT_FLOCK) as first:
        alive, refusal = attempt()
        assert alive == "True"
        assert f"process {first.pid} on " in refusal
        assert f"If its machine has died, delete {folder.lock}" in refusal
        with monkeypatch.context() as reader:
            deny_locking(reader, errno.EACCES)
            reader.setattr("sweeps.folder.lock.fcntl.flock", missing)
            assert running(folder)
    assert attempt() == ["False", "taken over"]
