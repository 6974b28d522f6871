"""The live view in a notebook."""

import shutil
from pathlib import Path
from typing import Any

import IPython.display
import pytest

import sweeps
from sweeps.api import watching
from sweeps.folder.layout import SweepFolder
from tests.conftest import config_writer
from tests.sweeps.simulation import run_here


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Path:
    root = tmp_path_factory.mktemp("watching")
    config = config_writer(root, planted)(
        subsets=["Con"],
        baselines=[],
        budget={"trials_per_subset": 2, "epochs": 2, "seeds": 1},
        search={"finalists": 1},
        probe={},
        objective={},
    )
    run_here(config, SweepFolder(root / "sweep"))
    return root / "sweep"


class Output:
    """The output of a notebook's cell, which keeps all that it showed."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, html: Any, **_: object) -> "Output":
        self.shown.append(html.data)
        return self

    def update(self, html: Any) -> None:
        self.display(html)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    cell = Output()
    monkeypatch.setattr(IPython.display, "display", cell.display)
    return cell


def test_a_finished_sweep_is_shown_once_with_progress_and_curves(folder: Path, output: Output) -> None:
    sweeps.open(folder).watch()
    (shown,) = output.shown
    assert "<strong>Sweep" in shown
    assert "<svg" in shown
    assert "best" in shown.partition("<svg")[2]


def test_a_running_sweep_is_shown_until_it_ends(folder: Path, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, True, False])
    monkeypatch.setattr(watching, "running", lambda _: next(answers))
    sweeps.open(folder).watch(every=0)
    assert len(output.shown) == 3


def test_the_stop_button_ends_the_view_without_an_error(
    folder: Path, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "running", stop)
    sweeps.open(folder).watch(every=0)
    assert len(output.shown) == 1


def test_a_sweep_without_a_trial_shows_its_progress(folder: Path, tmp_path: Path, output: Output) -> None:
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.arrow"))
    sweeps.open(tmp_path / "copy").watch()
    assert "<strong>Sweep" in output.shown[0]
    assert "<svg" not in output.shown[0]
