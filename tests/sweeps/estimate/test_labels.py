from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.config import load_config
from sweeps.estimate.labels import label_findings
from tests.conftest import write_planted

ALL_OF_PLANTED = "labels per class take every training label of planted, whose largest class has 20; give less, or "


def check(path: Path, *overrides: str) -> tuple[int, str, str]:
    arguments = [part for override in overrides for part in ("--set", override)]
    result = CliRunner().invoke(app, ["sweep", "check", str(path), *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_budget_of_every_label_is_refused_with_the_largest_class(write_config: Callable[..., Path]) -> None:
    path = write_config(objective={"labels_per_class": 1000}, probe={"labels_per_class": [2, 20], "label_draws": 2})
    code, _, message = check(path)
    assert code == 2
    assert "error: 2 problems" in message
    assert f"objective.labels_per_class: 1000 {ALL_OF_PLANTED}write null for all labels." in message
    assert f"probe.labels_per_class: 20 {ALL_OF_PLANTED}drop it: all labels have a column." in message


def test_check_says_what_a_budget_uses_and_which_budgets_are_equal(write_config: Callable[..., Path]) -> None:
    path = write_config(probe={"label_fraction": [0.001, 0.01], "label_draws": 2}, subsets=["Con"])
    code, text, _ = check(path)
    assert code == 0
    place = "Warning: features.downstream.planted: "
    assert f"{place}0.1% of the labels: 3 of 60 training samples are used (5.0%)" in text
    assert f"{place}0.1% of the labels and 1% of the labels draw equally many labels." in text


def test_a_budget_stays_for_the_sets_that_are_large_enough(
    write_config: Callable[..., Path], planted: Path, tmp_path: Path
) -> None:
    large = write_planted(tmp_path / "large", rows=240, seed=1)
    sets = {"planted": str(planted), "large": str(large)}
    path = write_config(features={"pretrain": str(planted), "downstream": sets}, probe={"labels_per_class": 30})
    found = label_findings(load_config(path), fetch=True)
    assert found.problems == []
    assert found.notes == [
        "features.downstream.planted: 30 labels per class: takes every training label; the largest class has 20 "
        "samples."
    ]


def test_a_set_under_two_names_is_noted(write_config: Callable[..., Path], planted: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(planted)
    sets = {"a": str(planted), "b": f"file://{tmp_path}/link/", "c": str(write_planted(tmp_path / "c", seed=2))}
    path = write_config(features={"pretrain": str(planted), "downstream": sets})
    assert label_findings(load_config(path), fetch=True).notes == [
        "features.downstream: a and b are the same set; a mean over sets counts it 2 times."
    ]


@pytest.mark.parametrize(("missing", "code"), [("train", 0), ("val", 2)])
def test_classes_that_a_part_lacks_are_said_before_a_sweep(
    write_config: Callable[..., Path], planted: Path, tmp_path: Path, missing: str, code: int
) -> None:
    part = np.array(["train", "train", "val", "test"])[np.arange(120) // 3 % 4]
    labels = np.arange(120) % 3
    labels[(part == missing) & (labels > (1 if missing == "train" else 0))] = 0
    rare = write_planted(tmp_path / "rare", labels=labels)
    path = write_config(
        features={"pretrain": str(planted), "downstream": {"rare": str(rare)}}, subsets=["Con"], baselines=[]
    )
    result = check(path)
    assert result[0] == code
    expected = "'c' has no sample in train: the F1" if missing == "train" else "val has a single class; divide"
    assert f"features.downstream.rare: {expected}" in result[1] + result[2]


def test_check_neither_fetches_nor_counts_a_remote_set(
    write_config: Callable[..., Path], planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCLUGEN_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.put(f"{planted}/", "/counted/planted", recursive=True)
    sets = {"planted": "memory://counted/planted"}
    path = write_config(features={"pretrain": str(planted), "downstream": sets}, probe={"labels_per_class": 1000})
    config = load_config(path)
    assert label_findings(config, fetch=False).problems == []
    assert not (tmp_path / "cache").exists()
    assert len(label_findings(config, fetch=True).problems) == 1
    system.rm("/counted", recursive=True)
