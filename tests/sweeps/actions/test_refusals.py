"""Sweeps that are refused or interrupted before they begin, without Ray: nothing of them stays behind."""

import errno
import json
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
from sweeps.folder import layout as plan
from sweeps.folder.layout import SweepFolder
from sweeps.folder.sessions import Sessions
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger, LedgerError
from sweeps.search import Search
from tests.conftest import write_planted
from tests.end_to_end.rayless import without_ray as replace_ray
from tests.sweeps.simulation import Simulation, constant


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sweep ends at once."""
    replace_ray(monkeypatch.setattr, train=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Interrupts("farewell")
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(write_config: Callable[..., Path], tmp_path: Path) -> SweepFolder:
    """A finished sweep with one failed trial."""
    return finished(SweepFolder(tmp_path / "sweep"), write_config(subsets=["Con", "Gen"], baselines=["raw_features"]))


def finished(folder: SweepFolder, path: Path) -> SweepFolder:
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
    """Every file of the sweep but the log, and the name of who held it last."""
    files = (path for path in folder.root.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path not in (folder.log, folder.owner, folder.lock)}


def last_session(folder: SweepFolder) -> dict[str, Any]:
    session: dict[str, Any] = json.loads(read_sealed(folder.sessions))["sessions"][-1]
    return session


def other_space(folder: SweepFolder, to: Path) -> Path:
    """The sweep's space with another range, in a file of its own."""
    space = yaml.safe_load(folder.space.read_text())
    space["parameters"]["lr"] = {"low": 1e-3, "high": 2e-3, "default": 1e-3}
    to.write_text(yaml.safe_dump(space))
    return to


CHANGES = ["budget.epochs=8", "seed=5"]


@pytest.mark.parametrize("ends", [KeyboardInterrupt, OSError, ConfigError(["x"]), SystemExit])
def test_a_sweep_that_ends_before_it_has_begun_keeps_its_configuration_and_space(
    folder: SweepFolder, tmp_path: Path, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch, ends: Any
) -> None:
    def fail(address: str | None) -> None:
        assert load_config(folder.config).seed == 5  # what the nodes of a cluster check
        raise ends

    before, space = contents(folder), other_space(folder, tmp_path / "other.yaml")
    monkeypatch.setattr(cluster, "connect", fail)
    with pytest.raises((ConfigError, KeyboardInterrupt, RuntimeError, SystemExit)):
        resume(folder.root, interrupts, [*CHANGES, f"space={space}"], accept_changes=True)
    assert contents(folder) == before


