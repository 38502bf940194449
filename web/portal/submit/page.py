"""The page that submits a job."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from farm.errors import FieldProblem, IdempotencyConflict, InvalidRequest, NotFound
from farm.intake import submit as intake
from farm.intake.request import JobRequest, parse_request
from farm.intake.submit import Preview
from farm.reports.shapes import PreviewReport
from farm.spec.modes import MODES, USUAL_MODE
from web.guard.auth import current_user
from web.guard.multipart import read_form
from web.guard.paths import MAX_ID
from web.portal.submit.choices import WORDS, read_choices
from web.portal.submit.filling import form_of_image, form_of_job
from web.portal.submit.form import SubmitForm, empty_form, sent_form, switch_mode
from web.portal.submit.pictures import pictures_of, show_all, take_files
from web.services import services

pages = Blueprint("submit", __name__)

_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_IMAGE_TO_READ = "read_file"
_SENT_BEFORE = "This form was sent before, with other values. Submit again to make a second job of it."


@pages.get("/submit")
def show() -> str:
    """An empty form, or one filled with what the job `from` asked for."""
    job_id = request.args.get("from", type=int)
    if job_id is None:
        return _page(empty_form(_mode_of(request.args), _new_key()))
    if not 0 <= job_id <= MAX_ID:
        raise NotFound(f"There is no job {job_id}.")
    with services().database.begin() as session:
        form = form_of_job(session, job_id, _new_key())
    return _page(form)


@pages.post("/submit")
def submit() -> Response:
    """Make the job and show it, or show the form again with what is wrong beside each field.

    1. Keep the pictures, so that whatever is wrong they need not be sent again.
    2. Asked for another mode, or to read what an image says of itself, show that form.
    3. Asked to check, say what the job would be; else submit.

    The form carries an idempotency key: sent twice, by a double click say, it makes one job.
    """
    sent, files = read_form(request)
    form = sent_form(_mode_of(sent), _key_of(sent), sent)
    desk = services().desk_of(current_user())
    form, problems = take_files(desk, form, files)
    if sent.get("switch") in MODES:
        return make_response(_page(switch_mode(form, sent["switch"]).with_problems(problems)))
    try:
        if sent.get("action") == "read":
            return make_response(_page(_form_of_image(files, form.key)))
        wanted = _read(form, problems)
        if sent.get("action") == "check":
            return make_response(_page(form, intake.preview(desk, wanted)))
        job_id = intake.accept(desk, services().doorbell, wanted, idempotency_key=form.key).job_id
    except InvalidRequest as error:
        return make_response(_page(form.with_problems(error.problems)), 422)
    except IdempotencyConflict:
        again = replace(form, key=_new_key(), problems={"": [_SENT_BEFORE]})
        return make_response(_page(again), 409)
    return make_response(redirect(url_for("portal.show", job_id=job_id), 303))


def _form_of_image(files: Mapping[str, bytes], key: str) -> SubmitForm:
    """Raises InvalidRequest where no image came that says what made it."""
    if _IMAGE_TO_READ not in files:
        raise InvalidRequest.at(_IMAGE_TO_READ, "choose an image first")
    with services().database.begin() as session:
        try:
            return form_of_image(session, files[_IMAGE_TO_READ], key)
        except InvalidRequest as error:
            problems = [FieldProblem(_IMAGE_TO_READ, f"it {problem.message}") for problem in error.problems]
            raise InvalidRequest(problems) from None


def _read(form: SubmitForm, problems: list[FieldProblem]) -> JobRequest:
    """The request of a form. Raises InvalidRequest with all that is wrong, these problems among it."""
    data, misread = form.read()
    try:
        wanted = parse_request(data)
    except InvalidRequest as error:
        raise InvalidRequest([*problems, *misread, *error.problems]) from None
    if problems or misread:
        raise InvalidRequest([*problems, *misread])
    return wanted


def _page(form: SubmitForm, preview: Preview | None = None) -> str:
    farm = services()
    with farm.database.begin() as session:
        choices = read_choices(session, form.mode)
        pictures = show_all(session, farm.desk_of(current_user()), pictures_of(form))
    return render_template(
        "submit.html",
        form=form,
        modes=MODES,
        choices=choices,
        words=WORDS,
        pictures=pictures,
        preview=PreviewReport.model_validate(preview) if preview else None,
        max_upload_bytes=farm.settings.max_upload_bytes,
    )


def _mode_of(sent: Mapping[str, str]) -> str:
    mode = sent.get("mode", "")
    return mode if mode in MODES else USUAL_MODE


def _key_of(sent: Mapping[str, str]) -> str:
    key = sent.get("idempotency_key", "")
    return key if _KEY.fullmatch(key) else _new_key()


def _new_key() -> str:
    return secrets.token_urlsafe(16)
