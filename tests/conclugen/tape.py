"""A recorder with the semantics of a CUDA graph, on the CPU.

It notes every operation of a step with the very tensors it read and wrote, undoes what recording did to memory that was
there before, and replays the operations on the same memory. So a replay sees new values in old places and nothing else:
what Python computed, counted, drew or allocated while recording is frozen, and what a graph cannot hold is refused.
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
        warmed: how many steps were run to warm up.
        replays: how many recordings were replayed, in order, by their number.
    """

    def __init__(self) -> None:
        self.warmed = 0
        self.recordings = 0
        self.replays: list[int] = []

    def warm_up(self, step: Callable[[], None]) -> None:
        self.warmed += 1
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
        # Each operation with its arguments and, of its results, those that are memory of their own, by position.
        self._operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], dict[int, Tensor]]] = []
        self._born: set[int] = set()  # storages that the step allocates; none is freed while its operation is kept
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if reason := _refusal(func, args):
            raise RuntimeError(f"{func}: {reason}")
        given = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors((args, kwargs)):  # whichever it writes: not every schema tells
            if _storage(tensor) not in self._born and _storage(tensor) not in self._before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self._before[_storage(tensor)] = whole, whole.clone()
        result = func(*args, **kwargs)
        made = {index: x for index, x in enumerate(_tensors(result)) if _storage(x) not in given}
        self._born |= set(map(_storage, made.values()))
        self._operations.append((func, args, kwargs, made))
        return result

    def undo(self) -> None:
        with torch.no_grad():
            for place, value in self._before.values():
                place.copy_(value)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self._operations:
            results = _tensors(func(*args, **kwargs))
            for index, place in made.items():
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
