"""From what was typed to a request: pictures sent ahead, options renamed, the mode told from what is given."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click

from farm.axistext import read_axis
from farm.cli.overruling import left_of, merged_hires, mode_for
from farm.cli.rows import PICTURES, PromptRow, SendPicture, send_picture, send_pictures
from farm.client import Client
from farm.errors import FieldProblem, InvalidRequest
from farm.requests import JobRequest, parse_request

_SIZE = re.compile(r"(\d+)\s*[xX\u00d7]\s*(\d+)")


def build_request(
    client: Client, asked: Sequence[PromptRow], options: Mapping[str, Any], before: Mapping[str, Any]
) -> JobRequest:
    """The request; `before` is what an image said that is to be rendered again, and options overrule it.

    Raises InvalidRequest.
    """
    given = _renamed({name: value for name, value in options.items() if value not in (None, (), [])})
    send = sender(client)
    rows = send_pictures(send, asked)
    names = {*given, *(name for row in rows for name in row)}
    mode = given.get("mode") or mode_for(names, before.get("mode"))
    fields = {**left_of(before, names, mode), **given, "mode": mode}
    if "hires" in given:
        fields["hires"] = merged_hires(before.get("hires"), given["hires"])
    fields["prompts"] = rows or before.get("prompts") or _no_prompt(mode)
    fields.update({name: send_picture(send, Path(), given[name], name) for name in PICTURES if name in given})
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


def _no_prompt(mode: str) -> list[str]:
    """To enlarge a picture takes no words."""
    if mode == "upscale":
        return [""]
    raise InvalidRequest([FieldProblem("prompts", "give a prompt, or a file of prompts with --file")])


def sender(client: Client) -> SendPicture:
    """Sends a picture to the farm and says what it is called there; each file once.

    Raises InvalidRequest for one that cannot be read.
    """

    @cache
    def send(path: Path, field: str) -> str:
        try:
            kept = client.upload(path, "mask" if field == "mask" else "input")
        except OSError as error:
            raise InvalidRequest([FieldProblem(field, f"{path}: {error.strerror or error}")]) from None
        if kept.note:
            click.echo(f"Warning: {path}: {kept.note}", err=True)
        return kept.id

    return send
