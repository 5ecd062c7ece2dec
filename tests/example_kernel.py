"""A Triton kernel for tests; whoever imports this has Triton."""

import triton.language as tl
from triton.runtime.jit import JITFunction


@JITFunction  # what triton.jit makes where it is not to be interpreted
def double(x, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """x * 2, in place."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)
