"""MERTools and MERBench: `<clip>.npy` by modality and encoder, and `label.npz` of pickled dictionaries."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)
EMOTIONS = ("happy", "sad", "neutral")


def _corpus(start: int, count: int) -> dict[str, dict[str, Any]]:
    return {f"sample_{row:08d}": {"emo": EMOTIONS[row % 3], "val": row / 4 - 1} for row in range(start, start + count)}


def _root(folder: Path, clips: int = 10) -> dict[str, dict[str, np.ndarray]]:
    features: dict[str, dict[str, np.ndarray]] = {"chinese-hubert-large-UTT": {}, "clip-vit-large-patch14-FRA": {}}
    for row in range(clips):
        name = f"sample_{row:08d}"
        features["chinese-hubert-large-UTT"][name] = RNG.normal(size=5).astype("f4")
        features["clip-vit-large-patch14-FRA"][name] = RNG.normal(size=(row + 1, 4)).astype("f4")
    for encoder, arrays in features.items():
        (folder / "features" / encoder).mkdir(parents=True)
        for name, array in arrays.items():
            np.save(folder / "features" / encoder / f"{name}.npy", array)
    return features


def test_features_and_labels_are_joined_by_clip(tmp_path: Path) -> None:
    features = _root(tmp_path / "mer")
    corpora: Any = {"train_corpus": _corpus(0, 6), "val_corpus": _corpus(6, 2), "test_corpus": _corpus(8, 3)}
    np.savez_compressed(tmp_path / "mer" / "label.npz", **corpora)
    (question,) = refused(tmp_path / "mer")
    assert "--labels emo (happy, neutral, sad); --labels val (numbers from -1 to 1.5; with --label-map)" in question
    rows = imported(tmp_path, tmp_path / "mer", labels="emo")
    assert rows.same("chinese_hubert_large_UTT", features["chinese-hubert-large-UTT"])
    assert rows.same(
        "clip_vit_large_patch14_FRA",
        {name: array.mean(axis=0) for name, array in features["clip-vit-large-patch14-FRA"].items()},
    )
    assert [rows.manifest.samples(split) for split in ("train", "val", "test")] == [6, 2, 2]
    assert rows.labels["sample_00000004"] == "sad"
    assert rows.plan.left_out == {"no features": ["sample_00000010"]}


def test_three_corpora_for_testing_are_asked_about(tmp_path: Path) -> None:
    _root(tmp_path / "mer")
    corpora: Any = {"train_corpus": _corpus(0, 6), "test1_corpus": _corpus(6, 2), "test2_corpus": _corpus(8, 2)}
    np.savez(tmp_path / "mer" / "label-6way.npz", **corpora)
    (question,) = refused(tmp_path / "mer", labels="emo")
    assert "'test1_corpus' (2 rows), 'test2_corpus' (2 rows) may be train, val or test" in question
    plan = planned(tmp_path / "mer", labels="emo", split_map={"test1_corpus": "val", "test2_corpus": "test"})
    assert plan.splits == ["train"] * 6 + ["val"] * 2 + ["test"] * 2


def test_labels_that_are_empty_and_clips_without_labels_are_left_out(tmp_path: Path) -> None:
    """Test corpora of MER have no valence: '' stands in its place."""
    _root(tmp_path / "mer")
    corpus = _corpus(0, 9)
    corpus["sample_00000002"]["val"] = ""
    del corpus["sample_00000003"]["emo"]
    np.savez(tmp_path / "mer" / "label.npz", train_corpus=corpus)  # type: ignore[arg-type]
    assert planned(tmp_path / "mer", labels="val", label_map="a < 0 <= b").left_out == {
        "no split and no label": ["sample_00000009"],
        "no label": ["sample_00000002"],
    }
    assert planned(tmp_path / "mer", labels="emo").left_out["no label"] == ["sample_00000003"]


def test_a_corpus_of_sessions_gives_folds(tmp_path: Path) -> None:
    _root(tmp_path / "mer")
    sessions = np.empty(5, object)
    for session in range(5):
        sessions[session] = _corpus(2 * session, 2)
    np.savez(tmp_path / "mer" / "label.npz", whole_corpus=sessions)
    plan = planned(tmp_path / "mer", labels="emo", folds="session")
    assert plan.folds == [row // 2 for row in range(10)]


def test_a_label_file_that_would_be_executed_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "trap",)

    np.savez(tmp_path / "label.npz", train_corpus=np.array({"a": Trap()}, dtype=object))
    (problem,) = refused(tmp_path / "label.npz")
    assert "asks for pathlib.Path.touch" in problem or "nothing was executed" in problem
    assert not (tmp_path / "trap").exists()


def test_a_clip_in_two_parts_is_told(tmp_path: Path) -> None:
    _root(tmp_path / "mer")
    corpora: Any = {"train_corpus": _corpus(0, 6), "test1_corpus": _corpus(5, 5)}
    np.savez_compressed(tmp_path / "mer" / "label.npz", **corpora)
    parts = {"test1_corpus": "test"}
    (problem,) = refused(tmp_path / "mer", labels="emo", split_map=parts)
    assert "1 row is in several parts, such as 'sample_00000005' in train_corpus and in test1_corpus" in problem
    plan = planned(tmp_path / "mer", labels="emo", split_map={**parts, "train_corpus": ""})
    assert plan.splits == ["test"] * 5
