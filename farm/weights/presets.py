"""Well-known checkpoints and VAEs: the source of each, and the settings that its author suggests.

Data only, from the model pages and common use. Values that no page gives are None, or left out; the licence
on the homepage is what counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from farm.errors import NotFound
from farm.spec.names import did_you_mean, nearest


class NoSuchPreset(NotFound):
    """There is no preset of this name."""


@dataclass(frozen=True)
class Licence:
    """Its name, and in one line what it requires of users of the weights."""

    name: str
    note: str


@dataclass(frozen=True)
class Suggestions:
    """What to fill a form with; None where nothing is suggested.

    `sampler` and `schedule_type` are names of the WebUI, `vae` is the key of a preset, `clip_skip` counts as
    the WebUI does (1 is the last layer), and width and height are pixels.
    """

    sampler: str | None = None
    schedule_type: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    clip_skip: int | None = None
    vae: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Preset:
    """Weights with a short name; `source` is read by `farm.weights.hub.sources.parse_source`."""

    name: str
    title: str
    source: str
    family: str
    description: str
    homepage: str | None
    licence: Licence
    kind: Literal["checkpoint", "vae"] = "checkpoint"
    trigger_words: tuple[str, ...] = ()
    suggestions: Suggestions = field(default_factory=Suggestions)


_OPENRAIL_M = Licence(
    "CreativeML OpenRAIL-M",
    "Commercial use is allowed; harmful uses that it lists are not, and anyone who passes the weights on, or "
    "offers them as a service, passes these limits on.",
)
_OPENRAIL_PP_M = Licence(
    "CreativeML Open RAIL++-M",
    "Commercial use is allowed; harmful uses that it lists are not, and anyone who passes the weights on, or "
    "offers them as a service, passes these limits on.",
)
_PROTOGEN = Licence(
    "CreativeML OpenRAIL-M and the Seek Art Mega licence",
    "Two licences hold at once; read the second, of a checkpoint merged into it, before any commercial use.",
)
_OPENRAIL = Licence(
    "OpenRAIL", "Its page names a family of licences without a text: ask its author before any commercial use."
)
_NC_ND = Licence("CC BY-NC-ND 4.0", "No commercial use, and no altered weights passed on; the author is named.")
_MIT = Licence("MIT", "Free for every use, as long as the notice is kept with copies.")
_APACHE = Licence(
    "Apache 2.0", "Free for every use, as long as notices are kept with copies and changes are named."
)

_PAGE = "https://huggingface.co"

_BUNDLED = Path(__file__).parent / "bundled"

_TABLE = (
    Preset(
        "demo",
        title="Demo",
        source=str(_BUNDLED / "demo"),
        family="sd15",
        description="Comes with the farm and draws shapes and landscapes: say, a red star on a white background.",
        homepage=None,
        licence=_APACHE,
        suggestions=Suggestions("DPM++ 2M", "Karras", 20, 5.0, width=128, height=128),
    ),
    Preset(
        "realistic-vision-v2",
        title="Realistic Vision V2.0",
        source="hf:SG161222/Realistic_Vision_V2.0:Realistic_Vision_V2.0.safetensors",
        family="sd15",
        description="Photographs of people and places, by SG_161222.",
        homepage=f"{_PAGE}/SG161222/Realistic_Vision_V2.0",
        licence=_OPENRAIL_M,
        suggestions=Suggestions("DPM++ 2M", "Karras", 25, 7.0, vae="vae-ft-mse"),
    ),
    Preset(
        "anything-v3",
        title="Anything V3",
        source="hf:admruul/anything-v3.0:Anything-V3.0-pruned-fp16.safetensors",
        family="sd15",
        description="Anime pictures from few words; understands danbooru tags.",
        homepage=f"{_PAGE}/admruul/anything-v3.0",
        licence=_OPENRAIL_M,
        suggestions=Suggestions("DDIM", num_inference_steps=50, guidance_scale=12.0, clip_skip=2),
    ),
    Preset(
        "deliberate",
        title="Deliberate v2",
        source="hf:XpucT/Deliberate:Deliberate_v2.safetensors",
        family="sd15",
        description="An all-round checkpoint by XpucT, which follows detailed prompts.",
        homepage=f"{_PAGE}/XpucT/Deliberate",
        licence=_NC_ND,
        suggestions=Suggestions("DPM++ 2M", "Karras", 30, 7.5),
    ),
    Preset(
        "protogen-x3.4",
        title="Protogen x3.4 (Photorealism)",
        source="hf:darkstorm2150/Protogen_x3.4_Official_Release:ProtoGen_X3.4-pruned-fp16.safetensors",
        family="sd15",
        description="A photorealistic merge by darkstorm2150, with Modelshoot, Analog Diffusion and others in it.",
        homepage=f"{_PAGE}/darkstorm2150/Protogen_x3.4_Official_Release",
        licence=_PROTOGEN,
        trigger_words=("modelshoot style", "analog style", "mdjrny-v4 style", "nousr robot"),
        suggestions=Suggestions("DPM++ 2M", num_inference_steps=25, guidance_scale=7.5),
    ),
    Preset(
        "openjourney-v4",
        title="Openjourney v4",
        source="hf:prompthero/openjourney-v4",
        family="sd15",
        description="Stable Diffusion 1.5, trained by PromptHero on 124,000 pictures of Midjourney v4. "
        "Needs no trigger word.",
        homepage=f"{_PAGE}/prompthero/openjourney-v4",
        licence=_OPENRAIL_M,
    ),
    Preset(
        "f222",
        title="f222",
        source="hf:acheong08/f222:f222.safetensors",
        family="sd15",
        description="Photographs of people with right anatomy, by Zeipher, trained on nudes: "
        "name the clothes in the prompt.",
        homepage=f"{_PAGE}/acheong08/f222",
        licence=_OPENRAIL,
    ),
    Preset(
        "modelshoot",
        title="Modelshoot",
        source="hf:wavymulder/modelshoot:modelshoot-1.0.safetensors",
        family="sd15",
        description="Fashion photographs, full to medium shots, by wavymulder; best in a tall format, "
        "with a subject and a place in the prompt.",
        homepage=f"{_PAGE}/wavymulder/modelshoot",
        licence=_OPENRAIL_M,
        trigger_words=("modelshoot style",),
        suggestions=Suggestions(width=512, height=768),
    ),
    Preset(
        "sd15",
        title="Stable Diffusion 1.5",
        source="hf:stable-diffusion-v1-5/stable-diffusion-v1-5:v1-5-pruned-emaonly.safetensors",
        family="sd15",
        description="The base of all that is called SD 1.5, in the mirror that replaced the first publisher's.",
        homepage=f"{_PAGE}/stable-diffusion-v1-5/stable-diffusion-v1-5",
        licence=_OPENRAIL_M,
        suggestions=Suggestions(guidance_scale=7.5, width=512, height=512),
    ),
    Preset(
        "sd15-inpainting",
        title="Stable Diffusion 1.5 Inpainting",
        source="hf:stable-diffusion-v1-5/stable-diffusion-inpainting",
        family="sd15-inpaint",
        description="Stable Diffusion 1.5 with five more input channels, for a mask and the picture under it.",
        homepage=f"{_PAGE}/stable-diffusion-v1-5/stable-diffusion-inpainting",
        licence=_OPENRAIL_M,
        suggestions=Suggestions(guidance_scale=7.5, width=512, height=512),
    ),
    Preset(
        "sdxl-base",
        title="Stable Diffusion XL base 1.0",
        source="hf:stabilityai/stable-diffusion-xl-base-1.0:sd_xl_base_1.0.safetensors",
        family="sdxl",
        description="Stability AI's larger checkpoint, for pictures of a megapixel.",
        homepage=f"{_PAGE}/stabilityai/stable-diffusion-xl-base-1.0",
        licence=_OPENRAIL_PP_M,
        suggestions=Suggestions(vae="sdxl-vae-fp16-fix", width=1024, height=1024),
    ),
    Preset(
        "sdxl-inpainting",
        title="Stable Diffusion XL Inpainting 0.1",
        source="hf:diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        family="sdxl-inpaint",
        description="SDXL with five more input channels, for a mask and the picture under it, trained at 1024 px.",
        homepage=f"{_PAGE}/diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        licence=_OPENRAIL_PP_M,
        suggestions=Suggestions(
            num_inference_steps=20, guidance_scale=8.0, vae="sdxl-vae-fp16-fix", width=1024, height=1024
        ),
    ),
    Preset(
        "vae-ft-mse",
        title="VAE ft-MSE 840000",
        source="hf:stabilityai/sd-vae-ft-mse-original:vae-ft-mse-840000-ema-pruned.safetensors",
        family="sd15",
        description="A finer decoder for checkpoints of Stable Diffusion 1, most of all for faces.",
        homepage=f"{_PAGE}/stabilityai/sd-vae-ft-mse-original",
        licence=_MIT,
        kind="vae",
    ),
    Preset(
        "sdxl-vae-fp16-fix",
        title="SDXL VAE fp16 fix",
        source="hf:madebyollin/sdxl-vae-fp16-fix:sdxl_vae.safetensors",
        family="sdxl",
        description="The VAE of SDXL, changed so that it does not overflow in half precision.",
        homepage=f"{_PAGE}/madebyollin/sdxl-vae-fp16-fix",
        licence=_MIT,
        kind="vae",
    ),
)

# What is less like the name of a preset may be meant for a file.
_LIKENESS = 0.7

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _TABLE}


def preset(name: str) -> Preset:
    """The preset of this name. Raises NoSuchPreset with the nearest one, and a list of all."""
    if name in PRESETS:
        return PRESETS[name]
    hint = did_you_mean(nearest_preset(name))
    raise NoSuchPreset(
        f"There is no preset {name!r}, and no file or folder here.{hint} Presets: {', '.join(PRESETS)}."
    )


def nearest_preset(name: str, kind: str | None = None) -> str | None:
    """The preset with the most similar name, of a kind or of any; None where none is similar."""
    names = [known.name for known in PRESETS.values() if kind in (None, known.kind)]
    return nearest(name, names, likeness=_LIKENESS)
