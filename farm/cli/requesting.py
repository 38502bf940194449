"""From what was typed to a request: pictures sent ahead, options renamed, the mode told from what is given."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from farm.axistext import read_axis
from farm.client import Client
from farm.errors import FieldProblem, InvalidRequest
from farm.promptfile import read_prompts
from farm.requests import JobRequest, parse_request

_SIZE = re.compile(r"(\d+)\s*[xX\u00d7]\s*(\d+)")

_CALLS_FOR: Sequence[tuple[frozenset[str], str]] = (
    (frozenset({"mask", "masked_content", "area", "padding", "invert_mask"}), "inpaint"),
    (frozenset({"left", "right", "top", "bottom", "aspect"}), "outpaint"),
    (frozenset({"scale", "upscaler", "tile", "overlap"}), "upscale"),
    (frozenset({"image", "strength", "resize_mode"}), "img2img"),
)


def build_request(
    client: Client, prompts: Sequence[str], file: Path | None, options: Mapping[str, Any], before: Mapping[str, Any]
) -> JobRequest:
    """The request; `before` is what an image said that is to be rendered again, and options overrule it.

    Raises InvalidRequest.
    """
    given = {name: value for name, value in options.items() if value not in (None, (), [])}
    fields = {**before, **_renamed(given)}
    fields["prompts"] = _rows(client, prompts, file) or fields.get("prompts") or _no_prompt(fields)
    fields.setdefault("mode", _mode_for({*fields, *(name for row in fields["prompts"] for name in _names(row))}))
    send = sender(client)
    fields.update(
        {name: send(fields[name], name) for name in ("image", "mask") if isinstance(fields.get(name), Path)}
    )
    return parse_request(fields)


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in given.items() if not name.startswith("hires") and name != "is_zipped"}
    if "axes" in given:
        fields["axes"] = [read_axis(text) for text in given["axes"]]
    if given.get("is_zipped"):
        fields["combine"] = "zip"
    if hires := _hires(given):
        fields["hires"] = hires
    return fields


def _hires(given: Mapping[str, Any]) -> dict[str, Any]:
    names = {"hires_steps": "num_inference_steps", "hires_strength": "strength", "hires_upscaler": "upscaler"}
    found = {names[name]: value for name, value in given.items() if name in names}
    target = given.get("hires")
    if target is None:
        return found
    if match := _SIZE.fullmatch(target):
        return {**found, "width": int(match[1]), "height": int(match[2])}
    return {**found, "scale": target}


def _names(row: Any) -> list[str]:
    return list(row) if isinstance(row, dict) else []


def _mode_for(names: set[str]) -> str:
    """The mode that what is given calls for: a mask is for inpainting, whatever else is there."""
    return next((mode for tells, mode in _CALLS_FOR if names & tells), "txt2img")


def _no_prompt(fields: Mapping[str, Any]) -> list[str]:
    """To enlarge a picture takes no words."""
    if fields.get("mode") == "upscale" or (_mode_for(set(fields)) == "upscale" and "mode" not in fields):
        return [""]
    raise InvalidRequest([FieldProblem("prompts", "give a prompt, or a file of prompts with --file")])


def _rows(client: Client, prompts: Sequence[str], file: Path | None) -> list[Any]:
    rows: list[Any] = list(prompts)
    if file is None:
        return rows
    send = sender(client)
    for row in read_prompts(file):
        fields = row.model_dump(mode="json", exclude_none=True)
        for name in ("image", "mask"):
            if name in fields and (path := file.parent / fields[name]).is_file():
                fields[name] = send(path, name)
        rows.append(fields)
    return rows


def sender(client: Client) -> Callable[[Path, str], str]:
    """Sends a picture to the farm and says what it is called there; each file once."""

    @cache
    def send(path: Path, field: str) -> str:
        return client.upload(path, "mask" if field == "mask" else "input").id

    return send
