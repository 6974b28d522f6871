"""Which settings results follow from, and what runs again if they change."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeps.config import load_config
from sweeps.folder.comparability import confirmation_basis, reports_basis
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.ledger import Ledger
from sweeps.search import Search
from tests.sweeps.simulation import Simulation, constant

FEATURES = {"pretrain": "p", "downstream.planted": "d"}
JOB = Job(stage="search", method="Con", number=0, seed=1, hyperparameters={"lr": 0.1})


@pytest.fixture
def configure(write_config: Callable[..., Path]) -> Callable[..., Mapping[str, Any]]:
    """Return a sweep's configuration, as a record has it."""
    return lambda **probe: load_config(write_config(probe=probe)).model_dump(mode="json")


@pytest.mark.parametrize(
    ("probe", "confirmations", "reports"),
    [
        ({"every": 1}, True, True),
        ({"also": ["knn"]}, False, True),
        ({"kind": "paper"}, False, False),
        ({"selection": "validation"}, False, False),
        ({"labels_per_class": [2]}, False, True),
        ({"class_weights": "balanced"}, False, False),
    ],
)
def test_a_setting_of_the_probe_changes_the_basis_of_the_results_that_follow_from_it(
    configure: Callable[..., Mapping[str, Any]], probe: Mapping[str, Any], confirmations: bool, reports: bool
) -> None:
    """The two flags say which basis stays the same as by default."""
    before = configure()
    after = configure(**probe)
    assert (confirmation_basis({}, after, FEATURES) == confirmation_basis({}, before, FEATURES)) == confirmations
    assert (reports_basis(JOB, after, FEATURES) == reports_basis(JOB, before, FEATURES)) == reports


@pytest.mark.parametrize("setting", [{"layers": 2}, {"hidden_dim": 8}, {"lr": 0.1}, {"patience": 15}])
def test_settings_of_the_papers_probe_change_the_basis_of_reports_only_if_it_is_the_sweeps_probe(
    configure: Callable[..., Mapping[str, Any]], setting: Mapping[str, Any]
) -> None:
    for probe, same in (({"also": ["paper"]}, True), ({"kind": "paper"}, False)):
        before = configure(**probe)
        after = configure(**probe, **setting)
        assert confirmation_basis({}, after, FEATURES) != confirmation_basis({}, before, FEATURES)
        assert (reports_basis(JOB, after, FEATURES) == reports_basis(JOB, before, FEATURES)) == same


@pytest.mark.parametrize("change", ["probe.also=[knn]", "probe.kind=paper", "probe.selection=validation"])
def test_another_probe_reruns_confirmations_and_no_trials(
    write_config: Callable[..., Path], tmp_path: Path, change: str
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    path = write_config(subsets=["Con", "Gen"])
    run(path, folder)
    confirmed = {record.key for record in Ledger(folder.ledger) if record.stage == "confirm"}
    assert len(confirmed) == 2 * (2 + 2)
    assert run(path, folder) == set()
    assert run(path, folder, change) == confirmed
    assert {file.stem for file in (folder.ledger / "superseded").iterdir()} == confirmed
    assert run(path, folder, change) == set()


def run(path: Path, folder: SweepFolder, *overrides: str) -> set[str]:
    """Run a sweep to its end; return the keys of the jobs that this took."""
    config = load_config(path, overrides)
    folder.prepare(config)
    simulation = Simulation(config, Search(config, folder), constant)
    simulation.run()
    return {job.key for job in simulation.jobs}
