"""Replays: a replay equals every kind of record, and differs from a record that was changed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from conclugen.training.pretrain import DivergedError
from sweeps.actions.replay import replay
from sweeps.cli import app
from sweeps.cli.console import OK
from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger
from sweeps.trial import TrialRunner
from tests.conftest import config_writer
from tests.sweeps.simulation import run_here


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> SweepFolder:
    root = tmp_path_factory.mktemp("replay")
    folder = SweepFolder(root / "sweep")
    path = config_writer(root, planted)(
        subsets=["Con", "ConCluGen"],
        baselines=["raw_features", "random_head"],
        modality_subsets=[["video", "text"]],
        budget={"trials_per_subset": 6, "epochs": 4, "seeds": 1},
    )
    run_here(path, folder)
    return folder


def test_the_replay_of_every_record_of_repeated_searches_and_finalists_equals_it(tmp_path: Path, planted: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    path = config_writer(tmp_path, planted)(
        subsets=["Con"],
        baselines=["raw_features", "random_head", "supervised_head"],
        budget={"trials_per_subset": 2, "epochs": 2, "seeds": 1, "searches": 2},
        search={"finalists": 2, "pruner": "none"},
    )
    records = run_here(path, folder)
    assert {record.stage for record in records.values()} == {"search", "finalist", "confirm"}
    for key, record in records.items():
        differences = replay(folder, key)
        assert [difference for difference in differences if not difference.equal] == []
        if record.stage == "finalist":
            assert {metric.split for metric in record.metrics} == {"val"}
            assert "planted@2 val weighted_f1" in {difference.what for difference in differences}
    values = {name: [r.value for r in records.values() if (r.stage, r.method, r.number) == ("search", name, 0)]
              for name in ("Con", "Con~2", "supervised_head", "supervised_head~2")}  # fmt: skip
    assert values["Con"] != values["Con~2"]
    assert values["supervised_head"] != values["supervised_head~2"]


def test_the_replay_of_every_record_equals_it(sweep: SweepFolder) -> None:
    records = list(Ledger(sweep.ledger))
    assert {record.state for record in records} == {"complete", "pruned"}
    for record in records:
        differences = replay(sweep, record.key)
        assert [difference for difference in differences if not difference.equal] == []
        names = {difference.what for difference in differences}
        assert {"epochs", "objective"} < names
        assert len(names) >= 2 + len(record.history) + len(record.metrics)


def test_a_replayed_confirmation_run_is_scored_with_every_instrument(tmp_path: Path, planted: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    path = config_writer(tmp_path, planted)(
        subsets=["Con"],
        baselines=["raw_features", "supervised_head"],
        budget={"trials_per_subset": 1, "epochs": 2, "seeds": 1},
        probe={"labels_per_class": [2], "label_draws": 2, "also": ["knn", "paper"]},
    )
    records = run_here(path, folder)
    for method in ("Con", "raw_features", "supervised_head"):
        record = records[f"confirm-{method}-00000"]
        differences = replay(folder, record.key)
        assert [difference for difference in differences if not difference.equal] == []
        names = [difference.what for difference in differences]
        assert len(names) == len(set(names))
        probe = {"planted test accuracy", "planted@2 test accuracy", "planted@2 val nll"}
        also = {f"planted{labels} ({name}) test accuracy" for name in ("knn", "paper") for labels in ("", "@2")}
        assert probe < set(names)
        assert also & set(names) == (set() if method == "supervised_head" else also)
    ledger = Ledger(folder.ledger)
    record = records["confirm-Con-00000"]
    metrics = [replace(metric, value=metric.value + (metric.instrument == "knn") * 0.01) for metric in record.metrics]
    ledger.set_aside(record.key, "changed")
    ledger.add(replace(record, metrics=metrics))
    differing = [difference.what for difference in replay(folder, record.key) if not difference.equal]
    assert len(differing) == sum(metric.instrument == "knn" for metric in metrics) > 0
    assert all("(knn)" in name for name in differing)


def test_the_replay_of_a_record_of_a_former_version_equals_it(tmp_path: Path, planted: Path) -> None:
    """The former version's folder names no kind of probe, and has settings that only the paper's probe has."""
    folder = SweepFolder(tmp_path / "sweep")
    path = config_writer(tmp_path, planted)(
        subsets=["Con"],
        baselines=["raw_features"],
        budget={"trials_per_subset": 1, "epochs": 2, "seeds": 1},
        probe={"kind": "paper", "selection": "validation", "patience": 15, "label_draws": 1},
    )
    record = run_here(path, folder)["confirm-raw_features-00000"]
    ledger = Ledger(folder.ledger)
    former = {
        name: value for name, value in record.config["probe"].items() if name not in ("kind", "also", "selection")
    }
    ledger.set_aside(record.key, "original")
    ledger.add(replace(record, config={**record.config, "probe": former}))
    document = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    folder.config.write_text(yaml.safe_dump({**document, "probe": former}), encoding="utf-8")
    assert [difference for difference in replay(folder, record.key) if not difference.equal] == []


def test_a_replay_computes_with_as_many_threads_as_the_record_names(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of threads adds in another order, which training turns into other results."""
    ledger = Ledger(sweep.ledger)
    record = next(record for record in ledger if record.state == "complete")
    assert record.hardware is not None
    ledger.set_aside(record.key, "another machine")
    ledger.add(replace(record, hardware=replace(record.hardware, threads=3)))
    threads: list[int] = []
    run = TrialRunner.run

    def run_and_note(*arguments: Any) -> Any:
        threads.append(torch.get_num_threads())
        return run(*arguments)

    monkeypatch.setattr(TrialRunner, "run", run_and_note)
    before = torch.get_num_threads()
    replay(sweep, record.key)
    assert (threads, torch.get_num_threads()) == ([3], before)


