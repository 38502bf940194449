"""What a worker reports of its device: what it is, which checkpoints lie on it and on its host, when it is free."""

from collections import OrderedDict

from farm.queue.claim import Batch, ClaimedCheckpoint
from farm.queue.workers.fleet import DeviceReport
from workers.renderer import Renderer

_MOST_KNOWN = 64
"""Of so many checkpoints, the last ones that were claimed, it is said whether their weights lie on the host."""


class DeviceState:
    """The state of one device; it knows the checkpoints that were claimed for it."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._known: OrderedDict[int, ClaimedCheckpoint] = OrderedDict()

    def note(self, batch: Batch) -> None:
        """A batch was claimed: its checkpoint, and the one that should come next, may lie here from now on."""
        for checkpoint in (batch.next_checkpoint, batch.checkpoint):
            if checkpoint is not None:
                self._known[checkpoint.id] = checkpoint
                self._known.move_to_end(checkpoint.id)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    def report(self, busy_seconds: float | None = None) -> DeviceReport:
        """How things stand; `busy_seconds` is how long the batch should take that begins now."""
        return DeviceReport(
            self._renderer.device_class,
            self._renderer.memory_bytes,
            tuple(self._renderer.resident_ids),
            tuple(self._renderer.cached_ids(self._known.values())),
            busy_seconds,
        )
