"""What happens to rendered pixels while the device is busy with the next batch: encode, spool, upload, publish.

The loop hands over in `deliver`; the parent looks into `spool` when a child is gone. Nothing here claims
or renders.
"""
