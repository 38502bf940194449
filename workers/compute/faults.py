"""Errors of a device that last as long as its process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from farm.errors import DeviceBroken
from workers.compute.memory import is_out_of_memory

# What CUDA's libraries say of a context that is broken; CUDA itself has a class in torch, AcceleratorError.
_BROKEN_CONTEXT_MESSAGES = (
    *("CUBLAS_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_INTERNAL_ERROR", "CUBLAS_STATUS_MAPPING_ERROR"),
    *("CUDNN_STATUS_EXECUTION_FAILED", "CUDNN_STATUS_MAPPING_ERROR", "CUFFT_EXEC_FAILED"),
    *("illegal memory access", "device-side assert", "unspecified launch failure", "misaligned address"),
    *("uncorrectable ECC error", "illegal instruction was encountered", "GPU has fallen off the bus"),
)


def is_device_broken(error: BaseException) -> bool:
    """Whether CUDA failed otherwise than for want of memory: its context then fails all that comes after."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or any(word in str(error) for word in _BROKEN_CONTEXT_MESSAGES)


@contextmanager
def translate_device_faults() -> Iterator[None]:
    """Raise DeviceBroken for what breaks a CUDA context, with CUDA's first line and its code as evidence."""
    try:
        yield
    except RuntimeError as error:
        if not is_device_broken(error):
            raise
        code = getattr(error, "error_code", None)
        message = str(error).split("\n", 1)[0]
        raise DeviceBroken(f"The device broke: {message}" + ("" if code is None else f" (code {code})")) from error
