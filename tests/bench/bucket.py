"""An S3 server for a measurement, and the images that it keeps."""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import boto3
import numpy as np
from moto.server import ThreadedMotoServer
from PIL import Image

BUCKET = "bench"

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def run_bucket() -> Iterator[str]:
    """A server with the empty BUCKET; its address. What we start meanwhile has the credentials."""
    # It would report each request.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        with patch.dict(os.environ, _CREDENTIALS):
            host, port = server.get_host_and_port()
            endpoint = f"http://{host}:{port}"
            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
            yield endpoint
    finally:
        server.stop()


def read_pixels(content: bytes) -> np.ndarray:
    """The pixels of an image file: uint8 of shape (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
