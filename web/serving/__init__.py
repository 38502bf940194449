"""The server under the portal: connections, requests as they arrive, answers as they leave.

A request takes a thread only once it is whole, and gives it back before its answer is sent: whoever sends or
reads slowly costs a connection and a buffer, never a thread. It knows the portal as a WSGI application, and by what
`web.guard.admission` says; only `web.server` enters.

    connections     how many an address may have open, and which one makes room
    protocol        uvicorn's, with an end to what arrives or leaves too slowly
    pace            how slow is too slow
    bodies          bodies and answers on their way, in memory or on disk
    heads           a request whose head is there
    wsgi            a whole request as a call of the portal
    front           from one to the other
"""
