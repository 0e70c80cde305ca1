"""Where numbers are computed: `auto`, `cpu` or a CUDA device; the only module that may import torch, and late.

Asking for the CPU never imports torch.
"""

from __future__ import annotations

import re
from importlib.util import find_spec

from brainlens.errors import DeviceError

PRECISIONS = ("float32", "bfloat16", "float16")


def resolve_device(name: str = "auto") -> str:
    """Return `"cpu"` or `"cuda:0"` for what was asked; `"auto"` takes a GPU where there is one.

    Raises
    ------
    DeviceError
        If the name is none, or the device is not there.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    if check_device(name) == "cpu":
        return "cpu"
    if find_spec("torch") is None:
        if name == "auto":
            return "cpu"
        raise DeviceError(
            f"device {name!r}: torch is not installed. Run: pip install 'brainlens[torch]', or use device='cpu'."
        )
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    number = int(name.partition(":")[2] or 0)
    if number >= count:
        raise DeviceError(
            f"device {name!r}: expected a CUDA device of that number, found {count} here. Use device='cpu' or 'auto'."
        )
    return f"cuda:{number}"


def check_device(name: str) -> str:
    """Return a device's name if it is one, whether or not there is such a device here.

    Raises
    ------
    DeviceError
        If it is none.
    """
    if not (isinstance(name, str) and re.fullmatch(r"auto|cpu|cuda(:\d+)?", name)):
        raise DeviceError(f"device {name!r}: expected 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    return name


def check_precision(name: str) -> str:
    """Return a precision's name if it is one.

    Raises
    ------
    DeviceError
        If it is none.
    """
    if name not in PRECISIONS:
        raise DeviceError(f"precision {name!r}: expected one of {', '.join(map(repr, PRECISIONS))}.")
    return name
