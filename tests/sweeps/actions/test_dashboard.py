"""The dashboard as a browser sees it: real requests to a process of its own."""

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
    """A sweep that has not opened its studies yet."""
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
    """The address of a dashboard on a free port; Ctrl-C ends it."""
    with subprocess.Popen(command(folder.root, "--port", 0), stdout=subprocess.PIPE, text=True) as process:
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


def test_it_shows_the_studies_of_a_sweep_that_runs(sweep: SweepFolder) -> None:
    search = open_search(sweep)
    with served(sweep) as address:
        search.next_job()
        search.report("search-Con-00000", Report(epochs=4, value=0.625, state="complete"))
        studies = {study["study_name"]: study for study in ask(f"{address}api/studies")["study_summaries"]}
        assert set(studies) == {f"tiny/{subset}@{sweep.identity}" for subset in SUBSETS}
        con = studies[f"tiny/Con@{sweep.identity}"]["study_id"]
        (trial,) = (t for t in ask(f"{address}api/studies/{con}")["trials"] if t["state"] == "Complete")
        assert trial["values"] == [0.625]
        with urllib.request.urlopen(f"{address}dashboard") as page:  # noqa: S310
            assert b"<html" in page.read()


def test_it_changes_nothing(sweep: SweepFolder) -> None:
    search = open_search(sweep)
    job = search.next_job()
    before = {path: path.read_bytes() for path in sweep.root.parent.rglob("*") if path.is_file()}
    with served(sweep) as address:
        study = next(s for s in ask(f"{address}api/studies")["study_summaries"] if "/Con@" in s["study_name"])[
            "study_id"
        ]
        trial = ask(f"{address}api/studies/{study}")["trials"][0]["trial_id"]
        for method, path, body in (
            ("POST", "api/studies", {"study_name": "new", "directions": ["maximize"]}),
            ("POST", f"api/studies/{study}/rename", {"study_name": "other"}),
            ("POST", f"api/trials/{trial}/tell", {"state": "Complete", "values": [1.0]}),
            ("PUT", f"api/studies/{study}/note", {"body": "x", "version": 1}),
            ("DELETE", f"api/studies/{study}", None),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(f"{address}{path}", method, body)
            assert refused.value.code == 403
            assert "changes nothing" in json.load(refused.value)["reason"]
    assert {path: path.read_bytes() for path in sweep.root.parent.rglob("*") if path.is_file()} == before
    assert search.report(job.key, Report(epochs=4, value=0.5, state="complete"))


def refusal(folder: Path, *options: object) -> str:
    result = subprocess.run(command(folder, *options), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize("sweep", ["journal"], indirect=True)
def test_a_taken_port_is_bad_input(sweep: SweepFolder) -> None:
    open_search(sweep)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--host 127.0.0.1 --port {port}: Address already in use" in refusal(sweep.root, "--port", port)


def test_no_sweep_is_bad_input(tmp_path: Path) -> None:
    assert "holds no sweep" in refusal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_studies_are_bad_input_and_not_made(sweep: SweepFolder) -> None:
    before = sorted(path for path in sweep.root.parent.rglob("*"))
    with pytest.raises(ConfigError, match=r"holds no studies|does not exist"):
        existing_storage(load_config(sweep.config), sweep)
    assert sorted(path for path in sweep.root.parent.rglob("*")) == before


@pytest.mark.parametrize("sweep", ["database"], indirect=True)
def test_a_database_without_studies_is_bad_input(sweep: SweepFolder, tmp_path: Path) -> None:
    (tmp_path / "studies.db").touch()
    assert "holds no studies" in refusal(sweep.root)
    assert (tmp_path / "studies.db").read_bytes() == b""
