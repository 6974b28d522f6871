"""Sessions record what a sweep ran with, and name the changes that break comparability."""

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from conclugen import release
from conclugen.files.durable import SEAL, read_sealed, write_sealed
from sweeps.actions.run import resume
from sweeps.config import ConfigError, load_config
from sweeps.folder.comparability import provenance
from sweeps.folder.layout import SweepFolder
from sweeps.folder.sessions import Sessions
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger, Record
from tests.conftest import TINY_SPACE, write_planted


@pytest.fixture
def folder(write_config: Callable[..., Path], tmp_path: Path) -> SweepFolder:
    """A sweep that has begun."""
    folder = SweepFolder(tmp_path / "sweep")
    config = load_config(write_config(subsets=["Con", "Gen"]))
    folder.prepare(config)
    Sessions(folder).begin(config)
    return folder


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["budget.trials_per_subset=9", "budget.seeds=4"],
        ["budget.trials_per_subset=null", "budget.hours=2"],
        ["subsets=[Con, Gen, ConGen]", "baselines=all"],
        ["modality_subsets=[[video, text]]", "probe.labels_per_class=[2, 5]"],
        ["probe.also=[knn]"],
        ["probe.also=[paper, knn]", "probe.labels_per_class=[2, 5]"],
        ["checkpoint.probabilities=false"],
        ["workers.concurrent_trials=1", "checkpoint.every=3", "tracking.tensorboard=false"],
        ["objective.dataset=planted"],
        ["features.downstream.more=MORE", "objective.dataset=planted"],
        ["features.pretrain=SAME", "features.downstream.planted=SAME"],
    ],
)
def test_a_sweep_may_grow_and_move(folder: SweepFolder, tmp_path: Path, planted: Path, overrides: list[str]) -> None:
    (tmp_path / "same").symlink_to(planted)
    more = write_planted(tmp_path / "more", seed=5)
    places = {"MORE": str(more), "SAME": str(tmp_path / "same")}
    for name, place in places.items():
        overrides = [override.replace(name, place) for override in overrides]
    assert Sessions(folder).changes(load_config(folder.config, overrides)) == []


def other_space(folder: Path) -> Path:
    """Write the tests' space with other ranges; return the file."""
    parameters = {**TINY_SPACE["parameters"], "lr": {"low": 1e-3, "high": 2e-3, "default": 1e-3}}
    space = folder / "other.yaml"
    space.write_text(yaml.safe_dump({**TINY_SPACE, "parameters": parameters}), encoding="utf-8")
    return space


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["budget.epochs=5"], ["budget.epochs: was 4, and is 5."]),
        (["seed=1"], ["seed: was 127, and is 1."]),
        (["subsets=[Gen]"], ["subsets: had Con, and lacks it now; keep it."]),
        (["objective.metric=accuracy"], ["objective.metric: was weighted_f1, and is accuracy."]),
        (["search.sampler=random", "search.pruner=none"], ["search.sampler: was joint", "search.pruner: was median"]),
        (["probe.kind=paper"], ["probe.kind: was logistic, and is paper."]),
        (["probe.selection=validation"], ["probe.selection: was budget, and is validation."]),
        (["probe.also=[paper]", "probe.lr=0.1"], ["probe.lr: was 0.00967, and is 0.1."]),
        (["features.standardise=false"], ["features.standardise: was True, and is False."]),
        (["features.downstream.more=OTHER"], ["keep it with --set objective.dataset=planted."]),
        (["features.pretrain=OTHER"], ["features.pretrain: is another set than before: its fingerprint was"]),
        (["space=OTHERSPACE"], ["holds other ranges than before."]),
    ],
)
def test_a_change_that_makes_results_incomparable_is_named(
    folder: SweepFolder, tmp_path: Path, overrides: list[str], expected: list[str]
) -> None:
    other = write_planted(tmp_path / "other", seed=5)
    for name, place in {"OTHERSPACE": other_space(tmp_path), "OTHER": other}.items():
        overrides = [override.replace(name, str(place)) for override in overrides]
    changes = Sessions(folder).changes(load_config(folder.config, overrides))
    assert len(changes) == len(expected)
    assert all(any(text in change for change in changes) for text in expected), changes


