"""Where a pipeline computes is what diffusers says, found without a look through all of it."""

from typing import Any

import pytest
import torch
from accelerate.hooks import CpuOffload, add_hook_to_module

from tests.checkpoints import small_pipeline
from workers.compute.placement import device_of, dtype_of


@pytest.fixture(params=["sd15", "sdxl"])
def pipeline(request: pytest.FixtureRequest) -> Any:
    return small_pipeline(request.param)


def test_a_pipeline_computes_where_its_weights_are(pipeline: Any) -> None:
    assert device_of(pipeline) == pipeline._execution_device == torch.device("cpu")


def test_an_offloaded_pipeline_computes_where_its_weights_are_moved_to(pipeline: Any) -> None:
    for part in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        add_hook_to_module(part, CpuOffload(torch.device("meta")))
    assert device_of(pipeline) == pipeline._execution_device == torch.device("meta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_model_has_the_type_of_its_weights(pipeline: Any, dtype: torch.dtype) -> None:
    for model in (pipeline.unet, pipeline.vae):
        model.to(dtype)
        assert dtype_of(model) == model.dtype == dtype
