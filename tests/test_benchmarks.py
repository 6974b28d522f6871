"""Every benchmark runs and writes its numbers; what they are is no test's business."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SECONDS = {
    "brief": 10, "faults": 100, "kmeans": 10, "loader": 30, "report": 15, "scale": 30, "start": 20, "step": 15,
    "sweep": 30, "trial": 20, "turnaround": 45,
}  # fmt: skip


def test_none_is_left_out() -> None:
    files = {file.stem for file in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert files - {"measuring"} == set(SECONDS)


@pytest.mark.timeout(600)  # on a machine that is busy with other tests
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow(seconds=s)) for n, s in SECONDS.items()])
def test_it_is_alive(name: str, tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(file.read_text())
    assert found["machine"]["cpus"] >= 1
    numbers = list(_numbers(found))
    assert len(numbers) > 3
    assert all(map(math.isfinite, numbers))


def _numbers(found: Any) -> Iterator[float]:
    if isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from _numbers(each)
    elif isinstance(found, int | float):
        yield found
