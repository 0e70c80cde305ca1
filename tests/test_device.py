"""Where numbers are computed, and that asking for the CPU never imports torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import brainlens
from brainlens.device import check_device, check_precision, resolve_device


def test_the_cpu_is_the_cpu() -> None:
    assert resolve_device("cpu") == "cpu"


def test_auto_is_one_of_both() -> None:
    torch = pytest.importorskip("torch")
    assert resolve_device() == resolve_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_is_the_first_device(name: str) -> None:
    assert resolve_device(name) == "cuda:0"


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:", "cuda:-1", "cuda:a", "cuda:0 ", "cuda\n", "mps", 0, None])
def test_other_words_are_refused(name: Any) -> None:
    for check in (resolve_device, check_device):
        with pytest.raises(brainlens.DeviceError) as caught:
            check(name)
        assert str(caught.value) == f"device {name!r}: expected 'auto', 'cpu', 'cuda' or 'cuda:N'."


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:12"])
def test_words_are_checked_without_looking_for_the_device(name: str) -> None:
    assert check_device(name) == name


def test_a_device_that_is_not_there_is_refused() -> None:
    torch = pytest.importorskip("torch")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    text = f"device 'cuda:99': expected a CUDA device of that number, found {count} here. Use device='cpu' or 'auto'."
    with pytest.raises(brainlens.DeviceError) as caught:
        resolve_device("cuda:99")
    assert str(caught.value) == text


def test_precisions() -> None:
    assert [check_precision(name) for name in ("float32", "bfloat16", "float16")] == ["float32", "bfloat16", "float16"]
    with pytest.raises(
        brainlens.DeviceError, match="^precision 'float64': expected one of 'float32', 'bfloat16', 'float16'"
    ):
        check_precision("float64")


def run(code: str) -> str:
    script = f"import sys\nfrom brainlens.device import resolve_device\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_the_cpu_does_not_import_torch() -> None:
    assert run("resolve_device('cpu'); print('torch' in sys.modules)") == "False"


def test_auto_does_import_torch_where_it_is() -> None:
    pytest.importorskip("torch")
    assert run("resolve_device('auto'); print('torch' in sys.modules)") == "True"


def test_without_torch_auto_is_the_cpu_and_cuda_is_refused() -> None:
    hide = "import brainlens.device as d\nd.find_spec = lambda name: None\n"
    assert run(f"{hide}print(resolve_device('auto'))") == "cpu"
    code = f"{hide}\ntry:\n    resolve_device('cuda')\nexcept Exception as error:\n    print(error)"
    assert (
        run(code) == "device 'cuda': torch is not installed. Run: pip install 'brainlens[torch]', or use device='cpu'."
    )
