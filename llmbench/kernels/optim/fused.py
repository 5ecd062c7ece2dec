"""AdamW and Lion as torch optimizers whose step is one Triton kernel for all tensors of a kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmbench.kernels.device import check_device, on_device_of, out_of_resources
from llmbench.kernels.optim.lion import check_hyper
from llmbench.kernels.optim.rules import LION, Hyper, correction

ALIGNMENT = 16  # of addresses (bytes that one instruction loads) and of sizes: then masks split no load.
# Source: CUDA C++ Programming Guide, device memory accesses
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Blocks(NamedTuple):
    """Entries that a program takes, and its warps. Memory-bound: 16 to 32 bytes a thread and tensor in flight."""

    size: int
    num_warps: int

    def __str__(self) -> str:
        """`2048 8 warps`"""
        return f"{self.size} {self.num_warps} warps"


CANDIDATES = (Blocks(1024, 4), Blocks(2048, 8), Blocks(2048, 4), Blocks(4096, 8), Blocks(512, 4))
"""The first that the device takes runs; `tuned` tries all."""


class DoesNotFit(RuntimeError):  # noqa: N818  (said of blocks)
    """No blocks that were tried fit the device."""


class _Kind(NamedTuple):
    """What the tensors of a launch have in common."""

    dtypes: tuple[torch.dtype, ...]
    device: torch.device
    step: int  # that is being made, the first being 1
    aligned: bool


class _Tables:
    """Where the tensors of a step are, as a kernel reads it; built anew only when one of them moved."""

    def __init__(self) -> None:
        self._made_for: tuple[Any, ...] = ()
        self.pointers = self.numels = self.blocks = torch.empty(0)

    def of(self, columns: Sequence[Sequence[Tensor]], size: int) -> "_Tables":
        """For these tensors, a list for each column, cut into blocks of `size` entries."""
        rows = [[t.data_ptr() for t in row] for row in zip(*columns, strict=True)]
        counts = [t.numel() for t in columns[0]]
        made_for = (rows, counts, size)
        if made_for != self._made_for:
            device = columns[0][0].device
            self.pointers = torch.tensor(rows, dtype=torch.int64).to(device, non_blocking=True)
            self.numels = torch.tensor(counts, dtype=torch.int64).to(device, non_blocking=True)
            self.blocks = _cut(counts, size).to(device, non_blocking=True)
            self._made_for = made_for
        return self


def _cut(counts: Sequence[int], size: int) -> Tensor:
    """For each program the tensor and the block of it that it takes, int64 [programs, 2]."""
    per_tensor = torch.tensor([-(-n // size) for n in counts])
    tensor = torch.repeat_interleave(torch.arange(len(counts)), per_tensor)
    first = torch.cumsum(per_tensor, 0) - per_tensor
    return torch.stack([tensor, torch.arange(len(tensor)) - first[tensor]], dim=1)


class _Fused(torch.optim.Optimizer, ABC):
    """What both have: state that a step makes, tensors grouped by kind, blocks that fit the device."""

    moments: tuple[str, ...]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        self._tables: dict[tuple[object, ...], _Tables] = {}
        self.blocks: Blocks | None = None  # that ran, or that `tuned` found

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step over every parameter that has a gradient; what the closure returns.

        Raises: ValueError for tensors that are not dense and contiguous, or of another dtype; RuntimeError where Triton
        cannot run.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for at, group in enumerate(self.param_groups):
            for i, (kind, params) in enumerate(self._kinds(group).items()):
                table = self._tables.setdefault((at, i), _Tables())
                self._step_of({**group, **kind._asdict()}, params, table)
                for p in params:
                    self.state[p]["step"] = kind.step
        return loss

    def tuned(self, timed: Callable[[Callable[[], object]], float]) -> Blocks:
        """The fastest blocks by `timed(call) -> seconds`, which later steps take.

        Tried on copies: a step on the parameters themselves would change them once for each try.
        """
        spent = {}
        for blocks in CANDIDATES:
            copy = self._copy()
            copy.blocks = blocks
            with suppress(DoesNotFit):
                spent[blocks] = timed(copy.step)
            del copy
        self.blocks = min(spent, key=lambda b: spent[b])
        return self.blocks

    def _copy(self) -> "_Fused":
        copy = type(self).__new__(type(self))
        groups = []
        for group in self.param_groups:
            params = [p.detach().clone() for p in group["params"]]
            for mine, theirs in zip(params, group["params"], strict=True):
                mine.grad = None if theirs.grad is None else theirs.grad.detach().clone()
            groups.append({**group, "params": params})
        _Fused.__init__(copy, groups, dict(self.defaults))
        for group, mine in zip(self.param_groups, copy.param_groups, strict=True):
            for p, q in zip(group["params"], mine["params"], strict=True):
                copy.state[q] = {k: v.clone() if torch.is_tensor(v) else v for k, v in self.state[p].items()}
        return copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._tables, self.blocks = {}, None

    def _kinds(self, group: dict[str, Any]) -> dict["_Kind", list[Tensor]]:
        """The parameters with a gradient, by what a launch must have in common. Makes state where there is none."""
        found: dict[_Kind, list[Tensor]] = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update({name: torch.zeros_like(p) for name in self.moments})
                state["step"] = 0
            tensors = (p, p.grad, *(state[name] for name in self.moments))
            if any(t.layout != torch.strided or not t.is_contiguous() or t.dtype not in DTYPES for t in tensors):
                raise ValueError(
                    f"{type(self).__name__} takes contiguous float32, bfloat16 and float16 tensors; a parameter is "
                    f"{p.dtype} {tuple(p.shape)}, its gradient {p.grad.dtype} {p.grad.layout}"
                )
            step = int(state["step"]) + 1  # an int of ours, or the tensor of a state_dict of torch's
            if p.numel():
                aligned = not any(t.data_ptr() % ALIGNMENT for t in tensors) and p.numel() % ALIGNMENT == 0
                kind = _Kind(tuple(t.dtype for t in tensors), p.device, step, aligned)
                found.setdefault(kind, []).append(p)
        return found

    def _step_of(self, group: dict[str, Any], params: list[Tensor], tables: _Tables) -> None:
        check_device(params[0])
        moments = [[self.state[p][name] for p in params] for name in self.moments]
        columns = [params, [p.grad for p in params if p.grad is not None], *moments]
        failed: Exception | None = None
        with on_device_of(params[0]):
            for blocks in [self.blocks] if self.blocks else CANDIDATES:
                table = tables.of(columns, blocks.size)
                try:
                    self._launch(group, [c[0] for c in columns], table, blocks)
                except out_of_resources() as e:  # raised before anything ran
                    failed = e
                    continue
                self.blocks = blocks
                return
        raise DoesNotFit(f"no blocks of {type(self).__name__} fit this device: {failed}") from failed

    @abstractmethod
    def _launch(self, group: dict[str, Any], likes: Sequence[Tensor], table: _Tables, blocks: Blocks) -> None:
        """Launches the kernel of the rule for the tensors of a kind."""


class FusedAdamW(_Fused):
    """torch.optim.AdamW in one Triton kernel: 28 bytes a float32 parameter (reads p, g, m, v; writes p, m, v).

    Source: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
    """

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:  # fmt: skip
        check_hyper(lr, betas, weight_decay, eps)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _launch(self, group: dict[str, Any], likes: Sequence[Tensor], table: _Tables, blocks: Blocks) -> None:
        from llmbench.kernels.optim.triton_step import adamw_kernel

        beta1, beta2 = group["betas"]
        h = Hyper(group["lr"], beta1, beta2, group["eps"], group["weight_decay"])
        first, second_root = correction(group["step"], h)
        adamw_kernel[(len(table.blocks),)](
            table.pointers, table.numels, table.blocks, *likes[:3], 1 - h.lr * h.weight_decay, beta1, beta2, 1 - beta1,
            1 - beta2, h.eps, h.lr / first, second_root, ALIGNED=group["aligned"], BLOCK_N=blocks.size,
            num_warps=blocks.num_warps,
        )  # fmt: skip


class FusedLion(_Fused):
    """Lion in one Triton kernel: 20 bytes a float32 parameter (reads p, g, m; writes p, m).

    Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2.
    """

    moments = ("exp_avg",)

    def __init__(
        self, params: Iterable[Tensor], lr: float = LION.lr, betas: tuple[float, float] = (LION.beta1, LION.beta2),
        weight_decay: float = LION.weight_decay,
    ) -> None:  # fmt: skip
        check_hyper(lr, betas, weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _launch(self, group: dict[str, Any], likes: Sequence[Tensor], table: _Tables, blocks: Blocks) -> None:
        from llmbench.kernels.optim.triton_step import lion_kernel

        beta1, beta2 = group["betas"]
        lion_kernel[(len(table.blocks),)](
            table.pointers, table.numels, table.blocks, *likes[:3], 1 - group["lr"] * group["weight_decay"], beta1,
            beta2, 1 - beta1, 1 - beta2, group["lr"], ALIGNED=group["aligned"], BLOCK_N=blocks.size,
            num_warps=blocks.num_warps,
        )  # fmt: skip
