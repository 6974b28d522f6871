"""Replays: every kind of record comes to the same once more, and one that was tampered with does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conclugen.training.pretrain import DivergedError
from sweeps.actions.replay import replay
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


def test_every_record_comes_to_the_same(sweep: SweepFolder) -> None:
    records = list(Ledger(sweep.ledger))
    assert {record.state for record in records} == {"complete", "pruned"}
    for record in records:
        differences = replay(sweep, record.key)
        assert [difference for difference in differences if not difference.equal] == []
        compared = {difference.what for difference in differences}
        assert {"epochs", "objective"} < compared
        assert len(compared) >= 2 + len(record.history) + len(record.metrics)


def test_a_confirmation_is_read_with_every_instrument_again(tmp_path: Path, planted: Path) -> None:
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
        own = {"planted test accuracy", "planted@2 test accuracy", "planted@2 val nll"}
        others = {f"planted{labels} ({name}) test accuracy" for name in ("knn", "paper") for labels in ("", "@2")}
        assert own < set(names)
        assert others & set(names) == (set() if method == "supervised_head" else others)
    ledger, tampered = Ledger(folder.ledger), records["confirm-Con-00000"]
    changed = [replace(each, value=each.value + (each.instrument == "knn") * 0.01) for each in tampered.metrics]
    ledger.set_aside(tampered.key, "tampered")
    ledger.add(replace(tampered, metrics=changed))
    differing = [each.what for each in replay(folder, tampered.key) if not each.equal]
    assert len(differing) == sum(each.instrument == "knn" for each in changed) > 0
    assert all("(knn)" in name for name in differing)


def test_a_record_of_a_former_version_comes_to_the_same(tmp_path: Path, planted: Path) -> None:
    """Its folder names no kind of probe, and settings that only the paper's has."""
    folder = SweepFolder(tmp_path / "sweep")
    path = config_writer(tmp_path, planted)(
        subsets=["Con"],
        baselines=["raw_features"],
        budget={"trials_per_subset": 1, "epochs": 2, "seeds": 1},
        probe={"kind": "paper", "selection": "validation", "patience": 15, "label_draws": 1},
    )
    ledger, records = Ledger(folder.ledger), run_here(path, folder)
    record = records["confirm-raw_features-00000"]
    former = {
        name: value for name, value in record.config["probe"].items() if name not in ("kind", "also", "selection")
    }
    ledger.set_aside(record.key, "original")
    ledger.add(replace(record, config={**record.config, "probe": former}))
    document = yaml.safe_load(folder.config.read_text())
    folder.config.write_text(yaml.safe_dump({**document, "probe": former}))
    assert [difference for difference in replay(folder, record.key) if not difference.equal] == []


def test_it_computes_with_the_threads_that_the_record_names(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of them adds in another order, and training makes other results of that."""
    ledger = Ledger(sweep.ledger)
    record = next(record for record in ledger if record.state == "complete")
    assert record.hardware is not None
    ledger.set_aside(record.key, "another machine")
    ledger.add(replace(record, hardware=replace(record.hardware, threads=3)))
    seen, run = [], TrialRunner.run

    def note(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return run(*arguments)

    monkeypatch.setattr(TrialRunner, "run", note)
    before = torch.get_num_threads()
    replay(sweep, record.key)
    assert (seen, torch.get_num_threads()) == ([3], before)


def test_another_result_is_named(sweep: SweepFolder) -> None:
    ledger = Ledger(sweep.ledger)
    record = next(record for record in ledger if record.stage == "search" and record.state == "complete")
    assert record.value is not None
    ledger.set_aside(record.key, "tampered")
    ledger.add(replace(record, value=record.value + 0.01, seed=record.seed))
    differing = [difference.what for difference in replay(sweep, record.key) if not difference.equal]
    assert differing == ["objective"]


def test_a_record_that_is_not_there_is_bad_input(sweep: SweepFolder) -> None:
    with pytest.raises(ConfigError, match="search-Con-00099: is no record"):
        replay(sweep, "search-Con-00099")


def test_a_failure_is_compared_by_its_reason(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(sweep.ledger)
    record = next(record for record in ledger if record.stage == "search" and record.state == "complete")

    def fails(runner: TrialRunner, *args: object) -> None:
        raise DivergedError("the loss of epoch 1 is nan")

    with monkeypatch.context() as patched:
        patched.setattr(TrialRunner, "run", fails)
        (failure, *_) = replay(sweep, record.key)
        assert (failure.what, failure.recorded, failure.equal) == ("failure", None, False)
        assert failure.replayed == "nan_loss: the loss of epoch 1 is nan"
        ledger.set_aside(record.key, "tampered")
        ledger.add(
            replace(record, state="failed", reason="nan_loss: the loss of epoch 1 is nan", epochs=0, value=None,
                    history=(), losses={}, metrics=(), predictions=())
        )  # fmt: skip
        assert all(difference.equal for difference in replay(sweep, record.key))


def test_damaged_features_are_named(sweep: SweepFolder) -> None:
    shard = next(load_config(sweep.config).features.pretrain.glob("*.arrow"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ConfigError, match="is damaged"):
        replay(sweep, "search-Con-00000")
    shard.write_bytes(content)
