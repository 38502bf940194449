"""The options of `farm submit`, in groups, each with the field of a request that it sets."""

from collections.abc import Callable
from typing import Any, get_args

import click

from farm.fields import (
    HiresUpscaler,
    ImageFormat,
    InpaintArea,
    MaskedContent,
    ResizeMode,
    UpscaleMethod,
)
from farm.modes import MODES
from farm.samplers import SAMPLERS, SCHEDULE_TYPES

_Command = Callable[..., Any]


def _choice(annotated: Any) -> click.Choice[str]:
    """The words that a field takes."""
    literal = get_args(annotated)[0] if hasattr(annotated, "__metadata__") else annotated
    return click.Choice(list(get_args(literal)))


# A file here, the id of an upload, or an https:// address.
_PICTURE = "FILE|ID|URL"

_OPTIONS = (
    click.option("--mode", type=click.Choice(list(MODES)), help="Left out: what the pictures given call for."),
    click.option("--negative", "negative_prompt", help="What the images must not show."),
    click.option("--style", "styles", multiple=True, metavar="NAME", help="A style; may be repeated."),
    click.option("--checkpoint", "-c", help="Needed where more than one is registered."),
    click.option("--vae", metavar="NAME", help="A registered VAE, instead of the checkpoint's own."),
    click.option("--sampler", help=f"One of: {', '.join(SAMPLERS)}."),
    click.option("--schedule", "schedule_type", help=f"One of: {', '.join(SCHEDULE_TYPES)}."),
    click.option("--steps", "num_inference_steps", type=int),
    click.option("--guidance", "guidance_scale", type=float, help="CFG scale."),
    click.option("--clip-skip", type=int),
    click.option("--width", "-W", type=int),
    click.option("--height", "-H", type=int),
    click.option("--seed", type=int, help="Seed of each prompt's first image; drawn if left out or -1."),
    click.option("--count", "-n", "images_per_prompt", type=int, help="Images per prompt, with consecutive seeds."),
    click.option("--image", metavar=_PICTURE, help="The picture to start from."),
    click.option("--mask", metavar=_PICTURE, help="inpaint: white is painted."),
    click.option("--strength", type=float, help="Denoising strength."),
    click.option("--resize", "resize_mode", type=_choice(ResizeMode), help="Where the picture has another size."),
    click.option("--masked-content", type=_choice(MaskedContent), help="inpaint: what lies under it at first."),
    click.option("--area", type=_choice(InpaintArea), help="inpaint: the whole, or the masked region alone."),
    click.option("--padding", type=int, help="inpaint, area masked: pixels around the mask."),
    click.option("--mask-blur", type=int),
    click.option("--invert-mask", is_flag=True, default=None, help="inpaint: paint what is black."),
    click.option("--left", type=int, help="outpaint: pixels to add."),
    click.option("--right", type=int),
    click.option("--top", type=int),
    click.option("--bottom", type=int),
    click.option("--aspect", metavar="W:H", help="outpaint: to this ratio."),
    click.option("--scale", type=float, help="upscale: times the picture's sides."),
    click.option("--upscaler", type=_choice(UpscaleMethod)),
    click.option("--tile", type=int, help="SD upscale: the side of a tile."),
    click.option("--overlap", type=int, help="SD upscale: by how much tiles overlap."),
    click.option("--hires", metavar="SCALE|WxH", help="txt2img: a second pass at this scale, or to this size."),
    click.option("--hires-steps", type=int),
    click.option("--hires-strength", type=float),
    click.option("--hires-upscaler", type=_choice(HiresUpscaler)),
    click.option("--format", "image_format", type=_choice(ImageFormat), help="Of the stored files."),
    click.option("--quality", type=int, help="Of JPEG, WebP and AVIF."),
    click.option("--axis", "axes", multiple=True, metavar="FIELD=VALUES", help="Sweep a setting; up to three."),
    click.option("--zip", "is_zipped", is_flag=True, help="Take the axes side by side, not all combinations."),
    click.option(
        "--dynamic",
        "dynamic_prompts",
        type=click.Choice(["random", "all", "off"]),
        help="How {a|b} and __wildcards__ unfold.",
    ),
    click.option("--deterministic", is_flag=True, default=None, help="Render each image alone."),
    click.option("--name"),
    click.option("--project"),
    click.option("--pool"),
    click.option("--priority", type=int, help="0 to 100, higher goes first."),
    click.option("--not-before", help="Start no image before this time (ISO 8601 with zone)."),
    click.option("--deadline", help="Cancel what has not started by this time (ISO 8601 with zone)."),
)


def request_options(command: _Command) -> _Command:
    """Everything that a request can say, as options of a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
