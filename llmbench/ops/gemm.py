"""A matrix product: what a device multiplies in each precision."""

# M rows, N columns, K summed over

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from llmbench.ops.op import Cost, Op
from llmbench.ops.registry import register
from llmbench.suite.catalog import Constraint, Phase

Product = Callable[[Tensor, Tensor], Tensor]  # a_MK, b_NK -> a b^T, MN


@dataclass(frozen=True, kw_only=True)
class GemmParams:
    """Sizes of a product, the dtype of what is multiplied, and whether float32 may be multiplied as tf32."""

    rows: int
    columns: int
    inner: int
    dtype: Literal["float32", "float16", "bfloat16", "float64"] = "float32"
    matmul: Literal["ieee", "tf32"] = "ieee"


def inputs(p: GemmParams, generator: Generator) -> tuple[Tensor, Tensor]:
    """a_MK, standard normal, and b_NK, a weight as torch's Linear holds it, so that products have unit variance."""
    dtype: torch.dtype = getattr(torch, p.dtype)
    a_MK = torch.randn(p.rows, p.inner, generator=generator, device=generator.device, dtype=dtype)
    b_NK = torch.randn(p.columns, p.inner, generator=generator, device=generator.device, dtype=dtype)
    return a_MK, b_NK * p.inner**-0.5


def cost(p: GemmParams, phase: Phase) -> Cost:
    """FLOP 2 M N K; bytes: both matrices and the product."""
    itemsize: int = getattr(torch, p.dtype).itemsize
    numbers = p.rows * p.inner + p.columns * p.inner + p.rows * p.columns
    return Cost(2 * p.rows * p.columns * p.inner, numbers * itemsize)


op: Op[GemmParams] = Op(
    name="gemm",
    version=1,
    params=GemmParams,
    inputs=inputs,
    reference=lambda p: _precise(p, lambda a, b: a @ b.T),  # as tf32 what may be as wrong as tf32
    cost=cost,
    phases=("infer",),
    sizes=("rows", "columns", "inner"),
    input_names=("a", "b"),
    constraints=(Constraint("only_with", "matmul", "dtype", "float32"),),
    doc="A matrix product, as in the projections of a model: what each precision costs.",
)
register(op)


@op.impl("matmul")
def matmul(p: GemmParams) -> Product:
    """torch.matmul, which is the vendor's library. Source: torch matmul."""
    return _precise(p, lambda a, b: a @ b.T)


@op.impl("linear")
def linear(p: GemmParams) -> Product:
    """As a layer calls it. Source: torch.nn.functional.linear."""
    return _precise(p, F.linear)


@op.impl("compiled", needs=["inductor"], compiled=True)
def compiled(p: GemmParams) -> Product:
    """torch.compile, on a GPU with its own kernels tried beside the library's. Source: torch.compile."""
    mode = "max-autotune-no-cudagraphs" if torch.empty(0).is_cuda else None
    return _precise(p, torch.compile(lambda a, b: a @ b.T, dynamic=False, fullgraph=True, mode=mode))


def _precise(p: GemmParams, product: Product) -> Product:
    """A product of float32 as the case asks, whatever the environment allows; other dtypes have one way."""
    if p.dtype != "float32":
        return product

    def call(a: Tensor, b: Tensor) -> Tensor:
        with multiplied_as(p.matmul):
            return product(a, b)

    return call


@contextmanager
def multiplied_as(matmul: Literal["ieee", "tf32"]) -> Iterator[None]:
    """Within it, float32 products may (`tf32`) or may not be rounded to ten bits. Source: torch's numerical accuracy
    notes, TensorFloat-32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if matmul == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
