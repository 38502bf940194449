"""Where artifacts are kept: one protocol, with a folder or an S3-compatible bucket behind it.

`protocol` opens the store, `keys` alone writes and reads the names of its objects, `links` signs the addresses that
the portal serves. boto3 is imported here and nowhere else. Nothing here opens the database.
"""
