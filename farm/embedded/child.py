"""Starting and stopping the processes of a farm on one machine."""

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farm.processes import programs

_PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: pwd.struct_passwd | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches only the parent, which decides the order.

    If this thread ends first, the kernel sends the child `death_signal`: call it from the main thread.
    Output goes to `log`, or to the parent's output without one. A child inherits the parent's environment if
    `env` is given; without it, it sees no secret.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=programs.strip_environment() if env is None else programs.inherit_environment(env),
            **as_user(user),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, death_signal),  # noqa: PLW1509 - one C call, no lock
        )
    finally:
        if output:
            output.close()


def as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """The arguments that make subprocess start a program as another user, with none of our groups."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def stop(child: subprocess.Popen[bytes], *, grace_seconds: float, ask: signal.Signals = signal.SIGTERM) -> None:
    """Ask the child to end; after the grace period kill it and what it left in its session."""
    if child.poll() is None:
        child.send_signal(ask)
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
