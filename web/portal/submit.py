"""The page that submits a job."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from farm import catalog, intake
from farm.errors import IdempotencyConflict, InvalidRequest
from farm.intake import Submitted
from farm.samplers import SAMPLERS
from farm.specs import parse_request
from web.auth import current_user
from web.portal.form import SubmitForm, by_field, empty_form, sent_form
from web.services import services

pages = Blueprint("submit", __name__)

_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SENT_BEFORE = "This form was sent before, with other values. Submit again to make a second job of it."


@pages.get("/submit")
def show() -> str:
    return _page(empty_form(_new_key()))


@pages.post("/submit")
def submit() -> Response:
    """Make the job and show it, or show the form again with what is wrong beside each field.

    The form carries an idempotency key: sent twice, by a double click say, it makes one job.
    """
    form = sent_form(request.form, _key_of(request.form))
    try:
        submitted = _submit(form)
    except InvalidRequest as error:
        return make_response(_page(replace(form, problems=by_field(error.problems))), 422)
    except IdempotencyConflict:
        again = replace(form, key=_new_key(), problems={"": [_SENT_BEFORE]})
        return make_response(_page(again), 409)
    return make_response(redirect(url_for("portal.show", job_id=submitted.job_id), 303))


def _submit(form: SubmitForm) -> Submitted:
    farm = services()
    return intake.submit(
        farm.database,
        farm.settings,
        farm.doorbell,
        parse_request(form.request),
        owner=current_user(),
        idempotency_key=form.key,
    )


def _page(form: SubmitForm) -> str:
    with services().database.begin() as session:
        checkpoints = list(catalog.by_name(session))
    return render_template("submit.html", form=form, checkpoints=checkpoints, samplers=list(SAMPLERS))


def _key_of(sent: Mapping[str, str]) -> str:
    key = sent.get("idempotency_key", "")
    return key if _KEY.fullmatch(key) else _new_key()


def _new_key() -> str:
    return secrets.token_urlsafe(16)
