"""Workers by fork: a server imports what each of them needs and never computes; a worker is a copy of it.

torch and its compiler, which the first optimizer imports, take 4 to 6 s of a process, and a training step of a small
model on a CPU 0.1 s: where each case has a process of its own, most of a run would go by importing. On Linux and for
devices that are this machine's processors: a fork would share what an import has begun with a GPU's driver.

Source: the fork server of Python's multiprocessing, whose workers have no process group, log or death to tell of.
"""

import atexit
import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from signal import SIGKILL

from llmbench.machine import simulated

START_S = 120.0  # importing torch from a cold network disk takes a minute
LONGEST = 64  # bytes of a message


def can_fork(device: str) -> bool:
    """Whether workers of this device may be copies of one process."""
    return sys.platform.startswith("linux") and device in ("cpu", simulated.NAME)


class Forked:
    """A worker that a server forked, with the methods of a `subprocess.Popen` that a parent needs."""

    def __init__(self, pid: int, told: socket.socket, *, returncode: int | None = None) -> None:
        self.pid = pid
        self._told, self._returncode = told, returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that killed it. Raises: subprocess.TimeoutExpired."""
        if self._returncode is None:
            self._told.settimeout(timeout)
            try:
                end = self._told.recv(LONGEST)
            except TimeoutError:
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0.0) from None
            self._returncode = (
                int(end.removeprefix(b"end ")) if end else -SIGKILL
            )  # as a server dies, so does its worker
        return self._returncode

    def kill(self) -> None:
        """At once."""
        if self._returncode is None:
            os.kill(self.pid, SIGKILL)


class ForkServer:
    """A server in a session of its own, with one worker at a time; each worker has its own session."""

    def __init__(self, start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
        """`start` is `Program.start` of the workers."""
        self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = start("--forks", str(theirs.fileno()), descriptors=[theirs.fileno()])
        theirs.close()

    def fork(self, descriptors: Sequence[int]) -> Forked | None:
        """A new worker that holds these descriptors; None where the server must not fork. The one before has ended.

        A server that does not live gives a worker that ended as it did.
        """
        try:
            self._asked.settimeout(START_S)
            socket.send_fds(self._asked, [b"fork"], descriptors)
            kind, _, number = self._asked.recv(LONGEST).partition(b" ")
        except OSError:
            kind = b""
        if kind == b"pid":
            return Forked(int(number), self._asked)
        if kind == b"no":
            return None
        self.kill()
        return Forked(self._process.pid, self._asked, returncode=self._process.returncode)

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Lets it end, which it does when it has no worker; one that does not is killed."""
        self._asked.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kills it and its worker, unless it ended on its own; returns when it is gone."""
        self._asked.close()
        try:
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def forked(asked_fd: int) -> Sequence[int] | None:
    """In a server: forks a worker whenever asked, and tells its pid and how it ended. Returns in each worker with its
    descriptors, and in the server when the parent has closed its end, with None.

    A process of several threads of Python does not fork: the copy would have one, and locks that nobody opens. (That of
    numpy's OpenBLAS ends before a fork and begins anew when it is needed.)
    """
    asked = socket.socket(fileno=asked_fd)
    gc.collect()
    gc.freeze()  # collections of a worker do not touch, and so copy, what all share
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, LONGEST, 2)
        if not message:
            return None
        pid = os.fork() if threading.active_count() == 1 else None
        if pid == 0:
            os.setsid()
            atexit.register(gc.unfreeze)  # or extensions tell of leaks as it ends
            asked.send(b"pid %d" % os.getpid())
            asked.close()
            return descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        if pid is None:
            asked.send(b"no")
        else:
            _, status = os.waitpid(pid, 0)
            asked.send(b"end %d" % os.waitstatus_to_exitcode(status))
