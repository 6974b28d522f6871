"""Sweeps with a named space on sets that are too small for it as it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import sweeps
from search_spaces import load_space
from sweeps.actions.run import launch, resume
from sweeps.cli import app
from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger
from tests.conftest import write_planted
from tests.end_to_end.rayless import without_ray

WriteConfig = Callable[..., Path]


def check(path: Path, *overrides: str) -> str:
    arguments = ["sweep", "check", str(path), *(part for override in overrides for part in ("--set", override))]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def settings(pretrain: Path, labelled: Path, **changes: object) -> dict[str, object]:
    return {
        "features": {"pretrain": str(pretrain), "downstream": {"few": str(labelled)}},
        "space": "small",
        "objective": {},
        "probe": {},
        "budget": {"trials_per_subset": 1, "epochs": 6, "seeds": 1},
        **changes,
    }


@pytest.mark.slow(seconds=40)
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("pretraining", "labelled"), [(48, 48), (48, 480), (480, 48)])
def test_all_subsets_run_on_twenty_four_training_samples_and_extend_in_the_same_space(
    pretraining: int,
    labelled: int,
    write_config: WriteConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Half of the rows are train."""
    without_ray(monkeypatch.setattr, train=True)
    sets = [write_planted(tmp_path / f"set{number}", rows=rows) for number, rows in enumerate((pretraining, labelled))]
    path = write_config(**settings(*sets, baselines="all"))
    root = tmp_path / "sweep"
    config = load_config(path)
    launch(config, root, Interrupts(""))
    adapted = "Space small is adapted to"
    assert adapted in capfd.readouterr().out
    space = SweepFolder(root).space
    content = space.read_bytes()
    resume(root, Interrupts(""), ["budget.trials_per_subset=2"])
    assert adapted in capfd.readouterr().out
    assert space.read_bytes() == content
    records = list(Ledger(root / "ledger"))
    assert {record.state for record in records} == {"complete"}, [record.reason for record in records if record.reason]
    assert len([record for record in records if record.stage == "search"]) == 2 * len(config.arms)
    assert len({record.hyperparameters["batch_size"] for record in records if record.stage == "search"}) == 1


@pytest.mark.usefixtures("reports_in_one_process")
def test_check_folder_best_differences_and_report_agree_about_the_adapted_space(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch.setattr, train=True)
    few = write_planted(tmp_path / "few", rows=84)
    path = write_config(**settings(few, few, subsets=["ConClu"], baselines=[]))
    said = check(path)
    text = (
        "Space small is adapted to 42 training samples: batch_size 16 instead of 256; kmeans_queue_size 1 instead of "
        "2; num_clusters 4 instead of 8, 16, 32, 64."
    )
    assert text in said
    assert "Space small (adapted): + searched, = fixed" in said
    root = tmp_path / "sweep"
    launch(load_config(path), root, Interrupts(""))
    space = load_space(str(root / "space.yaml"))
    assert str(space.adapted) == text
    assert yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))["space"] == "space.yaml"
    sweep = sweeps.open(root)
    assert sweep.config.load_space() == space
    assert check(root / "config.yaml").endswith(said[said.index("Space small is adapted") :])

    best = sweep.best("ConClu")
    assert best is not None
    assert best.hyperparameters["batch_size"] == 16
    document = best.to_space()
    assert document["parameters"]["num_clusters"] == 4
    assert "adapted" not in document  # a space of the user's own from now on

    larger = tmp_path / "larger"
    enough = write_planted(tmp_path / "enough", rows=160)
    launch(load_config(path, [f"features.pretrain={enough}"]), larger, Interrupts(""))
    frame = sweep.differences(sweeps.open(larger))
    spaces = frame[frame["kind"] == "space"].set_index("name")
    assert tuple(spaces.loc["batch_size.fixed", ["first", "second"]]) == (16, 32)
    assert "space" not in set(frame[frame["kind"] == "setting"]["name"])  # `small (adapted)` in both

    out = tmp_path / "report"
    result = CliRunner().invoke(app, ["report", str(root), "--out", str(out), "--bundle", str(tmp_path / "b.zip")])
    assert result.exit_code in (0, 1), result.output
    assert text in (out / "index.html").read_text(encoding="utf-8")


def test_a_space_of_the_users_own_is_refused_with_the_remedy(write_config: WriteConfig, tmp_path: Path) -> None:
    few = write_planted(tmp_path / "few", rows=36)
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(load_space("small").document()), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(**settings(few, few, space=str(own))))
    assert [problem.removeprefix(f"space: {own}: ") for problem in caught.value.problems] == [
        "batch_size: up to 256 of 18 training samples; lower it to at most 18.",
        "kmeans_queue_size: a queue of 2 batches never fills in the 1 step of an epoch (18 rows, batches of 18); lower "
        "it to 0, which is no queue, or batch_size to at most 6.",
        "num_clusters: 64 clusters of a batch of 18 samples; lower it to at most 18.",
    ]


@pytest.mark.parametrize("name", ["small", "default", "paper"])
def test_fewer_samples_than_a_named_space_can_use_are_one_clear_problem(
    name: str, write_config: WriteConfig, tmp_path: Path
) -> None:
    few = write_planted(tmp_path / "few", rows=24)
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(**settings(few, few, space=name)))
    shown = "small (the default)" if name == "small" else name
    assert caught.value.problems == [
        f"features.pretrain: 12 training samples; space {shown} needs at least 16; give a larger set, or a space of "
        "your own with smaller batches."
    ]


def test_one_training_sample_is_refused_with_any_space(write_config: WriteConfig, tmp_path: Path) -> None:
    labelled = write_planted(tmp_path / "labelled")
    pretrain = write_planted(tmp_path / "pretrain", split=np.array(["train", *["test"] * 119]))
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(**settings(pretrain, labelled, space="tiny.yaml")))
    (problem,) = caught.value.problems
    assert problem.startswith("features.pretrain: 1 training sample; space ")
    assert problem.endswith("tiny.yaml needs at least 2; give a larger set.")
