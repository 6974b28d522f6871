"""Notifications: what a receiver gets at the end of a session, and that none of them disturbs a sweep."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweeps.actions import notify as module
from sweeps.actions.notify import Ending, notify
from sweeps.actions.run import launch, resume
from sweeps.actions.sweep_run import SweepFailedError
from sweeps.config import ConfigError, load_config
from sweeps.config.sections import Notify
from sweeps.execution import executor
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.search.progress import Progress
from tests.end_to_end.rayless import without_ray

ROWS = [Progress("Con", "search", 4, 0, 2, 1, 1, 0.5, 1.0), Progress("confirm", "confirm", 2, 0, 2, 0, 0, None, 1.0)]
ENDING = Ending("finished", "", 12.34, ROWS)


class Receiver:
    """A server on this machine that keeps what it gets, and answers with a status, or not before it is released."""

    def __init__(self, status: int = 200, *, silent: bool = False) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                receiver.bodies.append(json.loads(self.rfile.read(length)))
                if silent:
                    receiver.released.wait()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_request(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def sent(settings: Notify, tmp_path: Path, ending: Ending = ENDING) -> list[str]:
    """Notify, and return what the user is told."""
    said: list[str] = []
    notify(settings, "mine", SweepFolder(tmp_path / "my sweep"), ending, said.append)
    return said


def test_a_server_gets_event_folder_and_counts(receiver: Receiver, tmp_path: Path) -> None:
    assert sent(Notify(url=receiver.url), tmp_path) == []
    (body,) = receiver.bodies
    assert (
        body.items()
        >= {
            "event": "finished",
            "text": "Sweep mine finished.",
            "sweep": "mine",
            "folder": str(tmp_path / "my sweep"),
            "seconds": 12.3,
            "jobs": {"complete": 4, "pruned": 1, "failed": 1},
            "next": f"conclugen report '{tmp_path}/my sweep' --out '{tmp_path}/my sweep/report'",
        }.items()
    )


def test_a_message_about_an_early_end_says_why_and_how_to_go_on(receiver: Receiver, tmp_path: Path) -> None:
    sent(Notify(url=receiver.url), tmp_path, Ending("interrupted", "interrupted by SIGTERM", 1.0, ROWS))
    (body,) = receiver.bodies
    assert body["text"] == "Sweep mine interrupted: interrupted by SIGTERM"
    assert body["next"] == f"conclugen sweep resume '{tmp_path}/my sweep'"


def test_a_command_gets_the_message_on_its_standard_input(tmp_path: Path) -> None:
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    assert sent(Notify(command=(sys.executable, "-c", code, str(tmp_path / "body"))), tmp_path) == []
    assert json.loads((tmp_path / "body").read_text(encoding="utf-8"))["event"] == "finished"


def test_an_address_comes_from_the_environment(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_WEBHOOK", receiver.url)
    assert sent(Notify(url="${MY_WEBHOOK}"), tmp_path) == []
    assert len(receiver.bodies) == 1


def test_a_server_that_refuses_is_named_without_its_secret_path(tmp_path: Path) -> None:
    server = Receiver(status=403)
    assert sent(Notify(url=f"{server.url}/s3cret"), tmp_path) == [
        "Nobody was notified by notify.url (127.0.0.1): it answered 403 Forbidden."
    ]
    server.close()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/s3cret", "${UNSET}", "$BAD"])
def test_an_address_that_nothing_answers_is_a_line(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("BAD", "s3cret://[")
    (line,) = sent(Notify(url=address), tmp_path)
    assert line.startswith("Nobody was notified by notify.url")
    assert "s3cret" not in line


def test_a_silent_server_and_a_hanging_command_end_with_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    server = Receiver(silent=True)
    command = (sys.executable, "-c", "import threading; threading.Event().wait()")
    assert sent(Notify(url=server.url, command=command), tmp_path) == [
        "Nobody was notified by notify.url: ReadTimeout; is the address right, and the server up?",
        "Nobody was notified by notify.command: it did not end in 0 s and was killed.",
    ]
    server.close()


def test_a_command_that_fails_or_is_missing_is_a_line(tmp_path: Path) -> None:
    assert sent(Notify(command=(sys.executable, "-c", "raise SystemExit(3)")), tmp_path) == [
        "Nobody was notified by notify.command: it ended with code 3."
    ]
    assert sent(Notify(command=("/none/such",)), tmp_path) == [
        "Nobody was notified by notify.command: /none/such: No such file or directory."
    ]


class TestSessions:
    """Whole sessions without Ray."""

    def _config(self, write_config: Callable[..., Path], url: str) -> Path:
        return write_config(subsets=["Con"], baselines=[], notify={"url": url})

    def test_a_finished_sweep_notifies_once(
        self, receiver: Receiver, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without_ray(monkeypatch.setattr, train=False)
        launch(load_config(self._config(write_config, receiver.url)), tmp_path / "sweep", Interrupts("x"))
        assert [body["event"] for body in receiver.bodies] == ["finished"]

    @pytest.mark.parametrize(
        ("error", "event"),
        [(KeyboardInterrupt(), "interrupted"), (executor.ExecutorError("no node is left"), "failed")],
    )
    def test_an_early_end_notifies_and_ends_as_before(
        self,
        receiver: Receiver,
        write_config: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        event: str,
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        without_ray(monkeypatch.setattr, train=False)
        monkeypatch.setattr(executor, "execute", fail)
        with pytest.raises((KeyboardInterrupt, SweepFailedError)):
            launch(load_config(self._config(write_config, receiver.url)), tmp_path / "sweep", Interrupts("x"))
        (body,) = receiver.bodies
        assert body["event"] == event
        assert event == "interrupted" or "no node is left" in body["text"]

    def test_a_refused_session_notifies_nobody(
        self, receiver: Receiver, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(address: str | None) -> None:
            raise OSError("no cluster")

        without_ray(monkeypatch.setattr, train=False)
        monkeypatch.setattr("sweeps.execution.cluster.connect", refuse)
        with pytest.raises(SweepFailedError):
            launch(load_config(self._config(write_config, receiver.url)), tmp_path / "sweep", Interrupts("x"))
        assert receiver.bodies == []

    def test_receivers_that_this_machine_cannot_reach_are_refused_at_the_start(
        self, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("UNSET", raising=False)
        config = load_config(write_config(notify={"url": "${UNSET}", "command": ["no-such-program", "x"]}))
        with pytest.raises(ConfigError) as caught:
            launch(config, tmp_path / "sweep", Interrupts("x"))
        assert len(caught.value.problems) == 2
        assert caught.value.problems[0].startswith("notify.url: ")
        assert caught.value.problems[1] == "notify.command: no-such-program is no program here; give the path of one."
        assert not (tmp_path / "sweep").exists()

    def test_receivers_may_change_when_a_sweep_is_resumed(
        self, receiver: Receiver, write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without_ray(monkeypatch.setattr, train=False)
        config = load_config(self._config(write_config, "http://127.0.0.1:1"))
        launch(config, tmp_path / "sweep", Interrupts("x"))
        resume(tmp_path / "sweep", Interrupts("x"), [f"notify.url={receiver.url}"])
        assert len(receiver.bodies) == 1
