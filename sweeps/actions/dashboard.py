"""The dashboard: serves optuna-dashboard on a sweep's studies, read-only.

The pages of optuna-dashboard can rename and delete studies and end trials, which a running sweep would not survive. So
every request that could write is refused before optuna-dashboard sees it. Reading needs no lock, so the sweep may run
meanwhile. Rejected: optuna-dashboard's own command, which has no way to forbid writing.
"""

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi

from sweeps.config import ConfigError, SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.search.storage import existing_storage

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["serve"]


def serve(config: SweepConfig, folder: SweepFolder, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the dashboard until the process is interrupted.

    Args:
        config: the sweep.
        folder: the sweep folder, which holds the studies unless the configuration names another storage.
        host: name or address to listen on.
        port: TCP port to listen on; 0 for any free one.
        ready: called with the address for a browser once the server answers requests.

    Raises:
        ConfigError: the studies cannot be read, or the server cannot listen on that host and port.
    """
    application = _read_only(wsgi(existing_storage(config, folder)))
    try:
        server = make_server(host, port, application, server_class=_Server, handler_class=_Handler)
    except OSError as error:
        raise ConfigError([f"--host {host} --port {port}: {error.strerror}; choose another."]) from None
    with server:
        ready(f"http://{host}:{server.server_port}/")
        server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser's open connection must not keep the process alive


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Print nothing: the page sends a request every few seconds."""


def _read_only(application: "WSGIApplication") -> "WSGIApplication":
    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "This dashboard only shows a sweep; it changes nothing."}']

    return guarded
