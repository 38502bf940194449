"""The render of one claimed batch: its progress is reported, and between steps the worker's orders are checked."""

import time
from collections.abc import Sequence

from farm.crashpoints import reach
from farm.errors import FarmError, LeaseLost
from farm.queue.claim import Batch
from farm.queue.claimed import Lease
from workers.loop.delivery.rendered import RenderedImage
from workers.loop.holdings import Holdings
from workers.loop.orders import Orders
from workers.loop.reporter import Reporter
from workers.loop.stall import StallWatch
from workers.renderer import Picture, Renderer


class Draining(FarmError):
    """The worker is ending and hands back what it renders."""


class BatchRender:
    """Renders batches one after the other on the device of this process."""

    def __init__(
        self, renderer: Renderer, orders: Orders, holdings: Holdings, reporter: Reporter, stalls: StallWatch
    ) -> None:
        self._renderer = renderer
        self._orders = orders
        self._holdings = holdings
        self._reporter = reporter
        self._stalls = stalls
        self.leases: tuple[Lease, ...] = ()
        """Those of the last batch that a render was begun for."""

    def render(self, batch: Batch) -> list[RenderedImage]:
        """Render the batch and share the device's time out among its images.

        Raises Draining once the drain time is over, LeaseLost once no lease of the batch is held any more, and
        RenderError as the renderer does.
        """
        started = time.monotonic()
        first_step: list[float] = []

        def on_step(step: int, steps: int) -> None:
            first_step[:] = first_step or [time.monotonic() - started]
            self._stalls.step()
            self._reporter.report(batch.leases, step, steps)
            reach("worker.stepped")
            self._check_orders(batch.leases)

        specs = [lease.spec for lease in batch.leases]
        self.leases = batch.leases
        shape = (batch.checkpoint.family, *specs[0].output_size)
        with self._stalls.watch(shape, fetched_bytes=batch.checkpoint.size_bytes):
            self._check_orders(batch.leases)
            self._renderer.load(batch.checkpoint)
            self._check_orders(batch.leases)
            loaded = time.monotonic()
            reach("worker.loaded")
            pictures = self._renderer.render(batch.checkpoint, specs, on_step)
        ended = time.monotonic()
        reach("worker.rendered")
        timings = {"load": loaded - started, "first_step": first_step[0], "render": ended - loaded}
        return self._wanted(batch, pictures, (ended - started) / len(specs), timings)

    def _wanted(
        self, batch: Batch, pictures: Sequence[Picture], gpu_seconds: float, timings: dict[str, float]
    ) -> list[RenderedImage]:
        """The images whose leases are still held; each took an equal share of the batch's time."""
        return [
            RenderedImage(lease, batch.checkpoint, picture, gpu_seconds, timings)
            for lease, picture in zip(batch.leases, pictures, strict=True)
            if self._holdings.holds(lease)
        ]

    def _check_orders(self, leases: Sequence[Lease]) -> None:
        """Between steps: stop if nothing of the batch is wanted any more, or the drain time is over."""
        if self._orders.must_stop_now:
            raise Draining
        if not any(self._holdings.holds(lease) for lease in leases):
            raise LeaseLost
