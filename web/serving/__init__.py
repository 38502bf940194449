"""The server under the portal: connections, requests as they arrive, answers as they leave.

A request takes a thread only once it is complete, and returns it before its answer is sent: a slow client costs a
connection and a buffer, never a thread. It knows the portal only as a WSGI application, and by the keys of
`web.guard.admission`; only `web.server` imports from here.

    connections     how many an address may have open, and which one is closed for a new one
    protocol        uvicorn's, with an end to what arrives or leaves too slowly
    pace            how slow is too slow
    bodies          bodies and answers on their way, in memory or on disk
    heads           a request whose head is there
    wsgi            a whole request as a call of the portal
    asgi            the ASGI application that connects these
"""
