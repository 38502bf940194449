"""The architectures of the families as diffusers' configs: what was published, with the sizes read off the weights.

Sources: the configs published with Stable Diffusion 1.5, 2 and 2.1, SDXL base and their inpainting models.
What no tensor's shape shows (attention heads, activation, norm groups, schedule) stands in the tables.
"""

import re
from collections.abc import Mapping
from typing import Any

from farm.spec.families import Family

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

_BETAS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_SCHEDULERS: Mapping[str, Config] = {
    "sd15": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False},
    "sd2": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False},
    "sdxl": {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"},
}
_VELOCITY_SCHEDULERS: Mapping[str, Config] = {
    "sd15": {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False},
    "sd2": {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False},
    "sdxl": {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"},
}
_UNETS: Mapping[str, Config] = {
    "sd15": {},
    "sd2": {"use_linear_projection": True},
    "sdxl": {
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
    },
}
_VAES: Mapping[str, Config] = {
    "sd15": {"sample_size": 512, "scaling_factor": 0.18215},
    "sd2": {"sample_size": 768, "scaling_factor": 0.18215},
    "sdxl": {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
}
_TEXT: Config = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
_ACTIVATIONS = {("sd15", "text_encoder"): "quick_gelu", ("sdxl", "text_encoder"): "quick_gelu"}
_SD1_HEADS = 8
_CHANNELS_PER_HEAD = 64
# Stable Diffusion 2 takes the last layer but one; its files hold 24 as a rule, and the last is not read.
_SD2_TEXT_LAYERS = 23


def unet_config(family: Family, shapes: Shapes) -> Config:
    """The UNet's config. The shapes are those of a single file, by names without their prefix."""
    layers, firsts = _levels(shapes)
    channels = [shapes[f"input_blocks.{first}.0.in_layers.2.weight"][0] for first in firsts]
    depths = [_count(rf"input_blocks\.{first}\.1\.transformer_blocks\.(\d+)\..+", shapes) for first in firsts]
    config: Config = {
        **_UNETS[family.base],
        "sample_size": family.side // 8,
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [depth or 1 for depth in depths] if max(depths) > 1 else 1,
        "cross_attention_dim": shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        "attention_head_dim": _heads(family, channels),
    }
    if family.is_sdxl:
        config["projection_class_embeddings_input_dim"] = shapes["label_emb.0.0.weight"][1]
    return config


def _levels(shapes: Shapes) -> tuple[int, list[int]]:
    """The layers of each level of the UNet's way down, and the number of the first block of each."""
    downs = sorted(int(match[1]) for match in _matches(r"input_blocks\.(\d+)\.0\.op\.weight", shapes))
    layers = downs[0] - 1 if downs else _count(r"input_blocks\.(\d+)\..+", shapes) - 1
    return layers, [1, *(down + 1 for down in downs)]


def _heads(family: Family, channels: list[int]) -> int | list[int]:
    if family.base == "sd15":
        return _SD1_HEADS
    return [max(1, width // _CHANNELS_PER_HEAD) for width in channels]


def vae_config(base: str, shapes: Shapes) -> Config:
    """The VAE's config; the shapes as in a single file, by names without their prefix."""
    blocks = _count(r"encoder\.down\.(\d+)\..+", shapes)
    return {
        **_VAES[base],
        "block_out_channels": [shapes[f"encoder.down.{block}.block.0.conv1.weight"][0] for block in range(blocks)],
        "down_block_types": ["DownEncoderBlock2D"] * blocks,
        "up_block_types": ["UpDecoderBlock2D"] * blocks,
        "layers_per_block": _count(r"encoder\.down\.0\.block\.(\d+)\..+", shapes),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "mid_block_add_attention": "decoder.mid.attn_1.q.weight" in shapes,
    }


def clip_config(base: str, shapes: Shapes) -> Config:
    """The config of a text encoder under transformers' names: CLIP-L in all that is not read off the shapes."""
    width = shapes["embeddings.token_embedding.weight"][1]
    return {
        **_text_config(base, "text_encoder", width),
        "vocab_size": shapes["embeddings.token_embedding.weight"][0],
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(r"encoder\.layers\.(\d+)\..+", shapes),
        "projection_dim": width,
    }


def open_clip_config(base: str, component: str, shapes: Shapes) -> Config:
    """The config of a text encoder under open_clip's names: ViT-H in SD2, ViT-bigG in SDXL."""
    width = shapes["token_embedding.weight"][1]
    held = _count(r"transformer\.resblocks\.(\d+)\..+", shapes)
    is_whole = base == "sd2" and held != _SD2_TEXT_LAYERS
    return {
        **_text_config(base, component, width),
        "vocab_size": shapes["token_embedding.weight"][0],
        "max_position_embeddings": shapes["positional_embedding"][0],
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": held - 1 if is_whole else held,
        "projection_dim": shapes["text_projection"][1] if base == "sdxl" else width,
    }


def _text_config(base: str, component: str, width: int) -> Config:
    return {
        **_TEXT,
        "hidden_size": width,
        "num_attention_heads": width // _CHANNELS_PER_HEAD,
        "hidden_act": _ACTIVATIONS.get((base, component), "gelu"),
    }


def scheduler_config(base: str, prediction_type: str, *, is_zero_snr: bool = False) -> Config:
    tables = _SCHEDULERS if prediction_type == "epsilon" else _VELOCITY_SCHEDULERS
    config = {**_BETAS, **tables[base], "prediction_type": prediction_type}
    return config | ({"rescale_betas_zero_snr": True} if is_zero_snr else {})


def _matches(pattern: str, shapes: Shapes) -> list[re.Match[str]]:
    return [match for match in map(re.compile(pattern).fullmatch, shapes) if match]


def _count(pattern: str, shapes: Shapes) -> int:
    """How many there are of what the pattern's group numbers from 0."""
    return 1 + max((int(match[1]) for match in _matches(pattern, shapes)), default=-1)
