"""What an exception of an implementation means, and when the worker has to end for it."""

import os
import re
import sys
import traceback
from dataclasses import replace

import torch

from llmbench.ops.op import Unavailable
from llmbench.store.record import Record, Status

BROKEN_DEVICE = 70  # exit code of a worker whose CUDA context is beyond repair
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
LIBRARIES = re.compile(r"site-packages/(torch|triton|numpy|llmbench)/|/llmbench/(run|ops|measure)/")


def failure(record: Record, error: Exception, device: torch.device, *, during: str = "") -> Record:
    """The record of a case that raised; `during` says what, where it was not the implementation itself.

    A broken CUDA context ends the worker: the next case needs a new one.
    """
    status, why = status_of(error)
    why = f"{during}: {why}" if during else why
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
            if status == "oom":
                torch.cuda.empty_cache()
        except Exception:
            sys.stderr.write(f"llmbench: the device is unusable after: {why}\n")
            sys.stderr.flush()
            os._exit(BROKEN_DEVICE)
    return replace(record, status=status, why=why)


def status_of(error: BaseException) -> tuple[Status, str]:
    """The status that an exception stands for, and how to say it in one line of valid text."""
    text = " ".join(str(error).split()).encode("utf-8", "replace").decode()[:2000]
    if isinstance(error, Unavailable):
        return "unavailable", text
    why = (f"{type(error).__name__}: {text}" if text else type(error).__name__) + _place(error)
    return ("oom" if is_out_of_memory(error) else "error"), why


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host had too little memory, whoever says so."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(sign in str(error) for sign in OUT_OF_MEMORY)


def _place(error: BaseException) -> str:
    """` (my_kernels.py:27 in call)`: the innermost line that is neither torch's nor the harness's; nothing if none."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not LIBRARIES.search(f.filename)]
    if not frames:
        return ""
    return f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name})"
