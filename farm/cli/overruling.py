"""What an image asks for that is to be rendered again, and the options that overrule it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from farm.settle import TAKEN

_CALLS_FOR: Sequence[tuple[frozenset[str], str]] = (
    (frozenset({"mask", "masked_content", "area", "padding", "invert_mask"}), "inpaint"),
    (frozenset({"left", "right", "top", "bottom", "aspect"}), "outpaint"),
    (frozenset({"scale", "upscaler", "tile", "overlap"}), "upscale"),
    (frozenset({"image", "strength", "resize_mode"}), "img2img"),
)
_TELLING = frozenset[str]().union(*(tells for tells, _mode in _CALLS_FOR))
_EVERY = frozenset[str]().union(*TAKEN.values())

# What each says is said anew, and whole.
_SAYS_ANEW: Mapping[str, frozenset[str]] = {
    "scale": frozenset({"width", "height"}),
    "aspect": frozenset({"left", "right", "top", "bottom"}),
    "prompt": frozenset({"dynamic_prompts"}),
}
_TARGETS = frozenset({"scale", "width", "height"})


def mode_for(names: Collection[str], before: str | None = None) -> str:
    """The mode that what is given calls for: a mask is for inpainting, whatever else is there.

    `before` is that of the image that is rendered again; it stays where it takes all that is given.
    """
    if before is not None and _TELLING.intersection(names) <= TAKEN.get(before, _EVERY):
        return before
    return next((mode for tells, mode in _CALLS_FOR if not tells.isdisjoint(names)), "txt2img")


def left_of(before: Mapping[str, Any], names: Collection[str], mode: str) -> dict[str, Any]:
    """What stays of an image's fields where fields of these names are given, for a job of this mode.

    The size of an image is nothing to enlarge it to.
    """
    dropped = _EVERY - TAKEN.get(mode, _EVERY)
    for name in names:
        dropped |= _SAYS_ANEW.get(name, frozenset())
    if mode == "upscale" and before.get("mode") != mode:
        dropped |= _SAYS_ANEW["scale"]
    return {name: value for name, value in before.items() if name not in dropped}


def merged_hires(before: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """A second pass as the image had it, with what is given in its place; a new target replaces the old one."""
    dropped = _TARGETS if _TARGETS & given.keys() else frozenset()
    kept = {name: value for name, value in (before or {}).items() if name not in dropped}
    return {**kept, **given}
