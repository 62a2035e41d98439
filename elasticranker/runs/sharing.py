"""One set of weights for several processes: tensors in shared memory, everything else pickled.

All tensors go into one block of shared memory, so that a process needs one file descriptor for them, however many
layers and widths there are, and tensors that are views of one storage stay so.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ALIGNMENT = 64  # bytes: what vector instructions like


class Shared(NamedTuple):
    """A value for other processes; send it with `torch.multiprocessing`.

    Attributes:
        pickled: the value without its tensors' numbers.
        block: `[bytes]` uint8 in shared memory: the numbers.
    """

    pickled: bytes
    block: Tensor


def share(value: Any) -> Shared:
    """Move the tensors of a value into shared memory, where this process and others use the same ones.

    Rankers in it are loaded, with the weights of every width that their plans use, so that no process makes its own.
    Tensors must be in main memory (not on a GPU).

    Args:
        value: what is to be shared; it stays usable, on the shared tensors.

    Example:
        >>> import torch
        >>> numbers = torch.ones(3)
        >>> copy = restore(share(numbers))
        >>> copy[0] = 7
        >>> numbers.tolist()
        [7.0, 1.0, 1.0]
    """
    import torch

    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(value)
    block = torch.empty(pickler.size, dtype=torch.uint8).share_memory_()
    with torch.inference_mode():  # weights that were made in it may be changed only in it
        for storage, start in pickler.storages.values():
            block[start : start + storage.nbytes()] = torch.empty(0, dtype=torch.uint8).set_(storage)
        for tensor, place in pickler.tensors.values():
            _put(tensor, block, place)
    return Shared(file.getvalue(), block)


def restore(shared: Shared) -> Any:
    """The value, on the shared tensors."""
    return _Unpickler(io.BytesIO(shared.pickled), shared.block).load()


class _Place(NamedTuple):
    """Where in the block a tensor's numbers are, and how to read them."""

    dtype: torch.dtype
    start: int  # in elements
    size: tuple[int, ...]
    stride: tuple[int, ...]
    parameter: bool
    requires_grad: bool  # not idle even where nothing is learnt: torch may choose another kernel by it


def _put(tensor: Tensor, block: Tensor, place: _Place) -> None:
    tensor.set_(block.untyped_storage(), place.start, place.size, place.stride)


class _Pickler(pickle.Pickler):
    """Leaves places instead of tensors, and what is loaded instead of a promise to load it."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.size = 0
        self.storages: dict[int, tuple[torch.UntypedStorage, int]] = {}  # by address: numbers and their start in bytes
        self.tensors: dict[int, tuple[Tensor, _Place]] = {}  # by identity

    def persistent_id(self, obj: Any) -> _Place | None:
        import torch

        if not isinstance(obj, torch.Tensor):
            return None
        if id(obj) not in self.tensors:
            storage = obj.untyped_storage()
            if storage.data_ptr() not in self.storages:
                self.storages[storage.data_ptr()] = storage, self.size
                self.size += -(-storage.nbytes() // ALIGNMENT) * ALIGNMENT
            start = self.storages[storage.data_ptr()][1] // obj.element_size() + int(obj.storage_offset())
            kind = isinstance(obj, torch.nn.Parameter), obj.requires_grad
            self.tensors[id(obj)] = obj, _Place(obj.dtype, start, tuple(obj.shape), obj.stride(), *kind)
        return self.tensors[id(obj)][1]

    def reducer_override(self, obj: Any) -> Any:
        from elasticranker.model.loaded import Loaded

        if not isinstance(obj, Loaded):
            return NotImplemented
        weights = {width: obj.engine.weights(width) for width in obj.widths}
        return Loaded.of, (obj.settings, obj.checkpoint, weights)


class _Unpickler(pickle.Unpickler):
    """Makes tensors on the block."""

    def __init__(self, file: io.BytesIO, block: Tensor) -> None:
        super().__init__(file)
        self.block = block
        self.tensors: dict[_Place, Tensor] = {}

    def persistent_load(self, pid: Any) -> Tensor:
        import torch

        if pid not in self.tensors:
            tensor = torch.empty(0, dtype=pid.dtype)
            _put(tensor, self.block, pid)
            if pid.parameter:
                tensor = torch.nn.Parameter(tensor)
            self.tensors[pid] = tensor.requires_grad_(pid.requires_grad)
        return self.tensors[pid]
