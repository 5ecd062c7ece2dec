"""Checkpointing: which blocks a policy cuts into which runs, and that gradients are the same bits with all of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from llmbench.kernels.attention import flash_attention, naive_attention, tiled_attention
from llmbench.kernels.device import interprets
from llmbench.kernels.losses import linear_cross_entropy
from llmbench.kernels.model import Corpus, Decoder, ModelConfig, segments

POLICIES = ("none", "full", "every_2", "every_3", "sqrt", "selective")
CONFIG = ModelConfig(vocab=61, hidden=32, layers=5, num_heads=4, num_kv_heads=2, head_dim=16, ffn=48, tied=True)
ATTENTIONS: dict[str, Callable[..., Tensor]] = {
    "naive": partial(naive_attention, causal=True),
    "tiled": partial(tiled_attention, causal=True, block_q=8, block_k=8),
    "sdpa": partial(scaled_dot_product_attention, is_causal=True, enable_gqa=True),
    "flash": partial(flash_attention, causal=True),
}


@pytest.mark.parametrize(
    ("policy", "layers", "wanted"),
    [
        ("none", 5, []),
        ("full", 3, [(0, 1), (1, 2), (2, 3)]),
        ("selective", 2, [(0, 1), (1, 2)]),
        ("every_1", 2, [(0, 1), (1, 2)]),
        ("every_2", 5, [(0, 2), (2, 4), (4, 5)]),
        ("every_9", 5, [(0, 5)]),
        ("sqrt", 1, [(0, 1)]),
        ("sqrt", 4, [(0, 2), (2, 4)]),
        ("sqrt", 5, [(0, 2), (2, 5)]),
        ("sqrt", 32, [(0, 5), (5, 10), (10, 16), (16, 21), (21, 26), (26, 32)]),
    ],
)
def test_segments_of_a_policy(policy: str, layers: int, wanted: list[tuple[int, int]]) -> None:
    assert segments(policy, layers) == [range(*run) for run in wanted]


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "none"])
def test_segments_hold_each_block_once_in_order(policy: str) -> None:
    for layers in range(1, 70):
        runs = segments(policy, layers)
        assert [i for run in runs for i in run] == list(range(layers))
        assert all(runs)
        if policy == "sqrt":
            assert len(runs) == round(layers**0.5)
            assert max(map(len, runs)) - min(map(len, runs)) <= 1


@pytest.mark.parametrize("policy", ["every_0", "every_", "every_-1", "every_1.5", "every_two"])
def test_a_k_that_is_no_number_of_blocks_is_refused(policy: str) -> None:
    with pytest.raises(ValueError, match=f"checkpointing '{policy}': wanted every_K"):
        segments(policy, 4)


def test_a_policy_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="checkpointing 'half' is none of none, full, every_K, sqrt, selective"):
        segments("half", 4)
    with pytest.raises(ValueError, match="checkpointing 'half'"):
        Decoder(CONFIG, ATTENTIONS["naive"], checkpointing="half")


def loss_and_gradients(
    attention: str, policy: str, *, early_stop: bool = True, compiled: bool = False
) -> tuple[Tensor, ...]:
    config = replace(CONFIG, layers=1) if attention == "flash" else CONFIG  # an interpreter takes its time
    model = Decoder(config, ATTENTIONS[attention], checkpointing=policy, early_stop=early_stop)
    tokens, labels, _ = Corpus(61).batch(0, batch=1 if attention == "flash" else 2, seq_len=20)
    run = torch.compile(model, backend="aot_eager", dynamic=False, fullgraph=True) if compiled else model
    loss = linear_cross_entropy(run(tokens).flatten(0, 1), model.head_weight, labels.flatten())
    return loss.detach(), *torch.autograd.grad(loss, tuple(model.parameters()))


@pytest.mark.parametrize("early_stop", [True, False], ids=["early_stop", "to_the_end"])
@pytest.mark.parametrize("attention", ["naive", "tiled", "sdpa"])
def test_gradients_are_the_same_bits_with_every_policy(attention: str, early_stop: bool) -> None:
    wanted = loss_and_gradients(attention, "none")
    for policy in POLICIES:
        got = loss_and_gradients(attention, policy, early_stop=early_stop)
        assert all(torch.equal(g, w) for g, w in zip(got, wanted, strict=True)), policy


def test_gradients_are_the_same_bits_with_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = loss_and_gradients("sdpa", "none")
        for policy in POLICIES:
            got = loss_and_gradients("sdpa", policy)
            assert all(torch.equal(g, w) for g, w in zip(got, wanted, strict=True)), policy


@pytest.mark.parametrize("policy", ["full", "selective"])
def test_a_compiler_takes_a_policy_into_one_graph(policy: str) -> None:
    wanted, got = (loss_and_gradients("sdpa", policy, compiled=compiled) for compiled in (False, True))
    torch.testing.assert_close(got, wanted)


class Calls(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def calls(attention: str, policy: str, *, early_stop: bool = True) -> Counter[str]:
    with Calls() as mode:
        loss_and_gradients(attention, policy, early_stop=early_stop)
    return mode.count


@pytest.mark.parametrize(
    ("attention", "operation"),
    [
        ("naive", "aten::bmm"),
        ("sdpa", "aten::_scaled_dot_product_flash_attention_for_cpu"),
        ("flash", "llmbench::flash_attention"),
    ],
)
def test_selective_repeats_no_product_and_no_attention(attention: str, operation: str) -> None:
    if attention == "flash" and not interprets():
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    plain, selective, full = (calls(attention, policy) for policy in ("none", "selective", "full"))
    assert plain[operation] > 0
    assert selective[operation] == plain[operation] < full[operation]
    assert selective["aten::mm"] == plain["aten::mm"] < full["aten::mm"]
    assert selective["aten::rsqrt"] > plain["aten::rsqrt"], "it recomputes nothing at all"


@pytest.mark.parametrize(("policy", "runs"), [("full", 5), ("every_2", 3), ("sqrt", 2)])
def test_early_stop_spares_one_product_of_each_segment(policy: str, runs: int) -> None:
    early, late = (calls("naive", policy, early_stop=stop)["aten::mm"] for stop in (True, False))
    assert late - early == runs
    assert late - calls("naive", "none")["aten::mm"] == 5 * 7  # of each block: q, k, v, out, gate, up, down


def test_early_stop_is_what_it_was_told_whatever_torch_is_set_to() -> None:
    wanted = calls("naive", "full", early_stop=True)
    with torch.utils.checkpoint.set_checkpoint_early_stop(False):
        assert calls("naive", "full", early_stop=True) == wanted
    assert calls("naive", "full", early_stop=False) != wanted


class Saved:
    """Bytes that backward will read, of tensors other than parameters, each storage once."""

    def __init__(self, model: Decoder) -> None:
        self.parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.kept: dict[int, Tensor] = {}

    def pack(self, t: Tensor) -> Tensor:
        if t.untyped_storage().data_ptr() not in self.parameters:
            self.kept[t.untyped_storage().data_ptr()] = t
        return t

    @property
    def size_bytes(self) -> int:
        return sum(t.untyped_storage().nbytes() for t in self.kept.values())


def saved_bytes(policy: str) -> int:
    """What stays between forward and backward, beside the inputs of the segments, which the hooks do not see."""
    model = Decoder(CONFIG, ATTENTIONS["naive"], checkpointing=policy)
    saved = Saved(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda t: t):
        model(torch.ones(2, 20, dtype=torch.int64))
    return saved.size_bytes


def test_checkpointing_keeps_less() -> None:
    none, full = saved_bytes("none"), saved_bytes("full")
    assert full < none / 5


def test_nothing_is_recomputed_where_there_is_no_backward() -> None:
    model = Decoder(CONFIG, ATTENTIONS["naive"], checkpointing="full")
    tokens = torch.ones(1, 8, dtype=torch.int64)
    with torch.inference_mode():
        inferred = model(tokens)
    assert torch.equal(inferred, model(tokens).detach())
