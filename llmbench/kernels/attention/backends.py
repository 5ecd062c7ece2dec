"""Which attention to use: a list of priorities by architecture, and the reasons why a back end cannot serve a case.

Pure data and Python, as vLLM's selector: the first of the list without a reason is taken. An explicit choice that
cannot be is an error with its reasons. The order is by published figures (FlashAttention-3 paper, tables of forward and
backward; cuDNN release notes), not by measurements on each device: `llmbench run attention` has those.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from llmbench.kernels.attention.blocks import ITEM_BYTES
from llmbench.kernels.attention.span import Mask

Backend = Literal[
    "flash_attn4", "flash_attn", "sdpa_cudnn", "sdpa_flash", "triton_flash", "sdpa_efficient", "flex", "sdpa_math",
    "tiled", "naive", "varlen_loop",
]  # fmt: skip


PACKAGES = ("triton", "flash-attn", "flash-attn-4")


@dataclass(frozen=True, kw_only=True)
class AttentionCase:
    """What is asked of attention: shapes, mask, layout, and whether gradients are wanted."""

    dtype: Literal["float16", "bfloat16", "float32"]
    head_dim: int
    num_heads: int
    num_kv_heads: int
    queries: int
    keys: int
    mask: Mask = "full"
    varlen: bool = False
    backward: bool = True

    def __post_init__(self) -> None:
        for name, value, known in (("dtype", self.dtype, ITEM_BYTES), ("mask", self.mask, get_args(Mask))):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, wanted one of {', '.join(known)}")
        if self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_heads} query heads are no multiple of {self.num_kv_heads} kv heads")

    @property
    def is_square(self) -> bool:
        """Whether there are as many queries as keys, so that top-left and bottom-right alignment are one."""
        return self.queries == self.keys


@dataclass(frozen=True)
class AttentionMachine:
    """What there is: `arch` is `cpu` or `sm90` and the like, `packages` the optional ones that can be imported."""

    arch: str
    packages: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.arch != "cpu" and not self.arch.removeprefix("sm").isdigit():
            raise ValueError(f"arch is {self.arch!r}, wanted cpu, or sm90 and the like")
        if unknown := self.packages - set(PACKAGES):
            raise ValueError(f"packages {', '.join(sorted(unknown))}: wanted some of {', '.join(PACKAGES)}")

    @property
    def capability(self) -> int:
        """90 for sm90; 0 for a CPU."""
        return 0 if self.arch == "cpu" else int(self.arch.removeprefix("sm"))


class ImpossibleBackendError(ValueError):
    """An explicit choice that cannot serve the case; the message holds its reasons."""


PRIORITIES: dict[int, tuple[Backend, ...]] = {
    100: ("flash_attn4", "sdpa_cudnn", "triton_flash", "sdpa_flash", "flash_attn", "sdpa_efficient", "flex"),
    90: ("flash_attn4", "sdpa_cudnn", "triton_flash", "flash_attn", "sdpa_flash", "sdpa_efficient", "flex"),
    80: ("flash_attn", "sdpa_flash", "triton_flash", "sdpa_cudnn", "sdpa_efficient", "flex"),
    75: ("sdpa_efficient", "triton_flash", "flex"),
    0: ("sdpa_flash", "flex", "tiled"),
}
"""Compute capability from which on -> back ends, fastest first; 0 is a CPU. What materialises all scores comes last."""
LAST: tuple[Backend, ...] = ("sdpa_math", "naive", "varlen_loop")


def select_backend(
    case: AttentionCase, machine: AttentionMachine, *, want: Backend | None = None
) -> tuple[Backend, list[tuple[Backend, list[str]]]]:
    """The back end for the case, and of each one looked at before it the reasons why not; `want` asks for that one.

    Raises: ImpossibleBackendError where `want` cannot serve the case, or nothing can.
    """
    if want is not None:
        if want not in _BACKENDS:
            raise ValueError(f"{want!r} is no back end; known: {', '.join(_BACKENDS)}")
        reasons = list(why_not(want, case, machine))
        if reasons:
            raise ImpossibleBackendError(f"{want} cannot serve this case: {'; '.join(reasons)}")
        return want, []
    passed: list[tuple[Backend, list[str]]] = []
    for backend in priorities(machine):
        reasons = list(why_not(backend, case, machine))
        if not reasons:
            return backend, passed
        passed.append((backend, reasons))
    told = "; ".join(f"{backend}: {', '.join(reasons)}" for backend, reasons in passed)
    raise ImpossibleBackendError(f"no back end can serve this case: {told}")


def priorities(machine: AttentionMachine) -> tuple[Backend, ...]:
    """The back ends in the order in which this machine should try them."""
    fitting = [c for c in PRIORITIES if c <= machine.capability and (c > 0) == (machine.capability > 0)]
    return (*(PRIORITIES[max(fitting)] if fitting else ()), *LAST)


def why_not(backend: Backend, case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    """Every reason why a back end cannot serve the case on this machine."""
    needs, rule = _BACKENDS[backend]
    if machine.arch == "cpu" and needs.capability:
        yield "needs a CUDA device"
    elif not needs.capability <= machine.capability <= needs.last:
        yield (
            f"needs sm{needs.capability} or later"
            + (f", up to sm{needs.last}" if needs.last < 10**6 else "")
            + (f", this is {machine.arch}")
        )
    if needs.package and needs.package not in machine.packages:
        yield f"the package {needs.package} is not installed"
    if case.dtype not in needs.dtypes:
        yield f"has no {case.dtype}"
    if case.head_dim > needs.head_dim:
        yield f"head dim {case.head_dim} is above {needs.head_dim}"
    if case.head_dim % needs.head_dim_multiple:
        yield f"head dim {case.head_dim} is no multiple of {needs.head_dim_multiple}"
    if case.varlen and not needs.varlen:
        yield "has no packed sequences"
    yield from rule(case, machine)


@dataclass(frozen=True, kw_only=True)
class _Needs:
    """What a back end takes. `capability` 0: it runs on a CPU too."""

    capability: int = 0
    last: int = 10**6
    package: str = ""
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32")
    head_dim: int = 10**9
    head_dim_multiple: int = 1
    varlen: bool = False


Rule = Callable[[AttentionCase, AttentionMachine], Iterator[str]]
_HALF = ("float16", "bfloat16")


def _any(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    yield from ()


def _torch_fused(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    """torch's fused kernels know top-left causal masks and no windows."""
    if case.mask == "window":
        yield "has no sliding window"
    if case.mask == "causal" and not case.is_square:
        yield "aligns causal masks top-left, wrong for unequal lengths"


