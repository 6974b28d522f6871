"""Representations for a report, from a small sweep that runs in this process."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from conclugen.features.shards import FeatureSet
from conclugen.model import ConCluGenHead
from sweeps.actions.export import export_best
from sweeps.cli import representations as representations_module
from sweeps.cli.representations import representations
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from tests.conftest import CLASSES, config_writer, write_planted
from tests.sweeps.simulation import run_here

pytestmark = pytest.mark.timeout(180)  # the fixture trains a whole sweep, once


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A sweep on three labelled sets: one label per sample, several labels per sample, and folds."""
    root = tmp_path_factory.mktemp("embeddings")
    rows = 48
    several = np.zeros((rows, len(CLASSES)), dtype=np.int8)
    several[np.arange(rows), np.arange(rows) % 3] = 1
    several[11], several[23] = 1, 0  # both in the test split
    sets = {
        "planted": write_planted(root / "planted", rows=rows),
        "several": write_planted(root / "several", rows=rows, labels=several),
        "folded": write_planted(root / "folded", rows=rows, split=None, folds=np.arange(rows) % 16 % 3),
    }
    config = config_writer(root, sets["planted"])(
        features={"pretrain": str(sets["planted"]), "downstream": {name: str(folder) for name, folder in sets.items()}},
        subsets=["Con", "ConGen"],
        modality_subsets=[["video", "text"]],
        baselines=["SimCLR"],
        probe={"labels_per_class": []},
        objective={"metric": "weighted_f1", "dataset": "planted"},
        budget={"trials_per_subset": 1, "epochs": 2, "seeds": 1},
    )
    run_here(config, SweepFolder(root / "sweep"))
    return SweepFolder(root / "sweep")


@pytest.fixture
def records(sweep: SweepFolder) -> list[Record]:
    return list(Ledger(sweep.ledger))


def test_every_pretrained_method_represents_the_same_samples_of_every_set(
    sweep: SweepFolder, records: list[Record]
) -> None:
    omissions: list[str] = []
    by_panel = {(panel.dataset, panel.method): panel for panel in representations(sweep.root, records, omissions)}
    assert omissions == []
    assert set(by_panel) == {
        (name, method) for name in ("planted", "several", "folded") for method in ("Con", "ConGen", "SimCLR")
    }
    assert Counter(by_panel["planted", "Con"].labels) == {"a": 4, "b": 4, "c": 4}
    assert Counter(by_panel["several", "Con"].labels) == {"a": 4, "b": 4, "c": 2, "several": 1, "none": 1}
    assert len(by_panel["folded", "Con"].labels) == 48
    for (dataset, _), panel in by_panel.items():
        assert panel.labels == by_panel[dataset, "Con"].labels
        assert (len(panel.vectors), panel.samples) == (len(panel.labels), len(panel.labels))
        assert np.isfinite(panel.vectors).all()


def test_representations_equal_those_of_the_exported_head(
    sweep: SweepFolder, records: list[Record], tmp_path: Path
) -> None:
    export_best(sweep, "ConGen", tmp_path / "model")
    model = ConCluGenHead.from_pretrained(tmp_path / "model")
    test = FeatureSet(sweep.root.parent / "planted", ("test",)).split("test")
    with torch.no_grad():
        raw = {name: test.gather(name, torch.arange(len(test))) for name in model.config.modalities}
        expected = torch.cat(list(model(raw).values()), dim=1).numpy()
    panels = {(panel.dataset, panel.method): panel for panel in representations(sweep.root, records, [])}
    np.testing.assert_allclose(panels["planted", "ConGen"].vectors, expected, atol=1e-6)


def test_large_sets_are_sampled_in_proportion_and_always_the_same(
    sweep: SweepFolder, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(representations_module, "MOST_SAMPLES", 6)
    first = list(representations(sweep.root, records, []))
    second = list(representations(sweep.root, records, []))
    for panel, repeated in zip(first, second, strict=True):
        assert len(panel.labels) == 6 < panel.samples
        assert (panel.vectors == repeated.vectors).all()
        if panel.dataset == "planted":
            assert Counter(panel.labels) == {"a": 2, "b": 2, "c": 2}


def test_missing_heads_and_sets_are_left_out_with_the_reason(
    sweep: SweepFolder, records: list[Record], tmp_path: Path
) -> None:
    """One head is gone and another damaged; one set is gone and another replaced."""
    copy = SweepFolder(tmp_path / "sweep")
    shutil.copytree(sweep.root, copy.root)
    text = copy.config.read_text(encoding="utf-8")
    other = write_planted(tmp_path / "other", rows=48, seed=1)
    text = text.replace(str(sweep.root.parent / "several"), str(tmp_path / "gone"))
    copy.config.write_text(text.replace(str(sweep.root.parent / "folded"), str(other)), encoding="utf-8")
    next(copy.heads.glob("confirm-Con-*")).unlink()
    damaged = next(copy.heads.glob("confirm-SimCLR-*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    omissions: list[str] = []
    panels = [(panel.dataset, panel.method) for panel in representations(copy.root, records, omissions)]
    assert panels == [("planted", "ConGen")]
    expected = (
        r"tiny: Con has no head yet\.",
        rf"tiny: folded: {other} is not the set that the sweep was scored on.*",
        rf"tiny: SimCLR on planted: {damaged} is damaged.*",
        rf"tiny: several: .*{tmp_path / 'gone'}.*",
    )
    assert len(omissions) == len(expected)
    for message, pattern in zip(omissions, expected, strict=True):
        assert re.fullmatch(pattern, message, re.DOTALL), message
