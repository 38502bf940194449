"""The names of tensors: as diffusers calls them, and as the files of CompVis and Stability call them.

Sources: the modules of github.com/CompVis/stable-diffusion and github.com/Stability-AI/generative-models, and
those of open_clip for its text encoders. Each function maps diffusers' names to locations in such a file.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor lies in a single file: `third` (0, 1, 2) of it, where query, key and value are one."""

    key: str
    third: int | None = None
    is_transposed: bool = False


Scheme = Callable[[Iterable[str]], dict[str, TensorLocation]]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OLD_DIFFUSERS_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_OLD_VAE_KEY = re.compile(r"(.*mid_block\.attentions\.0)\.(query|key|value|proj_attn)\.(weight|bias)")


def unet(names: Iterable[str]) -> dict[str, TensorLocation]:
    known = set(names)
    layers = 1 + max(int(m[4]) for m in map(_BLOCK.fullmatch, known) if m and (m[1], m[3]) == ("down", "resnets"))
    attending = {int(m[2]) for m in map(_BLOCK.fullmatch, known) if m and (m[1], m[3]) == ("up", "attentions")}
    return {name: TensorLocation(_unet_key(name, layers, attending)) for name in known}


def _unet_key(name: str, layers: int, attending: set[int]) -> str:
    if match := _BLOCK.fullmatch(name):
        way, block, kind, at, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        side = "input_blocks" if way == "down" else "output_blocks"
        first = block * (layers + 1) + (way == "down")
        if kind == "downsamplers":
            return f"{side}.{first + layers}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            return f"{side}.{first + layers}.{2 if block in attending else 1}.{rest}"
        return f"{side}.{first + at}.{_unet_part(kind, rest)}"
    if match := _MIDDLE.fullmatch(name):
        position = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{position}.{_unet_part(match[1], match[3]).partition('.')[2]}"
    stem, _, end = name.rpartition(".")
    return f"{_UNET_ENDS.get(stem, stem)}.{end}"


def _unet_part(kind: str, rest: str) -> str:
    if kind == "attentions":
        return f"1.{rest}"
    stem, _, end = rest.rpartition(".")
    return f"0.{_RESNET.get(stem, stem)}.{end}"


def vae(names: Iterable[str]) -> dict[str, TensorLocation]:
    known = set(names)
    blocks = 1 + max(int(m[2]) for m in map(_BLOCK.search, known) if m)
    return {name: TensorLocation(_vae_key(name, blocks)) for name in known}


def _vae_key(name: str, blocks: int) -> str:
    side, _, inner = name.partition(".")
    if match := _BLOCK.fullmatch(inner):
        way, block, kind, at, rest = match[1], int(match[2]), match[3], match[4], match[5]
        rest = rest.replace("conv_shortcut", "nin_shortcut")
        number = block if way == "down" else blocks - 1 - block
        return f"{side}.{way}.{number}." + (f"block.{at}.{rest}" if kind == "resnets" else f"{kind[:-3]}e.{rest}")
    if match := _MIDDLE.fullmatch(inner):
        if match[1] == "resnets":
            return f"{side}.mid.block_{int(match[2]) + 1}.{match[3].replace('conv_shortcut', 'nin_shortcut')}"
        stem, _, end = match[3].rpartition(".")
        return f"{side}.mid.attn_1.{_VAE_ATTENTION[stem]}.{end}"
    return name.replace("conv_norm_out", "norm_out")


def vae_of_today(name: str) -> str:
    """The name of a VAE's tensor, where the folder is of 2022 and calls attention's parts otherwise."""
    match = _OLD_VAE_KEY.fullmatch(name)
    return f"{match[1]}.{_OLD_DIFFUSERS_ATTENTION[match[2]]}.{match[3]}" if match else name


def clip(names: Iterable[str]) -> dict[str, TensorLocation]:
    return {name: TensorLocation(name.removeprefix("text_model.")) for name in names}


def open_clip(names: Iterable[str]) -> dict[str, TensorLocation]:
    return {name: _open_clip_location(name.removeprefix("text_model.")) for name in names}


def _open_clip_location(name: str) -> TensorLocation:
    if name == "text_projection.weight":
        return TensorLocation("text_projection", is_transposed=True)
    if name == "embeddings.position_embedding.weight":
        return TensorLocation("positional_embedding")
    if match := _LAYER.fullmatch(name):
        block = f"transformer.resblocks.{match[1]}"
        if match[2].endswith(("q_proj", "k_proj", "v_proj")):
            return TensorLocation(f"{block}.attn.in_proj_{match[3]}", third="qkv".index(match[2][-6]))
        return TensorLocation(f"{block}.{_OPEN_CLIP[match[2]]}.{match[3]}")
    return TensorLocation(name.removeprefix("embeddings.").replace("final_layer_norm", "ln_final"))


@dataclass(frozen=True)
class ComponentSection:
    """One component's part of a single file: the prefix of its keys, and the scheme of its names."""

    prefix: str
    scheme: Scheme


_UNET = ComponentSection("model.diffusion_model.", unet)
_VAE = ComponentSection("first_stage_model.", vae)

# By the base of the family.
SECTIONS: Mapping[str, Mapping[str, ComponentSection]] = {
    "sd15": {
        "unet": _UNET,
        "vae": _VAE,
        "text_encoder": ComponentSection("cond_stage_model.transformer.text_model.", clip),
    },
    "sd2": {"unet": _UNET, "vae": _VAE, "text_encoder": ComponentSection("cond_stage_model.model.", open_clip)},
    "sdxl": {
        "unet": _UNET,
        "vae": _VAE,
        "text_encoder": ComponentSection("conditioner.embedders.0.transformer.text_model.", clip),
        "text_encoder_2": ComponentSection("conditioner.embedders.1.model.", open_clip),
    },
}
