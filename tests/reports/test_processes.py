"""Tests of work that is divided among processes; the functions of this module run in children, too.

A child starts with the first item of a list, this process with the last. The two items meet at a named pipe, so that
certainly both processes take part.
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


def with_process(item: int) -> tuple[int, int]:
    """Return the item and the process that handled it."""
    return item, os.getpid()


def meet(pipe: Path, item: int) -> tuple[int, int]:
    """Wait until the first and the last item are both at work; return the item and its process."""
    if item == 0:
        pipe.write_text(str(os.getpid()), encoding="utf-8")
    elif item == LAST:
        pipe.read_text(encoding="utf-8")
    return with_process(item)


def meet_and_die(pipe: Path, item: int) -> int:
    """Kill the child that handles the item; this process, which repeats the child's items, returns them."""
    in_child = multiprocessing.parent_process() is not None
    if in_child or item == LAST:
        meet(pipe, item)
    if in_child:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def refuse(limit: int, item: int) -> int:
    """Return an item below the limit; raise an error for others."""
    if item >= limit:
        raise ValueError(f"{item} is too much")
    return item


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_results_from_all_processes_have_the_order_of_the_items(pipe: Path) -> None:
    with Processes(2) as processes:
        results = processes.map(partial(meet, pipe), range(LAST + 1))
    assert [item for item, _ in results] == list(range(LAST + 1))
    assert results[0][1] != os.getpid()
    assert results[LAST][1] == os.getpid()


def test_without_children_this_process_does_all_items() -> None:
    assert ALONE.map(with_process, range(3)) == [(item, os.getpid()) for item in range(3)]
    assert ALONE.map(with_process, []) == []


@pytest.mark.parametrize("limit", [0, LAST])
def test_errors_of_any_process_are_raised_in_this_one(limit: int) -> None:
    with Processes(2) as processes, pytest.raises(ValueError, match="is too much"):
        processes.map(partial(refuse, limit), range(LAST + 1))


def test_no_result_is_lost_if_a_child_is_killed(pipe: Path) -> None:
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


def test_children_end_if_their_parent_is_killed(pipe: Path, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(pipe=pipe), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": root}
    result = subprocess.run([sys.executable, file], capture_output=True, encoding="utf-8", cwd=root, env=environment)
    assert result.returncode == -signal.SIGKILL, result.stderr
    child = int(result.stdout)
    if psutil.pid_exists(child):
        psutil.Process(child).wait(timeout=30)


def test_a_report_uses_one_to_four_processors() -> None:
    assert 1 <= processors() <= 4


TEXTS_SCRIPT = """
import sys
sys.path.append({root!r})
from reports.processes import Processes
if __name__ == "__main__":
    with Processes(2, ["math"]) as processes:
        print(*processes.map(str, range(4)))
"""


def test_children_import_nothing_of_the_working_directory(tmp_path: Path) -> None:
    """Python itself would, before a child gets this process's path: `pickle`, for one."""
    for name in ("pickle", "random", "socket", "reports"):
        (tmp_path / f"{name}.py").write_text(f"raise AssertionError('the stray {name}')\n", encoding="utf-8")
    script = tmp_path / "bin" / "script.py"
    script.parent.mkdir()
    script.write_text(TEXTS_SCRIPT.format(root=str(Path(__file__).parents[2])), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": ""}
    result = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert (result.stdout, result.stderr) == ("0 1 2 3\n", "")


def fail_while_a_child_works(pipe: Path, item: int) -> None:
    """Fail as the last item once the first one works, which then writes a file."""
    if item == 2:
        pipe.open("w", encoding="utf-8").close()  # returns when the child has opened it
        raise ValueError("the last item")
    if item == 0:
        pipe.open(encoding="utf-8").close()
        sum(range(10_000_000))
        (pipe.parent / "written").touch()


def test_no_child_works_on_after_an_error(pipe: Path) -> None:
    with Processes(2) as processes:
        with pytest.raises(ValueError, match="the last item"):
            processes.map(partial(fail_while_a_child_works, pipe), range(3))
        assert (pipe.parent / "written").exists()
