"""The Python interface: a sweep's folder as frames, its best configurations, and what differs from another sweep."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sweeps
from conclugen.features.shards import FeatureSet
from conclugen.model import ConCluGenHead
from conclugen.settings.documents import dump
from search_spaces import load_space
from sweeps.api.best import best_of
from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger
from tests.conftest import config_writer
from tests.reports.records import trial
from tests.sweeps.simulation import run_here

pytestmark = pytest.mark.timeout(180)  # the fixture trains a sweep, once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Path:
    """The folder of a finished sweep of all subsets, which were hardly trained."""
    root = tmp_path_factory.mktemp("api")
    config = config_writer(root, planted)(
        subsets="all",
        baselines=["raw_features", "random_head"],
        budget={"trials_per_subset": 2, "epochs": 2, "seeds": 2},
        search={"finalists": 1},
        probe={"labels_per_class": [5], "label_draws": 1},
        objective={},
    )
    run_here(config, SweepFolder(root / "sweep"))
    return root / "sweep"


@pytest.fixture
def sweep(folder: Path) -> sweeps.Sweep:
    return sweeps.open(folder)


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no sweep \(config.yaml is missing\)"):
        sweeps.open(tmp_path)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        sweeps.close  # noqa: B018


def test_trials_are_a_frame_with_hyperparameters_and_scores(sweep: sweeps.Sweep) -> None:
    trials = sweep.trials()
    assert len(trials) == 7 * 2
    assert set(trials["state"]) <= {"complete", "pruned"}
    first = trials[(trials["method"] == "Con") & (trials["number"] == 0)].iloc[0]
    (record,) = (record for record in sweep.records() if record.key == "search-Con-00000")
    assert first["value"] == record.value
    assert first["lr"] == record.hyperparameters["lr"]
    assert first["origin"] == "default"


def test_confirmations_have_test_scores_by_set_budget_and_metric(sweep: sweeps.Sweep) -> None:
    runs = sweep.confirmations()
    assert len(runs) == 9 * 2
    assert runs["test/planted/weighted_f1"].between(0, 1).all()
    assert runs["test/planted@5/weighted_f1"].between(0, 1).all()
    assert sweep.finalists().empty


def test_the_table_has_the_mean_score_of_each_method(sweep: sweeps.Sweep) -> None:
    table = sweep.table("weighted_f1")
    assert list(table.columns) == ["planted", "planted@5"]
    runs = sweep.confirmations().groupby("method")["test/planted@5/weighted_f1"].mean()
    assert table["planted@5"].to_dict() == pytest.approx(runs.to_dict())


def test_an_unknown_metric_is_named_with_those_that_exist(sweep: sweeps.Sweep) -> None:
    with pytest.raises(ValueError, match=r"'f1' is no metric of this sweep; it has weighted_f1, macro_f1, accuracy"):
        sweep.table("f1")


def test_statistics_are_those_of_the_report(sweep: sweeps.Sweep) -> None:
    assert set(sweep.pairs()["verdict"]) <= {"settled", "equal", "open"}
    effects = sweep.effects()
    assert {"Con", "Clu", "Gen"} <= set(effects.loc[effects["kind"] == "shapley", "quantity"])
    assert set(sweep.intervals()["method"]) == set(sweep.table().index)


def test_findings_are_sentences_with_records(sweep: sweeps.Sweep) -> None:
    findings = sweep.findings()
    assert findings[0].topic == "best"
    keys = {f"{record.sweep}: {record.key}" for record in sweep.records()}
    assert {key for finding in findings for key in finding.records} <= keys
    assert all(finding.text.endswith(".") for finding in findings)


def test_the_best_configuration_is_a_space_whose_defaults_it_is(sweep: sweeps.Sweep, tmp_path: Path) -> None:
    best = sweep.best("ConClu")
    trials = sweep.trials()
    own = trials[(trials["method"] == "ConClu") & (trials["state"] == "complete")]
    assert best.value == own["value"].max()
    space = load_space(str(best.to_yaml(tmp_path / "best.yaml")))
    assert space.default_configuration(sweep.config.arms["ConClu"].losses) == best.hyperparameters
    assert "ConClu" in space.description


def test_a_next_sweep_begins_with_the_best_configuration(
    sweep: sweeps.Sweep, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    best = sweep.best("Con")
    best.to_yaml(tmp_path / "best.yaml")
    config = load_config(write_config(subsets=["Con"], space=str(tmp_path / "best.yaml")))
    assert config.load_space().default_configuration(config.arms["Con"].losses) == best.hyperparameters


def test_a_value_outside_the_space_becomes_the_nearest_allowed_one() -> None:
    space = load_space("small")
    start = space.default_configuration(["Con"])  # type: ignore[list-item]
    best = best_of([trial("Con", 0, 0.5, hyperparameters={**start, "lr": 1.0})], "Con", space, 1)
    assert best is not None
    parameters: dict[str, Any] = best.to_space()["parameters"]
    assert parameters["lr"]["default"] == 1e-2
    assert parameters["representation_dim"] == {"choices": [128, 256, 512], "default": start["representation_dim"]}
    assert parameters["projection_dim"] == 128
    assert best.to_space()["weights"] == "relative"


def test_a_method_without_a_search_has_no_best_configuration(sweep: sweeps.Sweep) -> None:
    with pytest.raises(ValueError, match="'raw_features' is not searched here; searched are Con, Clu"):
        sweep.best("raw_features")


def test_the_head_maps_raw_features_to_representations(sweep: sweeps.Sweep) -> None:
    head = sweep.head("ConGen")
    assert isinstance(head, ConCluGenHead)
    rows = torch.arange(4)
    split = FeatureSet(sweep.config.features.pretrain).split("val")
    with torch.no_grad():
        representations = head({name: split.gather(name, rows) for name in head.config.modalities})
    assert {z.shape for z in representations.values()} == {
        (4, sweep.best("ConGen").hyperparameters["representation_dim"])
    }


def test_status_and_notebook_view_count_the_jobs(sweep: sweeps.Sweep) -> None:
    status = sweep.status()
    assert status["planned"].to_dict()["Con"] == 2
    assert status["running"].sum() == 0
    assert "<strong>Sweep" in sweep._repr_html_()
    assert repr(sweep) == f"sweeps.open({str(sweep.folder)!r})"


def test_an_open_sweep_sees_new_records(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    sweep = sweeps.open(tmp_path / "copy")
    records = sweep.records()
    ledger = Ledger(SweepFolder(tmp_path / "copy").ledger)
    ledger.add(replace(records[0], number=7, stage="search", method="Con"))
    assert len(sweep.records()) == len(records) + 1


def test_a_sweep_without_a_record_says_so(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.arrow"))
    sweep = sweeps.open(tmp_path / "copy")
    assert sweep.trials().empty
    with pytest.raises(ValueError, match="has no finished job yet"):
        sweep.table()
    with pytest.raises(ValueError, match="Con: no trial has ended yet"):
        sweep.best("Con")


def test_a_sweep_does_not_differ_from_its_copy(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert sweeps.open(folder).differences(sweeps.open(tmp_path / "copy")).empty


def test_differences_name_settings_space_features_versions_and_scores(folder: Path, tmp_path: Path) -> None:
    copy = SweepFolder(tmp_path / "copy")
    shutil.copytree(folder, copy.root)
    document = load_config(copy.config).model_dump(mode="json")
    document["budget"]["seeds"] = 3
    document["space"] = "small"
    copy.config.write_text(dump(document), encoding="utf-8")
    ledger = Ledger(copy.ledger)
    for record in list(ledger):
        ledger.set_aside(record.key, "superseded")
        metrics = [replace(metric, value=metric.value / 2) for metric in record.metrics]
        ledger.add(replace(record, metrics=metrics, features={**record.features, "pretrain": "other"}))
    frame = sweeps.open(folder).differences(sweeps.open(copy.root))
    rows = {(kind, name): values for kind, name, *values in frame.itertuples(index=False, name=None)}
    assert rows["setting", "budget.seeds"] == [2, 3]
    assert rows["setting", "space"] == ["a file of its own", "small"]
    assert rows["space", "representation_dim.default"][1] == 256
    assert rows["features", "pretrain"][1] == "other"
    first, second = rows["score", "planted Con weighted_f1"]
    assert second == pytest.approx(first / 2)


def test_a_refused_configuration_lists_every_problem_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        sweeps.run({"name": "a b", "budget": {"epochs": 1}}, tmp_path / "out")
    assert len(caught.value.problems) >= 3
    assert not (tmp_path / "out").exists()


def test_a_configuration_may_be_a_mapping_with_paths(write_config: Callable[..., Path], planted: Path) -> None:
    config = load_config(write_config(subsets=["Con"]))
    document = config.model_dump(mode="json")
    document["features"] = {"pretrain": planted, "downstream": {"planted": planted}}
    assert load_config(document) == config
