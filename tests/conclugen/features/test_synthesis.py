from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from conclugen.features import synthesis
from conclugen.features.manifest import FeatureSetError
from conclugen.features.shards import FeatureSet
from conclugen.features.synthesis import SyntheticSet, best_accuracy, class_means, write_synthetic
from conclugen.features.verification import verify

SMALL = SyntheticSet(samples=60, widths={"video": 9, "text": 5}, classes=4, labelled=True, seed=3)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use blocks of 10 rows, so that few samples make several blocks."""
    monkeypatch.setattr(synthesis, "BLOCK_ROWS", 10)


def _rows(folder: Path, split: str = "train") -> dict[str, torch.Tensor]:
    part = FeatureSet(folder).split(split)
    return {name: part.gather(name, torch.arange(len(part))) for name in FeatureSet(folder).manifest.widths}


def _probe(folder: Path, modalities: list[str]) -> float:
    """Return the weighted F1 on test of logistic regression on the concatenated modalities."""
    features = FeatureSet(folder)
    parts = {name: features.split(name) for name in ("train", "test")}
    x = {n: torch.cat([p.gather(m, torch.arange(len(p))) for m in modalities], 1).numpy() for n, p in parts.items()}
    classifier = LogisticRegression(C=0.01, max_iter=200).fit(x["train"], parts["train"].labels)
    return float(f1_score(parts["test"].labels, classifier.predict(x["test"]), average="weighted"))


def test_a_probe_reaches_the_best_accuracy(tmp_path: Path) -> None:
    """The accuracy is chance without a signal, grows with the signal, and is highest with all modalities."""
    signals = {"none": 0.0, "weak": 1.0, "strong": 2.5}
    wanted = SyntheticSet(
        samples=12_000, widths=dict.fromkeys(signals, 16), classes=4, labelled=True, signal=signals, dtype="float16"
    )
    write_synthetic(wanted, tmp_path / "set")
    scores = {name: _probe(tmp_path / "set", [name]) for name in signals}
    scores["together"] = _probe(tmp_path / "set", list(signals))
    best = {name: best_accuracy([signal], 4) for name, signal in signals.items()}
    best["together"] = best_accuracy(list(signals.values()), 4)
    assert best["none"] == pytest.approx(0.25, abs=1e-6)
    assert scores == pytest.approx(best, abs=0.035)  # 1,800 test samples: a standard error of 0.012 at most
    assert sorted(scores, key=lambda name: scores[name]) == ["none", "weak", "strong", "together"]


def test_the_best_accuracy_of_two_classes_is_a_normal_tail() -> None:
    """Two means of length s in orthogonal directions are sqrt(2) s apart: Phi(s / sqrt(2))."""
    assert best_accuracy([1.0], 2) == pytest.approx(0.7602499, abs=1e-6)
    assert best_accuracy([3.0, 4.0], 2) == pytest.approx(best_accuracy([5.0], 2))


@pytest.mark.usefixtures("small_blocks")
class TestStreams:
    @settings(deadline=None, max_examples=15)
    @given(few=st.integers(20, 70), more=st.integers(1, 60), augmented=st.integers(0, 3), labelled=st.booleans())
    def test_a_larger_set_begins_with_a_smaller_one(
        self, tmp_path_factory: pytest.TempPathFactory, few: int, more: int, augmented: int, labelled: bool
    ) -> None:
        folder = tmp_path_factory.mktemp("sets")
        wanted = replace(SMALL, augmented=augmented, labelled=labelled)
        for samples in (few, few + more):
            write_synthetic(replace(wanted, samples=samples), folder / f"{samples}")
        for split in ("train", "val", "test") if labelled else ("train",):
            small, large = (FeatureSet(folder / f"{samples}").split(split) for samples in (few, few + more))
            a, b = (_rows(folder / f"{samples}", split) for samples in (few, few + more))
            assert all(torch.equal(a[name], b[name][: len(small)]) for name in a)
            assert small.sample_ids == large.sample_ids[: len(small)]
            if labelled:
                assert torch.equal(small.labels, large.labels[: len(small)])

    def test_versions_are_the_clean_row_plus_noise(self, tmp_path: Path) -> None:
        write_synthetic(SMALL, tmp_path / "clean")
        write_synthetic(replace(SMALL, augmented=3), tmp_path / "versions")
        clean, rows = _rows(tmp_path / "clean"), _rows(tmp_path / "versions")
        split = FeatureSet(tmp_path / "versions").split("train")
        assert split.versions.shape == (len(clean["video"]), 4)
        for name, x in clean.items():
            versions = rows[name][split.versions]
            assert torch.equal(versions[:, 0], x)
            assert (versions[:, 1:] - x[:, None]).std().item() == pytest.approx(0.5, abs=0.05)
        assert FeatureSet(tmp_path / "versions").manifest.rows("val") == 9  # held-out samples have no versions

    def test_shards_are_no_larger_with_versions(self, tmp_path: Path) -> None:
        manifest = write_synthetic(replace(SMALL, augmented=4), tmp_path / "set")
        assert max(shard.rows for shard in manifest.shards) == 10
        assert sum(shard.samples for shard in manifest.shards) == 60

    def test_sets_of_one_seed_share_classes_and_no_row(self, tmp_path: Path) -> None:
        """The class means of one set show in the other; another seed has other means."""
        wanted = replace(SMALL, samples=4000, signal={"video": 5.0})
        labelled = write_synthetic(wanted, tmp_path / "labelled")
        write_synthetic(replace(wanted, labelled=False), tmp_path / "unlabelled")
        assert labelled.labels is not None
        train = FeatureSet(tmp_path / "labelled").split("train")
        x = _rows(tmp_path / "labelled")["video"]
        means = torch.stack([x[train.labels == label].mean(0) for label in range(4)])
        other = _rows(tmp_path / "unlabelled")["video"]
        assert not torch.equal(other[:10], x[:10])
        assert (other @ means.T).max(1).values.mean().item() > 24  # 25: a mean's squared length
        write_synthetic(replace(wanted, seed=4, labelled=False), tmp_path / "seed")
        assert (_rows(tmp_path / "seed")["video"] @ means.T).max(1).values.mean().item() < 20

    def test_the_same_description_gives_the_same_set(self, tmp_path: Path) -> None:
        once, again = (write_synthetic(replace(SMALL, dtype="float16"), tmp_path / name) for name in ("a", "b"))
        assert once.fingerprint == again.fingerprint
        assert verify(tmp_path / "a").problems == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"samples": 19}, "--samples 19: must be at least 20 with --labelled."),
        ({"samples": 0, "labelled": False}, "--samples 0: must be at least 1."),
        ({"classes": 1}, "--classes 1: must be at least 2."),
        ({"classes": 6}, "--dims text=5: must be at least the 6 classes, which have a feature each."),
        ({"signal": {"text": -1.0}}, "--signal text=-1.0: must be a number from 0 to 100."),
        ({"signal": {"text": float("nan")}}, "--signal text=nan: must be a number from 0 to 100."),
        ({"signal": {"audio": 1.0}}, "--signal audio: is no modality of --dims, which has video, text."),
        ({"augmented": -1}, "--augmented -1: must be in 0..32767."),
        ({"seed": -1}, "--seed -1: must not be negative."),
        ({"widths": {"label": 9}}, "--dims label=9: is no name of a modality"),
    ],
)
def test_an_impossible_set_is_refused(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    wanted = replace(SMALL, **changes)  # type: ignore[arg-type]
    (message,) = wanted.problems
    assert message.startswith(problem)
    with pytest.raises(ValueError, match="--"):
        write_synthetic(wanted, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_existing_set_is_left_alone(tmp_path: Path) -> None:
    before = write_synthetic(SMALL, tmp_path)
    with pytest.raises(FeatureSetError, match="already holds a feature set"):
        write_synthetic(replace(SMALL, seed=9), tmp_path)
    assert verify(tmp_path).problems == []
    assert FeatureSet(tmp_path).manifest == before


def test_each_class_has_its_own_features() -> None:
    means = class_means(replace(SMALL, widths={"video": 50}, signal={"video": 2.0}), "video")
    assert means @ means.T == pytest.approx(4.0 * np.eye(4), abs=1e-5)
