"""A stand-in for a CUDA device: it computes on the processor, and is as strict as the device would be.

Tensors that are moved to `cuda` say that they are there. What a GPU refuses is refused: tensors of two devices in
one operation, a CPU generator for noise that is drawn on the device. What makes the host wait for a GPU is noted:
whatever is read back. Types are real, so that half precision overflows, and mismatched types are refused.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda:0")
_ATEN = torch.ops.aten
# Moves between devices, and those that take indices from the host.
_MOVES = {_ATEN._to_copy.default, _ATEN.copy_.default}
_INDEXED = {_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN._index_put_impl_.default}
# Their result, or its shape, is known to the host only when the device has computed it.
_READ_BACK = {
    *(_ATEN._local_scalar_dense.default, _ATEN.nonzero.default, _ATEN.masked_select.default, _ATEN.equal.default),
    *(_ATEN._unique2.default, _ATEN.repeat_interleave.Tensor, _ATEN._linalg_check_errors.default),
}

# Methods that ask for the current device by themselves, and the operations that they stand for.
_BY_OPERATION = {
    torch.Tensor.contiguous: _ATEN.contiguous,
    torch.Tensor.copy_: _ATEN.copy_,
    torch.Tensor.item: _ATEN.item,
    torch.Tensor.__bool__: lambda tensor: bool(_ATEN.item(tensor)),
    torch.Tensor.__float__: lambda tensor: float(_ATEN.item(tensor)),
    torch.Tensor.__int__: lambda tensor: int(_ATEN.item(tensor)),
}

Fault = Callable[[Any, Sequence[torch.Tensor]], None]
"""Called with each operation on the device and its results; raises what the device is to raise."""


class OnDevice(torch.Tensor):
    """A tensor that says it is on the device; `held` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnDevice":
        made: OnDevice = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]  # torch keeps it private
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CUDA,
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnDevice({tuple(self.shape)}, {self.dtype})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func}: a tensor of the device was used where the device is not.")


@dataclass
class StandIn:
    """What happened on the device while it was there."""

    read_back: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    operations: int = 0

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        target = kwargs.get("device")
        is_here = any(isinstance(tensor, OnDevice) for tensor in tensors)
        is_made_here = is_here if target is None else torch.device(target).type == "cuda"
        if func in _MOVES:
            is_made_here = self._moved(func, tensors, is_made_here, target)
        elif is_here:
            _refuse_strangers(func, tensors)
        if is_made_here and isinstance(kwargs.get("generator"), torch.Generator):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if is_here and (func in _READ_BACK or _is_masked(func, args)):
            self._note(func)
        result = _computed(func, args, {**kwargs, "device": "cpu"} if target is not None else kwargs)
        if is_here or is_made_here:
            self.operations += 1
            for fault in self.faults:
                fault(func, [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)])
        known = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, OnDevice)}
        return tree_map(lambda leaf: _placed(leaf, known, is_made_here), result)

    def part(self, func: Any, args: Any) -> Any:
        """A part of a tensor, read or written by Python's brackets."""
        masks = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, OnDevice) and leaf.dtype == torch.bool]
        if masks or (isinstance(args[0], OnDevice) and any(leaf.dim() == 0 for leaf in _on_device(args[1]))):
            self._note(func)
        result = func(*tree_map(_held, args))
        return OnDevice(result) if isinstance(args[0], OnDevice) and result is not None else result

    def _moved(self, func: Any, tensors: Sequence[torch.Tensor], is_made_here: bool, target: Any) -> bool:
        source = tensors[-1]
        if func is _ATEN.copy_.default:
            is_made_here = isinstance(tensors[0], OnDevice)
        if isinstance(source, OnDevice) and not is_made_here:
            self._note(func)
        return is_made_here

    def _note(self, func: Any) -> None:
        frames = [frame for frame in traceback.extract_stack() if "stand_in" not in frame.filename][-12:]
        self.read_back.append(f"{func}\n" + "".join(traceback.format_list(frames)))


def _refuse_strangers(func: Any, tensors: Sequence[torch.Tensor]) -> None:
    strangers = [t for t in tensors if not isinstance(t, OnDevice)]
    # A number from the host may enter arithmetic, and indices may be on the host.
    if any(tensor.dim() > 0 for tensor in strangers) and func not in _INDEXED:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({func})")
    if func in _INDEXED and not isinstance(tensors[0], OnDevice):
        raise RuntimeError(f"indices should be either on cpu or on the same device as the indexed tensor ({func})")


def _is_masked(func: Any, args: Any) -> bool:
    return func in _INDEXED and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*tree_map(_held, args), **tree_map(_held, kwargs))


def _on_device(leaves: Any) -> list[OnDevice]:
    return [leaf for leaf in tree_leaves(leaves) if isinstance(leaf, OnDevice)]


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnDevice) else leaf


def tree_map(change: Callable[[Any], Any], tree: Any) -> Any:
    """As torch's, for what operations take and give: lists, tuples and dicts by name. Ten times as fast."""
    if type(tree) in (list, tuple):
        return type(tree)(tree_map(change, item) for item in tree)
    if type(tree) is dict:
        return {name: tree_map(change, item) for name, item in tree.items()}
    return change(tree)


def tree_leaves(tree: Any) -> list[Any]:
    leaves: list[Any] = []
    tree_map(leaves.append, tree)
    return leaves


def _placed(leaf: Any, known: dict[int, OnDevice], is_here: bool) -> Any:
    if not isinstance(leaf, torch.Tensor) or not is_here:
        return leaf
    return known[id(leaf)] if id(leaf) in known else OnDevice(leaf)


class _Operations(TorchDispatchMode):
    def __init__(self, device: StandIn) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._device.run(func, args, kwargs or {})


class _Names(TorchFunctionMode):
    """Does what torch, built without CUDA, cannot: `cuda` is `cuda:0`, and tensors of the device have parts."""

    def __init__(self, device: StandIn) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            return self._device.part(func, args)
        return _BY_OPERATION.get(func, func)(
            *map(_numbered, args), **{name: _numbered(value) for name, value in (kwargs or {}).items()}
        )


def _numbered(value: Any) -> Any:
    is_cuda = (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and value == "cuda"
    )
    return CUDA if is_cuda else value


@contextmanager
def a_stand_in() -> Iterator[StandIn]:
    """A machine with one CUDA device, for as long as it is entered."""
    device = StandIn()
    # One may be entered inside another.
    lazy_init, lifts = torch.cuda._lazy_init, torch._C._only_lift_cpu_tensors()
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.cuda._lazy_init = lambda: None
    torch._C._set_only_lift_cpu_tensors(True)
    # Else a module that is moved keeps its parameters, and only their numbers are exchanged.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with torch.no_grad(), _Names(device), _Operations(device):
            yield device
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
        torch._C._set_only_lift_cpu_tensors(lifts)
        torch.cuda._lazy_init = lazy_init
