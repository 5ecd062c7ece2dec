"""Workers by fork: a server imports what each of them needs and never computes; a worker is a copy of it.

torch and its compiler, which the first optimizer imports, take 4 to 6 s of a process, and a training step of a small
model on a CPU 0.1 s: where each case has a process of its own, most of a run would go by importing. On Linux and for
devices that are this machine's processors: a fork would share what an import has begun with a GPU's driver.

Source: the fork server of Python's multiprocessing, whose workers have no process group, log or death to tell of.
"""

import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from signal import SIGKILL

from llmbench.machine import simulated
from llmbench.run.protocol import START_S

LONGEST = 64  # bytes of a message
END_S = 10.0  # in which a worker that is killed is gone, and told to be


def can_fork(device: str) -> bool:
    """Whether workers of this device may be copies of one process."""
    return sys.platform.startswith("linux") and device in ("cpu", simulated.NAME)


class Forked:
    """A worker that a server forked, with the methods of a `subprocess.Popen` that a parent needs."""

    def __init__(self, pid: int, told: socket.socket, *, returncode: int | None = None) -> None:
        self.pid = pid
        self._told, self._returncode = told, returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that killed it; without `timeout` of one that is killed.

        Raises: subprocess.TimeoutExpired.
        """
        if self._returncode is None:
            self._told.settimeout(END_S if timeout is None else timeout)
            try:
                end = self._told.recv(LONGEST)
            except TimeoutError:
                if timeout is not None:
                    raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout) from None
                end = b""
            # a server that dies takes its worker with it
            self._returncode = int(end.removeprefix(b"end ")) if end else -SIGKILL
        return self._returncode

    def kill(self) -> None:
        """At once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, SIGKILL)


class ForkServer:
    """A server in a session of its own, with one worker at a time; each worker has its own process group."""

    def __init__(self, start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
        """`start` is `Program.start` of the workers."""
        self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = start("--forks", str(theirs.fileno()), descriptors=[theirs.fileno()])
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def fork(self, descriptors: Sequence[int]) -> Forked | None:
        """A new worker that holds these descriptors; None where the server must not fork. The one before has ended.

        A server that does not live gives a worker that ended as it did.
        """
        try:
            self._asked.settimeout(START_S)
            socket.send_fds(self._asked, [b"fork"], descriptors)
            answer = self._asked.recv(LONGEST)
        except OSError:
            answer = b""
        if not answer:
            with suppress(subprocess.TimeoutExpired):  # of an end of its own it has the exit code
                self._process.wait(1.0)
            self.close()
            return Forked(self.pid, self._asked, returncode=self._process.returncode)
        return None if answer == b"no" else Forked(int(answer.removeprefix(b"pid ")), self._asked)

    def close(self) -> None:
        """Kills it, and so its worker; returns when it is gone."""
        self._process.kill()
        self._process.wait()
        self._asked.close()


def forked(asked_fd: int) -> Sequence[int] | None:
    """In a server: forks a worker whenever asked, and tells its pid and how it ended. Returns in each worker with its
    descriptors, and in the server when the parent has closed its end, with None.

    A process of several threads of Python does not fork: the copy would have one, and locks that nobody opens. (That of
    numpy's OpenBLAS ends before a fork and begins anew when it is needed.)
    """
    asked = socket.socket(fileno=asked_fd)
    sys.stdout.flush()  # or each worker would write it again
    gc.collect()
    gc.freeze()  # collections of a worker do not touch, and so copy, what all share
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            message, descriptors, _, _ = socket.recv_fds(asked, LONGEST, 2)
            if not message:
                break
            pid = os.fork() if threading.active_count() == 1 else None
            if pid == 0:
                os.setpgid(0, 0)
                asked.close()
                return descriptors
            for descriptor in descriptors:
                os.close(descriptor)
            if pid is None:
                asked.send(b"no")
                continue
            with suppress(PermissionError, ProcessLookupError):  # as the worker does, whoever comes first
                os.setpgid(pid, pid)
            asked.send(b"pid %d" % pid)
            _, status = os.waitpid(pid, 0)
            asked.send(b"end %d" % os.waitstatus_to_exitcode(status))
    return None
