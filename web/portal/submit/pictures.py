"""The pictures of the submit form: kept as uploads once sent, so that mistakes elsewhere do not lose them."""

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy.orm import Session

from farm.errors import FieldProblem, InvalidRequest, NotFound
from farm.pictures import uploads
from farm.pictures.uploads import Desk
from farm.reports.shapes import UploadReport
from farm.spec.digests import is_digest
from farm.spec.fields import PICTURES
from web.portal.submit.form import SubmitForm


def take_files(desk: Desk, form: SubmitForm, files: Mapping[str, bytes]) -> tuple[SubmitForm, list[FieldProblem]]:
    """The form with the ids of the uploaded files, and the problems of the others. Raises StoreError."""
    values = {name: text for name, text in form.values.items() if name not in PICTURES}
    problems: list[FieldProblem] = []
    notes: list[str] = []
    for name in PICTURES.keys() & form.values.keys():
        before = form.values[name]
        values[name] = before if is_digest(before) else ""
        if f"{name}_file" in files:
            try:
                report = uploads.keep(desk, files[f"{name}_file"], role=PICTURES[name], field=name).report
                values[name] = report.id
                notes += [report.note] if report.note else []
            except InvalidRequest as error:
                problems += error.problems
    return replace(form, values=values, notes=(*form.notes, *notes)), problems


def show_all(session: Session, desk: Desk, digests: Mapping[str, str]) -> dict[str, UploadReport]:
    """The uploads of these ids, by the same names; missing ones are left out."""
    found = {}
    for name, digest in digests.items():
        if is_digest(digest):
            try:
                found[name] = uploads.show(session, desk, digest)
            except NotFound:
                continue
    return found


def pictures_of(form: SubmitForm) -> dict[str, str]:
    """The ids of the form's uploads, by field."""
    return {name: form.values[name] for name in PICTURES if form.values.get(name)}
