"""The portal: the API and the pages. It is only a client of `farm`.

`server` runs it, `app` puts it together, `guard` decides about a request before a view sees it, `api` and `portal`
are the views, `serving` is the HTTP server. A view does nothing that a script using `farm` could not, and nothing
here imports the tables or `workers`.
"""
