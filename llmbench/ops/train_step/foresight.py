"""Peak memory of a step before it is run: by the step itself on tensors without data, with stand-ins for what needs a
GPU."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from llmbench.kernels.model import Attention
from llmbench.kernels.training import predict
from llmbench.ops.attention import attention
from llmbench.ops.cross_entropy import op as cross_entropy
from llmbench.ops.train_step.params import TrainStepParams, recipe_of


def predicted_memory(p: TrainStepParams, impl: str) -> float | str:
    """Bytes at the peak of two steps, by `predict`; eager ones only.

    As a CPU would hold them, whatever the device: what needs a GPU has a stand-in that holds as much. Attention stands
    as SDPA's flash kernel, fused AdamW as torch's, fused Lion as the loop.
    """
    if impl == "compiled":
        return "torch.compile decides what is kept and fused: only running it tells"
    if impl != "eager":
        return f"of the eager step alone, and this is {impl}"
    stand_in = p
    if attention.impls[p.attention].why_unavailable("fwd_bwd", device_type="cpu"):
        stand_in = replace(stand_in, attention="sdpa_flash")
    if cross_entropy.impls[p.cross_entropy].why_unavailable("fwd_bwd", device_type="cpu"):
        stand_in = replace(stand_in, cross_entropy="chunked")
    if p.optimizer.endswith("triton"):
        stand_in = replace(stand_in, optimizer="adamw_fused" if p.optimizer == "adamw_triton" else "lion_for_loop")
    return _predicted_peak(
        stand_in, repeats_kv=p.attention == "sdpa_efficient", keeps_logits=p.cross_entropy == "triton_fused"
    )


@lru_cache(maxsize=256)  # several cases may have one stand-in, and a large model takes seconds
def _predicted_peak(p: TrainStepParams, *, repeats_kv: bool, keeps_logits: bool) -> float:
    recipe = recipe_of(p, device=torch.device("cpu"))
    if repeats_kv:
        recipe = replace(recipe, attention=_with_kv_repeated(recipe.attention))
    if keeps_logits:
        recipe = replace(recipe, cross_entropy=_fused)
    return float(predict(recipe).peak)


def _with_kv_repeated(attend: Attention) -> Attention:
    def repeated(q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor) -> Tensor:
        r = q_BHSD.shape[1] // k_BGSD.shape[1]
        return attend(q_BHSD, k_BGSD.repeat_interleave(r, dim=1), v_BGSD.repeat_interleave(r, dim=1))

    return repeated


def _fused(hidden_TE: Tensor, weight_VE: Tensor, labels_T: Tensor) -> Tensor:
    loss: Tensor = _KeptLogits.apply(hidden_TE @ weight_VE.mT)  # type: ignore[no-untyped-call]
    return loss


class _KeptLogits(torch.autograd.Function):
    """What a fused cross entropy holds, and not its loss: logits, and in backward their gradient."""

    @staticmethod
    def forward(ctx: Any, logits_TV: Tensor) -> Tensor:
        ctx.save_for_backward(logits_TV)
        return logits_TV.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.empty_like(*ctx.saved_tensors)
