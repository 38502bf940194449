"""What each tool writes into its images, made here as it documents it, becomes the request that it stands for."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from farm.errors import InvalidRequest
from farm.infotext import as_exif, as_user_comment, read_file, read_infotext
from farm.requests import parse_request

PROMPTS = ("a red circle", "blurry")
ASKED = {
    "mode": "txt2img",
    "prompts": ["a red circle"],
    "negative_prompt": "blurry",
    "checkpoint": "demo",
    "seed": 42,
    "num_inference_steps": 8,
    "guidance_scale": 5.0,
    "sampler": "Euler a",
    "width": 128,
    "height": 192,
    "dynamic_prompts": "off",
}

SWARM: dict[str, Any] = {
    "prompt": "a red circle",
    "negativeprompt": "blurry",
    "model": "sd15/demo",
    "seed": 42,
    "steps": "8",
    "cfgscale": 5.0,
    "width": 128,
    "height": 192,
    "sampler": "euler_ancestral",
    "scheduler": "normal",
    "automaticvae": True,
    "swarm_version": "0.9.4.0",
}
FOOOCUS: dict[str, Any] = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "demo",
    "base_model_hash": "755e23487b",
    "full_prompt": ["a red circle"],
    "full_negative_prompt": ["blurry"],
    "guidance_scale": 5.0,
    "loras": [],
    "metadata_scheme": "fooocus",
    "negative_prompt": "",
    "performance": "Speed",
    "prompt": "circle",
    "refiner_model": "None",
    "refiner_switch": 0.5,
    "resolution": "(128, 192)",
    "sampler": "euler_ancestral",
    "scheduler": "normal",
    "seed": "42",
    "steps": 8,
    "styles": "['Fooocus V2']",
    "vae": "Default (model)",
    "version": "Fooocus v2.5.5",
}
FOOOCUS_OLDER: dict[str, Any] = {
    "Prompt": "a red circle",
    "Negative Prompt": "blurry",
    "Performance": "Speed",
    "Resolution": "(128, 192)",
    "Guidance Scale": 5.0,
    "Steps": 8,
    "Base Model": "demo.safetensors",
    "Refiner Model": "None",
    "Refiner Switch": 1.0,
    "Sampler": "euler_ancestral",
    "Scheduler": "normal",
    "Seed": 42,
    "Version": "v2.1.860",
}
INVOKE: dict[str, Any] = {
    "generation_mode": "txt2img",
    "positive_prompt": "a red circle",
    "negative_prompt": "blurry",
    "width": 128,
    "height": 192,
    "seed": 42,
    "rand_device": "cpu",
    "cfg_scale": 5.0,
    "steps": 8,
    "scheduler": "euler_a",
    "clip_skip": 0,
    "model": {"key": "1", "hash": "blake3:00", "name": "demo", "base": "sd-1", "type": "main"},
    "loras": [],
    "app_version": "5.4.2",
}
DRAW_THINGS: dict[str, Any] = {
    "c": "a red circle",
    "uc": "blurry",
    "model": "demo.ckpt",
    "sampler": "Euler A",
    "scale": 5.0,
    "seed": 42,
    "size": "128x192",
    "steps": 8,
    "strength": 1,
    "v2": {"width": 128},
}
EASY: dict[str, Any] = {
    "prompt": "a red circle",
    "negative_prompt": "blurry",
    "seed": 42,
    "use_stable_diffusion_model": "C:\\models\\demo.safetensors",
    "clip_skip": False,
    "use_vae_model": "",
    "sampler_name": "euler_a",
    "width": 128,
    "height": 192,
    "num_inference_steps": 8,
    "guidance_scale": 5.0,
}
CIVITAI: dict[str, Any] = {
    "prompt": "a red circle",
    "negativePrompt": "blurry",
    "cfgScale": 5,
    "sampler": "Euler a",
    "seed": 42,
    "steps": 8,
    "width": 128,
    "height": 192,
    "resources": [{"modelVersionId": 290640, "strength": 1}],
    "workflowId": "txt2img",
}


def comfy(**changes: Any) -> dict[str, Any]:
    """The usual nodes; each change replaces inputs of the node of that name, or adds a node."""
    nodes: dict[str, Any] = {
        "k": node(
            "KSampler",
            {"seed": 42, "steps": 8, "cfg": 5.0, "sampler_name": "euler_ancestral", "scheduler": "normal"}
            | {
                "denoise": 1.0,
                "model": ["c", 0],
                "positive": ["p", 0],
                "negative": ["n", 0],
                "latent_image": ["e", 0],
            },
        ),
        "c": node("CheckpointLoaderSimple", {"ckpt_name": "sd15/demo.safetensors"}),
        "e": node("EmptyLatentImage", {"width": 128, "height": 192, "batch_size": 1}),
        "p": node("CLIPTextEncode", {"text": "a red circle", "clip": ["c", 1]}),
        "n": node("CLIPTextEncode", {"text": "blurry", "clip": ["c", 1]}),
        "d": node("VAEDecode", {"samples": ["k", 0], "vae": ["c", 2]}),
        "s": node("SaveImage", {"filename_prefix": "ComfyUI", "images": ["d", 0]}),
    }
    for name, change in changes.items():
        nodes[name] = (
            change if "class_type" in change else {**nodes[name], "inputs": nodes[name]["inputs"] | change}
        )
    return nodes


def node(kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def a_png(folder: Path, **texts: str) -> Path:
    chunks = PngInfo()
    for keyword, text in texts.items():
        chunks.add_itxt(keyword.replace("_", "-") if keyword == "sd_metadata" else keyword, text)
    path = folder / "image.png"
    Image.new("RGB", (16, 16)).save(path, pnginfo=chunks)
    return path


def a_comment(folder: Path, suffix: str, text: str) -> Path:
    path = folder / f"image{suffix}"
    Image.new("RGB", (16, 16)).save(path, exif=as_exif(as_user_comment(text), 16, 16))
    return path


def swarm(folder: Path) -> Path:
    return a_png(folder, parameters=json.dumps({"sui_image_params": SWARM, "sui_extra_data": {}}, indent=2))


def older_swarm(folder: Path) -> Path:
    """StableSwarmUI wrote it where EXIF has the model of the camera."""
    exif = Image.Exif()
    exif[Base.Model] = json.dumps({"sui_image_params": SWARM})
    path = folder / "image.jpg"
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    return path


def fooocus_comment(folder: Path) -> Path:
    """Fooocus writes the comment into the first directory, as a string, and the scheme for a maker's note."""
    exif = Image.Exif()
    exif[Base.UserComment], exif[Base.MakerNote] = json.dumps(FOOOCUS), "fooocus"
    path = folder / "image.webp"
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    return path


