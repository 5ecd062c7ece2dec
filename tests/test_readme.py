"""The examples of the README and of docs/training.md run as they stand."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llmbench.kernels.attention import naive_attention
from llmbench.kernels.device import interprets

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LANGUAGE_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
BLOCKS = LANGUAGE_BLOCK.findall(README + (ROOT / "docs/training.md").read_text())


def block(language: str, starts: str) -> str:
    """The block of a language whose first line starts so."""
    (text,) = [text for lang, text in BLOCKS if lang == language and text.startswith(starts)]
    return text


def test_the_kernel_and_its_suite_run(llmbench: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "my_kernels.py").write_text(block("python", "# my_kernels.py"))
    (tmp_path / "mine.yaml").write_text(block("yaml", "# mine.yaml"))
    said = json.loads(llmbench("run", "./mine.yaml", "--json").stdout)  # type: ignore[attr-defined]
    assert said["counts"] == {"ok": 8}


def test_the_suite_of_heads_runs(llmbench: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "heads.yaml").write_text(block("yaml", "# heads.yaml"))
    said = json.loads(llmbench("run", "./heads.yaml", "--quick", "--json").stdout)  # type: ignore[attr-defined]
    assert said["counts"]["skipped"] == 2 and said["counts"]["ok"] >= 6


def test_the_message_about_a_mistake_is_the_real_one(llmbench: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "heads.yaml").write_text(block("yaml", "# heads.yaml").replace("seq_len: [", "seqlen: ["))
    told = llmbench("run", "./heads.yaml", rc=2).stderr  # type: ignore[attr-defined]
    assert told.strip() in README


def test_the_op_runs(llmbench: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "my_ops.py").write_text(block("python", "# my_ops.py"))
    (tmp_path / "norm.yaml").write_text(
        "op: rms_norm\nplugins: [my_ops]\nphases: [fwd, bwd]\naxes: {tokens: [8, 64]}\nfixed: {hidden: 32}\n"
        "measure: {max_s: 0.01}\n"
    )
    said = json.loads(llmbench("run", "./norm.yaml", "--json").stdout)  # type: ignore[attr-defined]
    assert said["counts"] == {"ok": 4}


def test_a_step_with_attention_of_ones_own_runs(llmbench: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "my_steps.py").write_text(block("python", "# my_steps.py"))
    (tmp_path / "my_steps.yaml").write_text(block("yaml", "# my_steps.yaml"))
    said = json.loads(llmbench("run", "./my_steps.yaml", "--json").stdout)  # type: ignore[attr-defined]
    assert said["counts"] == {"ok": 4}
    told = llmbench("plan", "./my_steps.yaml", "--predict").stdout  # type: ignore[attr-defined]
    assert "peak memory predicted for 2 of 4 cases" in told
    assert "not known: of the eager step alone, and this is my_attention" in told


def test_the_kernels_are_called_as_the_readme_says() -> None:
    if not interprets():
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    q_BHSD, k_BGKD, lengths = torch.randn(1, 4, 20, 16), torch.randn(1, 2, 20, 16), torch.tensor([0, 7, 20])
    given = {
        "q_BHSD": q_BHSD, "k_BGKD": k_BGKD, "v_BGKD": k_BGKD, "q_THD": q_BHSD[0].transpose(0, 1),
        "k_UGD": k_BGKD[0].transpose(0, 1), "v_UGD": k_BGKD[0].transpose(0, 1), "cu_seqlens": lengths.int(),
        "longest": 13, "q_BHD": q_BHSD[:, :, 0],
    }  # fmt: skip
    exec(block("python", "from llmbench.kernels.attention"), given)
    assert given["out_BHSD"].shape == q_BHSD.shape and given["lse_BHS"].shape == (1, 4, 20)
    assert given["out_THD"].shape == (20, 4, 16) and given["out_BHD"].shape == (1, 4, 16)


@pytest.mark.parametrize(
    "command", re.findall(r"^llmbench (.*?)(?: +#.*)?$", "\n".join(t for lang, t in BLOCKS if lang == "sh"), re.M)
)
def test_every_command_of_the_readme_has_its_options(command: str, llmbench: Callable[..., object]) -> None:
    words = command.split()
    name = words[:2] if words[0] in ("gate", "audit", "baseline") else words[:1]
    told = llmbench(*name, "--help").stdout  # type: ignore[attr-defined]
    for option in (w for w in words if w.startswith("--")):
        assert option in told


@pytest.mark.parametrize("page", ["README.md", "docs/gate.md", "docs/training.md"])
def test_every_file_that_a_page_links_is_there(page: str) -> None:
    path = ROOT / page
    links = [link for link in re.findall(r"\]\(([^)]+)\)", path.read_text()) if not link.startswith("http")]
    assert len(links) >= 1
    assert [link for link in links if not (path.parent / link.partition("#")[0]).is_file()] == []


def test_losses_optimizers_and_steps_are_called_as_the_readme_says() -> None:
    if not interprets():
        pytest.skip("a GPU is here: tests/gpu runs the kernels on it")
    text = block("python", "from functools import partial")
    smaller = (("llama3_8b", "tiny"), ("seq_len=8192", "seq_len=64"), ('"cuda"', '"cpu"'))
    for asked, here in smaller:
        assert asked in text
        text = text.replace(asked, here)
    model = torch.nn.Linear(8, 8)
    given = {
        "torch": torch, "model": model, "flash_attention": naive_attention,
        "hidden_TH": torch.randn(5, 8), "weight_VH": torch.randn(11, 8), "labels_T": torch.arange(5),
    }  # fmt: skip
    exec(text, given)
    assert given["loss"].isfinite() and given["step"].steps == 1
    assert given["optimizer"].param_groups[0]["lr"] == 0.0
