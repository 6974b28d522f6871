"""Execution of training steps: their precision, their optimiser, and whether a device replays them.

A run defines in plain torch what a step computes. This module alone decides how to compute it fast.

On a CPU a step is float32 and eager. That is the reference, with the same bits on every run. On a GPU of compute
capability 8 or more, the heads compute in bfloat16 (autocast) with float32 weights, gradients and AdamW moments.
Losses and k-means compute in float32, with TensorFloat-32 products. In bfloat16 (spacing 1/256 below 1) a similarity
would swallow the margin of 0.001. The step of a single worker is then captured as a CUDA graph, because the hundreds
of kernel launches dominate the time of small heads.

Runs keep their steps fit for capture. A step is a function of tensors alone. Random numbers are drawn before it and
are among its inputs. State that lives across steps changes in place. A CPU can test all this: `tests/conclugen/tape.py`
is a recorder with the semantics of a CUDA graph.

Rejected: torch.compile, because a search has many shapes and each new one takes tens of seconds; float16, because it
needs a loss scale; random numbers drawn inside the graph, because they save only a few launches and hide the seeds.
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

__all__ = ["EAGER_STEPS", "Execution", "GraphCapture", "Recorder", "Step"]

_LOG = logging.getLogger(__name__)

EAGER_STEPS = 10
"""Eager steps of a kind before the kind is captured. They prepare what a capture needs (handles, the optimiser's
moments). They cost about as much as a capture, so even a short run pays at most twice the necessary cost."""

Step = Callable[[Sequence[Mapping[str, Tensor]]], None]
"""One step on its inputs, which it must not keep."""


class Recorder(Protocol):
    """Recorder of a step's effect on memory, so that the step can be repeated without Python."""

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run ``step`` under the conditions of a recording."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return a replay of ``step``, which repeats its effect on the same memory; recording itself has no effect.

        Raises:
            RuntimeError: the step cannot be recorded.
        """


class GraphCapture:
    """Recorder of CUDA graphs.

    Graphs can share one memory pool, because no step reads what another has left in it.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run ``step`` on the stream of the capture."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            step()
        current.wait_stream(self._stream)

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return the replay of ``step``; see :class:`Recorder`."""
        graph = torch.cuda.CUDAGraph()
        # The outer context restores the current stream after a failed capture, which torch's context does not.
        with (
            torch.cuda.stream(torch.cuda.current_stream(self._stream.device)),
            # Other threads of a worker may allocate at the same time; their memory is not part of the graph.
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            step()
        return graph.replay


@dataclass
class _Kind:
    """State of the steps of one kind."""

    steps: int = 0
    replay: Callable[[], None] | None = None
    inputs: Sequence[Mapping[str, Tensor]] = ()  # the tensors that a replay reads


class Execution:
    """The way one run executes its steps.

    Args:
        device: device of the steps.
        precision: precision of the heads' products; float32 or bfloat16.
        recorder: recorder of steps; None to run each step from Python.
        decisions: decisions with their reasons, for the log.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        precision: torch.dtype = torch.float32,
        recorder: Recorder | None = None,
        decisions: Mapping[str, str] | None = None,
    ) -> None:
        self.device = device
        self.precision = precision
        self.recorder = recorder
        self.decisions = dict(decisions or {})
        self._kinds: dict[Hashable, _Kind] = {}

    @classmethod
    def on(cls, device: torch.device, *, recorded: bool = True) -> "Execution":
        """Return the fastest execution that ``device`` and the present process group allow.

        Args:
            device: device of the steps.
            recorded: False for steps that are not run by :meth:`run`.
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
        has_bfloat16 = major >= 8
        workers = rank_and_size()[1]
        if workers > 1:
            steps = f"eager: {workers} workers talk to each other within a step"
        else:
            steps = f"CUDA graphs after {EAGER_STEPS} steps of a kind" if recorded else "eager at first"
        return cls(
            device,
            precision=torch.bfloat16 if has_bfloat16 else torch.float32,
            recorder=GraphCapture(device) if recorded and workers == 1 else None,
            decisions={
                "precision": f"{'bfloat16 heads' if has_bfloat16 else 'float32'}: compute capability {major}.{minor}",
                "steps": steps,
            },
        )

    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> AdamW:
        """Return AdamW; recorded steps follow changes of its learning rate."""
        if self.recorder is None:
            return AdamW(parameters, lr=lr, weight_decay=weight_decay)
        return AdamW(
            parameters, lr=torch.tensor(lr, dtype=torch.float32, device=self.device), weight_decay=weight_decay
        )

    def heads(self) -> AbstractContextManager[object]:
        """Return the context for the heads' forward pass, whose outputs go through :meth:`full`."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    @staticmethod
    def full(x: Tensor) -> Tensor:
        """Return an output of the heads in the precision of the losses."""
        return x.float() if x.dtype == torch.bfloat16 else x

    def run(self, kind: Hashable, step: Step, inputs: Sequence[Mapping[str, Tensor]]) -> None:
        """Run one step.

        Args:
            kind: identifies steps that differ in their inputs only and have the same shapes; None for a unique step,
                which is never recorded.
            step: the forward pass, backward pass and update.
            inputs: the inputs on the device, each modality -> tensor.
        """
        if self.recorder is None or kind is None:
            with self._matrix_precision():
                step(inputs)
            return
        state = self._kinds.setdefault(kind, _Kind())
        if state.replay is None and state.steps >= EAGER_STEPS:
            self._record(self.recorder, state, step, inputs)
        state.steps += 1
        if state.replay is not None:
            for buffers, features in zip(state.inputs, inputs, strict=True):
                for name, buffer in buffers.items():
                    buffer.copy_(features[name])
            state.replay()
        elif self.recorder is None:  # the recording just failed
            self.run(kind, step, inputs)
        else:
            with self._matrix_precision():
                self.recorder.warm_up(lambda: step(inputs))

    def _record(self, recorder: Recorder, state: _Kind, step: Step, inputs: Sequence[Mapping[str, Tensor]]) -> None:
        buffers = [{name: x.clone() for name, x in features.items()} for features in inputs]
        try:
            with self._matrix_precision():
                state.replay = recorder.record(lambda: step(buffers))
            state.inputs = buffers
        except RuntimeError as error:
            self.recorder = None
            self._kinds.clear()
            first_line = str(error).strip().partition("\n")[0]
            self.decisions["steps"] = f"eager: the capture failed: {first_line}"
            _LOG.warning("steps are no longer captured: %s", first_line)

    def forget(self) -> None:
        """Drop all recordings, because tensors that live across steps were replaced."""
        self._kinds.clear()

    @contextmanager
    def _matrix_precision(self) -> Iterator[None]:
        """Use TensorFloat-32 for the float32 products of a step whose heads compute in bfloat16 on a GPU."""
        if self.device.type != "cuda" or self.precision == torch.float32:
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
