"""JSON in foreign texts, and the tables by which a tool's keys become fields.

Whatever is wrong with it is said with its place: a key that stands twice, a number beyond all numbers, too deep a
nesting. Nothing of it is guessed.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from farm.formats.jsonkeys import KeyTwice, distinct
from farm.infotext.reading import Infotext, NotRead, WeightsHash, missing_pictures, of_text_alone, shown
from farm.spec.modes import MODES, USUAL_MODE
from farm.spec.samplers import split_name
from farm.spec.settingnames import in_sentence

Object = dict[str, Any]

# A prompt may begin with a brace too, in the language of wildcards: `{red|blue} bird`.
_LOOKS_LIKE = re.compile(r'\s*[{\[]\s*(?:"(?:[^"\\]|\\.){0,200}"\s*:|\{\s*")')
_WEIGHT_FILE = re.compile(r"\.(?:safetensors|sft|ckpt|pt|pth|bin|gguf)$", re.IGNORECASE)
_MOST_NAMED = 500
_MOST_CHARACTERS = 100_000
_SAID_BY_MOST = ("checkpoint", "seed", "num_inference_steps", "guidance_scale", "sampler", "width")
_NAMED_AS = {"width": "size"}
_LORA_NAME = re.compile(r"[^<>:,\n]+")


def looks_like_json(text: str) -> bool:
    return bool(_LOOKS_LIKE.match(text))


def no_number(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def read_object(text: str, what: str, constant: Callable[[str], Any] = no_number) -> Object:
    """A JSON object. Raises NotRead with the place of what is wrong; `constant` reads NaN and its like."""
    try:
        data = json.loads(text, object_pairs_hook=distinct, parse_constant=constant, parse_float=_finite)
        # Halves of surrogate pairs cannot be stored or shown.
        json.dumps(data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise NotRead(f"holds {what} that is no JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise NotRead(f"holds {what} that is nested too deeply") from None
    except UnicodeEncodeError:
        raise NotRead(f"holds {what} with half a character in it") from None
    except KeyTwice as error:
        raise NotRead(f"holds {what} that cannot be read: the key {shown(error.key)} stands there twice") from None
    except ValueError as error:
        raise NotRead(f"holds {what} that cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise NotRead(f"holds {what} that is no JSON object")
    return data


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shown(text)} is too large")
    return number


@dataclass(frozen=True)
class Entry:
    """A tool's key: the field it stands for, and how its value is read, which raises ValueError."""

    field: str
    read: Callable[[Any], Any]


@dataclass
class Taken:
    """What a tool's keys say: values by field, and what of them was left out."""

    tool: str
    values: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    hashes: list[WeightsHash] = field(default_factory=list)
    model_hash: str | None = None

    def infotext(self, prompt: str, negative_prompt: str) -> Infotext:
        """The request of these values; without a mode it is an image from text."""
        fields: dict[str, Any] = {"mode": USUAL_MODE, **self.values}
        takes_strength = "strength" in MODES[fields["mode"]].takes
        strength = None if takes_strength else fields.pop("strength", None)
        self.warnings += missing_pictures(fields["mode"])
        if "size" in fields:
            fields["width"], fields["height"] = fields.pop("size")
        if unsaid := [in_sentence(_NAMED_AS.get(name, name)) for name in _SAID_BY_MOST if name not in fields]:
            self.warnings.append(f"it does not say its {', '.join(unsaid)}: the usual ones here are taken")
        split = split_name(fields)
        request = {**split, "prompts": [prompt], "negative_prompt": negative_prompt, "dynamic_prompts": "off"}
        note = f"it was made by {self.tool}, which renders otherwise: the picture will be another"
        read = Infotext(request, (note, *self.warnings), self.model_hash, tuple(self.hashes))
        return read if strength in (None, 1) else of_text_alone(read, strength)


def take(tool: str, data: Mapping[str, Any], table: Mapping[str, Entry], harmless: frozenset[str]) -> Taken:
    """The values of the keys in a table; the other keys are named, but for harmless ones and empty values."""
    taken = Taken(tool)
    for key, entry in table.items():
        if data.get(key) is None:
            continue
        try:
            value = entry.read(data[key])
        except NotRead:
            raise
        except (ValueError, OverflowError):
            taken.warnings.append(f"{key} is left out: {shown(data[key])} is no value for it")
            continue
        if value is not None:
            taken.values[entry.field] = value
    unknown = [
        key for key, value in data.items() if key not in table and key not in harmless and not _is_off(value)
    ]
    if unknown:
        names = ", ".join(shown(name)[1:-1] for name in unknown)
        taken.warnings.append(f"left out, because it means nothing here: {names[:_MOST_NAMED]}")
    return taken


def _is_off(value: Any) -> bool:
    return not value or value in ("None", "false")


def whole(value: Any) -> int:
    """A whole number, as a number or as a text."""
    found = float(value) if isinstance(value, str) and "." in value else value
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise ValueError("no whole number")
    if isinstance(found, float) and not found.is_integer():
        raise ValueError("no whole number")
    return int(found)


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("no number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("no finite number")
    return found


def size_in(form: re.Pattern[str]) -> Callable[[Any], tuple[int, int]]:
    """What reads a size, whose width and height are the two groups of its form."""

    def read(value: Any) -> tuple[int, int]:
        match = form.fullmatch(text_of(value))
        if match is None:
            raise ValueError("no size")
        return int(match[1]), int(match[2])

    return read


def text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def name_of(value: Any) -> str | None:
    """The name of weights: what their file is called, without its folder and suffix; None where there are none."""
    name = _WEIGHT_FILE.sub("", PureWindowsPath(text_of(value)).name)
    return None if name in ("", "None", "none", "Automatic") else name


def prompt_of(data: Mapping[str, Any], key: str, what: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise NotRead(f"holds {what} whose {key} is no text: {shown(value)}")
    if len(value) > _MOST_CHARACTERS:
        raise NotRead(f"holds {what} whose {key} has more than {_MOST_CHARACTERS:,} characters")
    return value


def with_lora(prompt: str, name: str, *weights: float) -> str:
    """A prompt that calls a LoRA, with its weight, or with those for the text encoder and the UNet."""
    if not _LORA_NAME.fullmatch(name):
        raise NotRead(f"names a LoRA that no prompt can call: {shown(name)}")
    return f"{prompt} <lora:{name}:{':'.join(f'{weight:g}' for weight in weights)}>".lstrip()