def draw_things(folder: Path) -> Path:
    text = json.dumps(DRAW_THINGS).replace('"', "&quot;")
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/"><exif:UserComment>\n<rdf:Alt>\n'
        f'<rdf:li xml:lang="x-default">{text}</rdf:li>\n</rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF>'
        "</x:xmpmeta>"
    )
    return a_png(folder, **{"XML:com.adobe.xmp": packet})


def comfy_webp(folder: Path) -> Path:
    exif = Image.Exif()
    exif[Base.Model], exif[Base.Make] = f"prompt:{json.dumps(comfy())}", 'workflow:{"nodes": []}'
    path = folder / "image.webp"
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    return path


def easy_chunks(folder: Path) -> Path:
    labels = {
        "Prompt": "a red circle",
        "Negative Prompt": "blurry",
        "Seed": "42",
        "Sampler": "euler_a",
        "Width": "128",
    }
    more = {
        "Stable Diffusion model": "demo",
        "VAE model": "None",
        "Height": "192",
        "Steps": "8",
        "Clip Skip": "False",
    }
    return a_png(folder, **labels, **more, **{"Guidance Scale": "5.0"})


def easy_lines(folder: Path) -> Path:
    path = folder / "image.txt"
    path.write_text(
        "Prompt: a red circle\nNegative Prompt: blurry\nSeed: 42\nStable Diffusion model: demo\nClip Skip: False\n"
        "VAE model: None\nSampler: euler_a\nWidth: 128\nHeight: 192\nSteps: 8\nGuidance Scale: 5.0\n"
        "Use Face Correction: None\n"
    )
    return path


