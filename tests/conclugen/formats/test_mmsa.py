"""MMSA's pickles of MOSI, MOSEI and CH-SIMS, and MulT's."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)
SIZES = {"train": 6, "valid": 2, "test": 3}
STEPS = 5


def _part(name: str, rows: int, aligned: bool) -> dict[str, Any]:
    lengths = RNG.integers(1, STEPS + 1, rows)
    tokens = np.zeros((rows, 3, STEPS), "f4")
    tokens[:, 1] = np.arange(STEPS) < lengths[:, None]
    scores = np.resize(np.array([-1.6, 0, 2.4, 0.2], "f4"), rows)
    part: dict[str, Any] = {
        "raw_text": np.array([f"sentence {row}" for row in range(rows)]),
        "audio": RNG.normal(size=(rows, STEPS, 4)).astype("f4"),
        "vision": RNG.normal(size=(rows, STEPS, 3)).astype("f4"),
        "id": [f"{name}{row // 2}$_${row}" for row in range(rows)],
        "text": RNG.normal(size=(rows, STEPS, 6)).astype("f4"),
        "text_bert": tokens,
        "annotations": np.where(scores < 0, "Negative", np.where(scores == 0, "Neutral", "Positive")),
        "classification_labels": np.sign(scores) + 1,
        "regression_labels": scores,
    }
    if not aligned:
        part |= {"audio_lengths": RNG.integers(1, STEPS + 1, rows).tolist(), "vision_lengths": [STEPS] * rows}
    return part


def _data(aligned: bool = False) -> dict[str, dict[str, Any]]:
    return {name: _part(name, rows, aligned) for name, rows in SIZES.items()}


def _write(folder: Path, data: Any, name: str = "unaligned_50.pkl", protocol: int = 4) -> Path:
    file = folder / name
    file.write_bytes(pickle.dumps(data, protocol=protocol))
    return file


def _means(data: dict[str, dict[str, Any]], key: str, lengths: str | None) -> dict[str, np.ndarray]:
    means = {}
    for part in data.values():
        of_rows = part["text_bert"][:, 1].sum(axis=1).astype(int) if lengths is None else part[lengths]
        means |= {each: part[key][row, : of_rows[row]].mean(axis=0) for row, each in enumerate(part["id"])}
    return means


@pytest.mark.parametrize("protocol", [2, 4])
def test_unaligned_sequences_are_averaged_over_their_lengths(tmp_path: Path, protocol: int) -> None:
    data = _data()
    rows = imported(tmp_path, _write(tmp_path, data, protocol=protocol), labels="regression_labels", label_map="mosi-3")
    assert rows.same("audio", _means(data, "audio", "audio_lengths"))
    assert rows.same("vision", _means(data, "vision", "vision_lengths"))
    assert rows.same("text", _means(data, "text", None))
    assert [rows.manifest.samples(split) for split in ("train", "val", "test")] == [6, 2, 3]
    assert rows.manifest.labels is not None
    assert rows.manifest.labels.classes == ("negative", "neutral", "positive")
    assert [rows.labels[each] for each in data["train"]["id"][:4]] == ["negative", "neutral", "positive", "positive"]
    assert rows.groups["video"]["train0$_$1"] == "train0"
    assert rows.manifest.modalities[0].source == "unaligned_50.pkl:audio, mean over time"


def test_aligned_sequences_are_averaged_over_the_mask_of_the_words(tmp_path: Path) -> None:
    data = _data(aligned=True)
    rows = imported(tmp_path, _write(tmp_path, data, "aligned_50.pkl"), labels="annotations")
    for key in ("text", "audio", "vision"):
        assert rows.same(key, _means(data, key, None))
        assert rows.plan.modalities[key][0].column.lengths == "the mask in text_bert"


def test_several_kinds_of_labels_are_asked_about(tmp_path: Path) -> None:
    (question,) = refused(_write(tmp_path, _data()))
    assert "--labels annotations (Negative, Neutral, Positive)" in question
    assert "--labels classification_labels (0, 1, 2)" in question
    assert "--labels regression_labels (numbers from -1.6 to 2.4; with --label-map)" in question
    assert question.endswith("or --labels none (a set without labels).")
    (question,) = refused(tmp_path / "unaligned_50.pkl", labels="regression_labels")
    assert "mosi-7" in question


def test_zeros_are_left_out_on_request(tmp_path: Path) -> None:
    plan = planned(_write(tmp_path, _data()), labels="regression_labels", label_map="mosi-2-nonzero")
    assert plan.left_out == {"no label": ["train0$_$1", "train2$_$5", "valid0$_$1", "test0$_$1"]}


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (
            [9, 1, 1, 1, 1, 1],
            "audio_lengths: 1 of 6 exceed the 5 frames that are there, up to 9. Either the sequences were cut",
        ),
        ([1, 1], "audio_lengths: are int64 (2,), not one whole number for each of 6 rows"),
        ([1.5] * 6, "not one whole number for each of 6 rows"),
    ],
)
def test_wrong_lengths_are_asked_about(tmp_path: Path, lengths: list[float], expected: str) -> None:
    data = _data()
    data["train"]["audio_lengths"] = lengths
    file = _write(tmp_path, data)
    problems = refused(file, labels="none")
    assert any(expected in problem for problem in problems), problems
    if lengths[0] == 9:
        data["train"]["audio_lengths"] = [5, *lengths[1:]]
        rows = imported(tmp_path, file, labels="none", padding="clip")
        assert rows.same("audio", _means(data, "audio", "audio_lengths"))


def test_rows_without_a_frame_are_left_out(tmp_path: Path) -> None:
    data = _data()
    data["train"]["audio_lengths"][2] = 0
    plan = planned(_write(tmp_path, data), labels="none")
    assert plan.left_out == {"no audio (its length is 0)": ["train1$_$2"]}


def test_a_file_without_features_of_text_says_so(tmp_path: Path) -> None:
    """`text_bert` holds numbers of tokens."""
    data = _data()
    for part in data.values():
        del part["text"]
    file = _write(tmp_path, data)
    assert list(planned(file, labels="none").modalities) == ["audio", "vision"]
    (problem,) = refused(file, labels="none", modalities={"text": "text_bert", "audio": "audio"})
    assert "text_bert: holds the numbers of tokens, which are no features" in problem


def test_parts_with_other_names_are_asked_about(tmp_path: Path) -> None:
    data = _data()
    data["train_mix"] = _part("mix", 4, aligned=False)
    file = _write(tmp_path, data)
    (question,) = refused(file, labels="none")
    assert (
        "'train_mix' (4 rows) may be train, val or test; give --split-map train_mix=train, or leave rows out"
        in question
    )
    plan = planned(file, labels="none", split_map={"train_mix": ""})
    assert plan.left_out == {"no split": [f"mix{row // 2}$_${row}" for row in range(4)]}
    assert "there is no part 'x'" in refused(file, labels="none", split_map={"x": "train", "train_mix": "val"})[0]


def test_parts_without_the_same_modalities_are_told(tmp_path: Path) -> None:
    data = _data()
    del data["test"]["vision"]
    (problem,) = refused(_write(tmp_path, data), labels="none")
    assert "part test has no vision; name the modalities that all parts have" in problem


def test_files_of_mult_have_identifiers_of_three_parts_and_no_lengths(tmp_path: Path) -> None:
    """Multimodal Transformer's mosei_senti_data.pkl: labels (n, 1, 1), id (n, 3), padding of zeros in front."""
    data = {}
    for name, rows in SIZES.items():
        sequences = RNG.normal(size=(rows, STEPS, 4)).astype("f4")
        sequences[:, :2] = 0
        data[name] = {
            "vision": sequences,
            "text": RNG.normal(size=(rows, STEPS, 3)).astype("f4"),
            "labels": np.resize(np.array([-1.0, 1.5], "f4"), (rows, 1, 1)),
            "id": np.array([[f"{name}{row}", "0.5", "2.0"] for row in range(rows)], dtype=object),
        }
    file = _write(tmp_path, data, "mosei_senti_data.pkl")
    problems = refused(file, label_map="mosi-2")
    assert problems[0].startswith("modality 'vision': vision: 6 of 6 sequences begin or end with frames of zeros")
    rows = imported(tmp_path, file, label_map="mosi-2", padding="zeros")
    assert rows.labels["train0_0.5_2.0"] == "negative"
    assert np.allclose(rows.vectors["vision"]["test1_0.5_2.0"], data["test"]["vision"][1, 2:].mean(axis=0), atol=1e-6)


