"""Several processes that share the trials of each step, one for each GPU, by accelerate.

Every process holds the whole network and draws the same random numbers; each takes its share of a batch through the
network, and outputs and gradients are added up. So a training is the same, but for rounding, however many take part.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import brainlens

# Gradients travel in parcels of about this size: one by one they would mostly wait.
PARCEL_BYTES = 2**26


class Crew:
    """One process alone, which is the default, or one of several.

    Attributes
    ----------
    number
        Of this process; 0 is the one that validates, reports and writes.
    size
        How many there are.
    device
        Of this process; None where it is alone: the context names it then.
    """

    number: int = 0
    size: int = 1
    device: str | None = None

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over processes."""

    def any(self, said: bool) -> bool:
        """Whether any process says so."""
        return said

    def first(self, said: bool) -> bool:
        """Return what process 0 says."""
        return said


class SharedCrew(Crew):
    """One of several processes; made in each of them, after torch's process group."""

    def __init__(self, *, cpu: bool) -> None:
        from accelerate import PartialState

        state = PartialState(cpu=cpu)
        self.number, self.size = state.process_index, state.num_processes
        self.device = "cpu" if cpu else str(state.device)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over processes."""
        from accelerate.utils import reduce

        for parcel in parcels(tensors):
            total = reduce(torch.cat(parcel), reduction="sum")
            for part, found in zip(parcel, total.split([len(each) for each in parcel]), strict=True):
                part.copy_(found)

    def any(self, said: bool) -> bool:
        """Whether any process says so."""
        count = torch.tensor([float(said)], device=self.device)
        self.add([count])
        return bool(count.item() > 0)

    def first(self, said: bool) -> bool:
        """Return what process 0 says."""
        return self.any(said and self.number == 0)


def parcels(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Part tensors, in their order, into lists of flat views, one dtype and at most `PARCEL_BYTES` each."""
    parcel: list[Tensor] = []
    left = PARCEL_BYTES
    for tensor in tensors:
        flat, width = tensor.detach().view(-1), tensor.element_size()
        while len(flat):
            if parcel and (left < width or flat.dtype != parcel[0].dtype):
                yield parcel
                parcel, left = [], PARCEL_BYTES
            part, flat = flat[: left // width], flat[left // width :]
            parcel.append(part)
            left -= len(part) * width
    if parcel:
        yield parcel


def refuse_processes(n_processes: int, *, device: str, batch_size: int, n_subjects: int) -> None:
    """Refuse what cannot be shared, before any time is spent.

    Raises
    ------
    DeviceError
        If there are fewer GPUs than processes.
    DimensionError
        If a batch cannot be shared evenly.
    """
    if n_processes == 1:
        return
    share = n_subjects * n_processes
    if batch_size % share:
        raise brainlens.DimensionError(
            f"batch_size: expected a multiple of {share}, subjects ({n_subjects}) times processes ({n_processes}), "
            f"found {batch_size}. Choose {max(1, batch_size // share) * share}."
        )
    found = torch.cuda.device_count() if torch.device(device).type == "cuda" else n_processes
    if found < n_processes:
        raise brainlens.DeviceError(
            f"processes: expected one GPU for each of {n_processes} processes, found {found}. Choose processes={found}."
        )


def run_in_crew(work: Callable[..., None], given: tuple[Any, ...], *, n_processes: int, device: str) -> None:
    """Run `work(crew, *given)` in several new processes, and wait for them.

    Parameters
    ----------
    work
        A function that can be imported. What it returns is lost.
    given
        Further arguments; everything in them is copied to each process.
    n_processes
        How many.
    device
        `"cpu"`, or any GPU: process n gets GPU n then.

    Raises
    ------
    BrainlensError
        What one of them raised.
    DeviceError
        If one of them was killed, or could not be started.
    """
    from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, get_context, start_processes

    said: Any = get_context("spawn").Queue()
    errors: Any = get_context("spawn").SimpleQueue()
    listener = logging.handlers.QueueListener(said, _Here())
    threads = max(1, torch.get_num_threads() // n_processes)
    with tempfile.TemporaryDirectory(prefix="brainlens-crew-") as folder:
        arguments = (work, given, n_processes, device, str(Path(folder) / "meeting"), threads, said, errors)
        listener.start()
        try:
            start_processes(_member, args=arguments, nprocs=n_processes, start_method="spawn")
        except ProcessRaisedException as raised:
            if errors.empty():
                raise
            raise errors.get() from raised
        except ProcessExitedException as gone:
            raise brainlens.DeviceError(
                f"processes: expected all {n_processes} processes to end well, found one that was stopped from outside "
                f"or never began ({gone}). A script that uses several processes must do its work under "
                '`if __name__ == "__main__":`; if it does, look for a full memory, or choose processes=1.'
            ) from gone
        finally:
            listener.stop()


class _Here(logging.Handler):
    """Give what another process logged to the log of this one."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _member(
    number: int,
    work: Callable[..., None],
    given: tuple[Any, ...],
    n_processes: int,
    device: str,
    meeting: str,
    threads: int,
    said: Any,
    errors: Any,
) -> None:
    """Join the others, do the work, and tell what went wrong."""
    cpu = torch.device(device).type == "cpu"
    named = {"LOCAL_RANK": number, "RANK": number, "WORLD_SIZE": n_processes, "LOCAL_WORLD_SIZE": n_processes}
    os.environ.update({name: str(value) for name, value in named.items()})
    # All of them are on this machine; without a name, gloo looks for the network by the name of the host.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    logger = logging.getLogger("brainlens")
    logger.propagate = False
    if number == 0:
        logger.setLevel(logging.INFO)
        logger.addHandler(logging.handlers.QueueHandler(said))
    else:
        logger.addHandler(logging.NullHandler())
    if not cpu:
        torch.cuda.set_device(number)
    store = torch.distributed.FileStore(meeting, n_processes)
    torch.distributed.init_process_group(
        "gloo" if cpu else "nccl", store=store, rank=number, world_size=n_processes
    )  # fmt: skip
    try:
        work(SharedCrew(cpu=cpu), *given)
    except brainlens.BrainlensError as error:
        errors.put(error)
        raise
    finally:
        torch.distributed.destroy_process_group()
