"""From what was typed to a request: pictures sent ahead, options renamed, the mode inferred from what is given."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click

from farm.cli.again import infer_mode, keep_fields, merge_hires
from farm.cli.rows import RequestedRow, SendPicture, send_picture, send_pictures
from farm.client import Client
from farm.errors import InvalidRequest
from farm.intake.request import JobRequest, parse_request
from farm.intake.sweeps.axistext import read_axis
from farm.spec.fields import PICTURES
from farm.spec.modes import MODES
from farm.spec.settingnames import OTHER_NAMES
from farm.spec.sizes import read_size

_PASS = "hires."


def build_request(
    client: Client, asked: Sequence[RequestedRow], options: Mapping[str, Any], before: Mapping[str, Any]
) -> JobRequest:
    """The request; `before` is what an image said that is to be rendered again, and options overrule it.

    Raises InvalidRequest.
    """
    given = _renamed({name: value for name, value in options.items() if value not in (None, (), [])})
    send = sender(client)
    rows = send_pictures(send, asked)
    names = {*given, *(name for row in rows for name in row)}
    mode = given.get("mode") or infer_mode(names, before.get("mode"))
    fields = {**keep_fields(before, names, mode), **given, "mode": mode}
    if "hires" in given:
        fields["hires"] = merge_hires(before.get("hires"), given["hires"])
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
    fields = {name: OTHER_NAMES.get(name, "") for name in given}
    found = {fields[name].removeprefix(_PASS): given[name] for name in given if fields[name].startswith(_PASS)}
    target = given.get("hires")
    if target is None:
        return found
    if size := read_size(target):
        return {**found, "width": size[0], "height": size[1]}
    return {**found, "scale": target}


def _no_prompt(mode: str) -> list[str]:
    """To enlarge a picture takes no words."""
    if mode in MODES and not MODES[mode].needs_prompt:
        return [""]
    raise InvalidRequest.at("prompts", "give a prompt, or a file of prompts with --file")


def sender(client: Client) -> SendPicture:
    """Sends a picture to the farm and says what it is called there; each file once.

    Raises InvalidRequest for one that cannot be read.
    """

    @cache
    def send(path: Path, field: str) -> str:
        try:
            kept = client.upload(path, PICTURES[field])
        except OSError as error:
            raise InvalidRequest.at(field, f"{path}: {error.strerror or error}") from None
        if kept.note:
            click.echo(f"Warning: {path}: {kept.note}", err=True)
        return kept.id

    return send