def test_files_without_identifiers_count_the_rows_of_each_part(tmp_path: Path) -> None:
    data = _data()
    for part in data.values():
        del part["id"]
    rows = imported(tmp_path, _write(tmp_path, data), labels="annotations")
    expected = {
        f"{name}{row:07d}": part["audio"][row, : part["audio_lengths"][row]].mean(axis=0)
        for name, part in data.items()
        for row in range(SIZES[name])
    }
    assert rows.same("audio", expected)


def test_identifiers_that_are_missing_or_come_twice_are_told(tmp_path: Path) -> None:
    data = _data()
    data["train"]["id"].pop()
    problems = refused(_write(tmp_path, data), labels="annotations")
    assert any("audio: has 6 rows, id has 5; rows cannot be matched, so mend the file" in each for each in problems)
    data = _data()
    data["train"]["id"][1] = data["train"]["id"][0]
    problems = refused(_write(tmp_path, data), labels="annotations")
    assert "1 identifiers come more than once, such as 'train0$_$0' (2 times)" in problems[0]


def test_features_under_another_key_keep_its_name(tmp_path: Path) -> None:
    data = _data(aligned=True)
    for part in data.values():
        part["acoustic"] = part.pop("audio")
    rows = imported(tmp_path, _write(tmp_path, data), labels="annotations", modalities={"audio": "acoustic"})
    assert rows.same("audio", _means(data, "acoustic", None))
