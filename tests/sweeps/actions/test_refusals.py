"""Sweeps that are refused or interrupted before their session begins, without Ray: they leave nothing behind."""

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from conclugen.features.manifest import STATISTICS_FILE
from conclugen.files.durable import read_sealed
from conclugen.files.tensors import read_tensors, write_tensors
from sweeps.actions.run import launch, resume
from sweeps.cli import app
from sweeps.config import ConfigError, load_config
from sweeps.execution import cluster
from sweeps.folder import layout
from sweeps.folder.layout import SweepFolder
from sweeps.folder.sessions import Sessions
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger, LedgerError
from sweeps.search import Search
from tests.conftest import write_planted
from tests.end_to_end.rayless import without_ray
from tests.sweeps.simulation import Simulation, constant


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace Ray; every sweep ends as soon as it has begun."""
    without_ray(monkeypatch.setattr, train=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Interrupts("farewell")
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(write_config: Callable[..., Path], tmp_path: Path) -> SweepFolder:
    """A finished sweep with one failed trial."""
    path = write_config(subsets=["Con", "Gen"], baselines=["raw_features"])
    return finish_sweep(SweepFolder(tmp_path / "sweep"), path)


def finish_sweep(folder: SweepFolder, path: Path) -> SweepFolder:
    """Simulate the sweep ``path`` in ``folder`` to its end, with one failed trial."""
    config = load_config(path)
    folder.prepare(config)
    Sessions(folder).begin(config)
    Simulation(config, Search(config, folder), constant, slots=1).run()
    ledger = Ledger(folder.ledger)
    (record,) = (record for record in ledger if record.key == "search-Con-00001")
    (folder.ledger / "search-Con-00001.arrow").unlink()
    ledger.add(replace(record, state="failed", reason="exception: x"))
    return folder


def contents(folder: SweepFolder) -> dict[Path, bytes]:
    """The files of the sweep, without its log, its lock and the name of the lock's last owner."""
    files = (path for path in folder.root.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path not in (folder.log, folder.owner, folder.lock)}


def last_session(folder: SweepFolder) -> dict[str, Any]:
    session: dict[str, Any] = json.loads(read_sealed(folder.sessions))["sessions"][-1]
    return session


def write_other_space(folder: SweepFolder, to: Path) -> Path:
    """Write the sweep's space with another range into the file ``to``."""
    space = yaml.safe_load(folder.space.read_text(encoding="utf-8"))
    space["parameters"]["lr"] = {"low": 1e-3, "high": 2e-3, "default": 1e-3}
    to.write_text(yaml.safe_dump(space), encoding="utf-8")
    return to


