"""The pictures that a request brings along, turned into uploads before the request is accepted."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from farm.errors import FieldProblem, InvalidRequest
from farm.intake.request import ImageSettings, JobRequest
from farm.pictures import sources
from farm.pictures.clean import PictureRole
from farm.pictures.sources import Resolved
from farm.pictures.uploads import Desk
from farm.spec import budget
from farm.spec.budget import OverBudget
from farm.spec.fields import PICTURES

# Each is read or fetched while the request waits.
_MOST_BROUGHT = 64
_MOST_ADDRESSES = 8
_MOST_NOTES = 20

_Settings = TypeVar("_Settings", bound=ImageSettings)


@dataclass(frozen=True)
class _Picture:
    """What a field means: the same picture is kept differently as a mask."""

    source: str
    role: PictureRole


@dataclass(frozen=True)
class AttachedRequest:
    """A request with the ids of uploads in the place of the pictures that it brought.

    `pictures` are the ids of all that it names, `notes` say how those that it brought were read.
    """

    request: JobRequest
    pictures: frozenset[str]
    notes: tuple[str, ...] = ()


def attach_pictures(desk: Desk, request: JobRequest) -> AttachedRequest:
    """Keep the pictures that a request brought, or pointed to, as uploads.

    A picture that several rows show is kept once. Raises InvalidRequest naming every picture that cannot be
    taken; OverBudget where all together are too many pixels; Busy; StoreError.
    """
    places = dict(_places(request))
    pictures = dict.fromkeys(places.values())
    if problems := list(_too_many(pictures)):
        raise InvalidRequest(problems)
    taken, refused = _take_each(desk, pictures)
    if refused:
        raise InvalidRequest(
            [FieldProblem(place, text) for place, picture in places.items() for text in refused.get(picture, ())]
        )
    rows = [_with_ids(row, taken) for row in request.prompts]
    notes = tuple(f"{place}: {note}" for place, picture in places.items() if (note := taken[picture].note))
    attached = _with_ids(request, taken).model_copy(update={"prompts": rows})
    return AttachedRequest(attached, frozenset(resolved.id for resolved in taken.values()), notes[:_MOST_NOTES])


def _places(request: JobRequest) -> Iterator[tuple[str, _Picture]]:
    """The fields that hold a picture, and which."""
    for name, picture in _pictures(request):
        yield name, picture
    for number, row in enumerate(request.prompts):
        for name, picture in _pictures(row):
            yield f"prompts[{number}].{name}", picture


def _pictures(settings: ImageSettings) -> Iterator[tuple[str, _Picture]]:
    for name, role in PICTURES.items():
        source = getattr(settings, name)
        if source is not None:
            yield name, _Picture(source, role)


def _too_many(pictures: Collection[_Picture]) -> Iterator[FieldProblem]:
    """Uploads that are named cost nothing here, and may be any number."""
    addresses = sum(sources.is_address(picture.source) for picture in pictures)
    named = sum(sources.is_id(picture.source) for picture in pictures)
    if addresses > _MOST_ADDRESSES:
        yield FieldProblem("image", f"at most {_MOST_ADDRESSES} addresses in one request; send the pictures ahead")
    if len(pictures) - addresses - named > _MOST_BROUGHT:
        yield FieldProblem(
            "image",
            f"at most {_MOST_BROUGHT} pictures in one request; send them ahead through POST /api/v1/uploads and "
            "name them by their id",
        )


def _take_each(
    desk: Desk, pictures: Collection[_Picture]
) -> tuple[Mapping[_Picture, Resolved], Mapping[_Picture, list[str]]]:
    """Each picture that was taken, and what is wrong with each other one."""
    taken: dict[_Picture, Resolved] = {}
    refused: dict[_Picture, list[str]] = {}
    pixels = budget.for_pictures(desk.settings.max_upload_pixels)
    # Before the first is read; what is fetched is paid for as it comes.
    pixels.require(sum(sources.cost_of_source(desk, picture.source) for picture in pictures))
    for picture in pictures:
        try:
            taken[picture] = sources.resolve(desk, picture.source, role=picture.role, field="image", pixels=pixels)
        except OverBudget:
            raise
        except InvalidRequest as error:
            refused[picture] = [problem.message for problem in error.problems]
    return taken, refused


def _with_ids(settings: _Settings, taken: Mapping[_Picture, Resolved]) -> _Settings:
    changes = {name: taken[picture].id for name, picture in _pictures(settings)}
    return settings.model_copy(update=changes) if changes else settings
