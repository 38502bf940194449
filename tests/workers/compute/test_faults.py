"""Errors that last as long as the process."""

import pytest
import torch

from farm.errors import DeviceBroken
from workers.compute.faults import translate_device_faults


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nSearch for it"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_an_error_that_breaks_the_device_is_named_with_its_first_line(error: Exception) -> None:
    with pytest.raises(DeviceBroken) as caught, translate_device_faults():
        raise error
    assert str(caught.value) == f"The device broke: {str(error).splitlines()[0]}"


def test_an_error_code_of_cuda_shows_a_broken_device_too() -> None:
    error = torch.AcceleratorError("CUDA error: unspecified launch failure")
    error.error_code = 719  # type: ignore[attr-defined]  # set where torch raises it
    with pytest.raises(DeviceBroken, match=r"\(code 719\)"), translate_device_faults():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("shapes do not match"),
    ],
)
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translate_device_faults():
        raise error
    assert caught.value is error