def test_the_command_prints_a_replay_as_json(sweep: SweepFolder) -> None:
    result = CliRunner().invoke(app, ["sweep", "replay", str(sweep.root), "--trial", "search-Con-00000", "--json"])
    assert result.exit_code == OK, result.output
    document = json.loads(result.stdout)
    assert document["equal"]
    assert {"what", "recorded", "replayed", "equal"} == set(document["values"][0])


def test_a_replay_names_the_value_that_differs(sweep: SweepFolder) -> None:
    ledger = Ledger(sweep.ledger)
    record = next(record for record in ledger if record.stage == "search" and record.state == "complete")
    assert record.value is not None
    ledger.set_aside(record.key, "changed")
    ledger.add(replace(record, value=record.value + 0.01, seed=record.seed))
    differing = [difference.what for difference in replay(sweep, record.key) if not difference.equal]
    assert differing == ["objective"]


def test_a_key_without_a_record_is_bad_input(sweep: SweepFolder) -> None:
    with pytest.raises(ConfigError, match=r"--trial search-Con-00099: .* has no such record"):
        replay(sweep, "search-Con-00099")


def test_a_replay_compares_failures_by_their_reason(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(sweep.ledger)
    record = next(record for record in ledger if record.stage == "search" and record.state == "complete")

    def fails(runner: TrialRunner, *args: object) -> None:
        raise DivergedError("the loss of epoch 1 is nan")

    with monkeypatch.context() as patch:
        patch.setattr(TrialRunner, "run", fails)
        (failure, *_) = replay(sweep, record.key)
        assert (failure.what, failure.recorded, failure.equal) == ("failure", None, False)
        assert failure.replayed == "nan_loss: the loss of epoch 1 is nan"
        ledger.set_aside(record.key, "changed")
        ledger.add(
            replace(record, state="failed", reason="nan_loss: the loss of epoch 1 is nan", epochs=0, value=None,
                    history=(), losses={}, metrics=(), predictions=())
        )  # fmt: skip
        assert all(difference.equal for difference in replay(sweep, record.key))


def test_damaged_features_are_bad_input(sweep: SweepFolder) -> None:
    shard = next(load_config(sweep.config).features.pretrain.glob("*.arrow"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ConfigError, match="is damaged"):
        replay(sweep, "search-Con-00000")
    shard.write_bytes(content)
