"""The tags that apply LoRAs to a prompt: `<lora:name:weight>`, as AUTOMATIC1111's WebUI reads them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.prompts.attention import LARGEST_WEIGHT

# A tag of any kind. The WebUI takes those it does not know out of the prompt too.
_TAG = re.compile(r"<(\w+):([^<>]+)>")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_LORA_KINDS = ("lora", "lyco")


@dataclass(frozen=True)
class NetworkTag:
    """A LoRA and how strongly it counts in the UNet; `text_weight` is None where the text encoder's is the same."""

    name: str
    weight: float
    text_weight: float | None = None


class _Unusable(ValueError):
    """A tag that cannot be applied; the message says why."""


def extract_networks(text: str) -> tuple[str, tuple[NetworkTag, ...], tuple[str, ...]]:
    """The text without its tags, the LoRAs they call, in the order of their first call, and what was left out.

    `<lora:name>` has weight 1; `<lora:name:text:unet>`, `te=` and `unet=` weigh the two apart; `<lyco:...>` is a
    LoRA. A LoRA that is called twice counts with the sum, as if it were applied twice.
    """
    if "<" not in text:
        return text, (), ()
    calls: list[NetworkTag] = []
    warnings = []
    for kind, arguments in _TAG.findall(text):
        try:
            calls.append(_parse_call(kind, arguments.split(":")))
        except _Unusable as problem:
            warnings.append(f"<{kind}:{arguments}> is left out: {problem}")
    return _TAG.sub("", text), sum_tags(calls), tuple(warnings)


def _parse_call(kind: str, arguments: list[str]) -> NetworkTag:
    if kind == "hypernet":
        raise _Unusable("hypernetworks are not rendered here")
    if kind not in _LORA_KINDS:
        raise _Unusable(f"there is no kind {kind!r}, only lora")
    positional = [argument.strip() for argument in arguments if "=" not in argument]
    named = {key.strip(): value.strip() for key, _, value in (a.partition("=") for a in arguments if "=" in a)}
    if not positional or not positional[0]:
        raise _Unusable("it names no LoRA")
    _check_arguments(positional, named)
    text_weight = _parse_weight(named.get("te", positional[1] if len(positional) > 1 else "1"))
    unet = named.get("unet", positional[2] if len(positional) > 2 else None)
    return NetworkTag(positional[0], text_weight if unet is None else _parse_weight(unet), text_weight)


def _check_arguments(positional: list[str], named: Mapping[str, str]) -> None:
    unknown = [*positional[3:], *(key for key in named if key not in ("te", "unet"))]
    if unknown:
        raise _Unusable(f"{unknown[0]!r} means nothing here; known are te= and unet=")


def _parse_weight(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise _Unusable(f"{text!r} is not a weight")
    if abs(float(text)) > LARGEST_WEIGHT:
        raise _Unusable(f"a weight is at most {LARGEST_WEIGHT:g}")
    return float(text)


def sum_tags(tags: Iterable[NetworkTag]) -> tuple[NetworkTag, ...]:
    """The tags, those of one name as one with the sum of their weights."""
    sums: dict[str, tuple[float, float]] = {}
    for tag in tags:
        weight, text_weight = sums.get(tag.name, (0.0, 0.0))
        added = tag.weight if tag.text_weight is None else tag.text_weight
        sums[tag.name] = (weight + tag.weight, text_weight + added)
    return tuple(
        NetworkTag(name, weight, None if text_weight == weight else text_weight)
        for name, (weight, text_weight) in sums.items()
    )
