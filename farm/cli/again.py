"""What an image asks for that is to be rendered again, and the options that overrule it."""

from collections.abc import Collection, Mapping
from typing import Any

from farm.spec.modes import MODES, USUAL_MODE, Mode

_EVERY = frozenset[str]().union(*(mode.takes for mode in MODES.values()))
_TELLING = frozenset[str]().union(*(mode.implied_by for mode in MODES.values()))


def _is_sure(mode: Mode[Any]) -> bool:
    """Whether no other mode takes what calls for this one."""
    return all(other is mode or mode.implied_by.isdisjoint(other.takes) for other in MODES.values())


# Settings of one mode alone say more than those that several take.
_BY_CERTAINTY = sorted(MODES.values(), key=_is_sure, reverse=True)

# The settings of the image that an option replaces with itself.
_REPLACES: Mapping[str, frozenset[str]] = {
    "scale": frozenset({"width", "height"}),
    "aspect": frozenset({"left", "right", "top", "bottom"}),
    "prompt": frozenset({"dynamic_prompts"}),
}
_TARGETS = frozenset({"scale", "width", "height"})


def infer_mode(names: Collection[str], before: str | None = None) -> str:
    """The mode that what is given calls for: a mask is for inpainting, whatever else is there.

    `before` is that of the image that is rendered again; it stays where it takes all that is given.
    """
    if before is not None and _TELLING.intersection(names) <= _taken_by(before):
        return before
    return next((mode.name for mode in _BY_CERTAINTY if not mode.implied_by.isdisjoint(names)), USUAL_MODE)


def _taken_by(mode: str) -> frozenset[str]:
    """What a mode takes: anything, where it is one of a later release, which the portal refuses by its name."""
    return MODES[mode].takes if mode in MODES else _EVERY


def keep_fields(before: Mapping[str, Any], names: Collection[str], mode: str) -> dict[str, Any]:
    """What stays of an image's fields where fields of these names are given, for a job of this mode.

    The size of an image is nothing to enlarge it to.
    """
    dropped = _EVERY - _taken_by(mode)
    for name in names:
        dropped |= _REPLACES.get(name, frozenset())
    enlarges = mode in MODES and "scale" in MODES[mode].takes
    if enlarges and before.get("mode") != mode:
        dropped |= _REPLACES["scale"]
    return {name: value for name, value in before.items() if name not in dropped}


def merge_hires(before: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """A second pass as the image had it, with what is given in its place; a new target replaces the old one."""
    dropped = _TARGETS if _TARGETS & given.keys() else frozenset()
    kept = {name: value for name, value in (before or {}).items() if name not in dropped}
    return {**kept, **given}
