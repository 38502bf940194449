"""Every number that a planner's decisions turn on, each with what it trades."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of dispatch. One of them is a setting for operators: `reload_share`."""

    reload_share: float = 0.03
    """Fairness against reloading: the part of all device time that may go into loads made for nothing but fairness.

    Less of it lets an owner be further from their fair share for longer (docs/dispatch.md has the curve and the
    law).
    """

    horizon_seconds: float = 120.0
    """Within how long a queue should be drained: it asks for its seconds of work divided by this.

    Less of it makes waits shorter and queues run dry more often, and each dry queue costs loads: near saturation
    90 seconds cost half as much reloading again as 120.
    """
    correction_seconds: float = 120.0
    """Within how long a lag should be made good."""
    half_life_seconds: float = 3600.0
    """How fast a lag is forgotten."""
    lag_limit_seconds: float = 300.0
    """The largest lag, in seconds of the owner's rate (of one device, if the rate is less).

    Of what was used beyond an owner's due, as many seconds of the devices that were used.
    """
    tolerated_debt_seconds: float = 30.0
    """How much an owner may use beyond their due, in seconds of it, before nothing of theirs is urgent any more."""
    window_seconds: float = 600.0
    """Over how long shares are to be fair."""
    tolerance: float = 0.05
    """How far from the fair share an owner may be over a window, where the law allows it."""

    interactive_seconds: float = 32.0
    """How many device seconds of an owner's images are interactive at a time: those beyond count as bulk.

    One image always is, however long it takes.
    """
    interactive_least_seconds: float = 2.0
    """What an interactive image counts at least: short ones, each by itself, keep devices from others too."""
    interactive_load_rate: float = 0.1
    """Seconds of loading a second and device that interactive work may cause."""

    deadline_margin_seconds: float = 120.0
    """How long before its slack is used up work with a deadline goes first."""
    deadline_part: float = 0.5
    """The part of the devices that urgent deadlines may have first: invented ones cannot take a pool."""
    deadline_extra: float = 0.1
    """The part of the devices that one owner's urgent deadlines may have first, beyond the owner's fair share."""
    rise_seconds: float = 900.0
    """After how long of waiting work goes ahead of every priority of its class."""

    cold_images: int = 16
    """How many images make a load worth it at once."""
    cold_seconds: float = 60.0
    """After how long fewer images do."""
    served_seconds: float = 120.0
    """How long an owner waits at most for a seat of a checkpoint that others are served from."""
    forced_load_rate: float = 0.05
    """Seconds of loading a second and device for checkpoints that waited too long.

    Less of it makes them wait longer; each of these loads may cause another, of what the device held before.
    """

    missed_seconds: float = 30.0
    """What taking away a device counts that is going to be needed where it is."""

    period_seconds: float = 1.0
    """How often a plan is made."""
    soon_seconds: float = 2.0
    """A device that is free within so long needs a fresh seat; others keep theirs."""
    limit_images: int = 64
    """The largest batch."""
    batch_pixels: int = 64 * 1024 * 1024
    """The largest batch, in pixels of all its images together."""
