"""What every test of the core and the plugins runs under: a home of its own, no network, and two options."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--slow`."""
    parser.addoption("--slow", action="store_true", help="also run tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    """Keep hypothesis from writing its database beside the code, and from judging by the clock."""
    if importlib.util.find_spec("hypothesis") is not None:
        import hypothesis

        hypothesis.settings.register_profile("brainlens", database=None, deadline=None)
        hypothesis.settings.load_profile("brainlens")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked slow without `--slow`, and tests marked gpu without a CUDA device."""
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))
    on_gpu = [item for item in items if "gpu" in item.keywords]
    if on_gpu and not _has_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, _homes: Path) -> None:
    """Give the test, and every process that it starts, an empty home."""
    home = _homes / uuid.uuid4().hex
    home.mkdir()
    for variable, folder in {"HOME": "", "XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config"}.items():
        monkeypatch.setenv(variable, str(home / folder))
    # Matplotlib lists all fonts once per folder, which takes seconds; one list serves all tests.
    monkeypatch.setenv("MPLCONFIGDIR", str(_homes / "matplotlib"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for variable in ("BRAINLENS_REGISTRY", "BRAINLENS_DISABLE_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave this machine."""

    def guard(connect: Any) -> Any:
        def local_only(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(str(address[0])):
                raise OSError(f"tests run without network; found a connection to {address!r}")
            return connect(self, address)

        return local_only

    monkeypatch.setattr(socket.socket, "connect", guard(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guard(socket.socket.connect_ex))


@pytest.fixture(autouse=True)
def _doctest_names(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """Give the examples in docstrings the names that they use: a folder to write to."""
    if type(request.node).__name__ == "DoctestItem":
        doctest_namespace["tmp_path"] = request.getfixturevalue("tmp_path")


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
