"""Signed, expiring links to objects that the portal serves itself."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from itsdangerous import Signer

from farm.errors import FarmError

_ROUND_SECONDS = 600


class BadLink(FarmError):
    """This link is not valid, or no longer."""


class LinkSigner:
    """Signs links with the farm's secret key and checks them; `base_path` is where the portal lies on its host."""

    def __init__(self, secret_key: str, base_path: str = "") -> None:
        self._base_path = base_path.rstrip("/")
        # The library's own choices would change with it, and while a farm is updated two portals sign and check.
        self._signer = Signer(
            secret_key, salt="farm.store.links", key_derivation="django-concat", digest_method=hashlib.sha1
        )

    def sign(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """A path for the portal. The end is rounded up, so that a page shown again finds its images cached."""
        expires = (int(time.time()) + seconds) // _ROUND_SECONDS * _ROUND_SECONDS + _ROUND_SECONDS
        query = {"expires": str(expires), **({"filename": filename} if filename else {})}
        query["signature"] = self._signature(key, query)
        return f"{self._base_path}/files/{quote(key)}?{urlencode(query)}"

    def check(self, key: str, query: Mapping[str, str]) -> None:
        """Raise BadLink unless this key and query were signed here and have not expired."""
        signed = {name: query[name] for name in ("expires", "filename") if name in query}
        # As bytes: compare_digest refuses text that is not ASCII, and anybody may send such.
        if not hmac.compare_digest(query.get("signature", "").encode(), self._signature(key, signed).encode()):
            raise BadLink
        if int(signed["expires"]) < time.time():
            raise BadLink("This link has expired; open the page again for a new one.")

    def _signature(self, key: str, query: Mapping[str, str]) -> str:
        return self._signer.get_signature(f"{key}\n{urlencode(sorted(query.items()))}").decode()
