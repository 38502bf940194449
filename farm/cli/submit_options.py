"""The options of `farm submit`, in groups, each with the field of a request that it sets."""

from collections.abc import Callable
from typing import Any, get_args

import click

from farm.spec.fields import HiresUpscaler, ImageFormat, InpaintArea, MaskedContent, ResizeMode, UpscaleMethod
from farm.spec.modes import MODES
from farm.spec.samplers import SAMPLERS, SCHEDULE_TYPES
from farm.spec.settingnames import SHORT_NAMES, TITLES

_Command = Callable[..., Any]
_Option = Callable[[_Command], _Command]


def _choice(annotated: Any) -> click.Choice[str]:
    """The words that a field takes."""
    literal = get_args(annotated)[0] if hasattr(annotated, "__metadata__") else annotated
    return click.Choice(list(get_args(literal)))


# A file here, the id of an upload, or an https:// address.
_PICTURE = "FILE|ID|URL"


def _setting(field: str, *flags: str, **how: Any) -> _Option:
    """An option for a setting, under its short name.

    Its value comes under the field, or for a part such as `hires.strength` under the short name.
    """
    short = SHORT_NAMES[field]
    return click.option(f"--{short.replace('_', '-')}", *flags, short if "." in field else field, **how)


_OPTIONS = (
    _setting("mode", type=click.Choice(list(MODES)), help="Left out: what the pictures given call for."),
    _setting("negative_prompt", help="What the images must not show."),
    _setting("styles", multiple=True, metavar="NAME", help="A style; may be repeated."),
    _setting("checkpoint", "-c", help="Needed where more than one is registered."),
    _setting("vae", metavar="NAME", help="A registered VAE, instead of the checkpoint's own."),
    _setting("sampler", help=f"One of: {', '.join(SAMPLERS)}."),
    _setting("schedule_type", help=f"One of: {', '.join(SCHEDULE_TYPES)}."),
    _setting("num_inference_steps", type=int),
    _setting("guidance_scale", type=float, help=f"{TITLES['guidance_scale']}."),
    _setting("clip_skip", type=int),
    _setting("width", "-W", type=int),
    _setting("height", "-H", type=int),
    _setting("seed", type=int, help="Seed of each prompt's first image; drawn if left out or -1."),
    _setting("images_per_prompt", "-n", type=int, help="Images per prompt, with consecutive seeds."),
    _setting("image", metavar=_PICTURE, help="The picture to start from."),
    _setting("mask", metavar=_PICTURE, help="inpaint: white is painted."),
    _setting("strength", type=float, help=f"{TITLES['strength']}."),
    _setting("resize_mode", type=_choice(ResizeMode), help="Where the picture has another size."),
    _setting("masked_content", type=_choice(MaskedContent), help="inpaint: what lies under it at first."),
    _setting("area", type=_choice(InpaintArea), help="inpaint: the whole, or the masked region alone."),
    _setting("padding", type=int, help="inpaint, area masked: pixels around the mask."),
    _setting("mask_blur", type=int),
    _setting("invert_mask", is_flag=True, default=None, help="inpaint: paint what is black."),
    _setting("left", type=int, help="outpaint: pixels to add."),
    _setting("right", type=int),
    _setting("top", type=int),
    _setting("bottom", type=int),
    _setting("aspect", metavar="W:H", help="outpaint: to this ratio."),
    _setting("scale", type=float, help="upscale: times the picture's sides."),
    _setting("upscaler", type=_choice(UpscaleMethod)),
    _setting("tile", type=int, help="SD upscale: the side of a tile."),
    _setting("overlap", type=int, help="SD upscale: by how much tiles overlap."),
    _setting("hires", metavar="SCALE|WxH", help="txt2img: a second pass at this scale, or to this size."),
    _setting("hires.num_inference_steps", type=int),
    _setting("hires.strength", type=float),
    _setting("hires.upscaler", type=_choice(HiresUpscaler)),
    _setting("image_format", type=_choice(ImageFormat), help="Of the stored files."),
    _setting("quality", type=int, help="Of JPEG, WebP and AVIF."),
    click.option("--axis", "axes", multiple=True, metavar="FIELD=VALUES", help="Sweep a setting; up to three."),
    click.option("--zip", "is_zipped", is_flag=True, help="Take the axes side by side, not all combinations."),
    click.option(
        "--dynamic",
        "dynamic_prompts",
        type=click.Choice(["random", "all", "off"]),
        help="How {a|b} and __wildcards__ unfold.",
    ),
    _setting("deterministic", is_flag=True, default=None, help="Render each image alone."),
    click.option("--name"),
    click.option("--project"),
    click.option("--pool"),
    click.option("--priority", type=int, help="0 to 100, higher goes first."),
    click.option("--not-before", help="Start no image before this time (ISO 8601 with zone)."),
    click.option("--deadline", help="Cancel what has not started by this time (ISO 8601 with zone)."),
    click.option(
        "--class",
        "class",
        type=click.Choice(["interactive", "bulk"]),
        help="Whether somebody waits for the images. Left out: for at most four images.",
    ),
    click.option("--max-devices", type=int, help="Render on at most so many at a time. Left out: on any number."),
)


def request_options(command: _Command) -> _Command:
    """Everything that a request can say, as options of a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
