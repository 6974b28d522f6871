"""Every benchmark runs and writes its numbers. Their values are not tested."""

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
    "brief": 10, "faults": 150, "inference": 30, "kmeans": 10, "loader": 30, "proposals": 10, "replay": 30,
    "report": 15, "rungs": 10, "scale": 30, "start": 20, "step": 15, "sweep": 30, "trial": 20, "turnaround": 45,
}  # fmt: skip
"""Benchmark -> about how long its quick mode takes."""


def test_every_benchmark_has_a_test() -> None:
    files = {file.stem for file in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert files - {"measuring"} == set(SECONDS)


@pytest.mark.timeout(600)  # on a machine that is busy with other tests
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow(seconds=s)) for n, s in SECONDS.items()])
def test_a_benchmark_writes_finite_numbers(name: str, tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(file)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stderr
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["machine"]["cpus"] >= 1
    numbers = list(_numbers(result))
    assert len(numbers) > 3
    assert all(map(math.isfinite, numbers))


def _numbers(result: Any) -> Iterator[float]:
    """Yield all numbers within a JSON document."""
    if isinstance(result, dict | list):
        for part in result.values() if isinstance(result, dict) else result:
            yield from _numbers(part)
    elif isinstance(result, int | float):
        yield result
