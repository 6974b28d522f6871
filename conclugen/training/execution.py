"""How a training step is executed: precision, optimiser, where the features lie, whether a device replays the step.

A run says what a step computes, once and in plain torch; how it is computed fast is decided here and nowhere else.

On a CPU a step is float32 and eager: that is the reference, the same bits on every run. On a GPU of compute capability
8 or more the heads compute in bfloat16 (autocast) with float32 weights, gradients and AdamW moments, and losses and
k-means in float32, whose products use TensorFloat-32: a similarity rounded to bfloat16 (spacing 1/256 below 1) would
swallow the margin of 0.001. One worker's step is then captured as a CUDA graph, since small heads are bound by their
hundreds of kernel launches.

What makes a step fit for capture is kept by the runs: it is a function of tensors alone, all that is random is drawn
before and is one of its inputs, and what lives across steps changes in place. That can be tested on a CPU: see
`tests/conclugen/tape.py`, a recorder with the semantics of a CUDA graph.

Rejected: torch.compile, which takes tens of seconds for each new shape, and a search is full of new shapes; float16,
which would need a loss scale; random numbers drawn inside the graph, which save a few launches and hide the seeds.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from conclugen.distributed import rank_and_size
from conclugen.training.adamw import AdamW

__all__ = ["Execution", "GraphCapture", "Recorder", "Step"]

_LOG = logging.getLogger(__name__)

_TRIES = 10
"""Eager steps of a kind before it is captured. They warm up what a capture must find ready (handles, the optimiser's
moments), and cost about what a capture costs: however short a run is, it pays at most twice what it had to."""


Step = Callable[[Sequence[Mapping[str, Tensor]]], None]
"""One step on its inputs, of which it may keep nothing."""


class Recorder(Protocol):
    """Records what a step does to memory, so that it can be done again without Python."""

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run ``step`` as it will be recorded."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return what does to the same memory what ``step`` would do; nothing is done to it yet.

        Raises:
            RuntimeError: the step does what cannot be recorded.
        """


class GraphCapture:
    """Recorder of CUDA graphs.

    Graphs share their memory: nothing that one step leaves in it is read by the next.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run ``step`` on the stream that it is captured on."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            step()
        current.wait_stream(self._stream)

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return the replay of ``step``; see :class:`Recorder`."""
        graph = torch.cuda.CUDAGraph()
        # The outer context brings the current stream back where torch's own does not: after a failed capture.
        with (
            torch.cuda.stream(torch.cuda.current_stream(self._stream.device)),
            # Other threads of a worker may allocate meanwhile; what they do is no part of the graph.
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            step()
        return graph.replay


@dataclass
class _Kind:
    """What is known about steps of one kind."""

    steps: int = 0
    replay: Callable[[], None] | None = None
    inputs: Sequence[Mapping[str, Tensor]] = ()  # where a replay reads


class Execution:
    """How one run executes its steps.

    Args:
        device: where.
        precision: of the heads' products; float32 or bfloat16.
        recorder: what records steps; None to run each one from Python.
        decisions: what was decided and why, for the log.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        precision: torch.dtype = torch.float32,
        recorder: Recorder | None = None,
        decisions: Mapping[str, str] | None = None,
    ) -> None:
        self.device, self._precision, self._recorder = device, precision, recorder
        self.decisions = dict(decisions or {})
        self._kinds: dict[Hashable, _Kind] = {}

    @classmethod
    def on(cls, device: torch.device, *, recorded: bool = True) -> "Execution":
        """Return the fastest execution that ``device`` allows, in the process group as it is now.

        Args:
            device: where.
            recorded: False for steps that are not run through :meth:`run`.
        """
        if device.type != "cuda":
            return cls(
                device,
                decisions={
                    "precision": f"float32: {device.type} is the reference",
                    "steps": f"eager: there are no graphs on {device.type}",
                },
            )
        major, minor = torch.cuda.get_device_capability(device)
        able, workers = major >= 8, rank_and_size()[1]
        if workers > 1:
            steps = f"eager: {workers} workers talk to each other within a step"
        else:
            steps = f"CUDA graphs after {_TRIES} steps of a kind" if recorded else "eager: few"
        return cls(
            device,
            precision=torch.bfloat16 if able else torch.float32,
            recorder=GraphCapture(device) if recorded and workers == 1 else None,
            decisions={
                "precision": f"{'bfloat16 heads' if able else 'float32'}: compute capability {major}.{minor}",
                "steps": steps,
            },
        )

    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> AdamW:
        """Return AdamW, whose learning rate reaches recorded steps, too."""
        if self._recorder is None:
            return AdamW(parameters, lr=lr, weight_decay=weight_decay)
        return AdamW(
            parameters, lr=torch.tensor(lr, dtype=torch.float32, device=self.device), weight_decay=weight_decay
        )

    def heads(self) -> AbstractContextManager[object]:
        """Return the context for the heads' forward pass; what leaves it goes through :meth:`full`."""
        if self._precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._precision)

    @staticmethod
    def full(x: Tensor) -> Tensor:
        """Return what the heads gave in the precision of the losses."""
        return x.float() if x.dtype == torch.bfloat16 else x

    def run(self, kind: Hashable, step: Step, inputs: Sequence[Mapping[str, Tensor]]) -> None:
        """Do one step.

        Args:
            kind: steps of one kind do the same to tensors of the same shapes, and nothing but their inputs tells them
                apart; None for a step that is like no other, which is never recorded.
            step: the step; forward, backward and update.
            inputs: modality -> tensor, of one kind or several, on the device.
        """
        if self._recorder is None or kind is None:
            with self._matrix_precision():
                step(inputs)
            return
        known = self._kinds.setdefault(kind, _Kind())
        if known.replay is None and known.steps >= _TRIES:
            self._record(self._recorder, known, step, inputs)
        known.steps += 1
        if known.replay is not None:
            for ours, given in zip(known.inputs, inputs, strict=True):
                for name, buffer in ours.items():
                    buffer.copy_(given[name])
            known.replay()
        elif self._recorder is None:  # the recording just failed
            self.run(kind, step, inputs)
        else:
            with self._matrix_precision():
                self._recorder.warm_up(lambda: step(inputs))

    def _record(self, recorder: Recorder, known: _Kind, step: Step, inputs: Sequence[Mapping[str, Tensor]]) -> None:
        buffers = [{name: x.clone() for name, x in given.items()} for given in inputs]
        try:
            with self._matrix_precision():
                known.replay = recorder.record(lambda: step(buffers))
            known.inputs = buffers
        except RuntimeError as error:
            self._recorder = None
            self._kinds.clear()
            first_line = str(error).strip().partition("\n")[0]
            self.decisions["steps"] = f"eager: the capture failed: {first_line}"
            _LOG.warning("steps are no longer captured: %s", first_line)

    def forget(self) -> None:
        """Drop what is recorded: tensors that live across steps were replaced."""
        self._kinds.clear()

    @contextmanager
    def _matrix_precision(self) -> Iterator[None]:
        """TensorFloat-32 for what float32 products a GPU's step has, wherever its bfloat16 is good enough."""
        if self.device.type != "cuda" or self._precision == torch.float32:
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
