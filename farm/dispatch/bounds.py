"""For how long anything may wait for its first or next images, stated so that it can be checked."""

from math import ceil

from farm.dispatch.policy import Policy

FORCED_STAY_SECONDS = 60.0
"""How long a device that was forced to a checkpoint stays there, beyond its load and a batch."""


def unseated(policy: Policy, theta: float, checkpoints: int, devices: int) -> float:
    """For how many seconds a checkpoint whose turn it is waits for a device before it is given one by force."""
    return max(policy.served_seconds, 2 * theta * checkpoints / max(1, devices))


def longest_wait(
    policy: Policy,
    *,
    checkpoints: int,
    devices: int,
    accounts: int,
    load_seconds: float,
    batch_seconds: float,
) -> float:
    """The longest time in seconds that an account waits, once ready, for being served at a checkpoint.

    `checkpoints` have work, `devices` suit them, and at most `accounts` wait for the same checkpoint. However
    low its priority: after `rise_seconds` it counts among the urgent. A checkpoint without a device is given
    one by force after `unseated`, at most `checkpoints / devices` of them before it, each for its stay, and no
    faster than such loads may go on; and of its accounts each has a batch, as many in a stay as fit. It holds
    while interactive work, which goes first, leaves a device to the others. Checkpoints where only accounts in
    debt wait come after those of others: they wait longer while those use up all that such loads may take.
    """
    # The largest theta: every rate is half a device off, and of those there are no more than accounts or devices.
    theta = min(policy.lag_limit_seconds, 0.25 * load_seconds / policy.reload_share)
    stay = FORCED_STAY_SECONDS + 2 * load_seconds + batch_seconds
    devices = max(1, devices)
    paced = checkpoints * load_seconds / (policy.forced_load_rate * devices)
    turn = unseated(policy, theta, checkpoints, devices) + ceil(checkpoints / devices) * stay + paced
    return policy.rise_seconds + turn * ceil(accounts * batch_seconds / FORCED_STAY_SECONDS)
