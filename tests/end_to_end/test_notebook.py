"""The notebook of `examples/` runs as it is."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_sweep.ipynb"


@pytest.mark.timeout(900)  # on a machine that is busy with other tests
@pytest.mark.slow(seconds=60)
def test_the_notebook_runs_and_shows_scores_and_findings() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=600).execute()
    shown = {cell["id"]: str(cell.get("outputs", "")) for cell in notebook.cells}
    assert "is no loss subset" in shown["cell-3"]
    assert "raw_features" in shown["cell-6"]
    assert shown["cell-7"].count("* ") >= 2
    assert "video" in shown["cell-13"]
