"""The blocks of the tutorials run as they stand, in the order of the pages, in one folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conclugen.subsets import SUBSETS
from documentation.blocks import Block, blocks
from search_spaces import load_space
from sweeps.config import SweepConfig
from sweeps.config.sections import Budget, Probe, Search
from sweeps.config.sweep import rungs

DOCS = Path(__file__).parents[2] / "docs"
ORDER = (
    "tutorials/own-features.md",
    "tutorials/resuming.md",
    "how-to/slurm.md",
    "how-to/tracking.md",
    "how-to/search-space.md",
    "how-to/best.md",
    "how-to/failed-trial.md",
    "how-to/python.md",
    "how-to/export.md",
)
"""The pages with blocks to run: later ones go on with what earlier ones have made."""


def test_no_page_with_a_block_to_run_is_left_out() -> None:
    marked = {
        str(file.relative_to(DOCS))
        for file in DOCS.rglob("*.md")
        if any(block.note == "run" for block in blocks(file.read_text(encoding="utf-8")))
    }
    assert marked == set(ORDER)


def test_the_tutorials_sweep_may_search_all_seven_subsets() -> None:
    page = (DOCS / "tutorials" / "own-features.md").read_text(encoding="utf-8")
    (text,) = [block.text for block in blocks(page) if block.file == "own.yaml"]
    budget = Budget.model_validate(yaml.safe_load(text)["budget"])
    first_rung = rungs(budget, Probe(), Search())[0]
    space = load_space(SweepConfig.model_fields["space"].default)
    assert space.problems(SUBSETS, epochs=budget.epochs, first_rung=lambda _: first_rung, rows=1080) == []


def steps() -> Iterator[tuple[str, Block]]:
    for name in ORDER:
        for block in blocks((DOCS / name).read_text(encoding="utf-8")):
            if block.file or block.note == "run":
                yield name, block


@pytest.mark.timeout(900)  # on a machine that is busy with other tests
@pytest.mark.slow(seconds=100)
def test_every_block_that_a_page_marks_to_run_runs(tmp_path: Path) -> None:
    programs = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name, block in steps():
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
            continue
        command = [*programs[block.language], block.text]
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
        assert run.returncode == 0, f"docs/{name}, line {block.line}:\n{run.stdout[-2000:]}{run.stderr}"
    assert (tmp_path / "report-own" / "index.html").is_file()
