"""The submit form filled with what a job asked for, or what made an image, to be submitted again."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from farm.errors import InvalidRequest
from farm.infotext import Infotext, read_file
from farm.intake.request import JobRequest, parse_request
from farm.intake.rows import read_request
from farm.weights import addons, checkpoints
from farm.weights.hashmatch import RegisteredHashes, match_registered
from web.portal.submit import axes
from web.portal.submit.form import SubmitForm, as_text, usual_values

_OWN_SETTINGS = "Some prompts of that job had settings of their own; here are those of the job alone."
_SEVERAL_LINES = "Line breaks inside a prompt became spaces: each line is a prompt here."

# They belong to the job that had them.
_PAST = frozenset({"not_before", "deadline"})


def form_of_job(session: Session, job_id: int, key: str) -> SubmitForm:
    """The form for what a job asked for. Raises NotFound."""
    return _filled(read_request(session, job_id), key)


def form_of_image(session: Session, content: bytes, key: str) -> SubmitForm:
    """The form for what an image file says of itself. Raises InvalidRequest where it says nothing."""
    read = match_registered(_read(content), _registered(session))
    request, left_out = _as_far_as_it_goes(read.fields)
    return _filled(request, key, [*read.warnings, *left_out])


def _registered(session: Session) -> RegisteredHashes:
    added = [addon for kind in addons.KINDS for addon in addons.by_name(session, kind).values()]
    return RegisteredHashes(
        {name: checkpoint.sha256 for name, checkpoint in checkpoints.by_name(session).items()},
        {(addon.kind, addon.name): addon.sha256 for addon in added},
        {(addon.kind, addon.name): tuple(addon.source_hashes) for addon in added},
    )


def _read(content: bytes) -> Infotext:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image"
        file.write_bytes(content)
        return read_file(file)


def _as_far_as_it_goes(fields: Mapping[str, Any]) -> tuple[JobRequest, list[str]]:
    """The request of these fields without those that cannot be, and what was left out."""
    try:
        return parse_request(fields), []
    except InvalidRequest as error:
        wrong = {problem.field.partition(".")[0].partition("[")[0] for problem in error.problems}
        kept = {name: value for name, value in fields.items() if name not in wrong or name == "prompts"}
        return parse_request(kept), [f"left out: {problem.field} {problem.message}" for problem in error.problems]


def _filled(request: JobRequest, key: str, notes: Sequence[str] = ()) -> SubmitForm:
    return SubmitForm(
        request.mode,
        key,
        _values(request),
        tuple(request.styles or ()),
        notes=(*notes, *_losses(request)),
    )


def _values(request: JobRequest) -> dict[str, str]:
    given = request.model_dump(mode="json", by_alias=True, exclude_none=True)
    given |= {f"hires.{name}": value for name, value in given.pop("hires", {}).items()}
    values = usual_values(request.mode)
    filled = {name: as_text(given[name]) for name in values if name in given and name not in _PAST}
    prompts = "\n".join(" ".join(row.prompt.splitlines()) for row in request.prompts)
    return {**values, **filled, **axes.fill(request.axes), "prompts": prompts}


def _losses(request: JobRequest) -> list[str]:
    has_own = any(len(row.model_dump(exclude_none=True)) > 1 for row in request.prompts)
    is_broken = any(len(row.prompt.splitlines()) > 1 for row in request.prompts)
    return [note for note, is_so in ((_OWN_SETTINGS, has_own), (_SEVERAL_LINES, is_broken)) if is_so]
