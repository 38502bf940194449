"""The uploaded pictures and masks that specs name by their sha256."""

import io
from collections import OrderedDict
from typing import Protocol

from PIL import Image, UnidentifiedImageError

from farm.errors import CannotRender, ObjectMissing, RenderError, StoreError
from farm.store.keys import input_key
from farm.store.protocol import Store
from workers.model.storereads import Reads

_KEPT_PIXELS = 64_000_000


class Inputs(Protocol):
    """Where a mode gets its pictures from."""

    def picture(self, sha256: str) -> Image.Image:
        """An uploaded picture, RGB, or L where it is a mask. Not to be changed.

        Raises CannotRender if there is none, StoreAway while that cannot be known, else RenderError.
        """


class NoInputs:
    """For text to image alone."""

    def picture(self, sha256: str) -> Image.Image:
        raise CannotRender(f"There are no uploaded pictures here; {sha256} is one.")


class StoredInputs:
    """Uploads as the artifact store keeps them, the last ones decoded in memory: a batch often shares one."""

    def __init__(self, store: Store, reads: Reads | None = None) -> None:
        self._store = store
        self._reads = reads or Reads()
        self._decoded: OrderedDict[str, Image.Image] = OrderedDict()

    def picture(self, sha256: str) -> Image.Image:
        if sha256 not in self._decoded:
            self._decoded[sha256] = self._read(sha256)
        self._decoded.move_to_end(sha256)
        self._forget_oldest()
        return self._decoded[sha256]

    def _read(self, sha256: str) -> Image.Image:
        try:
            with self._reads.of(f"The uploaded picture {sha256}"):
                content = self._store.get(input_key(sha256))
        except ObjectMissing as error:
            raise CannotRender(f"The uploaded picture {sha256} is gone.") from error
        except StoreError as error:
            raise RenderError(f"The uploaded picture {sha256} cannot be read. {error}") from error
        try:
            picture = Image.open(io.BytesIO(content), formats=["PNG"])
            return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise CannotRender(f"The uploaded picture {sha256} does not decode.") from error

    def _forget_oldest(self) -> None:
        while len(self._decoded) > 1 and sum(p.width * p.height for p in self._decoded.values()) > _KEPT_PIXELS:
            self._decoded.popitem(last=False)
