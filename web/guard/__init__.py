"""What is decided about a request before any view sees it: who asks, through which proxy, how much it may carry.

`web.app` registers each of these on the app; views take the current user and the readers of forms and paths from
here, the server the keys of `admission`. Nothing here knows jobs.
"""
