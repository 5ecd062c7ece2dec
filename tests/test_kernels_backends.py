"""Which back end is taken, as a table: by case and machine, with the reasons for those that are passed over."""

from dataclasses import replace

import pytest

from llmbench.kernels.attention.backends import (
    AttentionCase,
    AttentionMachine,
    ImpossibleBackendError,
    priorities,
    select_backend,
    why_not,
)

ALL = frozenset({"triton", "flash-attn", "flash-attn-4"})
BF16 = AttentionCase(
    dtype="bfloat16", head_dim=128, num_heads=32, num_kv_heads=8, queries=4096, keys=4096, mask="causal"
)


def chosen(arch: str, packages: frozenset[str] = ALL, **changes: object) -> str:
    return select_backend(replace(BF16, **changes), AttentionMachine(arch, packages))[0]


@pytest.mark.parametrize(
    ("arch", "packages", "changes", "wanted"),
    [
        ("sm75", ALL, {}, "sdpa_math"),
        ("sm75", ALL, {"dtype": "float16"}, "sdpa_efficient"),
        ("sm75", ALL, {"dtype": "float16", "mask": "window"}, "triton_flash"),
        ("sm80", ALL, {}, "flash_attn"),
        ("sm80", frozenset(), {}, "sdpa_flash"),
        ("sm80", {"triton"}, {"mask": "window"}, "triton_flash"),
        ("sm86", ALL, {"dtype": "float32"}, "sdpa_efficient"),
        ("sm86", {"triton"}, {"dtype": "float32", "mask": "window"}, "triton_flash"),
        ("sm70", ALL, {"dtype": "float16"}, "sdpa_math"),
        ("sm120", ALL, {}, "sdpa_cudnn"),
        ("sm75", ALL, {"dtype": "float16", "head_dim": 100}, "triton_flash"),
        ("sm89", ALL, {"varlen": True}, "flash_attn"),
        ("sm89", {"triton"}, {"varlen": True}, "triton_flash"),
        ("sm90", ALL, {}, "flash_attn4"),
        ("sm90", {"triton"}, {}, "sdpa_cudnn"),
        ("sm90", {"triton"}, {"mask": "window"}, "triton_flash"),
        ("sm90", {"triton"}, {"head_dim": 256}, "sdpa_cudnn"),
        ("sm80", {"triton"}, {"head_dim": 256}, "sdpa_flash"),
        ("sm90", ALL, {"varlen": True}, "triton_flash"),
        ("sm90", {"triton"}, {"head_dim": 512}, "sdpa_efficient"),
        ("sm90", {"triton"}, {"keys": 8192}, "triton_flash"),
        ("sm100", ALL, {}, "flash_attn4"),
        ("sm100", {"triton"}, {}, "sdpa_cudnn"),
        ("cpu", ALL, {}, "sdpa_flash"),
        ("cpu", ALL, {"dtype": "float32"}, "sdpa_flash"),
        ("cpu", ALL, {"mask": "window"}, "tiled"),
        ("cpu", ALL, {"mask": "window", "backward": False}, "flex"),
        ("cpu", ALL, {"keys": 8192}, "tiled"),
        ("cpu", ALL, {"varlen": True}, "varlen_loop"),
        ("cpu", ALL, {"varlen": True, "backward": False}, "flex"),
    ],
)
def test_the_choice(arch: str, packages: frozenset[str], changes: dict[str, object], wanted: str) -> None:
    assert chosen(arch, frozenset(packages), **changes) == wanted


def test_those_passed_over_have_their_reasons() -> None:
    choice, passed = select_backend(replace(BF16, mask="window"), AttentionMachine("sm90", frozenset({"triton"})))
    assert choice == "triton_flash"
    assert passed == [
        ("flash_attn4", ["the package flash-attn-4 is not installed"]),
        ("sdpa_cudnn", ["has no sliding window"]),
    ]


def test_every_reason_is_given_not_the_first_alone() -> None:
    odd = replace(BF16, dtype="float32", head_dim=300)
    assert list(why_not("flash_attn", odd, AttentionMachine("sm75"))) == [
        "needs sm80 or later, this is sm75",
        "the package flash-attn is not installed",
        "has no float32",
        "head dim 300 is above 256",
        "head dim 300 is no multiple of 8",
    ]


def test_an_explicit_choice_that_cannot_be_is_an_error_with_its_reasons() -> None:
    with pytest.raises(ImpossibleBackendError, match="flash_attn4 cannot serve this case: needs a CUDA device; the"):
        select_backend(BF16, AttentionMachine("cpu"), want="flash_attn4")
    assert select_backend(BF16, AttentionMachine("sm90"), want="sdpa_flash") == ("sdpa_flash", [])


def test_unequal_lengths_keep_torchs_top_left_masks_away() -> None:
    case = replace(BF16, keys=100)
    for backend in ("sdpa_flash", "sdpa_cudnn", "sdpa_efficient"):
        assert "aligns causal masks top-left, wrong for unequal lengths" in list(
            why_not(backend, case, AttentionMachine("sm90"))
        )
    assert not list(why_not("sdpa_flash", replace(case, mask="full"), AttentionMachine("sm90")))


def test_what_materialises_all_scores_is_the_last_resort() -> None:
    for arch in ("cpu", "sm75", "sm86", "sm90", "sm120"):
        assert priorities(AttentionMachine(arch))[-3:] == ("sdpa_math", "naive", "varlen_loop")


def test_a_case_or_machine_that_cannot_be_is_told() -> None:
    with pytest.raises(ValueError, match="mask is 'windw', wanted one of full, causal, window"):
        replace(BF16, mask="windw")
    with pytest.raises(ValueError, match="32 query heads are no multiple of 3 kv heads"):
        replace(BF16, num_kv_heads=3)
    with pytest.raises(ValueError, match="arch is 'mps', wanted cpu, or sm90 and the like"):
        AttentionMachine("mps")
    with pytest.raises(ValueError, match="packages flash-atn: wanted some of triton, flash-attn, flash-attn-4"):
        AttentionMachine("sm90", frozenset({"flash-atn"}))
    with pytest.raises(ValueError, match="'sdpa_flsh' is no back end"):
        select_backend(BF16, AttentionMachine("sm90"), want="sdpa_flsh")