def _sdpa_flash(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    yield from _torch_fused(case, machine)
    if machine.arch != "cpu" and case.dtype == "float32":
        yield "has no float32 on CUDA"
    if machine.arch != "cpu" and machine.capability < 80:
        yield f"needs sm80 or later, this is {machine.arch}"
    if machine.arch != "cpu" and case.head_dim > 256:
        yield f"head dim {case.head_dim} is above 256"
    if machine.capability in (86, 89, 120, 121) and case.backward and 192 < case.head_dim <= 256:
        yield f"has no backward for head dim {case.head_dim} on {machine.arch}"


def _sdpa_efficient(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    yield from _torch_fused(case, machine)
    if case.dtype == "bfloat16" and machine.capability < 80:
        yield f"has no bfloat16 on {machine.arch}"
    if case.dtype != "float32" and case.head_dim % 8:
        yield f"head dim {case.head_dim} is no multiple of 8"


def _cudnn(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    yield from _torch_fused(case, machine)
    if case.head_dim > (
        256 if machine.capability == 90 else 128
    ):  # 256 with cuDNN 9.10; older ones refuse it themselves
        yield f"head dim {case.head_dim} is above {256 if machine.capability == 90 else 128}"
    if case.keys == 1:
        yield "has no single key"


def _triton(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    if case.dtype == "bfloat16" and 0 < machine.capability < 80:
        yield f"has no bfloat16 on {machine.arch}"


def _our_triton(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    yield from _triton(case, machine)
    if case.dtype == "float32" and case.mask != "window" and case.is_square and not case.varlen:
        yield "multiplies float32 without tensor cores, slower than others that can"


def _loop(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    if not case.varlen:
        yield "is for packed sequences"


def _flex(case: AttentionCase, machine: AttentionMachine) -> Iterator[str]:
    yield from _triton(case, machine)
    if machine.arch == "cpu" and case.backward:
        yield "has no backward on a CPU"
    if machine.arch != "cpu" and case.head_dim < 16:
        yield f"head dim {case.head_dim} is below 16"


_BACKENDS: dict[Backend, tuple[_Needs, Rule]] = {
    "flash_attn4": (
        _Needs(capability=90, last=119, package="flash-attn-4", dtypes=_HALF, head_dim=128, head_dim_multiple=8),
        _any,
    ),
    "flash_attn": (
        _Needs(capability=80, package="flash-attn", dtypes=_HALF, head_dim=256, head_dim_multiple=8, varlen=True),
        _any,
    ),
    "sdpa_cudnn": (_Needs(capability=80, dtypes=_HALF, head_dim_multiple=8), _cudnn),
    "sdpa_flash": (_Needs(head_dim_multiple=1), _sdpa_flash),
    "triton_flash": (_Needs(capability=75, package="triton", head_dim=256, varlen=True), _our_triton),
    "sdpa_efficient": (_Needs(capability=75, head_dim_multiple=4), _sdpa_efficient),
    "flex": (_Needs(varlen=True), _flex),
    "sdpa_math": (_Needs(), _any),
    "tiled": (_Needs(), _any),
    "naive": (_Needs(), _any),
    "varlen_loop": (_Needs(varlen=True), _loop),
}  # fmt: skip
