"""The artifact store in an S3-compatible bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import SSLError
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import boto3
from boto3.exceptions import Boto3Error, RetriesExceededError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from farm.errors import ConfigError, ObjectMissing, StoreError, StoreOutage, StoreRefused
from farm.network.addresses import is_on_this_machine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef

# No connection, no answer in time, half a body, or an answer that no S3 server gives. Not every error of the
# libraries below boto3 is translated there.
_OUTAGES = (
    *(NoConnection, HTTPClientError, IncompleteReadError, ChecksumError, FlexibleChecksumError),
    *(ResponseParserError, HTTPError, ConnectionError, TimeoutError, SSLError),
)
# What passes by itself although its status is not 5xx.
_PASSING_CODES = ("InternalError", "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException")
_PASSING_STATUSES = (408, 429)

# A reader waits an outage out and asks again: a call that hangs must be known as such within minutes.
_TRIES = 3
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
_FETCHING = TransferConfig(num_download_attempts=2)

_OPTIONS = ("endpoint", "public_endpoint", "region", "path_style")


class NotOffered(StoreError):
    """This server offers less than S3 does."""


class S3Store:
    """Keeps objects in a bucket, below a prefix. Credentials come from the usual AWS variables.

    `public_endpoint` is where browsers reach the bucket, if that differs from where the farm does.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        public_endpoint: str | None = None,
        region: str | None = None,
        path_style: bool = False,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = _client(endpoint, region, path_style)
        self._link_client = _client(public_endpoint, region, path_style) if public_endpoint else self._client

    @classmethod
    def of_url(cls, url: str) -> "S3Store":
        """Open `s3://bucket/prefix?endpoint=URL&public_endpoint=URL&region=NAME&path_style=true`."""
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        unknown = options.keys() - set(_OPTIONS)
        if unknown or not parts.netloc:
            raise ConfigError(
                f"FARM_STORE_URL: want s3://bucket/prefix with options {', '.join(_OPTIONS)}"
                + (f"; unknown: {', '.join(sorted(unknown))}" if unknown else "")
            )
        endpoint = options.get("endpoint")
        # Servers other than Amazon's seldom have a host name for each bucket.
        path_style = options.get("path_style", "true" if endpoint else "false") == "true"
        return cls(
            parts.netloc,
            parts.path,
            endpoint=endpoint,
            public_endpoint=options.get("public_endpoint"),
            region=options.get("region"),
            path_style=path_style,
        )

    def put(self, key: str, content: bytes, media_type: str) -> None:
        with _translated(f"Could not write {key}"):
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + key, Body=content, ContentType=media_type
            )

    def get(self, key: str) -> bytes:
        with _translated(f"Could not read {key}"):
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
            return content

    def put_file(self, key: str, path: Path, media_type: str) -> None:
        """In parts where it is large; the object appears with the last one."""
        with _translated(f"Could not write {key}"):
            self._client.upload_file(
                str(path), self._bucket, self._prefix + key, ExtraArgs={"ContentType": media_type}
            )

    def fetch_file(self, key: str, path: Path) -> None:
        """boto3 writes beside and renames."""
        with _translated(f"Could not read {key}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._client.download_file(self._bucket, self._prefix + key, str(path), Config=_FETCHING)

    def exists(self, key: str) -> bool:
        try:
            with _translated(f"Could not look for {key}"):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except ObjectMissing:
            return False
        return True

    def delete(self, key: str) -> None:
        with _translated(f"Could not delete {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def keys(self, prefix: str = "") -> Iterator[str]:
        with _translated("Could not list the bucket"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(self._prefix)

    def clear_leftovers(self, older_than_seconds: float) -> int:
        """Large objects that were begun and never finished: their parts are kept and paid for, and not listed."""
        latest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        begun = [upload for upload in self._begun_uploads() if upload["Initiated"] < latest]
        with _translated("Could not clear leftovers"):
            for upload in begun:
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        return len(begun)

    def _begun_uploads(self) -> list["MultipartUploadTypeDef"]:
        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            with _translated("Could not list begun uploads"):
                return [upload for page in pages for upload in page.get("Uploads", [])]
        except NotOffered:
            return []

    def link(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        parameters = {"Bucket": self._bucket, "Key": self._prefix + key}
        if filename:
            parameters["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        with _translated(f"Could not link {key}"):
            url: str = self._link_client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        return url

    def check(self) -> None:
        with _translated(f"Cannot reach the bucket {self._bucket}"):
            self._client.head_bucket(Bucket=self._bucket)


def _client(endpoint: str | None, region: str | None, path_style: bool) -> "S3Client":
    config = Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "max_attempts": _TRIES},
        s3={"addressing_style": "path" if path_style else "auto"},
        # Checksums of newer boto3 are refused by older S3-compatible servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # None: as the environment says.
        proxies={} if endpoint and is_on_this_machine(endpoint) else None,
    )
    try:
        return boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config)
    except ValueError as error:
        raise ConfigError(f"FARM_STORE_URL: {error}") from None


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _translate(doing, error) from error
    except RetriesExceededError as error:
        # Of a download: only what may pass was tried again.
        raise StoreOutage(f"{doing}: {getattr(error, 'last_exception', error)}") from error
    except Boto3Error as error:
        # Of an upload in parts: what went wrong is inside.
        if isinstance(error.__context__, ClientError):
            raise _translate(doing, error.__context__) from error
        raise StoreError(f"{doing}: {error}") from error
    except _OUTAGES as error:
        raise StoreOutage(f"{doing}: {getattr(error, 'strerror', None) or error}") from error
    except BotoCoreError as error:
        # No credentials, say.
        raise StoreRefused(f"{doing}: {error}") from error
    except OSError as error:
        # The file here, not the object there.
        raise StoreError(f"{doing}: {error.strerror or error}") from error


def _translate(doing: str, error: ClientError) -> StoreError:
    code = error.response.get("Error", {}).get("Code", "unknown")
    # The answer to HEAD has no body that could say more than 404; of a bucket it means that the bucket is missing.
    if code == "NoSuchKey" or (code == "404" and error.operation_name == "HeadObject"):
        return ObjectMissing(f"{doing}: there is no such object.")
    if code == "NotImplemented":
        return NotOffered(f"{doing}: the server does not offer this.")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _PASSING_CODES or status in _PASSING_STATUSES or status >= 500:
        return StoreOutage(f"{doing}: {code}")
    return StoreRefused(f"{doing}: {code}")
