"""Workflows of ComfyUI: the usual nodes are read, and any other on their ways is refused by its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from farm.errors import InvalidRequest
from farm.infotext import read_file, read_infotext
from tests.foreign import a_png, comfy, node


def test_a_lora_in_a_workflow_weighs_text_and_image_apart() -> None:
    lora = {"lora_name": "ink.safetensors", "strength_model": 0.8, "strength_clip": 0.5, "model": ["c", 0]}
    nodes = comfy(
        l=node("LoraLoader", {**lora, "clip": ["c", 1]}),
        k={"model": ["l", 0]},
        p={"clip": ["l", 1]},
        n={"clip": ["l", 1]},
    )
    assert read_infotext(json.dumps(nodes)).fields["prompts"] == ["a red circle <lora:ink:0.5:0.8>"]


def test_a_workflow_names_its_vae_and_where_its_text_encoder_stops() -> None:
    nodes = comfy(
        v=node("VAELoader", {"vae_name": "clear.safetensors"}),
        t=node("CLIPSetLastLayer", {"stop_at_clip_layer": -2, "clip": ["c", 1]}),
        d={"vae": ["v", 0]},
        p={"clip": ["t", 0]},
        n={"clip": ["t", 0]},
    )
    fields = read_infotext(json.dumps(nodes)).fields
    assert (fields["vae"], fields["clip_skip"]) == ("clear", 2)


def test_a_workflow_from_a_picture_is_image_to_image() -> None:
    nodes = comfy(
        i=node("LoadImage", {"image": "photo.png"}),
        a=node("VAEEncode", {"pixels": ["i", 0], "vae": ["c", 2]}),
        k={"latent_image": ["a", 0], "denoise": 0.6},
    )
    read = read_infotext(json.dumps(nodes))
    assert (read.fields["mode"], read.fields["strength"]) == ("img2img", 0.6)
    assert any("it does not hold the picture it began from" in warning for warning in read.warnings)


def test_a_seed_and_a_prompt_may_stand_in_nodes_of_their_own() -> None:
    nodes = comfy(
        a=node("PrimitiveInt", {"value": 7}),
        b=node("PrimitiveStringMultiline", {"value": "a blue square"}),
        k={"seed": ["a", 0]},
        p={"text": ["b", 0]},
    )
    fields = read_infotext(json.dumps(nodes)).fields
    assert (fields["seed"], fields["prompts"]) == (7, ["a blue square"])


def test_a_node_that_is_to_run_each_time_is_no_obstacle(tmp_path: Path) -> None:
    text = json.dumps(comfy()).replace(
        '"class_type": "SaveImage"', '"class_type": "SaveImage", "is_changed": [NaN]'
    )
    assert read_file(a_png(tmp_path, prompt=text)).fields["seed"] == 42


def test_prompt_syntax_of_comfyui_becomes_that_of_the_webui() -> None:
    nodes = comfy(p={"text": "[a fox], embedding:sub/easy_negative.pt, (x:1.2)"})
    assert read_infotext(json.dumps(nodes)).fields["prompts"] == [r"\[a fox\], easy_negative, (x:1.2)"]


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (
            comfy(k=node("SamplerCustom", {})),
            r"comes from node k \(SamplerCustom\), which is not supported",
        ),
        (
            comfy(f=node("FluxGuidance", {}), k={"positive": ["f", 0]}),
            r"positive prompt comes from node f \(FluxGuid",
        ),
        (comfy(f=node("FreeU", {}), k={"model": ["f", 0]}), r"its model comes from node f \(FreeU\)"),
        (comfy(u=node("LatentUpscale", {}), k={"latent_image": ["u", 0]}), "has several samplers"),
        (comfy(k={"latent_image": ["k", 0]}), "has several samplers"),
        (
            comfy(o=node("PreviewImage", {"images": ["q", 0]}), q=node("X", {})),
            r"several nodes made images: node d",
        ),
        (
            comfy(w=node("Wildcards", {}), p={"text": ["w", 0]}),
            r"text of node p .* comes from node w \(Wildcards\)",
        ),
        (comfy(k={"seed": "x"}), r"the seed of node k \(KSampler\) is no value for it"),
        (comfy(p={"clip": ["p", 0]}), "leads in a circle"),
        (comfy(s={"images": ["gone", 0]}), r"node s \(SaveImage\) has no images that is linked to a node"),
        (comfy(k={"denoise": 0.5}), "a denoise of 0.5"),
    ],
)
def test_a_workflow_with_anything_else_on_its_way_is_refused_with_that_node(nodes: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_infotext(json.dumps(nodes))
