"""The decoder against the formulas it is made of, and what must hold of it: causality, counts, equal variants."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from llmbench.kernels.attention import flash_attention, naive_attention, tiled_attention
from llmbench.kernels.device import interprets
from llmbench.kernels.losses import IGNORE, linear_cross_entropy
from llmbench.kernels.model import Corpus, Decoder, ModelConfig, from_hugging_face, preset

SMALL = ModelConfig(
    vocab=61, hidden=24, layers=2, num_heads=6, num_kv_heads=2, head_dim=8, ffn=40, tied=False, rope_theta=100.0
)


def sdpa_math(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


ATTENTIONS: dict[str, Callable[..., Tensor]] = {
    "naive": partial(naive_attention, causal=True),
    "tiled": partial(tiled_attention, causal=True, block_q=8, block_k=8),
    "sdpa_math": sdpa_math,
    "sdpa_flash": partial(scaled_dot_product_attention, is_causal=True, enable_gqa=True),
}
NAIVE = ATTENTIONS["naive"]


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss_of(model: Decoder, tokens: Tensor, labels: Tensor) -> Tensor:
    return linear_cross_entropy(model(tokens).flatten(0, 1), model.head_weight, labels.flatten())


def by_hand(model: Decoder, tokens_S: Tensor) -> Tensor:
    """logits_SV of one sequence, from the formulas: rotation as multiplication of complex numbers, head by head."""
    c, w = model.config, {name: p.detach() for name, p in model.named_parameters()}
    S, D = len(tokens_S), c.head_dim
    frequency = torch.tensor([c.rope_theta ** (-2 * i / D) for i in range(D // 2)], dtype=torch.float64)
    angle = torch.arange(S, dtype=torch.float64)[:, None] * frequency
    turn = torch.complex(angle.cos(), angle.sin())

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + c.norm_eps).sqrt() * weight

    def heads(x: Tensor, at: str, name: str) -> list[Tensor]:
        flat = x @ w[f"{at}.attention.{name}.weight"].T
        if c.qkv_bias:
            flat = flat + w[f"{at}.attention.{name}.bias"]
        cut = list(flat.split(D, dim=1))
        if name == "v":
            return cut
        if c.qk_norm:
            cut = [norm(h, w[f"{at}.attention.{name}_norm.weight"]) for h in cut]
        turned = [torch.complex(h[:, : D // 2], h[:, D // 2 :]) * turn for h in cut]
        return [torch.cat((t.real, t.imag), dim=1) for t in turned]

    x = w["embedding.weight"][tokens_S]
    for i in range(c.layers):
        at = f"blocks.{i}"
        normed = norm(x, w[f"{at}.attention_norm.weight"])
        q, k, v = (heads(normed, at, name) for name in "qkv")
        out = []
        for h in range(c.num_heads):
            g = h // (c.num_heads // c.num_kv_heads)
            scores = (q[h] @ k[g].T / math.sqrt(D)).masked_fill(~torch.ones(S, S, dtype=torch.bool).tril(), -math.inf)
            out.append(scores.softmax(-1) @ v[g])
        x = x + torch.cat(out, dim=1) @ w[f"{at}.attention.out.weight"].T
        normed = norm(x, w[f"{at}.ffn_norm.weight"])
        gate = normed @ w[f"{at}.ffn.gate.weight"].T
        up = normed @ w[f"{at}.ffn.up.weight"].T
        x = x + (gate * torch.sigmoid(gate) * up) @ w[f"{at}.ffn.down.weight"].T
    return norm(x, w["norm.weight"]) @ model.head_weight.detach().T


def vivid(model: Decoder) -> Decoder:
    """The model with weights far from their first values, norms and biases too, so that nothing is 0 or 1."""
    g = seeded(3)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=p.dtype), alpha=0.3)
    return model


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(
    "config",
    [
        SMALL, replace(SMALL, tied=True), SMALL.with_heads(6, 6), SMALL.with_heads(6, 1),
        replace(SMALL, qkv_bias=True), replace(SMALL, qk_norm=True),
        replace(SMALL, tied=True).with_score_head(),
    ],
    ids=["gqa", "tied", "mha", "mqa", "qkv_bias", "qk_norm", "score_head"],
)  # fmt: skip
def test_logits_equal_the_formulas(config: ModelConfig, attention: str) -> None:
    model = vivid(Decoder(config, ATTENTIONS[attention], dtype=torch.float64))
    tokens = torch.randint(61, (2, 19), generator=seeded())
    logits = model.logits(model(tokens))
    wanted = torch.stack([by_hand(model, row) for row in tokens])
    torch.testing.assert_close(logits, wanted, rtol=1e-11, atol=1e-11)
    assert (model.head_weight is model.embedding.weight) == (config.tied and not config.score_head)


def hugging_face_names(model: Decoder) -> dict[str, Tensor]:
    """Our weights under the names of transformers."""
    renames = {
        "embedding.": "model.embed_tokens.", "blocks.": "model.layers.", "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm", ".attention.out": ".self_attn.o_proj", "ffn.": "mlp.",
        "gate.": "gate_proj.", "up.": "up_proj.", "down.": "down_proj.", ".attention.q.": ".self_attn.q_proj.",
        ".attention.k.": ".self_attn.k_proj.", ".attention.v.": ".self_attn.v_proj.",
        ".attention.": ".self_attn.", "head.": "lm_head.",
    }  # fmt: skip
    found = {}
    for name, p in model.named_parameters():
        new = "model.norm.weight" if name == "norm.weight" else name
        for ours, theirs in renames.items():
            new = new.replace(ours, theirs)
        found[new] = p.detach()
    return found


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_hidden_states_and_gradients_are_those_of_transformers(kind: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes: dict[str, Any] = {
        "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
        "head_dim": 8, "intermediate_size": 40, "tie_word_embeddings": kind == "Llama", "rms_norm_eps": 1e-5,
        "attn_implementation": "eager", "max_position_embeddings": 64, "pad_token_id": None,
    }  # fmt: skip
    if kind == "Mistral":
        sizes["sliding_window"] = None
    config = getattr(transformers, f"{kind}Config")(**sizes)
    theirs = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    ours = vivid(Decoder(from_hugging_face(config), NAIVE))
    missing = theirs.load_state_dict(hugging_face_names(ours), strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}
    assert ours.config.num_params == sum(p.numel() for p in theirs.parameters())
    tokens = torch.randint(61, (2, 19), generator=seeded())
    wanted, logits = theirs(tokens).logits, ours.logits(ours(tokens))
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    (ours_at,) = torch.autograd.grad(logits.logsumexp(-1).sum(), ours.embedding.weight)
    (theirs_at,) = torch.autograd.grad(wanted.logsumexp(-1).sum(), theirs.model.embed_tokens.weight)
    torch.testing.assert_close(ours_at, theirs_at, rtol=1e-3, atol=1e-4)


def test_a_token_does_not_change_what_is_before_it() -> None:
    model = vivid(Decoder(SMALL, NAIVE, dtype=torch.float64))
    tokens = torch.randint(61, (1, 16), generator=seeded())
    other = tokens.clone()
    other[0, 9] = (tokens[0, 9] + 1) % 61
    first, second = model(tokens), model(other)
    assert torch.equal(first[:, :9], second[:, :9])
    assert (first[:, 9:] != second[:, 9:]).any(dim=-1).all()


def test_a_query_head_reads_the_kv_head_of_its_group() -> None:
    heads: list[list[int]] = []

    def record(q_BHSD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor) -> Tensor:
        """Which query heads change when one kv head does."""
        out = NAIVE(q_BHSD, k_BGSD, v_BGSD)
        for g in range(k_BGSD.shape[1]):
            v = v_BGSD.clone()
            v[:, g] += 1
            moved = (NAIVE(q_BHSD, k_BGSD, v) != out).flatten(2).any(-1)[0]
            heads.append(moved.nonzero().flatten().tolist())
        return out

    vivid(Decoder(replace(SMALL, layers=1), record))(torch.tensor([[1, 2, 3]]))
    assert heads == [[0, 1, 2], [3, 4, 5]]  # h // (H / G)


def test_weights_depend_on_the_generator_alone() -> None:
    wide = Decoder(SMALL, NAIVE, generator=seeded(7))
    before = torch.random.get_rng_state()
    narrow = Decoder(SMALL, NAIVE, generator=seeded(7), dtype=torch.bfloat16)
    assert torch.equal(torch.random.get_rng_state(), before), "construction draws from torch's own generator"
    for a, b in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert torch.equal(a.to(torch.bfloat16), b)
    other = Decoder(SMALL, NAIVE, generator=seeded(8))
    assert not torch.equal(wide.embedding.weight, other.embedding.weight)
    default = Decoder(SMALL, NAIVE)
    assert torch.equal(default.head_weight, Decoder(SMALL, NAIVE, generator=seeded(0)).head_weight)


def test_first_weights_have_the_spread_of_gpt2() -> None:
    model = Decoder(replace(preset("tiny"), qkv_bias=True), NAIVE)
    for name, p in model.named_parameters():
        wanted = 0.0 if p.ndim == 1 else 0.02 / math.sqrt(8) if name.endswith(("out.weight", "down.weight")) else 0.02
        assert p.std().item() == pytest.approx(wanted, rel=0.05), name
        assert p.mean().item() == pytest.approx(1.0 if name.endswith("norm.weight") else 0.0, abs=1e-3), name
    loss = loss_of(model, *Corpus(512).batch(0, batch=2, seq_len=64)[:2])
    assert loss.item() == pytest.approx(math.log(512), abs=0.1)


def test_it_is_built_without_memory() -> None:
    meta = Decoder(preset("llama3_8b"), NAIVE, device="meta", dtype=torch.bfloat16)
    assert meta(torch.zeros(1, 4, dtype=torch.int64, device="meta")).shape == (1, 4, 4096)
    with FakeTensorMode():
        assert Decoder(preset("llama3_8b"), NAIVE, device="cuda").head_weight.device.type == "cuda"
        fake = Decoder(preset("llama3_8b"), NAIVE, checkpointing="selective", dtype=torch.bfloat16)
        hidden = fake(torch.zeros(1, 4, dtype=torch.int64))
        hidden.sum().backward()
    assert (hidden.shape, hidden.dtype) == ((1, 4, 4096), torch.bfloat16)
    assert fake.head_weight.grad is None and fake.embedding.weight.grad.shape == (128_256, 4096)


def test_weights_can_be_drawn_after_a_construction_on_meta() -> None:
    late = Decoder(SMALL, NAIVE, device="meta").to_empty(device="cpu")
    late.draw_weights(seeded(7))
    for a, b in zip(late.parameters(), Decoder(SMALL, NAIVE, generator=seeded(7)).parameters(), strict=True):
        assert torch.equal(a, b)


def test_norms_and_rotation_are_float32_within_a_low_precision() -> None:
    seen: list[tuple[Tensor, ...]] = []

    def record(*qkv: Tensor) -> Tensor:
        seen.append(qkv)
        return NAIVE(*qkv)

    model = Decoder(replace(SMALL, layers=1), record, dtype=torch.bfloat16)
    tokens = torch.randint(61, (1, 600), generator=seeded())
    hidden = model(tokens)
    assert hidden.dtype == torch.bfloat16
    q, k, v = (t.detach() for t in seen[0])
    assert {t.dtype for t in (q, k, v)} == {torch.bfloat16}
    block = model.blocks[0]
    flat = block.attention.q(block.attention_norm(model.embedding(tokens)))[0].view(600, 6, 8).float()
    angle = torch.arange(600)[:, None] * torch.tensor([100.0 ** (-i / 4) for i in range(4)])
    a, b = flat[..., :4], flat[..., 4:]
    turned = torch.cat(
        (a * angle.cos()[:, None] - b * angle.sin()[:, None], b * angle.cos()[:, None] + a * angle.sin()[:, None]), -1
    )
    torch.testing.assert_close(q[0].transpose(0, 1).float(), turned, rtol=2**-8, atol=1e-6)  # one rounding
    large = torch.full((1, 24), 3e4, dtype=torch.float16)  # its square overflows float16
    norm = Decoder(SMALL, NAIVE, dtype=torch.float16).norm
    assert torch.equal(norm(large), torch.ones_like(large))


def gradients(model: Decoder, tokens: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss_of(model, tokens, labels), tuple(model.parameters()))


@pytest.mark.parametrize("attention", ["tiled", "sdpa_math", "sdpa_flash", "flash"])
def test_attention_implementations_agree(attention: str) -> None:
    if attention == "flash" and not interprets():
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    attend = partial(flash_attention, causal=True) if attention == "flash" else ATTENTIONS[attention]
    config = replace(SMALL, head_dim=16)
    batch = Corpus(61).batch(0, batch=1, seq_len=24)
    ours, wanted = (vivid(Decoder(config, a)) for a in (attend, NAIVE))
    torch.testing.assert_close(ours(batch.tokens), wanted(batch.tokens), rtol=1e-4, atol=1e-4)
    pairs = zip(gradients(ours, *batch[:2]), gradients(wanted, *batch[:2]), strict=True)
    for got, want in pairs:
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


def test_micro_batches_add_up_to_the_batch_by_tokens_not_by_means() -> None:
    model = vivid(Decoder(SMALL, NAIVE, dtype=torch.float64))
    batch = Corpus(61).ragged(0, batch=4, seq_len=24)
    counts = [int((labels != IGNORE).sum()) for labels in batch.labels]
    assert len(set(counts)) == 4, "the counts are equal: the test could not fail"
    parameters = tuple(model.parameters())

    def total(shares: list[float]) -> tuple[Tensor, tuple[Tensor, ...]]:
        losses = [
            loss_of(model, batch.tokens[i : i + 1], batch.labels[i : i + 1]) * share for i, share in enumerate(shares)
        ]
        return sum(losses, torch.zeros(())).detach(), tuple(
            sum(each) for each in zip(*(torch.autograd.grad(loss, parameters) for loss in losses), strict=True)
        )

    whole = loss_of(model, batch.tokens, batch.labels)
    wanted = torch.autograd.grad(whole, parameters)
    by_tokens, gradients_by_tokens = total([n / sum(counts) for n in counts])
    assert abs(by_tokens.item() - whole.item()) < 1e-12
    for got, want in zip(gradients_by_tokens, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    by_means, gradients_by_means = total([1 / 4] * 4)
    assert abs(by_means.item() - whole.item()) > 1e-3
    assert max((g - w).abs().max().item() for g, w in zip(gradients_by_means, wanted, strict=True)) > 1e-3


def test_padding_changes_neither_loss_nor_gradient() -> None:
    model = vivid(Decoder(SMALL, NAIVE, dtype=torch.float64))
    batch = Corpus(61).ragged(0, batch=4, seq_len=24)
    other = batch.tokens.masked_fill(torch.arange(24) >= batch.lengths[:, None], 5)
    assert not torch.equal(other, batch.tokens)
    for got, want in zip(
        gradients(model, other, batch.labels), gradients(model, batch.tokens, batch.labels), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


def trained(attention: str, steps: int = 20) -> list[float]:
    """Losses of a training with AdamW."""
    config = ModelConfig(vocab=64, hidden=32, layers=2, num_heads=4, num_kv_heads=2, head_dim=8, ffn=64, tied=True)
    model, corpus = Decoder(config, ATTENTIONS[attention]), Corpus(64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        loss = loss_of(model, *corpus.batch(step, batch=4, seq_len=64)[:2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_the_loss_falls_and_all_attentions_have_the_same_curve() -> None:
    curves = {name: trained(name) for name in ATTENTIONS}
    assert curves["naive"][0] == pytest.approx(math.log(64), abs=0.1)
    assert curves["naive"][-1] < curves["naive"][0] - 0.5
    for name, curve in curves.items():
        assert curve == pytest.approx(curves["naive"], abs=1e-4), name
