"""Older and stray names of tensors in single files, and what the published files call them."""

import re
from collections.abc import Collection, Iterable

from workers.ingest.naming import published

_VAE = "first_stage_model."
_ROOT_VAE = re.compile(r"(encoder|decoder|quant_conv|post_quant_conv)\.")
_TEXT_WITHOUT_MODEL = re.compile(r"(cond_stage_model|conditioner\.embedders\.0)\.transformer\.(?!text_model\.)(.+)")
_ATTENTION = re.compile(r"(.*\.mid\.attn_1)\.(\w+|to_out\.0)\.(weight|bias)")
_ATTENTION_PARTS = {
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm",
    "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
}  # fmt: skip


def published_names(names: Collection[str]) -> dict[str, str]:
    """The file's own names by the published ones: a published name that is there wins over a stray one."""
    own = {_published(name): name for name in names}
    return own | {name: name for name in names}


def _published(name: str) -> str:
    if _ROOT_VAE.match(name):
        name = _VAE + name
    if match := _TEXT_WITHOUT_MODEL.fullmatch(name):
        return f"{match[1]}.transformer.text_model.{match[2]}"
    if match := _ATTENTION.fullmatch(name):
        return f"{match[1]}.{_ATTENTION_PARTS.get(match[2], match[2])}.{match[3]}"
    return name


def published_vae_names(names: Iterable[str]) -> dict[str, str]:
    """The file's own names of a VAE by the published ones, where it may be in diffusers' names, old or new."""
    known = list(names)
    if not any(name.startswith(("encoder.down_blocks.", "decoder.up_blocks.")) for name in known):
        return published_names(known)
    of_today = {published.vae_of_today(name): name for name in known}
    places = published.vae(of_today)
    return {_VAE + places[name].key: own for name, own in of_today.items()}
