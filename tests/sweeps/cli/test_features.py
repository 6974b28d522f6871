"""`conclugen features synth`, `verify`, `probe`, `import` with groups, and remote feature sets in a configuration."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from conclugen.features import manifest, remote
from conclugen.features.manifest import Manifest
from conclugen.features.shards import FeatureSet
from conclugen.features.verification import verify
from sweeps.cli import app
from sweeps.config import ConfigError, load_config
from sweeps.execution.preflight import collect
from tests.conftest import write_planted

SYNTH = ("synth", "--samples", 40, "--labelled", "--dims", "video=9,text=8", "--classes", 4)


def features(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["features", *map(str, arguments)])


def test_synth_writes_a_set_that_verify_accepts(tmp_path: Path) -> None:
    out = tmp_path / "set"
    synth = features(
        *SYNTH, "--out", out, "--dtype", "float16", "--seed", 5, "--signal", "video=0,text=100", "--augmented", 2
    )
    assert synth.exit_code == 0, synth.output
    assert "video 0.250, text 1.000, all together 1.000" in synth.output
    content = Manifest.read(out)
    assert (content.widths, content.dtype) == ({"video": 9, "text": 8}, "float16")
    assert [content.rows(split) for split in ("train", "val", "test")] == [28 * 3, 6, 6]
    verified = features("verify", out)
    assert verified.exit_code == 0
    assert f"{out}: 5 shards, 96 rows, no problem." in verified.output
    document = json.loads(features("verify", out, "--json").stdout)
    assert (document["set"], document["shards"], document["rows"]) == (str(out), 5, 96)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--dims", "video=9,text=x"), "--dims text=x: must be a whole number."),
        (("--dims", "video=9,video=9"), "'video' is given twice"),
        (("--dims", "video"), "'video' is not of the form name=number"),
        (("--signal", "video=high"), "--signal video=high: must be a number."),
        (("--samples", "3", "--dtype", "f4"), "error: 2 problems\n  --dtype f4: must be float32 or float16.\n  --samp"),
        (("--dtype", "float64"), "--dtype float64: must be float32 or float16."),
        (("--samples", "3"), "--samples 3: must be at least 20 with --labelled."),
    ],
)
def test_synth_refuses_bad_options_and_writes_nothing(tmp_path: Path, options: tuple[str, ...], expected: str) -> None:
    refused = features(*SYNTH, "--out", tmp_path / "set", *options)
    assert refused.exit_code == 2
    assert expected in refused.output
    assert not (tmp_path / "set").exists()


def test_verify_names_every_problem(tmp_path: Path) -> None:
    out = tmp_path / "set"
    features(*SYNTH, "--out", out)
    for file in out.glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:-1])
    damaged = features("verify", out)
    assert damaged.exit_code == 2
    assert "error: 3 problems" in damaged.output
    assert damaged.output.count("is damaged: its checksum") == 3
    missing = features("verify", tmp_path / "nothing")
    assert missing.exit_code == 2
    assert "is not a feature set" in missing.output


def test_verify_finds_leakage_by_imported_speakers(tmp_path: Path) -> None:
    split = np.array(["train"] * 4 + ["val"] * 2)
    np.savez(tmp_path / "x.npz", v=np.random.default_rng(0).normal(size=(6, 2)), s=split, who=list("abcdae"))
    arguments = ("import", tmp_path / "x.npz", "--modalities", "video=v", "--split", "s")
    assert features(*arguments, "--out", tmp_path / "set", "--speakers", "who").exit_code == 0
    assert FeatureSet(tmp_path / "set").manifest.speakers
    verified = features("verify", tmp_path / "set")
    assert verified.exit_code == 2
    assert "leakage by speaker: 1 speakers ('a') are in train and val alike" in verified.output
    shared = features("verify", tmp_path / "set", "--shared-speakers")
    assert shared.exit_code == 0
    assert "note: leakage by speaker" in shared.output
    assert "--speakers: " in features(*arguments, "--out", tmp_path / "other", "--speakers", "nobody").output
    wrong = features(*arguments, "--out", tmp_path / "other", "--speakers", "v")
    assert "speakers: expected 6 integers or strings, got float64 (6, 2); give one value per" in wrong.output


def test_groups_are_imported_shown_and_verified(tmp_path: Path) -> None:
    split = np.array(["train"] * 4 + ["val"] * 2)
    np.savez(tmp_path / "x.npz", v=np.random.default_rng(0).normal(size=(6, 2)), s=split, who=list("abcdef"), f=[7] * 6)
    arguments = ("import", tmp_path / "x.npz", "--modalities", "video=v", "--split", "s", "--speakers", "who")
    imported = features(*arguments, "--out", tmp_path / "set", "--groups", "video=f")
    assert imported.exit_code == 0, imported.output
    assert Manifest.read(tmp_path / "set").groupings == ("speaker", "video")
    lines = [
        " ".join(line.replace("│", " ").split()) for line in features("info", tmp_path / "set").output.splitlines()
    ]
    assert "groups by speaker 6 in all (train 4, val 2)" in lines
    assert "groups by video 1 in all (train 1, val 1)" in lines
    document = json.loads(features("info", tmp_path / "set", "--json").output)
    assert (document["groups"], document["n_groups"]["video"]) == (["video"], {"all": 1, "train": 1, "val": 1})
    verified = features("verify", tmp_path / "set")
    assert verified.exit_code == 2
    assert "leakage by video: 1 groups ('7') are in train and val alike" in verified.output
    shared = features("verify", tmp_path / "set", "--shared-groups", "video")
    assert (shared.exit_code, "note: leakage by video" in shared.output) == (0, True)
    unknown = features("verify", tmp_path / "set", "--shared-groups", "speaker,film")
    assert unknown.exit_code == 2
    assert "speakers that may be in several splits are --shared-speakers." in unknown.output
    assert "the set has no groups 'film'; it has video." in unknown.output


def test_wrong_groups_are_listed_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", v=np.ones((6, 2)), a=list("abcdef"), b=np.arange(5), c=["x", ""] * 3)
    arguments = ("import", tmp_path / "x.npz", "--modalities", "video=v", "--out", tmp_path / "set")
    groups = ("--groups", "scene=b,film=c", "--groups", "label=a", "--groups", "2nd=none", "--groups", "other=a")
    refused = features(*arguments, *groups)
    assert (refused.exit_code, (tmp_path / "set").exists()) == (2, False)
    for problem in (
        "--groups 2nd: ",
        "groups 'label': rename them",
        "groups '2nd': rename them",
        "groups 'scene': expected 6 integers or strings, got int64 (5,)",
        "groups 'film': '' stands for a missing value (in 3)",
        "groups label, other: read the same array 'a'",
    ):
        assert problem in refused.stderr, problem
    twice = features(*arguments, "--groups", "film=a", "--groups", "film=b,speaker=c,d")
    for problem in ("'film' is given twice", "give the speakers by --speakers c.", "'d' is not of the form name=key"):
        assert problem in twice.stderr, problem


def test_an_import_lists_the_problems_of_options_keys_and_arrays_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", v=np.full((6, 2), np.nan), y=np.arange(6.0) % 2, s=np.array(["trian"] * 6))
    modalities = ("--modalities", "video=v, audio = v,text=w")
    options = ("--labels", "y", "--split", "s", "--speakers", "who", "--dtype", "float64")
    refused = features("import", tmp_path / "x.npz", "--out", tmp_path / "set", *modalities, *options)
    assert (refused.exit_code, (tmp_path / "set").exists()) == (2, False)
    places = [line.split(":")[0].strip() for line in refused.stderr.splitlines()]
    assert places == [
        "error",
        "modality 'text'",
        "--speakers",
        "modalities video, audio",
        "dtype",
        "modality 'video'",
        "modality 'audio'",
        "split",
        "labels",
    ]
    assert "modalities video, audio: read the same array 'v'; give each modality an array of its own." in refused.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "is not there; give an .npz file."),
        (b"MATLAB 5.0 MAT-file", "is no .npz file; write its arrays into one with numpy.savez."),
        (b"\x89HDF\r\n\x1a\n", "is no .npz file; write its arrays into one with numpy.savez."),
        (b"PK\x05\x06" + bytes(18), "holds no array; write the arrays into it with numpy.savez."),
    ],
)
def test_a_file_of_another_kind_is_refused_without_advice_to_execute_it(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    file = tmp_path / "x.npz"
    if content is not None:
        file.write_bytes(content)
    refused = features("import", file, "--out", tmp_path / "set", "--modalities", "video=v")
    assert (refused.exit_code, refused.stderr) == (2, f"error: 1 problem\n  {file} {expected}\n")


def test_a_folder_without_features_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", "utf-8")
    refused = features("import", tmp_path, "--out", tmp_path / "set", "--modalities", "video=v")
    assert refused.exit_code == 2
    assert f"{tmp_path}: holds no file of features; give a folder of .npy" in refused.stderr


def test_labels_that_look_alike_are_refused_or_merged(tmp_path: Path) -> None:
    """Of 120 rows of three classes, a third has `anger`, in six spellings; two of them are one name."""
    spellings = ["anger", "anger ", "Anger", "a\u200bnger", "\uff41nger", "\u2007anger"]
    labels = np.array([spellings[row // 3 % 6] if row % 3 == 0 else ("joy", "fear")[row % 3 - 1] for row in range(120)])
    np.savez(tmp_path / "x.npz", v=np.random.default_rng(0).normal(size=(120, 8)), y=labels)
    arguments = ("import", tmp_path / "x.npz", "--modalities", "video=v", "--labels", "y", "--out", tmp_path / "set")
    refused = features(*arguments)
    assert refused.exit_code == 2
    assert "error: 1 problem" in refused.output
    assert "labels: 'Anger' (7), 'anger' (20), 'a\\u200bnger' (7), '\uff41nger' (6) look alike" in refused.output
    assert not (tmp_path / "set").exists()
    merged = features(*arguments, "--merge-labels")
    assert merged.exit_code == 0, merged.output
    assert "'Anger' (7), 'a\\u200bnger' (7), '\uff41nger' (6) became 'anger'." in merged.output
    content = Manifest.read(tmp_path / "set")
    assert content.labels is not None
    assert content.labels.classes == ("anger", "fear", "joy")
    assert "no problem" in features("verify", tmp_path / "set").output


def test_the_manifest_of_a_set_without_groups_does_not_mention_them(planted: Path) -> None:
    """So the fingerprint stays the one that records of earlier versions name."""
    assert '"speakers"' not in (planted / "manifest.json").read_text(encoding="utf-8")
    assert '"groups"' not in (planted / "manifest.json").read_text(encoding="utf-8")
    others = [Manifest.read(planted).model_copy(update=update) for update in ({"speakers": True}, {"groups": ("x",)})]
    assert len({manifest.fingerprint for manifest in (Manifest.read(planted), *others)}) == 3


@pytest.fixture
def remote_set(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CONCLUGEN_CACHE", str(tmp_path / "cache"))
    for known in (remote.node_cache, manifest.remote_file):
        known.cache_clear()
    system = fsspec.filesystem("memory")
    system.put(f"{planted}/", "/sets/planted", recursive=True)
    yield "memory://sets/planted"
    system.rm("/sets", recursive=True)
    remote.node_cache().close()
    for known in (remote.node_cache, manifest.remote_file):
        known.cache_clear()


class TestRemoteSets:
    def test_a_configuration_may_name_sets_by_uri(
        self, write_config: Callable[..., Path], remote_set: str, planted: Path, tmp_path: Path
    ) -> None:
        path = write_config(features={"pretrain": remote_set, "downstream": {"planted": remote_set}})
        config = load_config(path)
        assert config.features.pretrain == remote_set
        copy = tmp_path / "copy.yaml"
        copy.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        assert load_config(copy) == config
        assert type(config).model_validate(config.model_dump(mode="json")) == config  # as a replay reads a record

    def test_info_names_the_groups_of_a_remote_set_without_a_copy(self, remote_set: str, tmp_path: Path) -> None:
        write_planted(tmp_path / "grouped", groups={"video": np.arange(120) // 4})
        fsspec.filesystem("memory").put(f"{tmp_path}/grouped/", "/sets/grouped", recursive=True)
        place = remote_set.replace("planted", "grouped")
        shown = features("info", place)
        assert (shown.exit_code, "not counted, as the set is remote" in shown.stdout) == (0, True)
        document = json.loads(features("info", place, "--json").stdout)
        assert (document["groups"], "n_groups" in document) == (["video"], False)
        assert not (tmp_path / "cache").exists()

    def test_check_reads_the_manifest_only(
        self, write_config: Callable[..., Path], remote_set: str, tmp_path: Path
    ) -> None:
        path = write_config(features={"pretrain": remote_set, "downstream": {"planted": remote_set}})
        checked = CliRunner().invoke(app, ["sweep", "check", str(path)])
        assert checked.exit_code == 0, checked.output
        assert (
            f"Nothing is estimated, because these feature sets are remote and were not fetched: {remote_set}."
            in checked.output
        )
        assert not (tmp_path / "cache").exists()

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("memory://sets/gone", "features.pretrain: memory://sets/gone is not a feature set"),
            ("sftp://me:secret@host/set", "features.pretrain: holds a password"),
        ],
    )
    def test_a_missing_set_and_an_address_with_a_password_are_refused(
        self, write_config: Callable[..., Path], remote_set: str, planted: Path, uri: str, expected: str
    ) -> None:
        path = write_config(features={"pretrain": uri, "downstream": {"planted": str(planted)}})
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert caught.value.problems[0].startswith(expected)
        assert ":secret@" not in str(caught.value)

    def test_a_node_reports_the_manifest_that_it_sees(self, remote_set: str, planted: Path, tmp_path: Path) -> None:
        facts = collect(str(tmp_path), [remote_set, str(planted)])
        assert facts.features == dict.fromkeys([remote_set, str(planted)], Manifest.read(planted).fingerprint)
        assert facts.missing == ()

    def test_the_local_copy_of_a_good_set_passes_verification(self, remote_set: str) -> None:
        assert verify(FeatureSet(remote_set).folder).problems == []


class TestProbe:
    def test_probe_prints_scores_and_chosen_settings_for_each_label_budget(self, planted: Path) -> None:
        arguments = ("probe", planted, "--modalities", "text,video", "--labels-per-class", "1,5")
        results = json.loads(features(*arguments, "--json").stdout)
        assert [result["labels"] for result in results] == ["", "1", "5"]
        assert [len(result["chosen"]) for result in results] == [1, 5, 5]
        assert all(setting.startswith("C=") for result in results for setting in result["chosen"])
        table = features(*arguments)
        assert table.exit_code == 0
        text = " ".join(table.stdout.replace("│", " ").split())
        for result in results:
            for metric in ("weighted_f1", "macro_f1", "balanced_accuracy", "accuracy", "nll"):
                assert f"{result['test'][metric]['mean']:.4f}" in text
            assert set(result["validation"]) == set(result["test"]) > {"brier", "ece", "f1/a"}
            assert (result["test"]["accuracy"]["std"] is None) == (result["labels"] == "")

    @pytest.mark.parametrize(
        ("instrument", "pattern"), [("logistic", r"C=[\d.e-]+"), ("knn", r"k=\d+"), ("paper", r"epoch \d+")]
    )
    def test_every_instrument_prints_the_same_results_twice(self, planted: Path, instrument: str, pattern: str) -> None:
        arguments = ("probe", planted, "--labels-per-class", "1,5", "--instrument", instrument, "--draws", 2, "--json")
        first, second = features(*arguments), features(*arguments)
        assert (first.exit_code, first.stdout) == (0, second.stdout)
        results = json.loads(first.stdout)
        assert [result["labels"] for result in results] == ["", "1", "5"]
        assert all(re.fullmatch(pattern, setting) for result in results for setting in result["chosen"])

    def test_knn_takes_no_more_neighbours_than_labels(self, planted: Path) -> None:
        arguments = ("probe", planted, "--instrument", "knn", "--labels-per-class", 1, "--selection", "validation")
        _, one_label = json.loads(features(*arguments, "--json").stdout)
        assert {int(setting.removeprefix("k=")) for setting in one_label["chosen"]} <= {1}

    def test_another_seed_draws_other_labels(self, planted: Path) -> None:
        arguments = ("probe", planted, "--labels-per-class", 1, "--json")
        scores = [json.loads(features(*arguments, "--seed", seed).stdout) for seed in (0, 1)]
        assert scores[0][0]["test"] == scores[1][0]["test"]  # with all labels there is nothing to draw
        assert scores[0][1]["test"] != scores[1][1]["test"]

    def test_the_labels_that_were_used_are_shown_and_unmet_budgets_are_said(self, tmp_path: Path) -> None:
        labels = np.repeat([0, 1, 2, 0, 1, 2, 0, 1, 2], [9, 9, 2, 4, 4, 4, 4, 4, 4])
        part = np.repeat(["train", "val", "test"], [20, 12, 12])
        rare = write_planted(tmp_path / "rare", rows=44, labels=labels, split=part)
        probed = features("probe", rare, "--labels-per-class", "1,4", "--json")
        assert [set(result["train_samples"]) for result in json.loads(probed.stdout)] == [{20}, {3}, {10}]
        assert (
            "Warning: 4 labels per class: smaller classes give all of their training samples: 'c' has 2."
            in probed.stderr
        )
        assert " 10 " in features("probe", rare, "--labels-per-class", 4).stdout

    def test_a_budget_of_every_label_is_refused(self, planted: Path) -> None:
        refused = features("probe", planted, "--labels-per-class", "2,20,1000")
        assert refused.exit_code == 2
        for number in (20, 1000):
            text = f"{number} labels per class: takes every training label; the largest class has 20 samples; leave it"
            assert text in refused.stderr

    def test_a_set_with_one_class_to_choose_by_is_refused(self, tmp_path: Path) -> None:
        labels = np.array([0, 1, 2] * 4 + [0] * 3 + [0, 1, 2])
        part = np.repeat(["train", "val", "test"], [12, 3, 3])
        folder = write_planted(tmp_path / "set", rows=18, labels=labels, split=part)
        for command in ("probe", "verify"):
            refused = features(command, folder)
            assert refused.exit_code == 2
            assert "val has a single class; divide the set again" in refused.stderr
        assert "Warning: val has a single class; divide the set again" in features("info", folder).stdout

    def test_every_bad_label_budget_is_named(self, planted: Path) -> None:
        refused = features("probe", planted, "--labels-per-class", "1,few,0,-2,2.5")
        assert refused.exit_code == 2
        for part in ("few", "0", "-2", "2.5"):
            assert f"--labels-per-class 1,few,0,-2,2.5: {part!r} must be a whole number from 1 on." in refused.stderr

    def test_problems_of_options_and_of_the_set_are_listed_together(self, planted: Path) -> None:
        options = ("--modalities", "text,smell,vidoe", "--labels-per-class", "few,1000")
        refused = features("probe", planted, *options)
        assert refused.exit_code == 2
        assert refused.stderr.splitlines() == [
            "error: 4 problems",
            "  --labels-per-class few,1000: 'few' must be a whole number from 1 on.",
            f"  {planted} has no modality 'smell'; it has video, audio, text.",
            f"  {planted} has no modality 'vidoe'; it has video, audio, text. Did you mean video?",
            "  1000 labels per class: takes every training label; the largest class has 20 samples; leave it out, as "
            "all labels are probed anyway.",
        ]

    def test_blanks_and_a_last_comma_name_no_modality(self, planted: Path) -> None:
        written, plain = (
            features("probe", planted, "--modalities", names, "--json") for names in (" video, text,", "video,text")
        )
        assert written.exit_code == plain.exit_code == 0
        assert written.stdout == plain.stdout

    @pytest.mark.parametrize(
        ("option", "value", "expected"),
        [
            ("--modalities", "text,video,text", "--modalities text,video,text: 'text' is given twice; list it once."),
            ("--modalities", ",", "--modalities ',': names nothing"),
            ("--instrument", "svm", "'svm' is not one of 'logistic', 'knn', 'paper'"),
            ("--selection", "test", "'test' is not one of 'budget', 'validation'"),
            ("--class-weights", "heavy", "'heavy' is not one of 'none', 'balanced'"),
            ("--draws", "0", "'--draws': Input should be greater than or equal to 1"),
            ("--modalities", "text,smell", "no modality 'smell'"),
            ("--modalities", "text, text", "--modalities text, text: 'text' is given twice; list it once."),
        ],
    )
    def test_bad_option_values_are_refused(self, planted: Path, option: str, value: str, expected: str) -> None:
        refused = features("probe", planted, option, value)
        assert refused.exit_code == 2
        assert expected in refused.stderr

    @pytest.mark.parametrize("command", ["info", "verify", "probe"])
    def test_a_local_set_is_never_copied_and_never_meets_the_limit_of_the_cache(
        self, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        monkeypatch.setenv("CONCLUGEN_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("CONCLUGEN_CACHE_GB", "0")
        remote.node_cache.cache_clear()
        for place in (planted, f"{planted}/", f"file://{planted}"):
            result = features(command, place)
            assert result.exit_code == 0, result.output
            assert "planted" in result.stdout
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("command", ["info", "verify", "probe"])
    def test_every_command_takes_an_address(self, remote_set: str, command: str) -> None:
        result = features(command, remote_set)
        assert result.exit_code == 0, result.output
        assert remote_set in result.stdout
        assert f"{remote_set}0 is not a feature set" in features(command, f"{remote_set}0").stderr

    def test_a_missing_set_is_refused(self, tmp_path: Path) -> None:
        refused = features("probe", tmp_path / "none")
        assert refused.exit_code == 2
        assert "is not a feature set" in refused.stderr
