"""What the server and the portal say to each other about a request, beside what WSGI says.

A body that is more than small is read only once the portal wants it, so the server asks with the head alone first:
who asks, for what, and how large it will be. What is refused by then is never read. The question stands behind all
others that are asked before a request: `register` comes last.
"""

from flask import Flask, Response, request

from web.guard.limits import limit_of

HEAD_ONLY = "farm.head_only"
"""In the environ while the server asks with the head alone."""
BODY_LIMIT = "farm.body_limit"
"""In the environ once the portal wants the body: the most bytes that it takes."""
PEER = "farm.peer"
"""Address and port of both ends of the connection; missing where no server of ours hands the request over."""
ANSWER_AFTER = "farm.answer_after"
"""In the environ of a request whose answer is to be held back for so many seconds."""


def register(app: Flask) -> None:
    app.before_request(_want_body)


def _want_body() -> Response | None:
    # An address that there is not, or that takes no such method, is refused as ever.
    if HEAD_ONLY not in request.environ or request.routing_exception:
        return None
    request.environ[BODY_LIMIT] = limit_of(request.endpoint)
    return Response(status=204)
