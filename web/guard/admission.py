"""The keys by which the server and the portal exchange facts about a request, in addition to WSGI's.

A larger body is read only once the portal accepts it, so the server first calls the portal with the head alone, for
authentication, routing and the size limit. The body of a refused request is never read. The check comes after all
others before a request: `register` is called last.
"""

from flask import Flask, Response, request

from web.guard.limits import limit_of

HEAD_ONLY = "farm.head_only"
"""In the environ while the server calls with the head alone."""
BODY_LIMIT = "farm.body_limit"
"""In the environ once the portal accepts the body: the most bytes that it may have."""
PEER = "farm.peer"
"""Address and port of both ends of the connection; missing where the request did not come through our server."""
ANSWER_AFTER = "farm.answer_after"
"""In the environ of a request whose answer is delayed for so many seconds."""


def register(app: Flask) -> None:
    app.before_request(_want_body)


def _want_body() -> Response | None:
    # An unknown address or method is refused in the usual way.
    if HEAD_ONLY not in request.environ or request.routing_exception:
        return None
    request.environ[BODY_LIMIT] = limit_of(request.endpoint)
    return Response(status=204)
