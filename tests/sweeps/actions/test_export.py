"""Exports: model folders from the heads that a sweep keeps, and from files that are none."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from conclugen.features.shards import FeatureSet
from conclugen.model import ConCluGenHead
from conclugen.training.pretrain import represent
from sweeps.actions.export import export_best, import_released
from sweeps.cli import app
from sweeps.cli.console import BAD_INPUT
from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.ledger import SUMMARY_METRICS
from sweeps.search import Search
from sweeps.trial import TrialRunner


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return SweepFolder(tmp_path_factory.mktemp("export") / "sweep")


@pytest.fixture
def finished(sweep: SweepFolder, write_config: Callable[..., Path]) -> SweepFolder:
    """A finished sweep of two methods; it runs once for all tests of this module, without Ray."""
    if not sweep.root.exists():
        probe = {"also": ["knn"], "labels_per_class": [2], "label_draws": 2}
        config = load_config(write_config(subsets=["ConGen"], baselines=["raw_features", "SimCLR"], probe=probe))
        sweep.prepare(config)
        search, runner = Search(config, sweep), TrialRunner(config, sweep, torch.device("cpu"))
        while (job := search.next_job()) is not None:
            search.report(job.key, runner.run(job, lambda _: True))
    return sweep


def test_a_sweep_keeps_only_the_best_head_of_each_method(finished: SweepFolder) -> None:
    assert sorted(file.name.rpartition("-")[0] for file in finished.heads.iterdir()) == [
        "confirm-ConGen",
        "confirm-SimCLR",
    ]


@pytest.mark.parametrize("method", ["ConGen", "SimCLR"])
def test_an_exported_model_maps_raw_features_to_the_scored_representations(
    finished: SweepFolder, tmp_path: Path, method: str
) -> None:
    record = export_best(finished, method, tmp_path / "model")
    model = ConCluGenHead.from_pretrained(tmp_path / "model")
    config = load_config(finished.config)
    validation = FeatureSet(config.features.pretrain).split("val")
    rows = torch.arange(len(validation))
    raw = {name: validation.gather(name, rows) for name in model.config.modalities}
    with torch.no_grad():
        representations = torch.cat(list(model(raw).values()), dim=1)

    runner = TrialRunner(config, SweepFolder(tmp_path / "repeated"), torch.device("cpu"))
    run = runner.pretraining(
        Job(
            stage="confirm",
            method=record.method,
            number=record.number,
            seed=record.seed,
            hyperparameters=record.hyperparameters,
        )
    )
    while not run.finished:
        run.run_epoch()
    data = next(iter(runner.scoring.search_sets.values()))[0].parts["val"].only(model.config.modalities)
    assert torch.equal(representations, represent(run.head, data, rows))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert str(record.seed) in card
    assert record.features["pretrain"] in card


def test_the_model_card_has_only_the_scores_of_the_sweeps_own_probe(finished: SweepFolder, tmp_path: Path) -> None:
    record = export_best(finished, "ConGen", tmp_path / "model")
    scores = {
        (metric.labels, metric.metric, metric.instrument): f"{metric.value:.4f}"
        for metric in record.metrics
        if metric.split == "test" and metric.metric in SUMMARY_METRICS
    }
    assert {instrument for _, _, instrument in scores} == {"", "knn"}
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| planted |")]
    names = {"": "all labels", "2": "2 per class"}
    assert sorted(rows) == sorted(
        ["planted", names[labels], metric.replace("_", r"\_"), value]
        for (labels, metric, instrument), value in scores.items()
        if not instrument
    )


def test_a_method_without_a_head_is_refused_with_the_methods_that_have_one(
    finished: SweepFolder, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"no head of it; it has heads of ConGen, SimCLR\."):
        export_best(finished, "raw_features", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_damaged_or_missing_head_is_refused_with_the_command_that_restores_it(
    finished: SweepFolder, tmp_path: Path
) -> None:
    head = next(finished.heads.glob("confirm-ConGen-*"))
    content = head.read_bytes()
    head.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(ConfigError, match=rf"{head} is damaged.*conclugen sweep resume {finished.root}"):
            export_best(finished, "ConGen", tmp_path / "model")
        head.unlink()
        with pytest.raises(ConfigError, match=rf"no head of it; .*conclugen sweep resume {finished.root}"):
            export_best(finished, "ConGen", tmp_path / "model")
    finally:
        head.write_bytes(content)
    assert not (tmp_path / "model").exists()


def test_an_output_folder_that_is_not_empty_is_refused(finished: SweepFolder, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(ConfigError, match="model"):
        export_best(finished, "ConGen", tmp_path / "model")


def test_importing_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"no pickle")
    with pytest.raises(ConfigError, match=r"x\.ckpt"):
        import_released(tmp_path / "x.ckpt", tmp_path / "model")


def test_the_command_writes_licence_and_data_statement_into_the_card(finished: SweepFolder, tmp_path: Path) -> None:
    statement = tmp_path / "data.md"
    statement.write_text("Ten actors, recorded in 2004.", encoding="utf-8")
    arguments = ["export", str(finished.root), "--subset", "ConGen", "--out", str(tmp_path / "model")]
    result = CliRunner().invoke(app, [*arguments, "--license", "mit", "--data-statement", str(statement)])
    assert result.exit_code == 0, result.output
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card
    assert "Ten actors, recorded in 2004." in card


def test_a_wrong_licence_and_a_missing_statement_are_refused_together(finished: SweepFolder, tmp_path: Path) -> None:
    arguments = ["export", str(finished.root), "--subset", "ConGen", "--out", str(tmp_path / "model")]
    result = CliRunner().invoke(app, [*arguments, "--license", "My own", "--data-statement", str(tmp_path / "none.md")])
    assert result.exit_code == BAD_INPUT
    assert "2 problems" in result.output
    assert "--license My own: is no licence of the Hub" in result.output
    assert "none.md: No such file or directory" in result.output
    assert not (tmp_path / "model").exists()