def test_an_instrument_of_an_earlier_session_has_to_stay(write_config: Callable[..., Path], tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    config = load_config(write_config(probe={"also": ["knn", "paper"]}))
    folder.prepare(config)
    Sessions(folder).begin(config)
    for also in ("[paper, knn]", "[knn, paper]"):
        assert Sessions(folder).changes(load_config(folder.config, [f"probe.also={also}"])) == []
    assert Sessions(folder).changes(load_config(folder.config, ["probe.also=[paper]"])) == [
        "probe.also: had knn, and lacks it now; keep it."
    ]


class TestFormerVersion:
    """A folder from version 0.2: its probe is the paper's, and none of its files says so."""

    @pytest.fixture(params=["sessions", "ledger"])
    def former(self, request: pytest.FixtureRequest, folder: SweepFolder) -> SweepFolder:
        """Return such a folder, with its sessions or with a ledger alone."""
        document = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
        without_new_settings(document)
        folder.config.write_text(yaml.safe_dump(document), encoding="utf-8")
        if request.param == "ledger":
            newest = record(folder)
            config = json.loads(json.dumps(newest.config))
            without_new_settings(config)
            Ledger(folder.ledger).add(replace(newest, config=config))
            folder.sessions.unlink()
        else:
            sessions = recorded_sessions(folder)
            without_new_settings(sessions[-1]["config"])
            content = json.dumps({"seal": SEAL, "sessions": sessions}, indent=2).encode()
            write_sealed(folder.sessions, content)
        return folder

    def test_it_resumes_with_the_papers_probe(self, former: SweepFolder) -> None:
        config = load_config(former.config, written=True)
        assert (config.probe.kind, config.probe.also, config.probe.selection) == ("paper", (), "validation")
        assert Sessions(former).changes(config) == []
        more_instruments = load_config(former.config, ["probe.also=[logistic, knn]"], written=True)
        assert Sessions(former).changes(more_instruments) == []

    @pytest.mark.parametrize(
        ("override", "change"),
        [
            ("probe.kind=logistic", "probe.kind: was paper, and is logistic."),
            ("probe.selection=budget", "probe.selection: was validation, and is budget."),
        ],
    )
    def test_another_probe_is_a_change(self, former: SweepFolder, override: str, change: str) -> None:
        assert Sessions(former).changes(load_config(former.config, [override], written=True)) == [change]

    @pytest.fixture
    def interrupts(self) -> Iterator[Interrupts]:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield Interrupts("farewell")
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def test_a_resume_reads_the_configuration_as_that_version_did(
        self, former: SweepFolder, interrupts: Interrupts
    ) -> None:
        """Were the file read as a new one, the kind of the probe would be no change."""
        overrides = ["probe.selection=validation", "probe.kind=logistic", "seed=1"]
        with pytest.raises(ConfigError) as caught:
            resume(former.root, interrupts, overrides)
        kind, seed = caught.value.problems
        assert kind == "probe.kind: was paper, and is logistic."
        assert seed.startswith("seed: was 127, and is 1. ")
        assert "--accept-changes" in seed  # the remedy is no problem of its own


def without_new_settings(config: dict[str, Any]) -> None:
    """Remove the settings that version 0.2 did not have."""
    for name in ("kind", "also", "selection"):
        del config["probe"][name]
    del config["checkpoint"]["probabilities"]


def test_a_newer_patch_version_is_no_change_and_another_release_is_one(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder.config)
    monkeypatch.setattr("sweeps.folder.comparability.__version__", f"{release()}.99")
    assert Sessions(folder).changes(config) == []
    monkeypatch.setattr("sweeps.folder.comparability.__version__", f"{release()}9.0")
    assert any(change.startswith(f"conclugen-sweeps: was {release()}") for change in Sessions(folder).changes(config))


def test_accepted_changes_are_recorded(folder: SweepFolder) -> None:
    config = load_config(folder.config, ["seed=1"])
    changes = Sessions(folder).changes(config)
    folder.prepare(config)
    Sessions(folder).begin(config, changes)
    assert recorded_sessions(folder)[-1]["accepted_changes"] == ["seed: was 127, and is 1."]
    assert Sessions(folder).changes(load_config(folder.config)) == []


def recorded_sessions(folder: SweepFolder) -> list[dict[str, Any]]:
    sessions: list[dict[str, Any]] = json.loads(read_sealed(folder.sessions))["sessions"]
    return sessions


@pytest.mark.parametrize(("old", "new"), [("epochs: 4", "epochs: 8"), ("seed: 127", "seed: 126")])
def test_an_edit_of_the_configuration_file_is_a_change(folder: SweepFolder, old: str, new: str) -> None:
    folder.config.write_text(folder.config.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    (change,) = Sessions(folder).changes(load_config(folder.config))
    assert f"was {old.split()[1]}, and is {new.split()[1]}." in change


def record(folder: SweepFolder, number: int = 0, ended: str = "2026-01-01T00:00:00+00:00", *overrides: str) -> Record:
    """Return a record as the search would add it to the ledger."""
    config = load_config(folder.config, overrides)
    common: dict[str, Any] = {"config": config.model_dump(mode="json"), **provenance(config)}
    return Record(
        sweep="tiny", stage="search", method="Con", number=number, seed=1, state="complete", ended=ended, **common
    )


def truncated(content: bytes) -> bytes:
    return content[:-3]


def flipped(after: bytes) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        place = content.index(after) + len(after)
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return flip


@pytest.mark.parametrize(
    "damage", [truncated, flipped(b'"featur'), flipped(b'"pretrain": "'), flipped(b'"accepted_'), lambda _: None]
)
def test_changes_are_found_from_the_ledger_where_the_sessions_are_damaged_or_gone(
    folder: SweepFolder, tmp_path: Path, damage: Callable[[bytes], bytes | None]
) -> None:
    ledger = Ledger(folder.ledger)
    other = write_planted(tmp_path / "other", seed=5)
    ledger.add(record(folder, 0, "2026-01-03T00:00:00+00:00"))
    ledger.add(record(folder, 1, "2026-01-02T00:00:00+00:00", "budget.epochs=9"))
    ledger.add(record(folder, 2, "2026-01-04T00:00:00+00:00", "budget.epochs=9"))
    damaged_record = folder.ledger / "search-Con-00002.arrow"
    damaged_record.write_bytes(damaged_record.read_bytes()[:-1])
    content = damage(folder.sessions.read_bytes())
    if content is None:
        folder.sessions.unlink()
    else:
        folder.sessions.write_bytes(content)
    assert Sessions(folder).changes(load_config(folder.config)) == []
    overrides = [f"features.pretrain={other}", "budget.epochs=5", f"space={other_space(tmp_path)}"]
    changes = Sessions(folder).changes(load_config(folder.config, overrides))
    assert [change.partition(":")[0] for change in changes] == ["budget.epochs", "features.pretrain", "space"]
    messages = Sessions(folder).begin(load_config(folder.config), ["accepted"])
    assert [session["accepted_changes"] for session in recorded_sessions(folder)] == [["accepted"]]
    damaged = folder.root / "sessions.damaged-1.json"
    if content is None:
        assert messages == []
    else:
        assert damaged.read_bytes() == content
        assert len(messages) == 1
        assert f"{folder.sessions} is damaged" in messages[0]
        assert f"It is now {damaged}" in messages[0]


def test_a_damaged_space_is_not_taken_for_the_earlier_one(folder: SweepFolder, tmp_path: Path) -> None:
    Ledger(folder.ledger).add(record(folder))
    folder.sessions.unlink()
    folder.space.write_bytes(b"\xff")
    (change,) = Sessions(folder).changes(load_config(folder.config, [f"space={other_space(tmp_path)}"]))
    assert change.endswith("holds other ranges than before.")


def test_damaged_sessions_stop_no_sweep_without_records(folder: SweepFolder) -> None:
    folder.sessions.write_text("[{", encoding="utf-8")
    assert Sessions(folder).changes(load_config(folder.config, ["seed=1"])) == []
