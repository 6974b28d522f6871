"""Work that is divided among processes; the functions here run in helpers, too.

A helper's first item and this process's first, the last of the list, meet at a named pipe: so it is certain that both
take part.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from reports.processes import ALONE, Processes, processors

LAST = 9


def meet(pipe: Path, item: int) -> tuple[int, int]:
    """The item, and the process that did it."""
    if item == 0:
        pipe.write_text(str(os.getpid()))
    elif item == LAST:
        pipe.read_text()
    return item, os.getpid()


def meet_and_die(pipe: Path, item: int) -> int:
    helper = multiprocessing.parent_process() is not None
    if helper or item == LAST:  # but not where another one is done again
        meet(pipe, item)
    if helper:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def refuse(limit: int, item: int) -> int:
    if item >= limit:
        raise ValueError(f"{item} is too much")
    return item


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_results_come_in_order_from_all_processes(pipe: Path) -> None:
    with Processes(2) as processes:
        found = processes.map(partial(meet, pipe), range(LAST + 1))
    assert [item for item, _ in found] == list(range(LAST + 1))
    assert found[0][1] != os.getpid()
    assert found[LAST][1] == os.getpid()


def test_alone_is_in_this_process() -> None:
    assert ALONE.map(partial(refuse, 9), range(3)) == [0, 1, 2]
    assert ALONE.map(partial(refuse, 0), []) == []


@pytest.mark.parametrize("limit", [0, LAST])
def test_errors_are_raised_here(limit: int) -> None:
    with Processes(2) as processes, pytest.raises(ValueError, match="is too much"):
        processes.map(partial(refuse, limit), range(LAST + 1))


def test_a_killed_helper_costs_no_result(pipe: Path) -> None:
    with Processes(2) as processes:
        assert processes.map(partial(meet_and_die, pipe), range(LAST + 1)) == list(range(LAST + 1))
        assert processes.map(partial(refuse, LAST), range(LAST)) == list(range(LAST))


SCRIPT = """
import os, pathlib
from functools import partial
from reports.processes import Processes
from tests.reports.test_processes import LAST, meet

if __name__ == "__main__":
    processes = Processes(2)
    print(processes.map(partial(meet, pathlib.Path("{pipe}")), range(LAST + 1))[0][1], flush=True)
    os.kill(os.getpid(), 9)
"""


def test_helpers_end_with_a_process_that_is_killed(pipe: Path, tmp_path: Path) -> None:
    file, root = tmp_path / "script.py", str(Path(__file__).parents[2])
    file.write_text(SCRIPT.format(pipe=pipe))
    environment = {**os.environ, "PYTHONPATH": root}
    ended = subprocess.run([sys.executable, file], capture_output=True, text=True, cwd=root, env=environment)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    helper = int(ended.stdout)
    if psutil.pid_exists(helper):
        psutil.Process(helper).wait(timeout=30)


def test_there_is_a_processor() -> None:
    assert 1 <= processors() <= 4
