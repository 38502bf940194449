"""The pictures that a request brings along, turned into uploads before the request is accepted."""

from collections.abc import Iterator
from typing import Any, TypeVar

from farm import uploads
from farm.errors import FieldProblem, InvalidRequest
from farm.pictures import Role
from farm.requests import ImageSettings, JobRequest
from farm.uploads import Desk

_MOST_ADDRESSES = 8

_ROLES: dict[str, Role] = {"image": "input", "mask": "mask"}

_Settings = TypeVar("_Settings", bound=ImageSettings)


def take_in(desk: Desk, request: JobRequest) -> JobRequest:
    """The request with the ids of uploads in the place of what it brought or where it pointed.

    Raises InvalidRequest naming every picture that cannot be taken; StoreError.
    """
    problems = list(_too_many_addresses(request))
    if problems:
        raise InvalidRequest(problems)
    taken = _taken(desk, request, "", problems)
    rows = [_taken(desk, row, f"prompts[{number}].", problems) for number, row in enumerate(request.prompts)]
    if problems:
        raise InvalidRequest(problems)
    return taken.model_copy(update={"prompts": rows})


def _too_many_addresses(request: JobRequest) -> Iterator[FieldProblem]:
    """Each is fetched while the request waits, and may take its time."""
    sources = [source for settings in (request, *request.prompts) for source in (settings.image, settings.mask)]
    if sum(source is not None and source.lower().startswith("http") for source in sources) > _MOST_ADDRESSES:
        yield FieldProblem("image", f"at most {_MOST_ADDRESSES} addresses in one request; send the pictures ahead")


def _taken(desk: Desk, settings: _Settings, path: str, problems: list[FieldProblem]) -> _Settings:
    changes: dict[str, Any] = {}
    for name, role in _ROLES.items():
        source = getattr(settings, name)
        if source is None:
            continue
        try:
            changes[name] = uploads.resolve(desk, source, role=role, field=f"{path}{name}")
        except InvalidRequest as error:
            problems.extend(error.problems)
    return settings.model_copy(update=changes) if changes else settings
