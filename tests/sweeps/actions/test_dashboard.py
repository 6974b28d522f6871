"""The dashboard as a browser sees it: real requests to a server in another process."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweeps.config import ConfigError, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Report
from sweeps.search import Search
from sweeps.search.storage import existing_storage

SUBSETS = ("Con", "Gen")


@pytest.fixture(params=["journal", "database"])
def sweep(request: pytest.FixtureRequest, write_config: Callable[..., Path], tmp_path: Path) -> SweepFolder:
    """The folder of a sweep that has no studies yet."""
    storage = f"sqlite:///{tmp_path / 'studies.db'}" if request.param == "database" else None
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(load_config(write_config(subsets=list(SUBSETS), storage=storage)))
    return folder


def open_search(folder: SweepFolder) -> Search:
    return Search(load_config(folder.config), folder)


def command(folder: Path, *options: object) -> list[str]:
    return [sys.executable, "-m", "sweeps", "dashboard", str(folder), *map(str, options)]


@contextmanager
def served(folder: SweepFolder) -> Iterator[str]:
    """Serve a dashboard on a free port, yield its address, and end it with Ctrl-C."""
    with subprocess.Popen(command(folder.root, "--port", 0), stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            line = process.stdout.readline()
            assert "shows the studies of sweep tiny" in line
            yield line.split()[0]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait() == 0


def ask(address: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return json.load(response)


def test_the_dashboard_shows_the_studies_of_a_running_sweep(sweep: SweepFolder) -> None:
    search = open_search(sweep)
    with served(sweep) as address:
        search.next_job()
        search.report("search-Con-00000", Report(epochs=4, value=0.625, state="complete"))
        studies = {study["study_name"]: study for study in ask(f"{address}api/studies")["study_summaries"]}
        assert set(studies) == {f"tiny {subset}" for subset in SUBSETS}
        con = studies["tiny Con"]["study_id"]
        assert ask(f"{address}api/studies/{con}")["name"] == "tiny Con"
        (trial,) = (row for row in ask(f"{address}api/studies/{con}")["trials"] if row["state"] == "Complete")
        assert trial["values"] == [0.625]
        with urllib.request.urlopen(f"{address}dashboard") as page:  # noqa: S310
            assert b"<html" in page.read()


def test_the_dashboard_refuses_every_request_that_writes(sweep: SweepFolder) -> None:
    search = open_search(sweep)
    job = search.next_job()
    before = {path: path.read_bytes() for path in sweep.root.parent.rglob("*") if path.is_file()}
    with served(sweep) as address:
        summaries = ask(f"{address}api/studies")["study_summaries"]
        study = next(summary["study_id"] for summary in summaries if summary["study_name"] == "tiny Con")
        trial = ask(f"{address}api/studies/{study}")["trials"][0]["trial_id"]
        for method, path, body in (
            ("POST", "api/studies", {"study_name": "new", "directions": ["maximize"]}),
            ("POST", f"api/studies/{study}/rename", {"study_name": "other"}),
            ("POST", f"api/trials/{trial}/tell", {"state": "Complete", "values": [1.0]}),
            ("PUT", f"api/studies/{study}/note", {"body": "x", "version": 1}),
            ("DELETE", f"api/studies/{study}", None),
        ):
            with pytest.raises(urllib.error.HTTPError) as refusal:
                ask(f"{address}{path}", method, body)
            assert refusal.value.code == 403
            assert "changes nothing" in json.load(refusal.value)["reason"]
    assert {path: path.read_bytes() for path in sweep.root.parent.rglob("*") if path.is_file()} == before
    assert search.report(job.key, Report(epochs=4, value=0.5, state="complete"))


def refusal_of(folder: Path, *options: object) -> str:
    """Run the command, which must refuse its input; return its message."""
    result = subprocess.run(command(folder, *options), capture_output=True, encoding="utf-8", check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize("sweep", ["journal"], indirect=True)
def test_a_port_in_use_is_bad_input(sweep: SweepFolder) -> None:
    open_search(sweep)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"--host 127.0.0.1 --port {port}: Address already in use" in refusal_of(sweep.root, "--port", port)


def test_a_folder_without_a_sweep_is_bad_input(tmp_path: Path) -> None:
    assert "holds no sweep" in refusal_of(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_studies_are_bad_input_and_are_not_created(sweep: SweepFolder) -> None:
    before = sorted(path for path in sweep.root.parent.rglob("*"))
    with pytest.raises(ConfigError, match=r"holds no studies|does not exist"):
        existing_storage(load_config(sweep.config), sweep)
    assert sorted(path for path in sweep.root.parent.rglob("*")) == before


@pytest.mark.parametrize("sweep", ["database"], indirect=True)
def test_a_database_without_studies_is_bad_input(sweep: SweepFolder, tmp_path: Path) -> None:
    (tmp_path / "studies.db").touch()
    assert "holds no studies" in refusal_of(sweep.root)
    assert (tmp_path / "studies.db").read_bytes() == b""
