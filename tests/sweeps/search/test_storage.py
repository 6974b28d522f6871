"""The journal under damage: Optuna reads what it wrote, or an error names the damaged line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from sweeps.config import ConfigError, SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.search.journal import JournalError, mend_journal
from sweeps.search.storage import existing_storage, open_storage
from tests.damage import Damage, damages


@pytest.fixture
def config(write_config: Callable[..., Path]) -> SweepConfig:
    return load_config(write_config())


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path)


def fill(config: SweepConfig, folder: SweepFolder, trials: int = 4) -> None:
    study = optuna.create_study(study_name="s", storage=open_storage(config, folder), load_if_exists=True)
    for number in range(trials):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        trial.set_user_attr("note", 'a "quoted", \r\n line,"crc":1}')
        trial.report(float("inf"), 1)
        study.tell(trial, number / 3)


def trials(config: SweepConfig, folder: SweepFolder) -> list[dict[str, Any]]:
    (study,) = optuna.get_all_study_summaries(storage := existing_storage(config, folder))
    stored = optuna.load_study(study_name=study.study_name, storage=storage).trials
    return [
        {"values": t.values, "params": t.params, "notes": t.user_attrs, "reports": t.intermediate_values}
        for t in stored
    ]


def flip(path: Path, line: int) -> None:
    """Change a digit of the line's worker id, which Optuna ignores."""
    lines = path.read_bytes().splitlines(keepends=True)
    at = lines[line - 1].index(b'"worker_id":"') + 15
    lines[line - 1] = lines[line - 1][:at] + bytes([lines[line - 1][at] ^ 1]) + lines[line - 1][at + 1 :]
    path.write_bytes(b"".join(lines))


def test_optunas_own_backend_reads_the_same_from_a_journal(config: SweepConfig, folder: SweepFolder) -> None:
    fill(config, folder)
    expected = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(folder.journal)))).trials
    assert [t["values"] for t in trials(config, folder)] == [t.values for t in expected]
    assert [t["notes"] for t in trials(config, folder)] == [t.user_attrs for t in expected]
    assert mend_journal(folder) == []


def test_a_reopened_journal_is_continued(config: SweepConfig, folder: SweepFolder) -> None:
    fill(config, folder, 2)
    fill(config, folder, 2)
    assert len(trials(config, folder)) == 4


def test_others_read_while_one_writes(config: SweepConfig, folder: SweepFolder) -> None:
    fill(config, folder, 1)
    reader = optuna.load_study(study_name="s", storage=existing_storage(config, folder))
    fill(config, folder, 2)
    assert len(reader.get_trials(states=[TrialState.COMPLETE])) == 3


def test_a_line_that_is_being_written_is_not_read_yet(config: SweepConfig, folder: SweepFolder) -> None:
    fill(config, folder)
    whole = trials(config, folder)
    content = folder.journal.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    for cut in range(1, last):
        folder.journal.write_bytes(content[:-cut])
        assert trials(config, folder)[:-1] == whole[:-1]


@pytest.mark.parametrize("line", [1, 3, -1])
def test_a_damaged_line_is_named(config: SweepConfig, folder: SweepFolder, line: int) -> None:
    fill(config, folder)
    line %= len(folder.journal.read_bytes().splitlines()) + 1
    flip(folder.journal, line)
    with pytest.raises(JournalError, match=rf"studies\.journal, line {line}: is damaged"):
        open_storage(config, folder)
    with pytest.raises(ConfigError, match=rf"studies\.journal, line {line}: is damaged"):
        existing_storage(config, folder)


def test_mending_keeps_what_stands_before_the_damage_and_a_copy_of_all(
    config: SweepConfig, folder: SweepFolder
) -> None:
    fill(config, folder)
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    flip(folder.journal, 9)
    flip(folder.journal, 12)
    damaged = folder.journal.read_bytes()
    messages = mend_journal(folder)
    assert [message.partition(";")[0] for message in messages] == [
        f"{folder.journal}, line 9: is damaged",
        f"{folder.journal}, line 12: is damaged",
    ]
    assert all("studies.journal.damaged-1" in message for message in messages)
    assert folder.journal.read_bytes() == b"".join(lines[:8])
    assert (folder.root / "studies.journal.damaged-1").read_bytes() == damaged
    assert mend_journal(folder) == []
    fill(config, folder, 1)
    assert trials(config, folder)

    folder.journal.write_bytes(folder.journal.read_bytes()[:-5])
    (message,) = mend_journal(folder)
    assert "is cut short" in message
    assert (folder.root / "studies.journal.damaged-2").exists()


def test_no_journal_needs_no_mending(folder: SweepFolder) -> None:
    assert mend_journal(folder) == []


def test_a_journal_that_is_all_damaged_starts_again(config: SweepConfig, folder: SweepFolder) -> None:
    folder.journal.write_bytes(bytes(4096))
    (message,) = mend_journal(folder)
    assert "line 1: is cut short" in message
    fill(config, folder)
    assert len(trials(config, folder)) == 4


@pytest.fixture
def journal(config: SweepConfig, folder: SweepFolder) -> bytes:
    fill(config, folder, 2)
    return folder.journal.read_bytes()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damages)
def test_after_any_damage_only_whole_lines_are_read(
    config: SweepConfig, folder: SweepFolder, journal: bytes, damage: Damage
) -> None:
    folder.journal.write_bytes(damage(journal))
    messages = mend_journal(folder)
    kept = folder.journal.read_bytes()
    assert journal.startswith(kept)
    assert kept == b"" or kept.endswith(b"\n")
    # A cut between two lines leaves an earlier, whole journal; all else is reported.
    assert messages or kept == damage(journal)
    assert mend_journal(folder) == []
    open_storage(config, folder)
    for copy in folder.root.glob("studies.journal.damaged-*"):
        copy.unlink()
