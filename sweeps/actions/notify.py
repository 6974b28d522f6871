"""Tells the receivers of `notify` how a session of a sweep ended: a webhook, a command, or both.

A session sends one message, when no job runs any more. So a dead or slow receiver delays no job, and the end of the
command by ten seconds at most. A message that is not taken is a line in the log and on the terminal; the sweep's exit
code stays as it is. A session that is killed outright sends nothing, so a scheduler's own mail stays useful.
"""

import json
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import httpx

from conclugen import __version__
from sweeps.config import ConfigError
from sweeps.config.fields import with_environment
from sweeps.config.sections import Notify
from sweeps.folder.layout import SweepFolder
from sweeps.search.progress import Progress

__all__ = ["Ending", "Event", "notify"]

Event = Literal["finished", "failed", "interrupted"]
_SECONDS = 10.0  # a scheduler that ends a job grants some 30 s


@dataclass(frozen=True)
class Ending:
    """How a session of a sweep ended."""

    event: Event
    """``failed`` if the sweep stopped early. Single failed jobs do not stop a sweep; ``jobs.failed`` counts them."""
    reason: str
    """Why the session ended before the sweep was finished; empty if it is finished."""
    seconds: float
    """Wall time of the session."""
    rows: Sequence[Progress]
    """How far the sweep is."""


def notify(settings: Notify, sweep: str, folder: SweepFolder, ending: Ending, say: Callable[[str], object]) -> None:
    """Send a JSON object to every receiver at once, and wait ten seconds at most.

    Args:
        settings: the receivers.
        sweep: the sweep's name.
        folder: its folder.
        ending: how the session ended.
        say: receives a sentence on each receiver that did not take the message.
    """
    body = json.dumps(_body(sweep, folder, ending)).encode()
    receivers: list[Callable[[], str]] = []
    if settings.url is not None:
        receivers.append(partial(_post, settings.url, body))
    if settings.command:
        receivers.append(partial(_call, settings.command, body))
    problems: dict[int, str] = {}

    def deliver(number: int, receiver: Callable[[], str]) -> None:
        problems[number] = receiver()

    threads = [threading.Thread(target=deliver, args=item, daemon=True) for item in enumerate(receivers)]
    for thread in threads:
        thread.start()
    for number, thread in enumerate(threads):
        thread.join(_SECONDS + 1)  # a server that sends byte by byte never runs into the time-out of its connection
        problem = problems.get(number, f"notify.url: no whole answer in {_SECONDS:.0f} s.")
        if problem:
            say(f"Nobody was notified by {problem}")


def _body(sweep: str, folder: SweepFolder, ending: Ending) -> dict[str, object]:
    counts = {name: sum(getattr(row, name) for row in ending.rows) for name in ("complete", "pruned", "failed")}
    root = str(folder.root.resolve())
    finished = ending.event == "finished"
    action = ["conclugen", "report", root, "--out", f"{root}/report"] if finished else []
    return {
        "event": ending.event,
        # Slack, Mattermost and others show the field of this name.
        "text": f"Sweep {sweep} {ending.event}{f': {ending.reason}' if ending.reason else '.'}",
        "sweep": sweep,
        "folder": root,
        "host": socket.gethostname(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(ending.seconds, 1),
        "jobs": counts,
        "next": shlex.join(action or ["conclugen", "sweep", "resume", root]),
        "version": __version__,
    }


def _post(address: str, body: bytes) -> str:
    """Send the message to a server; return what went wrong, without the address, which may hold a secret."""
    try:
        url = with_environment("notify.url", address)
        name = f"notify.url ({urlsplit(url).hostname})"
        answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"}, timeout=_SECONDS)
    except ConfigError as error:
        return error.problems[0]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        # The message of the error may quote the address.
        return f"notify.url: {type(error).__name__}; is the address right, and the server up?"
    return "" if answer.is_success else f"{name}: it answered {answer.status_code} {answer.reason_phrase}."


def _call(arguments: Sequence[str], body: bytes) -> str:
    """Give the message to a command on its standard input; return what went wrong."""
    try:
        end = subprocess.run(  # noqa: S603  # the user's own command
            arguments, input=body, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"notify.command: it did not end in {_SECONDS:.0f} s and was killed."
    except OSError as error:
        return f"notify.command: {arguments[0]}: {error.strerror}."
    return "" if end.returncode == 0 else f"notify.command: it ended with code {end.returncode}."
