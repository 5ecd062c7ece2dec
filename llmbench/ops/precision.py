"""What real gradients and weight updates lose in a number format, at a loss scale; and what the format holds."""

# N numbers: gradients, and the weights that they are of

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

import torch
from torch import Generator, Tensor

from llmbench.errors import UsageError
from llmbench.kernels.attention import naive_attention
from llmbench.kernels.losses import linear_cross_entropy
from llmbench.kernels.model import Corpus, Decoder, preset
from llmbench.kernels.precision import Kept, lost, measured_format, rounded, through
from llmbench.ops.op import Cost, Expected, Op, Unavailable
from llmbench.ops.params import AtLeast
from llmbench.ops.registry import register
from llmbench.suite.catalog import Phase

Through = Callable[[Tensor, Tensor], Kept]
BATCH, SEQ_LEN = 4, 128  # of the text that the gradients are of
LEARNING_RATE = 1e-3  # of the steps before


@dataclass(frozen=True, kw_only=True)
class PrecisionParams:
    """A format, a loss scale (a power of two), and the size of an update; gradients of a small decoder in training.

    `steps` of training in float32 came before: the gradients of a fresh model are larger.
    """

    dtype: Literal["float32", "float16", "bfloat16"] = "float16"
    loss_scale: Annotated[float, AtLeast(2**-24)] = 1.0
    lr: Annotated[float, AtLeast(0)] = 1e-4
    model: Literal["tiny", "10m"] = "tiny"
    steps: Annotated[int, AtLeast(0)] = 20


def inputs(p: PrecisionParams, generator: Generator) -> tuple[Tensor, Tensor]:
    """grads_N and weights_N, float32: every parameter of the decoder, one after another. The same for every seed."""
    if math.frexp(p.loss_scale)[0] != 0.5:
        raise UsageError(f"loss_scale is {p.loss_scale:g}, wanted a power of two: others round gradients once more")
    grads_N, weights_N = _trained(p.model, p.steps)
    return grads_N.to(generator.device, copy=True), weights_N.to(generator.device, copy=True)


@lru_cache(maxsize=2)
def _trained(model: str, steps: int) -> tuple[Tensor, Tensor]:
    config = preset(model)
    corpus = Corpus(config.vocab)
    decoder = Decoder(config, partial(naive_attention, causal=True), device="cpu", dtype=torch.float32)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=LEARNING_RATE)
    for step in range(steps + 1):
        optimizer.zero_grad()
        tokens_BS, labels_BS, _ = corpus.batch(step, batch=BATCH, seq_len=SEQ_LEN)
        hidden_TE = decoder(tokens_BS).flatten(0, 1)
        loss = linear_cross_entropy(hidden_TE, decoder.head_weight, labels_BS.flatten())
        torch.autograd.backward(loss)
        if step < steps:
            optimizer.step()
    both = [(p.grad.flatten(), p.detach().flatten()) for p in decoder.parameters() if p.grad is not None]
    return torch.cat([g for g, _ in both]), torch.cat([w for _, w in both])


def cost(p: PrecisionParams, phase: Phase) -> Cost:
    """Bytes: gradients read, and written as they come; weights read."""
    count = preset(p.model).num_params
    return Cost(None, count * 4 * 3)


def oracle(p: PrecisionParams, phase: Phase, inputs: Sequence[Tensor], douts: Sequence[Tensor] = ()) -> list[Expected]:
    """By arithmetic in float64 that rounds by itself, no cast to the format: gradients equal, counts equal."""
    dtype: torch.dtype = getattr(torch, p.dtype)
    info = torch.finfo(dtype)
    held = measured_format(dtype, torch.device("cpu"))._replace(
        largest=info.max, smallest_normal=info.smallest_normal, epsilon=info.eps,
        smallest_subnormal=info.smallest_normal * info.eps,
    )  # fmt: skip
    grads_N, weights_N = (t.float() for t in inputs)
    scaled_N = (grads_N * p.loss_scale).double()
    came_N = rounded(scaled_N, held) / p.loss_scale
    before_N = rounded(weights_N.double(), held)
    after_N = rounded((before_N.float() - p.lr * grads_N.sign()).double(), held)
    moves_N = grads_N != 0
    kept_N = torch.where(came_N.isfinite(), came_N, 0.0)
    counts = ((came_N == 0) & moves_N, scaled_N.abs() > info.max, (after_N == before_N) & moves_N)
    return [
        Expected("grads", kept_N, allowed=0.0, dtype=torch.float32),
        *(
            Expected(name, found.sum(), allowed=0.0)
            for name, found in zip(("flushed", "overflowed", "stalled"), counts, strict=True)
        ),
    ]


