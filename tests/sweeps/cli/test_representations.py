"""The representations that a report draws, from a small sweep that is run in this process."""

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
from sweeps.cli import representations as embeddings
from sweeps.cli.representations import representations
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from tests.conftest import CLASSES, config_writer, write_planted
from tests.sweeps.simulation import run_here

pytestmark = pytest.mark.timeout(180)  # a sweep is run in earnest, once


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Three labelled sets: one label a sample, several, and folds."""
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


def test_every_pretrained_method_has_the_same_samples_of_every_set(sweep: SweepFolder, records: list[Record]) -> None:
    left_out: list[str] = []
    found = {(one.dataset, one.method): one for one in representations(sweep.root, records, left_out)}
    assert left_out == []
    assert set(found) == {
        (name, method) for name in ("planted", "several", "folded") for method in ("Con", "ConGen", "SimCLR")
    }
    assert Counter(found["planted", "Con"].labels) == {"a": 4, "b": 4, "c": 4}
    assert Counter(found["several", "Con"].labels) == {"a": 4, "b": 4, "c": 2, "several": 1, "none": 1}
    assert len(found["folded", "Con"].labels) == 48
    for (dataset, _), one in found.items():
        assert one.labels == found[dataset, "Con"].labels
        assert (len(one.vectors), one.samples) == (len(one.labels), len(one.labels))
        assert np.isfinite(one.vectors).all()


def test_they_are_what_the_exported_head_makes_of_the_test_split(
    sweep: SweepFolder, records: list[Record], tmp_path: Path
) -> None:
    export_best(sweep, "ConGen", tmp_path / "model")
    model = ConCluGenHead.from_pretrained(tmp_path / "model")
    test = FeatureSet(sweep.root.parent / "planted", ("test",)).split("test")
    with torch.no_grad():
        raw = {name: test.gather(name, torch.arange(len(test))) for name in model.config.modalities}
        expected = torch.cat(list(model(raw).values()), dim=1).numpy()
    (one,) = [
        one for one in representations(sweep.root, records, []) if (one.dataset, one.method) == ("planted", "ConGen")
    ]
    np.testing.assert_allclose(one.vectors, expected, atol=1e-6)


def test_many_samples_are_drawn_in_proportion_and_always_the_same(
    sweep: SweepFolder, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "MOST_SAMPLES", 6)
    first, again = list(representations(sweep.root, records, [])), list(representations(sweep.root, records, []))
    for one, other in zip(first, again, strict=True):
        assert len(one.labels) == 6 < one.samples
        assert (one.vectors == other.vectors).all()
        if one.dataset == "planted":
            assert Counter(one.labels) == {"a": 2, "b": 2, "c": 2}


def test_what_is_missing_is_left_out_with_the_reason(sweep: SweepFolder, records: list[Record], tmp_path: Path) -> None:
    """A head is gone, another is damaged, a set is gone, another is not what it was."""
    copy = SweepFolder(tmp_path / "sweep")
    shutil.copytree(sweep.root, copy.root)
    text = copy.config.read_text()
    other = write_planted(tmp_path / "other", rows=48, seed=1)
    text = text.replace(str(sweep.root.parent / "several"), str(tmp_path / "gone"))
    copy.config.write_text(text.replace(str(sweep.root.parent / "folded"), str(other)))
    next(copy.heads.glob("confirm-Con-*")).unlink()
    damaged = next(copy.heads.glob("confirm-SimCLR-*"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    left_out: list[str] = []
    found = [(one.dataset, one.method) for one in representations(copy.root, records, left_out)]
    assert found == [("planted", "ConGen")]
    expected = (
        r"tiny: Con has no head yet\.",
        rf"tiny: folded: {other} is not the set that the sweep was scored on.*",
        rf"tiny: SimCLR on planted: {damaged} is damaged.*",
        rf"tiny: several: .*{tmp_path / 'gone'}.*",
    )
    assert len(left_out) == len(expected)
    for message, pattern in zip(left_out, expected, strict=True):
        assert re.fullmatch(pattern, message, re.DOTALL), message
