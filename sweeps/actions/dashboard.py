"""The dashboard: optuna-dashboard on a sweep's studies, to look at and not to touch.

Its pages can rename and delete studies and end trials, which a running sweep would not survive: every request but
those to read is refused before it gets there. Reading needs no lock, so sweeps may run meanwhile. optuna-dashboard's
own command was rejected: it cannot be kept from writing.
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
        folder: where its studies lie, unless the configuration says where.
        host: name or address to listen on.
        port: TCP port to listen on; 0 for any that is free.
        ready: told the address for a browser, once requests are answered.

    Raises:
        ConfigError: the studies cannot be read, or nobody can listen there.
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
    daemon_threads = True  # a browser that keeps its connection open does not keep the process


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Not a line per request: the page asks every few seconds."""


def _read_only(application: "WSGIApplication") -> "WSGIApplication":
    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "This dashboard only shows a sweep; it changes nothing."}']

    return guarded
