"""Pictures from outside: uploads, masks and pictures by address, read with suspicion and stored as new files.

Decoding happens in processes of their own (`decoder`), within bounds of pixels, seconds and memory. `intake` and
the portal enter; of jobs nothing here knows more than that they need an upload.
"""
