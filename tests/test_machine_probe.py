import pytest

torch = pytest.importorskip("torch", reason="the probe asks torch")

from llmbench.errors import MachineError, UsageError  # noqa: E402
from llmbench.machine.probe import describe_device, probe, versions  # noqa: E402

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="about a machine without CUDA")


def test_the_cpu_is_described_as_it_is_probed() -> None:
    spec, machine = describe_device("cpu"), probe("cpu")
    assert (spec.device, spec.arch, spec.name) == (machine.device, machine.arch, machine.device_name)
    assert machine.key["threads"] == torch.get_num_threads()
    assert machine.memory_bytes > 0


@without_cuda
def test_without_a_name_it_is_the_cpu() -> None:
    assert describe_device().device == "cpu"


@without_cuda
def test_a_device_that_is_not_there_says_what_is() -> None:
    with pytest.raises(
        MachineError, match=r"^device 'cuda:3' is not on this machine; there is: cpu \(torch "
    ) as caught:
        describe_device("cuda:3")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "hint"), [("gpu", "'cuda'"), ("cuad", "'cuda'"), ("CPU:0", "'cpu'"), ("cuda0", "'cuda")]
)
def test_a_name_that_is_none_gets_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(
        UsageError, match=f"^device '{name}' is none of cpu, cuda, cuda:<index>, simulated; did you mean {hint}"
    ):
        describe_device(name)


def test_versions_hold_what_is_installed_and_nothing_else() -> None:
    found = versions()
    assert found["torch"] == torch.__version__
    assert {"python", "llmbench", "numpy"} <= set(found)
    assert all(found.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_probed_with_the_settings_that_nvml_tells() -> None:
    machine = probe("cuda")
    assert machine.device == "cuda:0"
    assert machine.device_name == torch.cuda.get_device_name(0)
    assert machine.llc_bytes > 0
    assert machine.facts["nvml"] == "available"
    assert machine.key["driver"] is not None
