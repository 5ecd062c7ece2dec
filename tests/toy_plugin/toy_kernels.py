"""A package that is not llmbench: an op of its own, and implementations of attention that fail in every way."""

import ctypes
import os
import time
from dataclasses import dataclass, replace

import torch

from llmbench.kernels.attention import naive_attention
from llmbench.ops import Cost, Op, attention, register


@dataclass(frozen=True)
class ScaleParams:
    size: int


scale = register(
    Op(
        "toy_scale",
        version=1,
        params=ScaleParams,
        phases=("infer",),
        doc="Doubles a vector.",
        inputs=lambda p, generator: [torch.randn(p.size, generator=generator)],
        reference=lambda p: lambda x: x * 2,
        cost=lambda p, phase: Cost(bytes=8 * p.size),
    )
)


@scale.impl("mul")
def mul(p):
    """x * 2"""
    return lambda x: x * 2


@scale.impl("add")
def add(p):
    """x + x, as slowly as the test asks for."""
    seconds = float(os.environ.get("TOY_SLEEP_S", 0))

    def call(x):
        time.sleep(seconds)
        return x + x

    return call


alone = register(
    replace(
        scale, name="toy_alone", doc="Doubles a vector, each case in a worker of its own.", isolation="case", impls={}
    )
)
alone.impl("add")(add)


@alone.impl("abort")
def abort(p):
    """Kills its process."""
    return lambda x: os.abort()


@alone.impl("sleep")
def sleep(p):
    """Never returns."""
    return lambda x: time.sleep(3600)


@attention.impl("toy_good")
def good(p):
    """A right one, from outside."""

    def call(q, k, v):
        return naive_attention(q, k, v, causal=p.mask == "causal")

    call.config = lambda: f"block_q={p.seq_len}"
    return call


@attention.impl("toy_segfault")
def segfault(p):
    """Reads address zero."""
    return lambda q, k, v: ctypes.string_at(0)


@attention.impl("toy_raise")
def raises(p):
    """Raises."""

    def call(q, k, v):
        raise ValueError("no such\nkernel [bold]here[/bold]")

    return call


@attention.impl("toy_hang")
def hang(p):
    """Never returns."""
    return lambda q, k, v: time.sleep(3600)


@attention.impl("toy_hang_in_timing")
def hang_in_timing(p):
    """Returns twice, as often as check and memory pass ask, then hangs."""
    calls = iter(range(10**9))

    def call(q, k, v):
        if next(calls) > 3:
            time.sleep(3600)
        return naive_attention(q, k, v, causal=p.mask == "causal")

    return call


@attention.impl("toy_crash_in_timing")
def crash_in_timing(p):
    """Right at first, kills its process later."""
    calls = iter(range(10**9))

    def call(q, k, v):
        if next(calls) > 5:
            os.abort()
        return naive_attention(q, k, v, causal=p.mask == "causal")

    return call


@attention.impl("toy_greedy")
def greedy(p):
    """Allocates without end."""

    def call(q, k, v):
        kept = []
        while True:
            kept.append(torch.ones(2**24))

    return call


@attention.impl("toy_wrong")
def wrong(p):
    """Off by one part in a hundred."""
    return lambda q, k, v: naive_attention(q, k, v, causal=p.mask == "causal") * 1.01


@attention.impl("toy_clobber")
def clobber(p):
    """Right, but doubles its key tensor afterwards."""

    def call(q, k, v):
        out = naive_attention(q, k, v, causal=p.mask == "causal")
        k.mul_(2)
        return out

    return call


@attention.impl("toy_late_clobber")
def late_clobber(p):
    """Right in the check, clobbers its value tensor once it is timed."""
    calls = iter(range(10**9))

    def call(q, k, v):
        out = naive_attention(q, k, v, causal=p.mask == "causal")
        if next(calls) > 5:
            v.add_(1)
        return out

    return call


@attention.impl("toy_tail")
def tail(p):
    """Leaves the second half of its output unwritten."""

    def call(q, k, v):
        out, half = torch.empty_like(q), q.shape[2] // 2
        out[:, :, :half] = naive_attention(q, k, v, causal=p.mask == "causal")[:, :, :half]
        return out

    return call


@attention.impl("toy_memo")
def memo(p):
    """Computes once and remembers."""
    kept = {}

    def call(q, k, v):
        if "out" not in kept:
            kept["out"] = naive_attention(q, k, v, causal=p.mask == "causal")
        return kept["out"]

    return call


@attention.impl("toy_in_place", mutates=["q"])
def in_place(p):
    """Scales its query in place, as it says."""

    def call(q, k, v):
        out = naive_attention(q, k, v, causal=p.mask == "causal")
        q.mul_(3)
        return out

    return call


@attention.impl("toy_odd_text")
def odd_text(p):
    """Raises with a character that UTF-8 cannot hold."""

    def call(q, k, v):
        raise ValueError("bad path \udcff")

    return call


@attention.impl("toy_clobber_raise")
def clobber_raise(p):
    """Changes its query, then fails: nobody else may be blamed for the query."""

    def call(q, k, v):
        q.mul_(2)
        raise ValueError("after the damage")

    return call
