"""How many images to render at once, and how long they take: by what was measured, and by pixels."""

from dataclasses import dataclass, field

from farm.dispatch.measured import Speeds
from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Device, Group

_NEARLY = 1.03
"""A batch is efficient when no larger one is more than 3 % faster an image: small batches end sooner."""


@dataclass(slots=True)
class Batches:
    """Looks up batches and their seconds; remembers them, since a plan asks for the same again and again."""

    speeds: Speeds
    policy: Policy
    _limits: dict[tuple[int, str, int], int] = field(default_factory=dict)
    _seconds: dict[tuple[int, str], float] = field(default_factory=dict)

    def images(self, group: Group, device: Device) -> int:
        """How many images of a group a device should render at once; at least one."""
        key = (group.id, device.class_, device.max_batch)
        found = self._limits.get(key)
        if found is None:
            found = self._limits[key] = efficient_batch(group, device, self.speeds, self.policy)
        return found

    def seconds_an_image(self, group: Group, device_class: str) -> float:
        """Expected device seconds of one image in an efficient batch."""
        key = (group.id, device_class)
        found = self._seconds.get(key)
        if found is None:
            found = self._seconds[key] = _seconds_an_image(group, device_class, self.speeds)
        return found


def efficient_batch(group: Group, device: Device, speeds: Speeds, policy: Policy) -> int:
    """The smallest batch about as fast an image as the fastest that was measured, within what may fit.

    Where nothing was measured: as many as fit by `batch_limit`, `max_batch` and pixels.
    """
    limit = min(device.max_batch, group.batch_limit or device.max_batch, policy.limit_images)
    limit = max(1, min(limit, _by_pixels(group, policy)))
    if group.pixels is None:
        return limit
    measured = {b: s for b, s in speeds.batches(group.family, group.pixels, device.class_).items() if b <= limit}
    if not measured:
        return limit
    best = min(measured.values())
    efficient = min(batch for batch, seconds in measured.items() if seconds <= best * _NEARLY)
    # What was not tried yet may be better: it is measured by trying it.
    return limit if efficient == max(measured) else efficient


def _by_pixels(group: Group, policy: Policy) -> int:
    return policy.batch_pixels // group.pixels if group.pixels else policy.limit_images


def _seconds_an_image(group: Group, device_class: str, speeds: Speeds) -> float:
    if not group.pixels or not group.pixel_steps:
        return max(0.1, group.pixel_steps * speeds.default / 1e6) if group.pixel_steps else 1.0
    steps = group.pixel_steps / group.pixels
    measured = speeds.batches(group.family, group.pixels, device_class)
    a_step = min(measured.values()) if measured else speeds.default * group.pixels / 1e6
    return max(1e-3, steps * a_step)
