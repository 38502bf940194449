"""What is decided about a request before any view sees it: who asks, through which proxy, how much it may carry.

`web.app` registers each of these on the app. Views import `auth` for the current user and nothing else of it but
the readers of forms and paths; nothing here knows jobs.
"""
