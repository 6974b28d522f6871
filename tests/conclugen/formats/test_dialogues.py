"""The pickles of DialogueRNN and its heirs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)
IEMOCAP = {"Ses01F_impro01": 3, "Ses01M_script01": 2, "Ses05F_impro02": 4}
MELD = {0: 3, 1: 2, 2: 4}


def _vectors(sizes: dict[Any, int], width: int) -> dict[Any, list[np.ndarray]]:
    return {dialogue: list(RNG.normal(size=(count, width))) for dialogue, count in sizes.items()}


def _iemocap() -> list[Any]:
    return [
        {dialogue: [f"{dialogue}_F{turn:03d}" for turn in range(count)] for dialogue, count in IEMOCAP.items()},
        {dialogue: ["F", "M", "F", "M"][:count] for dialogue, count in IEMOCAP.items()},
        {dialogue: [0, 1, 2, 1][:count] for dialogue, count in IEMOCAP.items()},
        _vectors(IEMOCAP, 5),
        _vectors(IEMOCAP, 4),
        _vectors(IEMOCAP, 3),
        {
            dialogue: ["Excuse me.", "Do you have your forms?", "Yeah.", "Let me see"][:count]
            for dialogue, count in IEMOCAP.items()
        },
        {"Ses01F_impro01", "Ses01M_script01"},
        {"Ses05F_impro02"},
    ]


def _meld() -> list[Any]:
    one_hot = np.eye(9, dtype=int)
    return [
        {dialogue: [str(turn) for turn in range(count)] for dialogue, count in MELD.items()},
        {
            dialogue: [one_hot[turn % 2 + dialogue].tolist() for turn in range(count)]
            for dialogue, count in MELD.items()
        },
        {dialogue: [0, 4, 6, 0][:count] for dialogue, count in MELD.items()},
        _vectors(MELD, 5),
        {dialogue: vectors.tolist() for dialogue, vectors in ((d, np.stack(v)) for d, v in _vectors(MELD, 4).items())},
        {dialogue: ["What is it", "No", "Oh my God", "Yes I do"][:count] for dialogue, count in MELD.items()},
        [0, 1],
        [2],
        {dialogue: [1, 0, 2, 1][:count] for dialogue, count in MELD.items()},
    ]


def _write(folder: Path, entries: Any, protocol: int = 2) -> Path:
    file = folder / "features_raw.pkl"
    file.write_bytes(pickle.dumps(tuple(entries) if isinstance(entries, list) else entries, protocol=protocol))
    return file


def _by_id(ids: dict[Any, list[str]], vectors: dict[Any, Any]) -> dict[str, Any]:
    return {each: vectors[dialogue][turn] for dialogue, names in ids.items() for turn, each in enumerate(names)}


def test_iemocap(tmp_path: Path) -> None:
    entries = _iemocap()
    rows = imported(tmp_path, _write(tmp_path, entries), label_map="0=happy,1=sad,2=neutral")
    for name, place in (("text", 3), ("audio", 4), ("visual", 5)):
        assert rows.same(name, _by_id(entries[0], entries[place]))
    assert rows.labels["Ses05F_impro02_F003"] == "sad"
    assert {rows.splits[each] for each in entries[0]["Ses05F_impro02"]} == {"test"}
    assert rows.groups["speaker"]["Ses01M_script01_F001"] == "Ses01_M"
    assert rows.groups["dialogue"]["Ses01M_script01_F001"] == "Ses01M_script01"


def test_meld_with_speakers_as_vectors_and_two_kinds_of_labels(tmp_path: Path) -> None:
    entries = _meld()
    file = _write(tmp_path, entries)
    (question,) = refused(file)
    assert "--labels labels (0, 4, 6); --labels labels_2 (0, 1, 2)" in question
    rows = imported(tmp_path, file, labels="labels_2", label_map="0=neutral,1=positive,2=negative")
    ids = {dialogue: [f"{dialogue}_{turn}" for turn in range(count)] for dialogue, count in MELD.items()}
    assert rows.same("text", _by_id(ids, entries[3]))
    assert rows.same("audio", _by_id(ids, entries[4]))
    assert rows.groups["speaker"]["2_1"] == "3"
    assert (rows.labels["2_2"], rows.splits["1_0"], rows.splits["2_0"]) == ("negative", "train", "test")


def test_cosmic_has_four_layers_and_three_parts(tmp_path: Path) -> None:
    entries = _iemocap()
    entries = [entries[1], entries[2], *(_vectors(IEMOCAP, 6) for _ in range(4)), entries[6]]
    parts = [["Ses01F_impro01", "x", "y"], ["Ses05F_impro02"], ["Ses01M_script01"]]
    plan = planned(_write(tmp_path, [*entries, *parts]))
    assert list(plan.modalities) == ["roberta1", "roberta2", "roberta3", "roberta4"]
    assert plan.splits is not None
    assert dict(zip(plan.ids, plan.splits, strict=True))["Ses01M_script01_0"] == "val"


def test_features_without_a_settled_order_are_asked_about(tmp_path: Path) -> None:
    entries = _iemocap()
    entries[3:6] = [_vectors(IEMOCAP, width) for width in (5, 4, 3, 2, 6)]
    file = _write(tmp_path, entries)
    (question,) = refused(file)
    assert "which modality is which cannot be told from 5 kinds of vectors: features_1 (width 5)" in question
    assert planned(file, modalities={"text": "features_1", "audio": "features_4"}).width("audio") == 2


def test_parts_of_unclear_order_are_asked_about(tmp_path: Path) -> None:
    entries = _iemocap()
    entries[7], entries[8] = entries[8], entries[7]
    file = _write(tmp_path, entries)
    assert "which part is train cannot be told from part1 (1 dialogues), part2 (2 dialogues)" in refused(file)[0]
    assert planned(file, split_map={"part1": "test", "part2": "train"}).splits


def test_a_dictionary_with_names_is_read(tmp_path: Path) -> None:
    entries = _iemocap()
    names = (
        "videoIDs",
        "videoSpeakers",
        "videoLabels",
        "videoText",
        "videoAudio",
        "videoVisual",
        "videoSentence",
        "trainVid",
        "testVid",
    )
    plan = planned(_write(tmp_path, dict(zip(names, entries, strict=True))))
    assert list(plan.modalities) == ["text", "audio", "visual"]
    assert plan.columns["labels"] == "videoLabels"


def test_dialogues_of_other_lengths_and_absent_ones_are_left_out(tmp_path: Path) -> None:
    entries = _iemocap()
    entries[4]["Ses01F_impro01"] = entries[4]["Ses01F_impro01"][:2]
    del entries[5]["Ses01M_script01"]
    plan = planned(_write(tmp_path, entries), labels="none")
    assert plan.left_out == {
        "no audio (its dialogue has 2 vectors for 3 utterances)": entries[0]["Ses01F_impro01"],
        "no visual (its dialogue is not there)": entries[0]["Ses01M_script01"],
    }


def test_dialogues_in_no_part_are_left_out_and_in_two_are_refused(tmp_path: Path) -> None:
    entries = _iemocap()
    entries[7] = {"Ses01F_impro01"}
    assert planned(_write(tmp_path, entries)).left_out == {"no split": entries[0]["Ses01M_script01"]}
    entries[8] = {"Ses01F_impro01", "Ses05F_impro02"}
    entries[7] = {"Ses01F_impro01", "Ses01M_script01"}
    file = _write(tmp_path, entries)
    assert "1 dialogues are in two parts, such as Ses01F_impro01 (train and test)" in refused(file)[0]
    assert planned(file, split="none").splits is None


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    assert planned(_write(tmp_path, _iemocap(), protocol)).ids


def test_a_file_without_a_validation_part_says_so_and_takes_a_share_of_whole_dialogues(tmp_path: Path) -> None:
    entries = _iemocap()
    file = _write(tmp_path, entries)
    plan = planned(file)
    (note,) = plan.notes
    assert note == (
        "no row is val, and sweeps need such rows; --val-share 0.1 makes a tenth of train val, each dialogue as a "
        "whole."
    )
    plan = planned(file, val_share=0.4)
    assert plan.splits is not None
    of_dialogues = set(zip(plan.groups["dialogue"], plan.splits, strict=True))
    assert len(of_dialogues) == 3  # none is in two parts
    assert {part for dialogue, part in of_dialogues if dialogue == "Ses05F_impro02"} == {"test"}
    rows = plan.splits.count("val")
    assert plan.notes == [f"{rows} of the 5 rows of train are val now (1 of 2 dialogues), by --val-share 0.4."]
    assert planned(file, labels="none").notes == []  # a set for pretraining needs no val
