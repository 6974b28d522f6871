"""A resumed sweep finds its unfinished jobs."""

import json
from pathlib import Path

import pytest

from conclugen.labels import LabelBudget
from sweeps.folder.layout import SweepFolder
from sweeps.folder.unfinished import UnfinishedJob, UnfinishedJobs
from sweeps.jobs import Job

JOB = Job(
    stage="search",
    method="Con",
    number=3,
    seed=1,
    hyperparameters={"lr": 0.1},
    modalities=("video", "text"),
    labels=LabelBudget(per_class=5),
)


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path)
    folder.running.mkdir()
    return folder


def test_a_later_session_restores_jobs_with_their_reports(folder: SweepFolder) -> None:
    jobs = UnfinishedJobs(folder)
    jobs.start(UnfinishedJob(JOB, {2: 0.25}, "basis"))
    jobs.report(JOB.key, 4, 0.5)
    restored = UnfinishedJobs(folder).restore(pytest.fail)
    assert restored == {JOB.key: UnfinishedJob(JOB, {2: 0.25, 4: 0.5}, "basis")}


def test_a_job_that_has_ended_is_not_restored(folder: SweepFolder) -> None:
    jobs = UnfinishedJobs(folder)
    jobs.start(UnfinishedJob(JOB))
    jobs.end(JOB.key)
    assert UnfinishedJobs(folder).restore(pytest.fail) == {}
    assert list(folder.running.iterdir()) == []


def test_the_file_of_a_job_keeps_its_format(folder: SweepFolder) -> None:
    """Folders of version 0.2 stay readable, so the entries keep their names."""
    UnfinishedJobs(folder).start(UnfinishedJob(JOB, {2: 0.25}, "basis"))
    document = json.loads((folder.root / "running" / "search-Con[video-text]@5-00003" / "job.json").read_bytes())
    assert document.keys() == {"seal", "job", "reported", "basis"}
    assert document["reported"] == {"2": 0.25}
    assert document["basis"] == "basis"


@pytest.mark.parametrize("content", [b"{", b"", b"\xff"])
def test_a_damaged_file_is_set_aside_and_the_checkpoints_stay(folder: SweepFolder, content: bytes) -> None:
    UnfinishedJobs(folder).start(UnfinishedJob(JOB))
    state = folder.state(JOB.key)
    checkpoint = state.with_name("checkpoint-1.safetensors")
    checkpoint.touch()
    state.write_bytes(content)
    messages: list[str] = []
    assert UnfinishedJobs(folder).restore(messages.append) == {JOB.key: None}
    damaged = state.with_name("job.json.damaged")
    assert {path: path.read_bytes() for path in state.parent.iterdir()} == {damaged: content, checkpoint: b""}
    (message,) = messages
    assert message.startswith(f"{state} is damaged")
    assert f"It is now {damaged}; {JOB.key} continues from its checkpoints" in message


def test_a_folder_without_any_state_is_removed(folder: SweepFolder) -> None:
    folder.job(JOB.key).mkdir()
    (folder.job(JOB.key) / ".job.json.1-ab.partial").touch()
    assert UnfinishedJobs(folder).restore(pytest.fail) == {}
    assert list(folder.running.iterdir()) == []


def test_entries_that_belong_to_no_job_stay(folder: SweepFolder) -> None:
    (folder.running / ".nfs0001").touch()
    (folder.running / "lost+found").mkdir()
    assert UnfinishedJobs(folder).restore(pytest.fail) == {}
    assert {path.name for path in folder.running.iterdir()} == {".nfs0001", "lost+found"}
