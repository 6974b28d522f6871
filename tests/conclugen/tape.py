"""A recorder on the CPU with the semantics of a CUDA graph.

It records every operation of a step with the tensors that it read and wrote. Then it restores the memory that existed
before, and it replays the operations on the same memory. So a replay sees new values in the old places and nothing
else. Whatever Python computed, counted, drew or allocated while recording is frozen. Operations that a graph cannot
hold are refused.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape:
    """A :class:`conclugen.training.execution.Recorder`.

    Attributes:
        warm_ups: number of steps run to warm up.
        recordings: number of recordings.
        replays: the number of the recording of each replay, in order.
    """

    def __init__(self) -> None:
        self.warm_ups = 0
        self.recordings = 0
        self.replays: list[int] = []

    def warm_up(self, step: Callable[[], None]) -> None:
        self.warm_ups += 1
        step()

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        number, recording = self.recordings, _Recording()
        self.recordings += 1
        try:
            with recording:
                step()
        finally:
            recording.undo()

        def replay() -> None:
            self.replays.append(number)
            recording.replay()

        return replay


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        # Each operation with its arguments and, by position, its results that have memory of their own.
        self._operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], dict[int, Tensor]]] = []
        self._allocated: set[int] = set()  # storages that the step allocates; the kept operations keep them alive
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if reason := _refusal(func, args):
            raise RuntimeError(f"{func}: {reason}")
        inputs = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors((args, kwargs)):  # all of them, because not every schema says which it writes
            if _storage(tensor) not in self._allocated and _storage(tensor) not in self._before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self._before[_storage(tensor)] = whole, whole.clone()
        result = func(*args, **kwargs)
        outputs = {index: x for index, x in enumerate(_tensors(result)) if _storage(x) not in inputs}
        self._allocated |= set(map(_storage, outputs.values()))
        self._operations.append((func, args, kwargs, outputs))
        return result

    def undo(self) -> None:
        with torch.no_grad():
            for place, value in self._before.values():
                place.copy_(value)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, outputs in self._operations:
            results = _tensors(func(*args, **kwargs))
            for index, place in outputs.items():
                place.copy_(results[index])


def _refusal(func: Any, args: tuple[Any, ...]) -> str | None:
    if func == torch.ops.aten.lift_fresh.default:
        return "a value of the host is copied to the device"
    if torch.Tag.data_dependent_output in func.tags:
        return "the host waits for a value"
    if torch.Tag.nondeterministic_seeded in func.tags:
        return "random numbers are drawn within the step"
    masks = any(x.dtype in (torch.bool, torch.uint8) for x in _tensors(args[1:]))
    if torch.Tag.dynamic_output_shape in func.tags and (func != torch.ops.aten.index.Tensor or masks):
        return "a shape depends on values"
    return None


def _storage(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