def fooocus_a1111(folder: Path) -> Path:
    return a_png(
        folder,
        fooocus_scheme="a1111",
        parameters="a red circle\nNegative prompt: blurry\nSteps: 8, Sampler: Euler a, Seed: 42, Size: 128x192, "
        'CFG scale: 5.0, Sharpness: 2.0, ADM Guidance: "(1.5, 0.8, 0.3)", Model: demo, Model hash: 755e23487b, '
        "Performance: Speed, Scheduler: normal, VAE: Default (model), Raw prompt: circle, Raw negative prompt: , "
        "Version: Fooocus v2.5.5",
    )


TOOLS = {
    "SwarmUI, PNG": swarm,
    "SwarmUI, EXIF comment": lambda folder: a_comment(folder, ".jpg", json.dumps({"sui_image_params": SWARM})),
    "StableSwarmUI, EXIF model": older_swarm,
    "Fooocus, JSON in PNG": lambda folder: a_png(folder, fooocus_scheme="fooocus", parameters=json.dumps(FOOOCUS)),
    "Fooocus, JSON in WebP": fooocus_comment,
    "Fooocus, JSON of older releases": lambda folder: a_png(folder, Comment=json.dumps(FOOOCUS_OLDER)),
    "Fooocus, a1111": fooocus_a1111,
    "ComfyUI, PNG": lambda folder: a_png(folder, prompt=json.dumps(comfy()), workflow='{"nodes": [], "links": []}'),
    "ComfyUI, WebP": comfy_webp,
    "InvokeAI": lambda folder: a_png(folder, invokeai_metadata=json.dumps(INVOKE), invokeai_graph="{}"),
    "Draw Things": draw_things,
    "Easy Diffusion, JPEG": lambda folder: a_comment(folder, ".jpg", json.dumps(EASY)),
    "Easy Diffusion, PNG": easy_chunks,
    "Easy Diffusion, text": easy_lines,
    "Civitai": lambda folder: a_comment(
        folder, ".jpeg", json.dumps({"1": node("KSampler", {}), "extraMetadata": json.dumps(CIVITAI)})
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_an_image_of_another_tool_is_read_whole(tmp_path: Path, tool: str) -> None:
    read = read_file(TOOLS[tool](tmp_path))
    asked = {**read.fields, "schedule_type": None}
    wanted = ASKED if tool != "Civitai" else {name: value for name, value in ASKED.items() if name != "checkpoint"}
    assert asked == {**wanted, "schedule_type": None}
    parse_request(dict(read.fields))


def test_a_schedule_of_another_tool_has_the_webuis_name(tmp_path: Path) -> None:
    nodes = comfy(k={"sampler_name": "dpmpp_2m", "scheduler": "karras"})
    fields = read_file(a_png(tmp_path, prompt=json.dumps(nodes))).fields
    assert (fields["sampler"], fields["schedule_type"]) == ("DPM++ 2M", "Karras")


def test_a_sampler_that_is_none_here_keeps_its_name_and_is_refused(tmp_path: Path) -> None:
    read = read_file(a_png(tmp_path, prompt=json.dumps(comfy(k={"sampler_name": "res_multistep"}))))
    with pytest.raises(InvalidRequest, match="unknown sampler 'res_multistep'"):
        parse_request(dict(read.fields))


@pytest.mark.parametrize(
    ("name", "sampler", "schedule"),
    [
        ("dpmpp_2m_k", "DPM++ 2M", "Karras"),
        ("dpmpp_2m", "DPM++ 2M", "SGM Uniform"),
        ("euler", "Euler", "Uniform"),
        ("ddim", "DDIM", None),
        ("deis", "deis", None),
    ],
)
def test_a_scheduler_of_invokeai_is_a_sampler_and_a_schedule(
    tmp_path: Path, name: str, sampler: str, schedule: str | None
) -> None:
    fields = read_file(a_png(tmp_path, invokeai_metadata=json.dumps(INVOKE | {"scheduler": name}))).fields
    assert (fields["sampler"], fields.get("schedule_type")) == (sampler, schedule)


def test_loras_of_other_tools_are_called_in_the_prompt(tmp_path: Path) -> None:
    lora = {"loras": [{"model": {"name": "ink"}, "weight": 0.6}]}
    images = [
        a_png(tmp_path, invokeai_metadata=json.dumps(INVOKE | lora)),
        json.dumps({"sui_image_params": SWARM | {"loras": ["style/ink"], "loraweights": ["0.6"]}}),
        json.dumps(FOOOCUS | {"loras": [["ink", 0.6, "0123456789"]]}),
        json.dumps(FOOOCUS_OLDER | {"LoRA 1": "ink.safetensors : 0.6"}),
        json.dumps(DRAW_THINGS | {"lora": [{"model": "ink.ckpt", "weight": 0.6}]}),
        json.dumps(EASY | {"use_lora_model": ["ink"], "lora_alpha": ["0.6"]}),
    ]
    read = [read_file(image) if isinstance(image, Path) else read_infotext(image) for image in images]
    assert [each.fields["prompts"] for each in read] == [["a red circle <lora:ink:0.6>"]] * 6


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


def test_what_only_comfyui_writes_into_prompts_becomes_the_webuis() -> None:
    nodes = comfy(p={"text": "[a fox], embedding:sub/easy_negative.pt, (x:1.2)"})
    assert read_infotext(json.dumps(nodes)).fields["prompts"] == [r"\[a fox\], easy_negative, (x:1.2)"]


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (
            comfy(k=node("SamplerCustom", {})),
            r"comes from node k \(SamplerCustom\), which is none that is read here",
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
        (comfy(s={"images": ["gone", 0]}), r"node s \(SaveImage\) has no images that leads to a node"),
        (comfy(k={"denoise": 0.5}), "a denoise of 0.5"),
    ],
)
def test_a_workflow_with_anything_else_on_its_way_is_refused_with_that_node(nodes: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_infotext(json.dumps(nodes))


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"sd_metadata": "{}"}, "InvokeAI before release 3"),
        ({"Dream": '"a fox" -s 50'}, "InvokeAI before release 3"),
        ({"workflow": '{"nodes": [], "links": []}'}, "ComfyUI's workflow for its editor alone"),
        ({"Software": "NovelAI", "Description": "1girl", "Comment": '{"uc": ""}'}, "NovelAI"),
        ({"generation_data": "{}"}, "TensorArt"),
        ({"Comment": '{"prompt": "a", "uc": "b", "scale": 5, "sampler": "k_euler"}'}, "NovelAI"),
        ({"parameters": '{"software": "RuinedFooocus", "base_model_name": "x"}'}, "RuinedFooocus"),
        (
            {"parameters": '{"what": 1, "ever": 2}'},
            "a tool that is not known, with 'what', 'ever'; known are A1111",
        ),
        ({"Description": "my holidays"}, "but 'my holidays' in Description"),
        (
            {"Comment": "made with love"},
            "no parameters text of a tool that is known .* but 'made with love' in Comment",
        ),
    ],
)
def test_an_image_of_a_tool_that_is_not_read_is_refused_by_name(
    tmp_path: Path, texts: dict[str, str], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=rf"image\.png: holds .*{why}"):
        read_file(a_png(tmp_path, **texts))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"sui_image_params": {"prompt": "a",}}', r"no JSON: .* at line 1 column 3\d"),
        ('{"sui_image_params": {"seed": 1, "seed": 2}}', "the key 'seed' stands there twice"),
        ('{"sui_image_params": {"seed": NaN}}', "NaN is no number"),
        ('{"sui_image_params": {"cfgscale": 1e999}}', "the number '1e999' is too large"),
        ('{"sui_image_params": {"prompt": "\\ud800"}}', "half a character"),
        ('{"sui_image_params": {"prompt": ["a"]}}', "whose prompt is no text"),
        ('{"sui_image_params": [1]}', "whose sui_image_params is no object"),
        ('{"sui_image_params": {"prompt": "a <segment:face>b"}}', "a command that only SwarmUI knows: <segment:"),
        ('{"a": ' * 10_000, "nested too deeply"),
        ('{"seed": ' + "1" * 5_000 + "}", "cannot be read"),
        ("Prompt: a\nNegative: b\nSeed: 3\nSteps: 2", "a line that is not known: 'Negative: b'"),
        ("a fox\nSampler: a\nSeed: 3\nSteps: 20", "a line that is not known: 'a fox'"),
        ('{"base_model": "x", "loras": [1, 2]}', "whose LoRAs cannot be read"),
        ('{"generation_mode": "flux_kontext", "positive_prompt": "a"}', "not rendered here: 'flux_kontext'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_infotext(text)


def test_what_another_tool_says_and_means_nothing_here_is_named() -> None:
    said = SWARM | {"refinermodel": "xl", "steps": "many", "freeuapply": False}
    del said["sampler"]
    warnings = read_infotext(json.dumps({"sui_image_params": said})).warnings
    assert warnings == (
        "it was made by SwarmUI, which renders otherwise: the picture will be another",
        "steps is left out: 'many' is no value for it",
        "left out, because it means nothing here: refinermodel",
        "it does not say its steps, sampler: the usual ones here are taken",
    )


def test_hashes_of_other_tools_are_kept_to_be_compared() -> None:
    models = [{"name": "ink.safetensors", "param": "loras", "hash": f"0x{'ab' * 32}"}]
    swarm = read_infotext(json.dumps({"sui_image_params": SWARM, "sui_models": models}))
    fooocus = read_infotext(json.dumps(FOOOCUS | {"loras": [["ink", 1, "0123456789"]]}))
    assert [(each.kind, each.name, each.digits) for each in (*swarm.hashes, *fooocus.hashes)] == [
        ("lora", "ink", "ab" * 32),
        ("lora", "ink", "0123456789"),
    ]
    assert fooocus.model_hash == "755e23487b"


def test_a_prompt_that_begins_with_a_brace_is_a_prompt() -> None:
    text = "{red|blue} bird\nSteps: 8, Sampler: Euler, Seed: 4"
    assert read_infotext(text).fields["prompts"] == ["{red|blue} bird"]


def a_long_chain() -> dict[str, Any]:
    lora = {"lora_name": "ink", "strength_model": 1, "strength_clip": 1}
    chain = {
        f"l{n}": node("LoraLoader", {**lora, "model": [f"l{n + 1}", 0], "clip": [f"l{n + 1}", 1]})
        for n in range(9_000)
    }
    last = {"l9000": node("CheckpointLoaderSimple", {"ckpt_name": "demo"})}
    first = comfy(k={"model": ["l0", 0]}, p={"clip": ["l0", 1]}, n={"clip": ["l0", 1]}, d={"vae": ["l9000", 2]})
    return {**first, **chain, **last}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(a_long_chain()),
        json.dumps({str(n): node("X", {"a": [str(n + 1), 0]}) for n in range(9_999)}),
        json.dumps({"sui_image_params": {"prompt": "[" * 1_000_000}}),
        json.dumps({"sui_image_params": {"prompt": "embedding:" * 100_000}}),
        json.dumps({"sui_image_params": {f"key{n}": 1 for n in range(100_000)}}),
        json.dumps({"positive_prompt": "a+" * 200_000}),
        "Prompt: a\nSeed: 1\n" * 9_000,
        "a fox\nSteps: 1, Seed: 2\n" + "note\n" * 30_000,
        "a fox\nSteps: 1, " + "Hashes: {" * 20_000,
    ],
)
def test_a_hostile_text_of_a_tool_is_read_or_refused_in_a_moment(text: str) -> None:
    started = time.process_time()
    with suppress(InvalidRequest):
        assert len(read_infotext(text).warnings) < 20
    assert time.process_time() - started < 3
