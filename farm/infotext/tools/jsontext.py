"""JSON in foreign texts, and the tables by which a tool's keys become fields.

Each mistake is reported with its place: a repeated key, a number that is too large, nesting that is too deep.
Nothing is guessed.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from farm.formats.jsonkeys import RepeatedKey, refuse_repeated_keys
from farm.infotext.result import Infotext, NotRead, WeightsHash, missing_pictures, set_strength_aside, shorten
from farm.spec.modes import MODES, USUAL_MODE
from farm.spec.samplers import split_name
from farm.spec.settingnames import in_sentence

Object = dict[str, Any]

# A prompt may begin with a brace too, in the language of wildcards: `{red|blue} bird`.
_LOOKS_LIKE = re.compile(r'\s*[{\[]\s*(?:"(?:[^"\\]|\\.){0,200}"\s*:|\{\s*")')
_WEIGHT_FILE = re.compile(r"\.(?:safetensors|sft|ckpt|pt|pth|bin|gguf)$", re.IGNORECASE)
_MOST_NAMED = 500
_MOST_CHARACTERS = 100_000
_USUAL_KEYS = ("checkpoint", "seed", "num_inference_steps", "guidance_scale", "sampler", "width")
_NAMED_AS = {"width": "size"}
_LORA_NAME = re.compile(r"[^<>:,\n]+")


def looks_like_json(text: str) -> bool:
    return bool(_LOOKS_LIKE.match(text))


def refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


def read_object(text: str, what: str, constant: Callable[[str], Any] = refuse_constant) -> Object:
    """A JSON object. Raises NotRead with the place of what is wrong; `constant` reads NaN and its like."""
    try:
        data = json.loads(
            text, object_pairs_hook=refuse_repeated_keys, parse_constant=constant, parse_float=_parse_finite
        )
        # Halves of surrogate pairs cannot be stored or shown.
        json.dumps(data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise NotRead(f"holds {what} that is not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise NotRead(f"holds {what} that is nested too deeply") from None
    except UnicodeEncodeError:
        raise NotRead(f"holds {what} with half a character in it") from None
    except RepeatedKey as error:
        raise NotRead(f"holds {what} that cannot be read: the key {shorten(error.key)} is repeated") from None
    except ValueError as error:
        raise NotRead(f"holds {what} that cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise NotRead(f"holds {what} that is not a JSON object")
    return data


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shorten(text)} is too large")
    return number


@dataclass(frozen=True)
class KeyRule:
    """How one key of a tool is read: its field, and the reader of its value, which raises ValueError."""

    field: str
    read: Callable[[Any], Any]


@dataclass
class ToolValues:
    """What was read from a tool's keys: values by field, warnings of what was left out, and hashes."""

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
        if missing := [in_sentence(_NAMED_AS.get(name, name)) for name in _USUAL_KEYS if name not in fields]:
            self.warnings.append(f"it does not name its {', '.join(missing)}: the farm's defaults are used")
        split = split_name(fields)
        request = {**split, "prompts": [prompt], "negative_prompt": negative_prompt, "dynamic_prompts": "off"}
        note = f"it was made by {self.tool}, which renders differently: the picture will not be the same"
        read = Infotext(request, (note, *self.warnings), self.model_hash, tuple(self.hashes))
        return read if strength in (None, 1) else set_strength_aside(read, strength)


def collect_values(
    tool: str, data: Mapping[str, Any], table: Mapping[str, KeyRule], harmless: frozenset[str]
) -> ToolValues:
    """The values of the keys in a table; the other keys are named, but for harmless ones and empty values."""
    collected = ToolValues(tool)
    for key, entry in table.items():
        if data.get(key) is None:
            continue
        try:
            value = entry.read(data[key])
        except NotRead:
            raise
        except (ValueError, OverflowError):
            collected.warnings.append(f"{key} is left out: {shorten(data[key])} is no value for it")
            continue
        if value is not None:
            collected.values[entry.field] = value
    unknown = [
        key for key, value in data.items() if key not in table and key not in harmless and not _is_off(value)
    ]
    if unknown:
        names = ", ".join(shorten(name)[1:-1] for name in unknown)
        collected.warnings.append(f"left out, because it means nothing here: {names[:_MOST_NAMED]}")
    return collected


def _is_off(value: Any) -> bool:
    return not value or value in ("None", "false")


def read_whole(value: Any) -> int:
    """A whole number, as a number or as a text."""
    found = float(value) if isinstance(value, str) and "." in value else value
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise ValueError("not a whole number")
    if isinstance(found, float) and not found.is_integer():
        raise ValueError("not a whole number")
    return int(found)


def read_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("not a finite number")
    return found


def read_size_in(form: re.Pattern[str]) -> Callable[[Any], tuple[int, int]]:
    """A reader of sizes, whose width and height are the two groups of its form."""

    def read(value: Any) -> tuple[int, int]:
        match = form.fullmatch(read_string(value))
        if match is None:
            raise ValueError("no size")
        return int(match[1]), int(match[2])

    return read


def read_string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def read_weights_name(value: Any) -> str | None:
    """The name of weights: the name of their file without folder and suffix; None where no weights are named."""
    name = _WEIGHT_FILE.sub("", PureWindowsPath(read_string(value)).name)
    return None if name in ("", "None", "none", "Automatic") else name


def read_prompt(data: Mapping[str, Any], key: str, what: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise NotRead(f"holds {what} whose {key} is not a text: {shorten(value)}")
    if len(value) > _MOST_CHARACTERS:
        raise NotRead(f"holds {what} whose {key} has more than {_MOST_CHARACTERS:,} characters")
    return value


def append_lora_tag(prompt: str, name: str, *weights: float) -> str:
    """The prompt with a LoRA tag, with one weight, or with those for the text encoder and the UNet."""
    if not _LORA_NAME.fullmatch(name):
        raise NotRead(f"names a LoRA that a prompt cannot name: {shorten(name)}")
    return f"{prompt} <lora:{name}:{':'.join(f'{weight:g}' for weight in weights)}>".lstrip()