op: Op[PrecisionParams] = Op(
    name="precision",
    version=1,
    params=PrecisionParams,
    inputs=inputs,
    oracle=oracle,
    cost=cost,
    phases=("infer",),
    input_names=("grads", "weights"),
    doc="Real gradients and updates in a number format: what is flushed to zero, overflows, or moves no weight.",
)
register(op)


class _Counted:
    """A way through the format, and the shares that it lost."""

    def __init__(self, p: PrecisionParams, way: Through) -> None:
        self._p, self._way = p, way
        self._kept: Kept | None = None

    def __call__(self, grads_N: Tensor, weights_N: Tensor) -> Kept:
        self._kept = kept = self._way(grads_N, weights_N)
        return kept

    def figures(self) -> Mapping[str, float]:
        """Shares of all gradients, and what the format holds, measured on the device."""
        assert self._kept is not None
        count, device = self._kept.grads.numel(), self._kept.grads.device
        held = measured_format(getattr(torch, self._p.dtype), device)
        return {
            "flushed_share": self._kept.flushed.item() / count,
            "overflowed_share": self._kept.overflowed.item() / count,
            "stalled_share": self._kept.stalled.item() / count,
            "format_largest": held.largest,
            "format_smallest_normal": held.smallest_normal,
            "format_smallest_subnormal": held.smallest_subnormal,
            "format_epsilon": held.epsilon,
        }


def _through(p: PrecisionParams) -> Through:
    return partial(through, dtype=getattr(torch, p.dtype), loss_scale=p.loss_scale, lr=p.lr)


@op.impl("cast")
def cast(p: PrecisionParams) -> _Counted:
    """Operation by operation. Source: llmbench.kernels.precision.rounding."""
    return _Counted(p, _through(p))


@op.impl("compiled", needs=["inductor"], compiled=True)
def compiled(p: PrecisionParams) -> _Counted:
    """torch.compile of the same, told to round where it is written. Source: llmbench.kernels.precision.rounding.

    Without that option a cast there and back is optimised away, and nothing is lost that a backward would lose.
    """
    from torch._inductor import config  # takes a second to import

    if not hasattr(config, "emulate_precision_casts"):
        raise Unavailable("this torch.compile cannot be told to round at a cast")
    options: dict[str, str | int | bool | Callable[..., Any]] = {"emulate_precision_casts": True}
    return _Counted(p, torch.compile(_through(p), dynamic=False, fullgraph=True, options=options))


@op.impl("amp")
def amp(p: PrecisionParams) -> _Counted:
    """Unscaled by the operator of torch's GradScaler. Source: torch._amp_foreach_non_finite_check_and_unscale_."""
    dtype: torch.dtype = getattr(torch, p.dtype)

    def way(grads_N: Tensor, weights_N: Tensor) -> Kept:
        found = torch.zeros(1, device=grads_N.device)
        inverse = torch.full((1,), 1 / p.loss_scale, device=grads_N.device)
        scaled_N = grads_N * p.loss_scale
        came_N = scaled_N.to(dtype, copy=True).float()
        torch._amp_foreach_non_finite_check_and_unscale_([came_N], found, inverse)
        return lost(grads_N, scaled_N, came_N, weights_N, dtype=dtype, lr=p.lr)

    return _Counted(p, way)