CHANGES = ["budget.epochs=8", "seed=5"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ConfigError(["x"]), SystemExit])
def test_a_resume_that_ends_before_its_session_begins_keeps_configuration_and_space(
    folder: SweepFolder, tmp_path: Path, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def fail(address: str | None) -> None:
        assert load_config(folder.config).seed == 5  # the nodes of a cluster check this file
        raise error

    before = contents(folder)
    space = write_other_space(folder, tmp_path / "other.yaml")
    monkeypatch.setattr(cluster, "connect", fail)
    with pytest.raises((ConfigError, KeyboardInterrupt, RuntimeError, SystemExit)):
        resume(folder.root, interrupts, [*CHANGES, f"space={space}"], accept_changes=True)
    assert contents(folder) == before


def test_a_refused_resume_removes_the_space_file_that_it_has_added(
    write_config: Callable[..., Path],
    tmp_path: Path,
    interrupts: Interrupts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    space_file = load_config(write_config()).space
    larger = write_planted(tmp_path / "larger", rows=1200)
    features = {"pretrain": str(larger), "downstream": {"planted": str(larger)}}
    budget = {"trials_per_subset": 2, "epochs": 12, "seeds": 1}
    config = load_config(write_config(features=features, space="small", subsets=["Con"], budget=budget))
    folder.prepare(config)
    Sessions(folder).begin(config)
    before = contents(folder)

    def fail(address: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "connect", fail)
    with pytest.raises(KeyboardInterrupt):
        resume(folder.root, interrupts, [f"space={space_file}"], accept_changes=True)
    assert contents(folder) == before


def test_a_database_that_cannot_be_opened_refuses_the_resume_before_anything_is_written(
    folder: SweepFolder, tmp_path: Path, interrupts: Interrupts
) -> None:
    before = contents(folder)
    other = write_planted(tmp_path / "other", seed=5)
    overrides = [f"features.pretrain={other}", f"storage=sqlite:///{tmp_path}/nowhere/x.db"]
    with pytest.raises(ConfigError) as refusal:
        resume(folder.root, interrupts, overrides, failed=True, accept_changes=True)
    (problem,) = refusal.value.problems
    assert problem.startswith("storage: sqlite:///")
    assert "\n" not in problem
    assert contents(folder) == before


def test_a_ledger_that_cannot_be_read_refuses_the_resume_before_anything_is_written(
    folder: SweepFolder, interrupts: Interrupts
) -> None:
    (folder.ledger / "search-Con-00000.arrow").rename(folder.ledger / "search-Con-00009.arrow")
    before = contents(folder)
    with pytest.raises(LedgerError, match="holds another record"):
        resume(folder.root, interrupts, CHANGES, failed=True, accept_changes=True)
    assert contents(folder) == before


def test_an_interrupt_cannot_part_the_session_on_record_from_its_configuration(
    folder: SweepFolder, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Sessions.begin

    def begin_with_interrupt(sessions: Sessions, *arguments: Any) -> list[str]:
        signal.raise_signal(signal.SIGINT)
        return begin(sessions, *arguments)

    monkeypatch.setattr(Sessions, "begin", begin_with_interrupt)
    with pytest.raises(KeyboardInterrupt):
        resume(folder.root, interrupts, CHANGES, failed=True, accept_changes=True)
    session = last_session(folder)
    assert sorted(change.partition(":")[0] for change in session["accepted_changes"]) == ["budget.epochs", "seed"]
    assert (session["config"]["seed"], load_config(folder.config).seed) == (5, 5)


def test_a_setting_changed_by_hand_is_refused_with_the_remedy(folder: SweepFolder, interrupts: Interrupts) -> None:
    folder.config.write_text(
        folder.config.read_text(encoding="utf-8").replace("epochs: 4", "epochs: 8"), encoding="utf-8"
    )
    before = contents(folder)
    with pytest.raises(ConfigError) as refusal:
        resume(folder.root, interrupts)
    (problem,) = refusal.value.problems
    assert problem.startswith("budget.epochs: was 4, and is 8. Set this back, with --set or in ")
    assert f"in {folder.config}; or continue all the same with --accept-changes" in problem
    assert contents(folder) == before
    resume(folder.root, interrupts, ["budget.epochs=4"])
    assert load_config(folder.config).budget.epochs == 4


def test_a_folder_that_ray_cannot_name_is_refused(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts
) -> None:
    config, out = load_config(write_config()), tmp_path / os.fsdecode(b"s\xe9t")
    for start in (lambda: launch(config, out, interrupts), lambda: resume(out, interrupts)):
        with pytest.raises(ConfigError, match="is not UTF-8 on disk, as Ray needs it; rename the folders"):
            start()
    assert not out.exists()


@pytest.mark.parametrize("loss", ["gone", "empty", "damaged"])
def test_a_lost_warm_start_is_refused_with_the_way_to_go_on_without_it(
    folder: SweepFolder, write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts, loss: str
) -> None:
    path = write_config(subsets=["Con"], search={"warm_start": str(folder.root)}, baselines=["raw_features"])
    later = finish_sweep(SweepFolder(tmp_path / "later"), path)
    if loss == "gone":
        folder.root.rename(tmp_path / "away")
    for record in folder.ledger.glob("*.arrow") if loss != "gone" else ():
        record.unlink() if loss == "empty" else record.write_bytes(record.read_bytes()[:-1])
    with pytest.raises(ConfigError) as refusal:
        resume(later.root, interrupts)
    (problem,) = refusal.value.problems
    assert "search.warm_start" in problem
    assert problem.endswith(" The sweep can go on without: --set search.warm_start=null.")
    resume(later.root, interrupts, ["search.warm_start=null"])


def test_a_resume_reports_a_damaged_file_of_sessions(
    folder: SweepFolder, interrupts: Interrupts, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.sessions.write_bytes(folder.sessions.read_bytes()[:-3])
    resume(folder.root, interrupts)
    assert f"{folder.sessions} is damaged" in capfd.readouterr().out
    assert last_session(folder)["accepted_changes"] == []


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupted_run_advises_to_resume_only_if_its_folder_exists(
    write_config: Callable[..., Path],
    tmp_path: Path,
    interrupts: Interrupts,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    begun: bool,
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "sweep"
    if begun:
        monkeypatch.setattr(cluster, "connect", interrupt)
        advice = f"go on with: conclugen sweep resume {out}"
    else:
        monkeypatch.setattr("sweeps.actions.run.damaged_shards", interrupt)
        advice = f"{out} holds no sweep yet, run the command again."
    with pytest.raises(SystemExit) as end:
        app(["sweep", "run", str(write_config()), "--out", str(out)])
    assert end.value.code == 130
    assert capfd.readouterr().err.endswith(f"interrupted; {advice}\n")
    assert out.exists() == begun


@pytest.mark.parametrize("command", [["sweep", "status"], ["report", "--out", "report"]])
def test_status_and_report_name_a_damaged_record_and_the_command_that_sets_it_aside(
    folder: SweepFolder, command: list[str]
) -> None:
    record = folder.ledger / "search-Con-00000.arrow"
    record.write_bytes(record.read_bytes()[:-1])
    result = CliRunner().invoke(app, [*command, str(folder.root)])
    assert result.exit_code == 2
    assert f"{record} is damaged" in result.stderr
    assert f"`conclugen sweep resume {folder.root}` sets damaged records aside and runs those jobs" in result.stderr


def test_the_status_of_a_folder_that_cannot_be_read_is_bad_input(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(folder: SweepFolder) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder.lock))

    monkeypatch.setattr("sweeps.folder.lock.running", denied)
    result = CliRunner().invoke(app, ["sweep", "status", str(folder.root)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{folder.lock}: Permission denied" in result.stderr


def test_a_refused_launch_leaves_no_folder(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts
) -> None:
    path = write_config(storage=f"sqlite:///{tmp_path}/nowhere/x.db")
    with pytest.raises(ConfigError, match="cannot be opened"):
        launch(load_config(path), tmp_path / "new" / "sweep", interrupts)
    assert not (tmp_path / "new").exists()


def test_a_label_budget_that_takes_every_label_is_refused(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts
) -> None:
    path = write_config(probe={"labels_per_class": [2, 20], "label_draws": 2})
    with pytest.raises(ConfigError, match=r"probe\.labels_per_class: 20 labels per class take every training label"):
        launch(load_config(path), tmp_path / "sweep", interrupts)
    assert not (tmp_path / "sweep").exists()


def test_a_launch_warns_of_label_budgets_that_a_set_cannot_meet(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_config(probe={"label_fraction": 0.001, "label_draws": 2})
    warning = "Warning: features.downstream.planted: 0.1% of the labels: 3 of 60 training samples are used (5.0%)"
    launch(load_config(path), tmp_path / "sweep", interrupts)
    assert warning in capfd.readouterr().out.replace("\n", " ")
    resume(tmp_path / "sweep", interrupts)
    assert warning in capfd.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("damage", ["flipped", "missing", "of an older format"])
@pytest.mark.parametrize("command", ["check", "run", "resume"])
def test_unreadable_statistics_are_refused_before_the_first_trial(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts, command: str, damage: str
) -> None:
    features = write_planted(tmp_path / "features")
    sets = {"pretrain": str(features), "downstream": {"planted": str(features)}}
    path = write_config(subsets=["Con", "Gen"], baselines=["raw_features"], features=sets)
    folder = finish_sweep(SweepFolder(tmp_path / "sweep"), path)
    statistics = features / STATISTICS_FILE
    tensors, _ = read_tensors(statistics)
    statistics.unlink()
    if damage == "flipped":
        write_tensors(statistics, {name: tensor + 1 for name, tensor in tensors.items()})
        content = bytearray(statistics.read_bytes())
        content[-1] ^= 1
        statistics.write_bytes(content)
    elif damage == "of an older format":
        save_file(tensors, statistics)
    before = contents(folder)
    out = tmp_path / "new"
    if command == "resume":
        with pytest.raises(ConfigError) as refusal:
            resume(folder.root, interrupts, accept_changes=True)
        (problem,) = refusal.value.problems
    else:
        arguments = {"check": [path], "run": [path, "--out", out]}[command]
        result = CliRunner().invoke(app, ["sweep", command, *map(str, arguments)])
        assert result.exit_code == 2
        heading, problem = result.stderr.splitlines()
        assert heading == "error: 1 problem"
    place = f"{folder.config}: " if command == "resume" else ""
    assert problem.lstrip().startswith(f"{place}features.pretrain: {statistics} cannot be read: ")
    assert problem.endswith("make the set again.")
    assert contents(folder) == before
    assert not out.exists()
    config = load_config(path, ["features.standardise=false"])  # a sweep that does not read them accepts any
    assert config.features.pretrain == features


class Killed(BaseException):
    """Stands for the sudden death of the process."""


@pytest.mark.parametrize("deadline", [1, 2, 3])  # identity, space, configuration
def test_a_launch_that_was_killed_before_it_wrote_its_configuration_can_be_repeated(
    write_config: Callable[..., Path],
    tmp_path: Path,
    interrupts: Interrupts,
    monkeypatch: pytest.MonkeyPatch,
    deadline: int,
) -> None:
    config = load_config(write_config())
    folder = SweepFolder(tmp_path / "sweep")
    write = layout.write_whole
    writes = 0

    def write_until_deadline(*arguments: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == deadline:
            raise Killed
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(layout, "write_whole", write_until_deadline)
        with pytest.raises(Killed):
            launch(config, folder.root, interrupts)
    assert folder.lock.exists()
    assert not folder.config.exists()
    launch(config, folder.root, interrupts)
    assert load_config(folder.config).space == str(folder.space)
    assert last_session(folder)["config"]["space"] == str(folder.space)  # from the first session on


@pytest.mark.parametrize("names", [["space.yaml"], ["lock", "space.yaml"], ["lock", "notes"], ["ledger/x", "lock"]])
def test_a_folder_with_other_files_is_not_taken_for_a_killed_launch(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts, names: list[str]
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    for name in names:
        (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / name).write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not an empty folder"):
        launch(load_config(write_config()), folder.root, interrupts)
    assert {path.read_text(encoding="utf-8") for path in folder.root.rglob("*") if path.is_file()} == {"mine"}
