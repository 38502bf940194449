"""ComfyUI: the nodes of the prompt, in the PNG chunk `prompt` or in EXIF, as far as they are the usual ones.

From the node that saved the image back to the one sampler, and from there to its checkpoint, prompts and latents.
Any other node on these ways may do anything: the image is refused with that node's name. Nodes beside them do not
matter.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.reading import Infotext
from farm.infotext.tools.comfygraph import Graph, Node, graph_of, refused
from farm.infotext.tools.comfyprompt import in_webui_words
from farm.infotext.tools.jsontext import Taken, name_of, number, text_of, whole, with_lora
from farm.infotext.tools.sampling import comfy_sampler, schedule_of

_TOOL = "ComfyUI"
_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_DECODERS = ("VAEDecode", "VAEDecodeTiled")
_CHECKPOINTS = ("CheckpointLoaderSimple", "CheckpointLoader")
_LORAS = ("LoraLoader", "LoraLoaderModelOnly")
_MOST_NODES = 10_000


def is_comfy(data: Mapping[str, Any]) -> bool:
    return any(isinstance(node, dict) and "class_type" in node for node in data.values())


def read_comfy(data: Mapping[str, Any]) -> Infotext:
    """Raises NotRead with the node that is none of the usual ones."""
    if len(data) > _MOST_NODES:
        raise refused(f"it has more than {_MOST_NODES:,} nodes")
    graph = graph_of(data)
    decoder = _decoder(graph)
    sampler = graph.target(decoder, "samples")
    if sampler.kind not in _SAMPLERS:
        raise refused(
            f"its image comes from {sampler}, which is none that is read here: only {', '.join(_SAMPLERS)}"
        )
    taken = Taken(_TOOL)
    _take_sampling(graph, sampler, taken)
    _take_latents(graph, sampler, taken)
    checkpoint, loras = _model(graph, sampler)
    taken.values["checkpoint"] = _named(graph, checkpoint, "ckpt_name")
    _take_vae(graph, decoder, checkpoint, taken)
    prompt, negative = (
        _prompt(graph, sampler, side, checkpoint, loras, taken) for side in ("positive", "negative")
    )
    for lora in reversed(loras):
        prompt = _with_lora(graph, prompt, lora)
    return taken.infotext(prompt, negative)


def _decoder(graph: Graph) -> Node:
    """The node that made the pixels of all that was saved."""
    found = {}
    for end in graph.ends():
        decoder = graph.target(end, "images" if "images" in end.inputs else "image")
        found[decoder.id] = decoder
    if len(found) != 1:
        names = ", ".join(map(str, found.values()))[:300]
        raise refused(f"{'several nodes made images: ' + names if found else 'no node in it saves an image'}")
    [decoder] = found.values()
    if decoder.kind not in _DECODERS:
        raise refused(
            f"its image comes from {decoder}, which is none that is read here: only {', '.join(_DECODERS)}"
        )
    return decoder


def _take_sampling(graph: Graph, sampler: Node, taken: Taken) -> None:
    seed = "noise_seed" if sampler.kind == "KSamplerAdvanced" else "seed"
    reads = {
        seed: ("seed", whole),
        "steps": ("num_inference_steps", whole),
        "cfg": ("guidance_scale", number),
        "sampler_name": ("sampler", comfy_sampler),
        "scheduler": ("schedule_type", schedule_of),
    }
    for name, (field, read) in reads.items():
        taken.values[field] = _read(graph, sampler, name, read)
    if sampler.kind == "KSamplerAdvanced":
        _check_whole(graph, sampler, taken.values["num_inference_steps"])


def _read(graph: Graph, node: Node, name: str, read: Any) -> Any:
    value = graph.value(node, name)
    try:
        return read(value)
    except (ValueError, OverflowError):
        raise refused(f"the {name} of {node} is no value for it") from None


def _check_whole(graph: Graph, sampler: Node, steps: int) -> None:
    """A part of the steps alone is one of several samplers."""
    usual = {"add_noise": "enable", "return_with_leftover_noise": "disable", "start_at_step": 0}
    for name, value in usual.items():
        if graph.value(sampler, name) not in (None, value):
            raise refused(f"{sampler} renders a part of the steps alone: its {name} is not {value}")
    if sampler.inputs.get("end_at_step") is not None and _read(graph, sampler, "end_at_step", whole) < steps:
        raise refused(f"{sampler} renders a part of the steps alone: its end_at_step is below {steps}")


def _take_latents(graph: Graph, sampler: Node, taken: Taken) -> None:
    latents = graph.target(sampler, "latent_image")
    strength = 1.0 if sampler.inputs.get("denoise") is None else _read(graph, sampler, "denoise", number)
    if latents.kind == "EmptyLatentImage":
        if strength != 1:
            raise refused(f"{sampler} begins within noise alone, with a denoise of {strength:g}")
        taken.values |= {side: _read(graph, latents, side, whole) for side in ("width", "height")}
        if graph.value(latents, "batch_size") not in (None, 1):
            taken.warnings.append("it is one of a batch, which drew its noise together: it may be any of them")
    elif latents.kind == "VAEEncode" and graph.target(latents, "pixels").kind == "LoadImage":
        taken.values |= {"mode": "img2img", "strength": strength}
    elif latents.kind in _SAMPLERS or latents.kind.startswith("LatentUpscale"):
        raise refused(f"it has several samplers, {sampler} behind {latents}; give the second pass with --hires")
    else:
        raise refused(f"{sampler} begins from {latents}, which is none that is read here")


def _model(graph: Graph, sampler: Node) -> tuple[Node, list[Node]]:
    """The checkpoint of a sampler, and the LoRAs on the way there."""
    node, loras = graph.target(sampler, "model"), dict[str, Node]()
    while node.kind in _LORAS and node.id not in loras:
        loras[node.id] = node
        node = graph.target(node, "model")
    if node.kind not in _CHECKPOINTS:
        raise refused(f"its model comes from {node}, which is none that is read here")
    return node, list(loras.values())


def _take_vae(graph: Graph, decoder: Node, checkpoint: Node, taken: Taken) -> None:
    vae = graph.target(decoder, "vae")
    if vae.kind == "VAELoader":
        taken.values["vae"] = _named(graph, vae, "vae_name")
    elif vae.id != checkpoint.id:
        raise refused(f"its VAE comes from {vae}, which is none that is read here")


def _named(graph: Graph, node: Node, name: str) -> str:
    found: str = _read(graph, node, name, name_of) or ""
    if not found:
        raise refused(f"{node} names no file")
    return found


def _prompt(graph: Graph, sampler: Node, side: str, checkpoint: Node, loras: list[Node], taken: Taken) -> str:
    encoder = graph.target(sampler, side)
    if encoder.kind != "CLIPTextEncode":
        raise refused(f"its {side} prompt comes from {encoder}, which is none that is read here")
    path = {node.id: node for node in _clip_path(graph, encoder)}
    own = {checkpoint.id, *(lora.id for lora in loras)}
    for lora in loras:
        if lora.kind == "LoraLoader" and lora.id not in path and graph.value(lora, "strength_clip") != 0:
            raise refused(f"its {side} prompt goes past {lora}, which its model does not")
    for node in path.values():
        if node.kind == "CLIPSetLastLayer":
            skip = -_read(graph, node, "stop_at_clip_layer", whole)
            if taken.values.setdefault("clip_skip", skip) != skip:
                raise refused(f"its prompts end at different layers: {node}")
        elif node.id not in own:
            raise refused(f"its {side} prompt is read by {node}, which is none of its model's")
    return in_webui_words(_read(graph, encoder, "text", text_of), taken)


def _clip_path(graph: Graph, encoder: Node) -> Iterator[Node]:
    """The nodes between a prompt and its checkpoint, that included, each once."""
    seen: set[str] = set()
    node = encoder
    while node.kind not in _CHECKPOINTS:
        node = graph.target(node, "clip")
        if node.id in seen:
            raise refused(f"{node} leads in a circle")
        seen.add(node.id)
        yield node


def _with_lora(graph: Graph, prompt: str, lora: Node) -> str:
    unet = _read(graph, lora, "strength_model", number)
    text = 0.0 if lora.kind == "LoraLoaderModelOnly" else _read(graph, lora, "strength_clip", number)
    if unet == text == 0:
        return prompt
    return with_lora(prompt, _named(graph, lora, "lora_name"), *((unet,) if unet == text else (text, unet)))
