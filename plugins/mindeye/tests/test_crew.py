import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brainlens_mindeye.crew
import numpy as np
import pytest
import torch
from brainlens_mindeye.crew import Crew, parcels, refuse_processes, run_in_crew

import brainlens


def add_and_agree(crew: Crew, folder: Path, sizes: tuple[int, ...]) -> None:
    tensors = [torch.arange(size, dtype=torch.float32) + 10 * crew.number for size in sizes]
    grid = torch.full((2, 3), crew.number + 1.0)
    crew.add([*tensors, grid])
    said = [crew.any(False), crew.any(crew.number == 1), crew.first(crew.number == 0), crew.first(crew.number == 1)]
    logging.getLogger("brainlens").info("process %d of %d", crew.number, crew.size)
    found = {"tensors": tensors, "grid": grid, "said": said, "about": [crew.number, crew.size, crew.device]}
    torch.save(found, folder / f"{crew.number}.pt")


def fail(crew: Crew, how: str) -> None:
    if crew.number == 1 and how == "error":
        raise brainlens.DimensionError("response: expected this, found that. Do something.")
    if crew.number == 1 and how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    crew.any(False)


def run(work: Callable[..., None], *given: Any) -> None:
    run_in_crew(work, given, n_processes=2, device="cpu")


def test_processes_add_up_and_agree(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    sizes = (3, 0, 7)
    with caplog.at_level(logging.INFO, logger="brainlens"):
        run(add_and_agree, tmp_path, sizes)
    for number in range(2):
        found = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        for size, tensor in zip(sizes, found["tensors"], strict=True):
            assert tensor.tolist() == (2 * np.arange(size) + 10).tolist()
        assert torch.equal(found["grid"], torch.full((2, 3), 3.0))
        assert found["said"] == [False, True, True, False]
        assert found["about"] == [number, 2, "cpu"]
    assert caplog.messages == ["process 0 of 2"]


def test_an_error_of_one_process_is_raised_here():
    with pytest.raises(brainlens.DimensionError, match=r"^response: expected this, found that\. Do something\.$"):
        run(fail, "error")


def test_a_process_that_is_killed_ends_them_all():
    with pytest.raises(brainlens.DeviceError, match=r"expected all 2 processes to end well.*SIGKILL.*__main__"):
        run(fail, "killed")


def test_alone_nothing_is_added_and_everything_agreed():
    tensor = torch.ones(3)
    Crew().add([tensor])
    assert torch.equal(tensor, torch.ones(3))
    assert [Crew().any(True), Crew().any(False), Crew().first(True), Crew().first(False)] == [True, False, True, False]


def test_parcels_hold_every_value_once_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(brainlens_mindeye.crew, "PARCEL_BYTES", 40)
    tensors = [torch.arange(25.0).view(5, 5), torch.arange(3.0), torch.zeros(0), torch.arange(4, dtype=torch.float64)]
    found = list(parcels(tensors))
    assert all(sum(each.numel() * each.element_size() for each in parcel) <= 40 for parcel in found)
    assert all(len({each.dtype for each in parcel}) == 1 for parcel in found)
    values = torch.cat([each.double() for parcel in found for each in parcel])
    assert torch.equal(values, torch.cat([each.flatten().double() for each in tensors]))
    for parcel in found:
        for each in parcel:
            each.zero_()
    assert all(not each.any() for each in tensors)


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(
        brainlens.DimensionError,
        match=r"batch_size: expected a multiple of 6, subjects \(2\) times processes \(3\), found 32\. Choose 30\.",
    ):
        refuse_processes(3, device="cpu", batch_size=32, n_subjects=2)
    refuse_processes(3, device="cpu", batch_size=30, n_subjects=2)
    refuse_processes(1, device="cpu", batch_size=7, n_subjects=2)


def test_more_processes_than_gpus_are_refused():
    n = torch.cuda.device_count()
    with pytest.raises(brainlens.DeviceError, match=rf"one GPU for each of {n + 2} processes, found {n}\. Choose"):
        refuse_processes(n + 2, device="cuda:0", batch_size=4 * (n + 2), n_subjects=1)
