"""Which user sends a request: the one of an API key, or on loopback `local`, the user who runs the portal."""

import re
import time

import structlog
from flask import Flask, current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, TooManyRequests, Unauthorized

from farm import accounts
from farm.accounts import LOCAL_USER
from farm.config import Settings
from web.guard import peers
from web.guard.addresses import share_of
from web.guard.admission import ANSWER_AFTER, PEER
from web.guard.foreign import is_private
from web.guard.refusals import Refusals, RefusalVerdict
from web.services import services

log = structlog.get_logger(__name__)

# Probes have no key; links to files are signed; the style sheet is no secret.
_OPEN_PATHS = ("/healthz", "/readyz", "/files/", "/static/")


_KEY_PREFIX = re.compile(r"farm_([0-9a-f]{8})_")
_SLOWED_SECONDS = 1.0
_REFUSALS = "farm-refusals"


def register(app: Flask, settings: Settings) -> None:
    """Identify the user before each request; unless the portal is private, refuse requests without a valid key."""
    app.extensions[_REFUSALS] = Refusals()
    if is_private(settings):
        allowed = peers.allowed_uids(settings)
        app.before_request(lambda: _identify_user(allowed))
    else:
        app.before_request(_require_user)


def current_user() -> str:
    """The name of the user of the current request, who owns the jobs submitted by it."""
    name: str = g.user
    return name


def _identify_user(allowed: frozenset[int] | None) -> None:
    if request.authorization is not None:
        g.user = _authenticate()
    elif not request.path.startswith(_OPEN_PATHS):
        _check_local(allowed)
        g.user = LOCAL_USER


def _check_local(allowed: frozenset[int] | None) -> None:
    """Refuse other users of this machine. Without a connection the portal was called by its own process."""
    ends = request.environ.get(PEER)
    if allowed is None or ends is None or (uid := peers.find_peer_uid(ends)) in allowed:
        return
    who = "an unknown user" if uid is None else f"the user with the id {uid}"
    raise _refusal(
        f"Without a key this portal serves only the user who runs it, and you are {who} on this machine. "
        "FARM_LOCAL_USERS may name others, or send an API key."
    )


def _require_user() -> None:
    if not request.path.startswith(_OPEN_PATHS):
        g.user = _authenticate()


def _authenticate() -> str:
    """The user of a bearer key, or of a key given as Basic password, which is how a browser can send one."""
    given = request.authorization
    key = given and (given.token or given.password)
    if not key:
        raise _refusal("An API key is required.")
    with services().database.begin() as session:
        name = accounts.user_of_key(session, key)
    if name is None:
        raise _refuse_key(key)
    return name


def _refuse_key(key: str) -> HTTPException:
    """The refusal of a key, logged and counted; many from one address are delayed, without holding a thread."""
    address = request.remote_addr or ""
    verdict = _get_refusals().count(share_of(address), time.monotonic())
    _log_refusal(verdict, address, key)
    if verdict.wait_seconds is None:
        return _refusal("This API key is not valid.")
    request.environ[ANSWER_AFTER] = _SLOWED_SECONDS
    return TooManyRequests(
        "This API key is not valid, nor were many others from this address. A valid one is always accepted.",
        retry_after=verdict.wait_seconds,
    )


def _get_refusals() -> Refusals:
    found: Refusals = current_app.extensions[_REFUSALS]
    return found


def _log_refusal(verdict: RefusalVerdict, address: str, key: str) -> None:
    """Log the address and the key's prefix, which is no secret; of many tries only the first."""
    if not verdict.is_logged:
        return
    known = _KEY_PREFIX.match(key)
    log.warning(
        "An API key that is not valid was refused.",
        address=address,
        key=f"farm_{known[1]}_..." if known else "not one of a farm",
        path=request.path,
    )
    if verdict.is_last_logged:
        log.warning("Further keys from this address are not logged for a minute.", address=address)


def _refusal(what: str) -> Unauthorized:
    return Unauthorized(
        f"{what} Send it as `Authorization: Bearer KEY`, or as the password of HTTP Basic.",
        www_authenticate=WWWAuthenticate("basic", {"realm": "Diffusion Farm"}),
    )
