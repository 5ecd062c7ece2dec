"""Every implementation of attention that a GPU can run, against the blocked oracle."""

import pytest
import torch

from llmbench.measure.check import judge
from llmbench.ops import OPS, Unavailable
from llmbench.ops.oracle import expected
from llmbench.ops.work import build, make_douts, output_like, work
from llmbench.run.worker import forget_compiled

attention = OPS["attention"]
SHAPES = {
    "mha": {"seq_len": 512, "num_heads": 8, "num_kv_heads": 8, "head_dim": 64},
    "gqa": {"seq_len": 384, "num_heads": 8, "num_kv_heads": 2, "head_dim": 128},
    "mqa": {"seq_len": 200, "num_heads": 4, "num_kv_heads": 1, "head_dim": 64},
}


@pytest.mark.parametrize("phase", ["infer", "fwd", "bwd", "fwd_bwd"])
@pytest.mark.parametrize("heads", SHAPES)
@pytest.mark.parametrize("mask", ["full", "causal"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", sorted(attention.impls))
def test_an_implementation_is_right_on_the_gpu(name: str, dtype: str, mask: str, heads: str, phase: str) -> None:
    impl = attention.impls[name]
    why = impl.why_unavailable(phase, device_type="cuda")
    if why:
        pytest.skip(why)
    forget_compiled()
    p = attention.params(**SHAPES[heads], mask=mask, dtype=dtype)
    generator = torch.Generator("cuda").manual_seed(0)
    inputs = attention.inputs(p, generator)
    douts = make_douts(output_like(attention, p, inputs), generator) if "bwd" in phase else ()
    try:
        job = work(attention, impl, build(impl, p, device="cuda"), inputs, phase, device_type="cuda", douts=douts)
        outputs = job.call()
    except Unavailable as e:
        pytest.skip(str(e))
    verdict = judge(outputs, expected(attention, p, phase, inputs, douts))
    assert verdict.why is None, verdict.why


def test_float32_is_right_on_the_gpu() -> None:
    p = attention.params(**SHAPES["gqa"], mask="causal", dtype="float32")
    inputs = attention.inputs(p, torch.Generator("cuda").manual_seed(0))
    wanted = expected(attention, p, "infer", inputs, ())
    for name in ("naive", "tiled", "sdpa_math", "sdpa_efficient"):
        impl = attention.impls[name]
        job = work(attention, impl, build(impl, p, device="cuda"), inputs, "infer", device_type="cuda")
        assert judge(job.call(), wanted).why is None, name
