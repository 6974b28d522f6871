"""One process per sweep, and what may change from session to session."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sweeps.config import ConfigError, load_config
from sweeps.plan import SweepFolder
from sweeps.sessions import Sessions, held, running
from tests.conftest import write_planted

HOLD = """
import sys, signal
from pathlib import Path
from sweeps.plan import SweepFolder
from sweeps.sessions import held
with held(SweepFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def folder(write_config: Callable[..., Path], tmp_path: Path) -> SweepFolder:
    """A sweep that has begun."""
    folder, config = SweepFolder(tmp_path / "sweep"), load_config(write_config(subsets=["Con", "Gen"]))
    folder.prepare(config)
    Sessions(folder).begin(config)
    return folder


def test_a_second_process_is_refused_while_the_first_lives_and_takes_over_when_it_is_dead(folder: SweepFolder) -> None:
    assert not running(folder)
    with subprocess.Popen([sys.executable, "-c", HOLD, folder.root], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        assert running(folder)
        with pytest.raises(ConfigError, match=r"process \d+ on .* runs this sweep; wait for it"), held(folder):
            pass
        first.send_signal(signal.SIGKILL)
    assert not running(folder)
    with held(folder):
        pass


WITHOUT_FLOCK = """
import errno, fcntl, warnings
def missing(*arguments):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = missing
warnings.simplefilter("ignore")
"""
TRY = """
import sys
from pathlib import Path
from sweeps.config import ConfigError
from sweeps.plan import SweepFolder
from sweeps.sessions import held, running
folder = SweepFolder(Path(sys.argv[1]))
print(running(folder))
try:
    with held(folder):
        print("taken over")
except ConfigError as error:
    print(error)
"""


def test_the_lock_excludes_where_the_file_system_has_no_flock(folder: SweepFolder) -> None:
    def attempt() -> list[str]:
        command = [sys.executable, "-c", WITHOUT_FLOCK + TRY, folder.root]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()

    command = [sys.executable, "-c", WITHOUT_FLOCK + HOLD, folder.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        alive, refusal = attempt()
        assert alive == "True"
        assert f"process {first.pid} on " in refusal
        assert f"If its machine has died, delete {folder.lock}" in refusal
        first.send_signal(signal.SIGKILL)
    assert attempt() == ["False", "taken over"]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["budget.trials_per_subset=9", "budget.seeds=4"],
        ["budget.trials_per_subset=null", "budget.hours=2"],
        ["subsets=[Con, Gen, ConGen]", "baselines=all"],
        ["modality_subsets=[[video, text]]", "probe.labels_per_class=[2, 5]"],
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


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["budget.epochs=5"], ["budget.epochs: was 4, and is 5."]),
        (["seed=1"], ["seed: was 127, and is 1."]),
        (["subsets=[Gen]"], ["subsets: had Con, and has it no more; keep it."]),
        (["objective.metric=accuracy"], ["objective.metric: was weighted_f1, and is accuracy."]),
        (["search.sampler=random", "search.pruner=none"], ["search.sampler: was tpe", "search.pruner: was median"]),
        (["features.standardise=false"], ["features.standardise: was True, and is False."]),
        (["features.downstream.more=OTHER"], ["keep it with --set objective.dataset=planted."]),
        (["features.pretrain=OTHER"], ["features.pretrain: is not the set that it was: its fingerprint was"]),
        (["space=OTHERSPACE"], ["holds other ranges than it did."]),
    ],
)
def test_what_would_not_compare_is_named(
    folder: SweepFolder, tmp_path: Path, overrides: list[str], expected: list[str]
) -> None:
    other = write_planted(tmp_path / "other", seed=5)
    space = yaml.safe_load((folder.root / "space.yaml").read_text())
    space["parameters"]["lr"] = {"low": 1e-3, "high": 2e-3, "default": 1e-3}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    for name, place in {"OTHERSPACE": tmp_path / "space.yaml", "OTHER": other}.items():
        overrides = [override.replace(name, str(place)) for override in overrides]
    found = Sessions(folder).changes(load_config(folder.config, overrides))
    assert len(found) == len(expected)
    assert all(any(text in change for change in found) for text in expected), found


def test_a_newer_patch_goes_on_and_another_version_is_named(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder.config)
    monkeypatch.setattr("sweeps.sessions.__version__", "0.1.99")
    assert Sessions(folder).changes(config) == []
    monkeypatch.setattr("sweeps.sessions.__version__", "0.2.0")
    assert any(change.startswith("conclugen-sweeps: was 0.1") for change in Sessions(folder).changes(config))


def test_accepted_changes_are_on_record(folder: SweepFolder) -> None:
    config = load_config(folder.config, ["seed=1"])
    changes = Sessions(folder).changes(config)
    folder.prepare(config)
    Sessions(folder).begin(config, changes)
    last = Sessions(folder).last
    assert last is not None
    assert last["accepted_changes"] == ["seed: was 127, and is 1."]
    assert Sessions(folder).changes(load_config(folder.config)) == []


def test_sessions_that_cannot_be_read_stop_nobody(folder: SweepFolder) -> None:
    folder.sessions.write_text("[{")
    config = load_config(folder.config)
    assert Sessions(folder).changes(config) == []
    Sessions(folder).begin(config)
    assert Sessions(folder).last is not None
