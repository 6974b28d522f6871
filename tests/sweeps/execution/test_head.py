"""The watch over the head of a cluster; sockets stand in for heads."""

import queue
import socket

from sweeps.execution.head import watched

RESUME = "conclugen sweep resume runs/own"


def test_a_head_that_goes_and_comes_back_is_told_once_each() -> None:
    told: queue.Queue[str] = queue.Queue()
    head = socket.create_server(("127.0.0.1", 0))
    port = head.getsockname()[1]
    with watched(f"127.0.0.1:{port}", RESUME, told.put, every=0.02):
        head.close()
        message = told.get(timeout=30)
        assert f"127.0.0.1:{port}, does not answer" in message
        assert message.endswith(f"go on with: {RESUME}")
        with socket.create_server(("127.0.0.1", port), backlog=128):
            assert told.get(timeout=30) == f"The head of the cluster, 127.0.0.1:{port}, answers again."
    assert told.empty()


def test_a_head_that_answers_is_not_mentioned() -> None:
    """The watch has called three times when the third connection is accepted, and misses none of them."""
    told: queue.Queue[str] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as head:
        port = head.getsockname()[1]
        with watched(f"127.0.0.1:{port}", RESUME, told.put, every=0.02):
            for _ in range(3):
                head.accept()[0].close()
    assert told.empty()
