"""Starts a program that dies with this one's parent. Run as a script: PARENT_PID PROGRAM ARGUMENT…

A supervisor that is killed with SIGKILL cannot stop its children, so the kernel does it. This is a program of its own
because the request belongs to the calling process, survives execve, and must not be made between fork and exec in a
process with threads. It uses the standard library alone, so that `python -I -S` starts it in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent_pid: int, command: list[str]) -> None:
    """Ask the kernel for SIGKILL at the parent's death, then become the command. Never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel was asked
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
