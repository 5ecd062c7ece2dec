"""Work: what is timed of an implementation in a phase, and what it is given."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from llmbench.errors import UsageError
from llmbench.ops.op import Fn, Impl, Op
from llmbench.suite.catalog import Phase

Call = Callable[[], tuple[Tensor, ...]]


class Work(NamedTuple):
    """`call` is what is timed. `whole` is what the memory pass runs: for bwd the forward as well, so that what it saves
    counts. `grad` says whether the inputs ask for gradients."""

    call: Call
    whole: Call
    grad: Literal["on", "off"]


def make_inputs(op: Op[Any], p: Any, generator: Generator) -> list[Tensor]:
    """The inputs of the op, on the generator's device.

    Raises: UsageError for one that holds a single value throughout, unless the op names it in `constant`.
    Source: He 2024, https://www.thonking.ai/p/strangely-matrix-multiplications: on zeros a GPU takes less power.
    """
    inputs = list(op.inputs(p, generator))
    for i, t in enumerate(inputs):
        name = op.input_name(i)
        if name in op.constant or not t.is_floating_point() or t.numel() < 2:
            continue
        first = t[(0,) * t.ndim]
        if bool((t == first).all()):
            raise UsageError(
                f"op {op.name!r}: input {name!r} is {first.item():g} everywhere, and may run faster than data would; "
                "make it random, or name it in Op(constant=...)"
            )
    return inputs


def other_values(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Other values for inputs, of their kind: floating ones moved along their last axis and scaled, integers as is.

    Each is moved by another distance: attention does not see a common one of q and k.
    """
    return [
        (t.roll(1 + i, -1) if t.ndim else t) * 0.75 if t.is_floating_point() else t.clone()
        for i, t in enumerate(tensors)
    ]


def build(impl: Impl[Any], p: Any, *, device: torch.device | str) -> Fn:
    """The implementation's function, set up with `device` as torch's default: tensors that set-up makes are there."""
    with torch.device(device):
        return impl.setup(p)


def work(
    op: Op[Any], impl: Impl[Any], fn: Fn, inputs: Sequence[Tensor], phase: Phase, *, device_type: str,
    douts: Sequence[Tensor] = (),
) -> Work:  # fmt: skip
    """What to call for a phase; outputs come as a tuple, gradients of the floating inputs after them.

    infer: inference mode. fwd: gradients on, or off where the implementation has no backward on the device.
    bwd: `autograd.grad` alone; the forward runs here, once, and its graph is retained. `.grad` stays untouched.
    fwd_bwd: both in one call. step: `fn` as it is. Leaves share storage with `inputs`; `douts` are the gradients of the
    floating outputs.
    A compiled backward can only run twice on one graph with `torch._functorch.config.donated_buffer = False`, which
    whoever calls sets for phase bwd before the forward compiles.
    """
    has_backward = device_type in impl.backward_on
    leaves = op.leaves(inputs, grad=has_backward and phase in ("fwd", "bwd", "fwd_bwd"))
    wanted = [t for t in leaves if t.requires_grad]

    def infer() -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return as_tuple(fn(*inputs))

    def step() -> tuple[Tensor, ...]:
        return as_tuple(fn(*inputs))

    def forward() -> tuple[Tensor, ...]:
        return as_tuple(fn(*leaves))

    def backward(outs: tuple[Tensor, ...], *, retain_graph: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad(floating(outs), wanted, douts, retain_graph=retain_graph, materialize_grads=True)

    def forward_backward() -> tuple[Tensor, ...]:
        outs = forward()
        return (*outs, *backward(outs, retain_graph=False))

    if phase == "infer":
        return Work(infer, infer, "off")
    if phase == "step":
        return Work(step, step, "on")
    if phase == "fwd":
        return Work(forward, forward, "on" if wanted else "off")
    if phase == "fwd_bwd":
        return Work(forward_backward, forward_backward, "on")
    prepared = forward()
    return Work(
        call=lambda: backward(prepared, retain_graph=True),
        whole=lambda: backward(forward(), retain_graph=False),
        grad="on",
    )


def output_like(op: Op[Any], p: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Meta tensors with the shapes and dtypes of the outputs, by the op's reference; empty for an op without one.

    Nothing is computed, so a reference that would not fit into memory serves too.
    """
    if op.reference is None:
        return ()
    with FakeTensorMode() as fake, torch.device(inputs[0].device if inputs else "cpu"), torch.no_grad():
        outs = as_tuple(op.reference(p)(*(fake.from_tensor(t) for t in inputs)))
    return tuple(torch.empty(t.shape, dtype=t.dtype, device="meta") for t in outs)


def make_douts(outputs: Sequence[Tensor], generator: Generator) -> tuple[Tensor, ...]:
    """Gradients for the floating ones of `outputs`, on the generator's device: normal, and 1 for a scalar (a loss)."""
    device = generator.device
    return tuple(
        torch.randn(t.shape, dtype=t.dtype, device=device, generator=generator)
        if t.ndim
        else torch.ones((), dtype=t.dtype, device=device)
        for t in floating(outputs)
    )


def floating(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Those that can have a gradient."""
    return tuple(t for t in tensors if t.is_floating_point())


def as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What an implementation returned, as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
