"""The architectures read off full-size files are the published ones. Nothing is allocated: the models are meta."""

from collections.abc import Mapping
from typing import Any

import pytest

from farm.spec.families import FAMILIES
from workers.ingest import configs
from workers.ingest.components import bare_model
from workers.ingest.naming import published as naming

_XL_CHANNELS = (320, 640, 1280)
_SD_UNET: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
_UNETS: Mapping[str, dict[str, Any]] = {
    "sd15": _SD_UNET,
    "sd15-inpaint": {**_SD_UNET, "in_channels": 9},
    "sd2-v": {
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
        "sample_size": 96,
    },
    "sdxl": {
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "use_linear_projection": True,
        "sample_size": 128,
        "block_out_channels": _XL_CHANNELS,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
_PARAMETERS = {
    "sd15": 859_520_964,
    "sd15-inpaint": 859_535_364,
    "sd2-v": 865_910_724,
    "sdxl": 2_567_463_684,
}


def _parameters(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _shapes(model: Any, places: Mapping[str, naming.TensorLocation]) -> dict[str, tuple[int, ...]]:
    """The shapes that the model's tensors have in a single file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in model.state_dict().items():
        place, shape = places[name], tuple(tensor.shape)
        shape = shape[::-1] if place.is_transposed else shape
        shapes[place.key] = shape if place.third is None else (3 * shape[0], *shape[1:])
    return shapes


@pytest.mark.parametrize("family", _UNETS)
def test_the_unet_of_a_full_size_file_is_the_published_one(family: str) -> None:
    published = bare_model("unet", {"sample_size": 64, **_UNETS[family]})
    shapes = _shapes(published, naming.unet(published.state_dict()))

    read = bare_model("unet", configs.unet_config(FAMILIES[family], shapes))

    assert _parameters(read) == _PARAMETERS[family]
    assert _config(read) == _config(published)


def _config(model: Any) -> dict[str, object]:
    """As it is written: lists for tuples, without diffusers' own notes."""
    values = {name: value for name, value in model.config.items() if not name.startswith("_")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@pytest.mark.parametrize(("base", "factor"), [("sd15", 0.18215), ("sdxl", 0.13025)])
def test_the_vae_of_a_full_size_file_is_the_published_one(base: str, factor: float) -> None:
    four = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4}
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    published = bare_model("vae", {**four, **blocks})
    read = bare_model("vae", configs.vae_config(base, _shapes(published, naming.vae(published.state_dict()))))
    assert (_parameters(read), read.config.scaling_factor) == (83_653_863, factor)


_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}


def test_the_text_encoder_of_sd1_is_clip_l() -> None:
    published = bare_model("text_encoder", {**_CLIP_L, "projection_dim": 768})
    read = bare_model(
        "text_encoder", configs.clip_config("sd15", _shapes(published, naming.clip(published.state_dict())))
    )
    assert (_parameters(read), read.config.hidden_act) == (123_060_480, "quick_gelu")
    assert read.config.to_dict() == published.config.to_dict() | {"bos_token_id": 0, "eos_token_id": 2}


@pytest.mark.parametrize("held", [24, 23])
def test_the_text_encoder_of_sd2_has_23_layers_whether_its_file_holds_the_last_or_not(held: int) -> None:
    published = bare_model("text_encoder", {**_CLIP_H, "num_hidden_layers": held})
    shapes = _shapes(published, naming.open_clip(published.state_dict()))
    read = bare_model("text_encoder", configs.open_clip_config("sd2", "text_encoder", shapes))
    assert (read.config.num_hidden_layers, read.config.num_attention_heads, read.config.hidden_act) == (
        23,
        16,
        "gelu",
    )
    assert _parameters(read) == 340_387_840


def test_the_second_text_encoder_of_sdxl_is_clip_g() -> None:
    published = bare_model("text_encoder_2", {**_CLIP_G, "projection_dim": 1280})
    shapes = _shapes(published, naming.open_clip(published.state_dict()))
    read = bare_model("text_encoder_2", configs.open_clip_config("sdxl", "text_encoder_2", shapes))
    assert (_parameters(read), read.config.num_attention_heads, read.config.hidden_act) == (694_659_840, 20, "gelu")