def test_a_space_that_there_was_not_goes_again(
    write_config: Callable[..., Path],
    tmp_path: Path,
    interrupts: Interrupts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, own = SweepFolder(tmp_path / "sweep"), load_config(write_config()).space
    more = write_planted(tmp_path / "more", rows=1200)
    features = {"pretrain": str(more), "downstream": {"planted": str(more)}}
    budget = {"trials_per_subset": 2, "epochs": 12, "seeds": 1}
    config = load_config(write_config(features=features, space="small", subsets=["Con"], budget=budget))
    folder.prepare(config)
    Sessions(folder).begin(config)
    before = contents(folder)

    def fail(address: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "connect", fail)
    with pytest.raises(KeyboardInterrupt):
        resume(folder.root, interrupts, [f"space={own}"], accept_changes=True)
    assert contents(folder) == before


def test_a_database_that_cannot_be_opened_refuses_before_anything_is_on_record(
    folder: SweepFolder, tmp_path: Path, interrupts: Interrupts
) -> None:
    before, other = contents(folder), write_planted(tmp_path / "other", seed=5)
    overrides = [f"features.pretrain={other}", f"storage=sqlite:///{tmp_path}/nowhere/x.db"]
    with pytest.raises(ConfigError) as refusal:
        resume(folder.root, interrupts, overrides, failed=True, accept_changes=True)
    (problem,) = refusal.value.problems
    assert problem.startswith("storage: sqlite:///")
    assert "\n" not in problem
    assert contents(folder) == before


def test_a_ledger_that_cannot_be_read_refuses_before_anything_is_on_record(
    folder: SweepFolder, interrupts: Interrupts
) -> None:
    (folder.ledger / "search-Con-00000.arrow").rename(folder.ledger / "search-Con-00009.arrow")
    before = contents(folder)
    with pytest.raises(LedgerError, match="holds another record"):
        resume(folder.root, interrupts, CHANGES, failed=True, accept_changes=True)
    assert contents(folder) == before


def test_a_sweep_that_has_begun_has_its_session_and_configuration_together(
    folder: SweepFolder, interrupts: Interrupts, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Sessions.begin

    def begin(sessions: Sessions, *arguments: Any) -> list[str]:
        signal.raise_signal(signal.SIGINT)
        return add(sessions, *arguments)

    monkeypatch.setattr(Sessions, "begin", begin)
    with pytest.raises(KeyboardInterrupt):
        resume(folder.root, interrupts, CHANGES, failed=True, accept_changes=True)
    session = last_session(folder)
    assert sorted(change.partition(":")[0] for change in session["accepted_changes"]) == ["budget.epochs", "seed"]
    assert (session["config"]["seed"], load_config(folder.config).seed) == (5, 5)


def test_what_was_edited_by_hand_is_refused_with_what_to_do(folder: SweepFolder, interrupts: Interrupts) -> None:
    folder.config.write_text(folder.config.read_text().replace("epochs: 4", "epochs: 8"))
    before = contents(folder)
    with pytest.raises(ConfigError) as refusal:
        resume(folder.root, interrupts)
    change, remedy = refusal.value.problems
    assert change == "budget.epochs: was 4, and is 8."
    assert f"with --set or in {folder.config}; or go on all the same with --accept-changes" in remedy
    assert contents(folder) == before
    resume(folder.root, interrupts, ["budget.epochs=4"])
    assert load_config(folder.config).budget.epochs == 4


@pytest.mark.parametrize("what", ["gone", "empty", "damaged"])
def test_a_warm_start_that_is_gone_is_refused_with_how_to_go_on(
    folder: SweepFolder, write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts, what: str
) -> None:
    path = write_config(subsets=["Con"], search={"warm_start": str(folder.root)}, baselines=["raw_features"])
    late = finished(SweepFolder(tmp_path / "late"), path)
    if what == "gone":
        folder.root.rename(tmp_path / "away")
    for record in folder.ledger.glob("*.arrow") if what != "gone" else ():
        record.unlink() if what == "empty" else record.write_bytes(record.read_bytes()[:-1])
    with pytest.raises(ConfigError) as refusal:
        resume(late.root, interrupts)
    (problem,) = refusal.value.problems
    assert problem.startswith("search.warm_start: ")
    assert problem.endswith(" The sweep can go on without: --set search.warm_start=null.")
    resume(late.root, interrupts, ["search.warm_start=null"])


def test_a_damaged_record_of_sessions_is_told(
    folder: SweepFolder, interrupts: Interrupts, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.sessions.write_bytes(folder.sessions.read_bytes()[:-3])
    resume(folder.root, interrupts)
    assert f"{folder.sessions} is damaged" in capfd.readouterr().out
    assert last_session(folder)["accepted_changes"] == []


@pytest.mark.parametrize("begun", [False, True])
def test_who_interrupts_is_told_to_resume_only_what_is_there(
    write_config: Callable[..., Path],
    tmp_path: Path,
    interrupts: Interrupts,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    begun: bool,
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    if begun:
        monkeypatch.setattr(cluster, "connect", interrupted)
    else:
        monkeypatch.setattr("sweeps.actions.run.damaged_shards", interrupted)
    out = tmp_path / "sweep"
    with pytest.raises(SystemExit) as ended:
        app(["sweep", "run", str(write_config()), "--out", str(out)])
    assert ended.value.code == 130
    told = f"go on with: conclugen sweep resume {out}" if begun else f"{out} holds no sweep yet, run the command again."
    assert capfd.readouterr().err.endswith(f"interrupted; {told}\n")
    assert out.exists() == begun


@pytest.mark.parametrize("command", [["sweep", "status"], ["report", "--out", "report"]])
def test_a_damaged_record_is_shown_with_what_sets_it_aside(folder: SweepFolder, command: list[str]) -> None:
    record = folder.ledger / "search-Con-00000.arrow"
    record.write_bytes(record.read_bytes()[:-1])
    result = CliRunner().invoke(app, [*command, str(folder.root)])
    assert result.exit_code == 2
    assert f"{record} is damaged" in result.stderr
    assert f"`conclugen sweep resume {folder.root}` sets damaged records aside and runs those jobs" in result.stderr


def test_status_in_a_folder_that_cannot_be_looked_at_is_bad_input(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(folder: SweepFolder) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder.lock))

    monkeypatch.setattr("sweeps.folder.lock.running", denied)
    result = CliRunner().invoke(app, ["sweep", "status", str(folder.root)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{folder.lock}: Permission denied" in result.stderr


def test_a_new_sweep_that_is_refused_leaves_nothing(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts
) -> None:
    path = write_config(storage=f"sqlite:///{tmp_path}/nowhere/x.db")
    with pytest.raises(ConfigError, match="cannot be opened"):
        launch(load_config(path), tmp_path / "new" / "sweep", interrupts)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["flipped", "missing", "of an older format"])
@pytest.mark.parametrize("command", ["check", "run", "resume"])
def test_statistics_that_no_trial_could_read_are_refused_at_once(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts, command: str, damage: str
) -> None:
    features = write_planted(tmp_path / "features")
    sets = {"pretrain": str(features), "downstream": {"planted": str(features)}}
    path = write_config(subsets=["Con", "Gen"], baselines=["raw_features"], features=sets)
    folder, statistics = finished(SweepFolder(tmp_path / "sweep"), path), features / STATISTICS_FILE
    tensors, _ = read_tensors(statistics)
    statistics.unlink()
    if damage == "flipped":
        write_tensors(statistics, {name: tensor + 1 for name, tensor in tensors.items()})
        content = bytearray(statistics.read_bytes())
        content[-1] ^= 1
        statistics.write_bytes(content)
    elif damage == "of an older format":
        save_file(tensors, statistics)
    before, out = contents(folder), tmp_path / "new"
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
    assert problem.lstrip().startswith(f"features: pretrain: {statistics} cannot be read: ")
    assert problem.endswith("make the set again.")
    assert contents(folder) == before
    assert not out.exists()
    unused = load_config(path, ["features.standardise=false"])  # what is not read may be anything
    assert unused.features.pretrain == features


class Killed(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("deadline", [1, 2, 3])  # identity, space, configuration
def test_a_start_that_was_killed_before_there_was_a_configuration_may_be_repeated(
    write_config: Callable[..., Path],
    tmp_path: Path,
    interrupts: Interrupts,
    monkeypatch: pytest.MonkeyPatch,
    deadline: int,
) -> None:
    config, folder = load_config(write_config()), SweepFolder(tmp_path / "sweep")
    write, left = plan.write_whole, deadline

    def mortal(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        write(*arguments)

    with monkeypatch.context() as killer:
        killer.setattr(plan, "write_whole", mortal)
        with pytest.raises(Killed):
            launch(config, folder.root, interrupts)
    assert folder.lock.exists()
    assert not folder.config.exists()
    launch(config, folder.root, interrupts)
    assert load_config(folder.config).space == str(folder.space)
    assert last_session(folder)["config"]["space"] == str(folder.space)  # from the first session on


@pytest.mark.parametrize("names", [["space.yaml"], ["lock", "space.yaml"], ["lock", "notes"], ["ledger/x", "lock"]])
def test_what_is_somebody_elses_is_no_start_that_was_killed(
    write_config: Callable[..., Path], tmp_path: Path, interrupts: Interrupts, names: list[str]
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    for name in names:
        (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / name).write_text("mine")
    with pytest.raises(ConfigError, match="is not an empty folder"):
        launch(load_config(write_config()), folder.root, interrupts)
    assert {path.read_text() for path in folder.root.rglob("*") if path.is_file()} == {"mine"}
