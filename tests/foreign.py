"""Images as other tools write them, made by what each documents: all of them ask for the same."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from farm.infotext import as_exif, as_user_comment

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


TOOLS: Mapping[str, Callable[[Path], Path]] = {
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
