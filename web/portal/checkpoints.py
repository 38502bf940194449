"""The page of the weights that jobs may name."""

from flask import Blueprint, render_template

from farm.reports import weights
from farm.weights import addons
from farm.weights import checkpoints as catalog
from web.portal.submit.suggestions import describe_suggestions
from web.services import services

pages = Blueprint("checkpoints_page", __name__)


@pages.get("/checkpoints")
def index() -> str:
    with services().database.begin() as session:
        checkpoints = weights.checkpoint_reports(catalog.by_name(session).values())
        added = [addon for kind in addons.KINDS for addon in addons.by_name(session, kind).values()]
        reports = weights.addon_reports(added)
    return render_template(
        "checkpoints.html",
        checkpoints=[(report, describe_suggestions(report.suggestions or {})) for report in checkpoints],
        addons=reports,
        titles=addons.TITLES,
    )
