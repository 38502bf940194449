"""Pictures from outside: uploads, masks and pictures by address, read with suspicion and written anew.

Decoding happens in processes of their own (`decoder`), within bounds of pixels, seconds and memory. `intake` and
the portal enter; nothing here knows jobs.
"""
