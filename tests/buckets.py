"""Serve folders as the buckets of an S3 server, for reading only."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


class _Bucket(BaseHTTPRequestHandler):
    """The answers of S3 to requests for objects, whole or in part; each bucket is a folder."""

    root: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer()

    def _answer(self, body: bytes | None = None) -> None:
        try:
            content = (self.root / self.path.partition("?")[0].lstrip("/")).read_bytes()
        except OSError:
            self.send_response(404)
            content = b"<Error><Code>NoSuchKey</Code></Error>"
        else:
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            total, content = len(content), content[int(first) : int(last) + 1 if last else None]
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{total}")
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if body is None else body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(root: Path) -> Iterator[dict[str, str]]:
    """Serve the folders in ``root`` as buckets, and give the environment in which ``s3://`` addresses lead to them."""
    handler = type("Handler", (_Bucket,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        finally:
            server.shutdown()
