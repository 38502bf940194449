"""ComfyUI: the nodes of the prompt, in the PNG chunk `prompt` or in EXIF, as far as they are the usual ones.

The links are followed from the node that saved the image back to the one sampler, and from there to its
checkpoint, prompts and latents. Any other node on these paths may do anything: the image is refused with that
node's name. Nodes off these paths do not matter.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.result import Infotext
from farm.infotext.tools.comfygraph import ComfyNode, Graph, build_graph, unreadable_workflow
from farm.infotext.tools.comfyprompt import translate_prompt
from farm.infotext.tools.jsontext import (
    ToolValues,
    append_lora_tag,
    read_number,
    read_string,
    read_weights_name,
    read_whole,
)
from farm.infotext.tools.sampling import translate_comfy_sampler, translate_schedule

_TOOL = "ComfyUI"
_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_DECODERS = ("VAEDecode", "VAEDecodeTiled")
_CHECKPOINTS = ("CheckpointLoaderSimple", "CheckpointLoader")
_LORAS = ("LoraLoader", "LoraLoaderModelOnly")
_MOST_NODES = 10_000


def is_comfy(data: Mapping[str, Any]) -> bool:
    return any(isinstance(node, dict) and "class_type" in node for node in data.values())


def read_comfy(data: Mapping[str, Any]) -> Infotext:
    """The request that the nodes describe. Raises NotRead that names the first node that is not supported."""
    if len(data) > _MOST_NODES:
        raise unreadable_workflow(f"it has more than {_MOST_NODES:,} nodes")
    graph = build_graph(data)
    decoder = _find_decoder(graph)
    sampler = graph.target(decoder, "samples")
    if sampler.kind not in _SAMPLERS:
        raise unreadable_workflow(
            f"its image comes from {sampler}, which is not supported: only {', '.join(_SAMPLERS)} are"
        )
    collected = ToolValues(_TOOL)
    _take_sampling(graph, sampler, collected)
    _take_latents(graph, sampler, collected)
    checkpoint, loras = _find_model(graph, sampler)
    collected.values["checkpoint"] = _read_file_name(graph, checkpoint, "ckpt_name")
    _take_vae(graph, decoder, checkpoint, collected)
    prompt, negative = (
        _read_prompt(graph, sampler, side, checkpoint, loras, collected) for side in ("positive", "negative")
    )
    for lora in reversed(loras):
        prompt = _append_lora(graph, prompt, lora)
    return collected.infotext(prompt, negative)


def _find_decoder(graph: Graph) -> ComfyNode:
    """The node that made the pixels of all that was saved."""
    found = {}
    for end in graph.find_end_nodes():
        decoder = graph.target(end, "images" if "images" in end.inputs else "image")
        found[decoder.id] = decoder
    if len(found) != 1:
        names = ", ".join(map(str, found.values()))[:300]
        raise unreadable_workflow(
            f"{'several nodes made images: ' + names if found else 'no node in it saves an image'}"
        )
    [decoder] = found.values()
    if decoder.kind not in _DECODERS:
        raise unreadable_workflow(
            f"its image comes from {decoder}, which is not supported: only {', '.join(_DECODERS)} are"
        )
    return decoder


def _take_sampling(graph: Graph, sampler: ComfyNode, collected: ToolValues) -> None:
    seed = "noise_seed" if sampler.kind == "KSamplerAdvanced" else "seed"
    reads = {
        seed: ("seed", read_whole),
        "steps": ("num_inference_steps", read_whole),
        "cfg": ("guidance_scale", read_number),
        "sampler_name": ("sampler", translate_comfy_sampler),
        "scheduler": ("schedule_type", translate_schedule),
    }
    for name, (field, read) in reads.items():
        collected.values[field] = _read_input(graph, sampler, name, read)
    if sampler.kind == "KSamplerAdvanced":
        _check_all_steps(graph, sampler, collected.values["num_inference_steps"])


def _read_input(graph: Graph, node: ComfyNode, name: str, read: Any) -> Any:
    value = graph.value(node, name)
    try:
        return read(value)
    except (ValueError, OverflowError):
        raise unreadable_workflow(f"the {name} of {node} is no value for it") from None


def _check_all_steps(graph: Graph, sampler: ComfyNode, steps: int) -> None:
    """Refuse a sampler that renders only a part of the steps: it is one of several."""
    usual = {"add_noise": "enable", "return_with_leftover_noise": "disable", "start_at_step": 0}
    for name, value in usual.items():
        if graph.value(sampler, name) not in (None, value):
            raise unreadable_workflow(f"{sampler} renders only a part of the steps: its {name} is not {value}")
    if (
        sampler.inputs.get("end_at_step") is not None
        and _read_input(graph, sampler, "end_at_step", read_whole) < steps
    ):
        raise unreadable_workflow(f"{sampler} renders only a part of the steps: its end_at_step is below {steps}")


def _take_latents(graph: Graph, sampler: ComfyNode, collected: ToolValues) -> None:
    latents = graph.target(sampler, "latent_image")
    strength = 1.0 if sampler.inputs.get("denoise") is None else _read_input(graph, sampler, "denoise", read_number)
    if latents.kind == "EmptyLatentImage":
        if strength != 1:
            raise unreadable_workflow(f"{sampler} begins from noise alone, with a denoise of {strength:g}")
        collected.values |= {side: _read_input(graph, latents, side, read_whole) for side in ("width", "height")}
        if graph.value(latents, "batch_size") not in (None, 1):
            collected.warnings.append("it is one of a batch, which drew its noise together: it may be any of them")
    elif latents.kind == "VAEEncode" and graph.target(latents, "pixels").kind == "LoadImage":
        collected.values |= {"mode": "img2img", "strength": strength}
    elif latents.kind in _SAMPLERS or latents.kind.startswith("LatentUpscale"):
        raise unreadable_workflow(
            f"it has several samplers, {sampler} after {latents}; give the second pass with --hires"
        )
    else:
        raise unreadable_workflow(f"{sampler} begins from {latents}, which is not supported")


def _find_model(graph: Graph, sampler: ComfyNode) -> tuple[ComfyNode, list[ComfyNode]]:
    """The checkpoint of a sampler, and the LoRAs on the path to it."""
    node, loras = graph.target(sampler, "model"), dict[str, ComfyNode]()
    while node.kind in _LORAS and node.id not in loras:
        loras[node.id] = node
        node = graph.target(node, "model")
    if node.kind not in _CHECKPOINTS:
        raise unreadable_workflow(f"its model comes from {node}, which is not supported")
    return node, list(loras.values())


def _take_vae(graph: Graph, decoder: ComfyNode, checkpoint: ComfyNode, collected: ToolValues) -> None:
    vae = graph.target(decoder, "vae")
    if vae.kind == "VAELoader":
        collected.values["vae"] = _read_file_name(graph, vae, "vae_name")
    elif vae.id != checkpoint.id:
        raise unreadable_workflow(f"its VAE comes from {vae}, which is not supported")


def _read_file_name(graph: Graph, node: ComfyNode, name: str) -> str:
    found: str = _read_input(graph, node, name, read_weights_name) or ""
    if not found:
        raise unreadable_workflow(f"{node} names no file")
    return found


def _read_prompt(
    graph: Graph,
    sampler: ComfyNode,
    side: str,
    checkpoint: ComfyNode,
    loras: list[ComfyNode],
    collected: ToolValues,
) -> str:
    encoder = graph.target(sampler, side)
    if encoder.kind != "CLIPTextEncode":
        raise unreadable_workflow(f"its {side} prompt comes from {encoder}, which is not supported")
    path = {node.id: node for node in _follow_clip(graph, encoder)}
    own = {checkpoint.id, *(lora.id for lora in loras)}
    for lora in loras:
        if lora.kind == "LoraLoader" and lora.id not in path and graph.value(lora, "strength_clip") != 0:
            raise unreadable_workflow(f"its {side} prompt does not pass through {lora}, which its model does")
    for node in path.values():
        if node.kind == "CLIPSetLastLayer":
            skip = -_read_input(graph, node, "stop_at_clip_layer", read_whole)
            if collected.values.setdefault("clip_skip", skip) != skip:
                raise unreadable_workflow(f"its prompts end at different layers: {node}")
        elif node.id not in own:
            raise unreadable_workflow(f"its {side} prompt is read by {node}, which does not belong to its model")
    return translate_prompt(_read_input(graph, encoder, "text", read_string), collected)


def _follow_clip(graph: Graph, encoder: ComfyNode) -> Iterator[ComfyNode]:
    """The nodes between a prompt and its checkpoint, that included, each once."""
    seen: set[str] = set()
    node = encoder
    while node.kind not in _CHECKPOINTS:
        node = graph.target(node, "clip")
        if node.id in seen:
            raise unreadable_workflow(f"{node} leads in a circle")
        seen.add(node.id)
        yield node


def _append_lora(graph: Graph, prompt: str, lora: ComfyNode) -> str:
    unet = _read_input(graph, lora, "strength_model", read_number)
    text = 0.0 if lora.kind == "LoraLoaderModelOnly" else _read_input(graph, lora, "strength_clip", read_number)
    if unet == text == 0:
        return prompt
    return append_lora_tag(
        prompt, _read_file_name(graph, lora, "lora_name"), *((unet,) if unet == text else (text, unet))
    )
