import json
import math
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brainlens_mindeye.learner import Batch
from brainlens_mindeye.loop import train
from brainlens_mindeye.losses import bimixco
from brainlens_mindeye.plan import Plan
from torch import Tensor, nn

import brainlens


class Toy:
    """Learns a linear map by a loss that compares all trials of a batch, with dropout where asked."""

    def __init__(self, *, dropout: float = 0.0, n_batch: int = 12, scores: tuple[float, ...] = ()) -> None:
        torch.manual_seed(5)
        self.module: nn.Module = nn.Sequential(nn.Linear(10, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 4))
        rng = np.random.default_rng(0)
        self.voxels = torch.from_numpy(rng.standard_normal((200, 10)).astype("float32"))
        self.targets = torch.tanh(self.voxels @ torch.from_numpy(rng.standard_normal((10, 4)).astype("float32")))
        self.n_batch, self.scores, self.validated = n_batch, scores, []

    def read(self, step: int) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(np.random.default_rng(step).choice(200, self.n_batch, replace=False))
        return self.voxels[rows], self.targets[rows]

    def prepare(self, read: Any, *, epoch: int, generator: torch.Generator) -> Batch:
        noise = torch.randn(len(read[0]), 1, generator=generator)
        half = len(read[0]) // 2
        return Batch(parts=[(0, read[0][:half]), (1, read[0][half:])], target=read[1], draws={"noise": noise})

    def forward(self, subject: int, voxels: Tensor, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"found": self.module(voxels + 0.01 * draws["noise"]) + subject}

    def loss(self, outputs: dict[str, Tensor], batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        unit = [nn.functional.normalize(each, dim=1) for each in (outputs["found"], batch.target)]
        return {"loss": bimixco(*unit, temperature=0.2)}

    def validate(self, module: nn.Module) -> dict[str, float]:
        if not self.scores:
            return {}
        self.validated.append({name: value.clone() for name, value in module.state_dict().items()})
        return {"validation": self.scores[len(self.validated) - 1]}

    def weights(self) -> Tensor:
        return torch.cat([each.detach().flatten() for each in self.module.parameters()])


def plan(**changes: Any) -> Plan:
    return Plan(**{"n_epochs": 4, "steps_per_epoch": 5, "learning_rate": 1e-2, **changes})


def trained(toy: Toy, folder: Path | None = None, identity: str = "toy", **changes: Any) -> Tensor:
    train(toy, plan(**changes), context=brainlens.Context(), folder=folder, identity=identity)
    return toy.weights()


def test_training_makes_the_loss_smaller():
    progress = train(Toy(), plan(n_epochs=30), context=brainlens.Context(), folder=None, identity="toy")
    loss = progress.history["loss"]
    assert len(loss) == 30
    assert loss[-1] < 0.5 * loss[0]


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not():
    assert torch.equal(trained(Toy(dropout=0.3)), trained(Toy(dropout=0.3)))
    assert not torch.equal(trained(Toy(dropout=0.3)), trained(Toy(dropout=0.3), seed=1))


@pytest.mark.parametrize("piece", [1, 4, 5, 6])
def test_pieces_give_the_gradient_of_the_whole_batch(piece: int):
    whole = trained(Toy())
    assert torch.allclose(trained(Toy(), piece=piece), whole, atol=2e-5)
    # Adding up losses of pieces would be another thing: their trials are not compared with those of other pieces.
    assert not torch.allclose(trained(Toy(n_batch=4)), whole, atol=1e-2)


def test_a_piece_goes_through_the_networks_twice_with_the_same_dropout():
    seen: list[Tensor] = []

    class Watched(Toy):
        def forward(self, subject: int, voxels: Tensor, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
            outputs = super().forward(subject, voxels, draws)
            seen.append(outputs["found"].detach())
            return outputs

    trained(Watched(dropout=0.5), piece=3, n_epochs=1, steps_per_epoch=1)
    assert len(seen) == 8
    for first, again in zip(seen[:4], seen[4:], strict=True):
        assert torch.equal(first, again)


def test_the_average_of_weights_is_the_running_one():
    history: list[Tensor] = []

    class Watched(Toy):
        def read(self, step: int) -> tuple[Tensor, Tensor]:
            return super().read(step)

        def prepare(self, read: Any, *, epoch: int, generator: torch.Generator) -> Batch:
            history.append(self.weights().double())
            return super().prepare(read, epoch=epoch, generator=generator)

    toy = Watched()
    found = trained(toy, averaging=0.8)
    plain = Toy()
    history.append(trained(plain).double())
    expected = history[0]
    for step, weights in enumerate(history[1:]):
        keep = min(0.8, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * weights
    assert torch.allclose(found.double(), expected, atol=1e-6)
    assert not torch.allclose(found, plain.weights(), atol=1e-4)


def test_training_stops_when_validation_gets_no_better_and_takes_the_best_weights():
    toy = Toy(scores=(0.1, 0.5, 0.4, 0.5, 0.3, 0.9))
    progress = train(toy, plan(n_epochs=6, patience=3), context=brainlens.Context(), folder=None, identity="toy")
    assert progress.history["validation"] == [0.1, 0.5, 0.4, 0.5, 0.3]
    assert progress.best_epoch == 1
    for name, value in toy.module.state_dict().items():
        assert torch.equal(value, toy.validated[1][name])


@pytest.mark.parametrize(
    ("patience", "every", "scores", "validated", "best"),
    [
        # Less than what lies between two validations: the first one that is no better ends it, and no epoch before it.
        (2, 5, (0.5, 0.4), [4, 9], 4),
        (2, 5, (0.1, 0.2, 0.3, 0.2), [4, 9, 14, 19], 14),
        (5, 5, (0.5, 0.4), [4, 9], 4),
        # More: one that comes too early does not.
        (6, 5, (0.5, 0.4, 0.3), [4, 9, 14], 4),
        (6, 5, (0.5, 0.4, 0.6, 0.5, 0.1), [4, 9, 14, 19, 21], 14),
        (2, 1, (0.5, 0.4, 0.3), [0, 1, 2], 0),
    ],
)
def test_patience_counts_epochs_and_only_a_validation_ends_training(patience, every, scores, validated, best):
    toy = Toy(scores=scores)
    settings = plan(n_epochs=22, steps_per_epoch=2, patience=patience, validate_every=every)
    progress = train(toy, settings, context=brainlens.Context(), folder=None, identity="")
    assert progress.history["validated_epoch"] == validated
    assert len(progress.history["loss"]) == validated[-1] + 1
    assert progress.best_epoch == best
    for name, value in toy.module.state_dict().items():
        assert torch.equal(value, toy.validated[validated.index(best)][name])


def test_without_patience_validation_changes_nothing():
    assert torch.equal(trained(Toy(scores=(0.9, 0.1, 0.1, 0.1))), trained(Toy()))


def test_validation_comes_when_asked_and_at_the_end():
    progress = train(
        Toy(scores=(1, 2, 3)), plan(n_epochs=5, validate_every=2), context=brainlens.Context(), folder=None, identity=""
    )
    assert progress.history["validated_epoch"] == [1, 3, 4]


def test_global_randomness_is_left_as_it_was():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    trained(Toy(dropout=0.5), deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(11)
    Toy()
    torch.manual_seed(11)
    toy = Toy(dropout=0.5)
    torch.manual_seed(11)
    train(toy, plan(), context=brainlens.Context(), folder=None, identity="")
    assert torch.equal(torch.rand(1), expected)


def test_weights_of_bfloat16_are_near_those_of_float32():
    half = trained(Toy(), precision="bfloat16")
    assert half.dtype == torch.float32
    assert torch.allclose(half, trained(Toy()), atol=5e-2)
    assert not torch.equal(half, trained(Toy()))


def test_a_loss_that_is_not_finite_stops_the_training():
    toy = Toy()
    toy.targets[:] = math.nan
    with pytest.raises(brainlens.DeviceError, match=r"expected a finite loss, found nan in epoch 1\. Lower"):
        trained(toy)


KILLED = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
import brainlens
from brainlens_mindeye.loop import train
from test_loop import Toy, plan

class Killed(Toy):
    def prepare(self, read, *, epoch, generator):
        self.count = getattr(self, "count", 0) + 1
        if self.count == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(read, epoch=epoch, generator=generator)

    def validate(self, module):
        # Follows from the weights, not from how often this process was asked; gets worse as they grow.
        return {"validation": -float(module[0].weight.abs().mean())}

toy = Killed(dropout=0.3)
settings = plan(averaging=0.9, checkpoint_s=1e-9, **json.loads(sys.argv[4]))
progress = train(toy, settings, context=brainlens.Context(), folder=Path(sys.argv[2]), identity="toy")
torch.save(toy.weights(), Path(sys.argv[2]) / "weights.pt")
(Path(sys.argv[2]) / "history.json").write_text(json.dumps(progress.history))
"""


@pytest.mark.parametrize(
    ("changes", "kills", "n_epochs"),
    [
        ({}, (8, 1, 7), 4),  # 7 steps, then none, then 6 more
        # Killed between the best validation and the one that ends the training.
        ({"patience": 2, "validate_every": 3, "n_epochs": 12, "steps_per_epoch": 4}, (15,), 6),
    ],
)
def test_a_killed_training_goes_on_to_the_very_same_weights(tmp_path: Path, changes, kills, n_epochs):
    def run(folder: Path, at: int) -> int:
        command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(folder), str(at), json.dumps(changes)]
        return subprocess.run(command, check=False).returncode

    straight = tmp_path / "straight"
    straight.mkdir()
    for at in kills:
        assert run(tmp_path, at) == -signal.SIGKILL
    assert run(tmp_path, 0) == run(straight, 0) == 0
    found, expected = (torch.load(folder / "weights.pt") for folder in (tmp_path, straight))
    assert torch.equal(found, expected)
    found, expected = (json.loads((folder / "history.json").read_text()) for folder in (tmp_path, straight))
    assert found == expected
    assert len(found["loss"]) == n_epochs


def test_a_checkpoint_of_something_else_is_refused_and_stays(tmp_path: Path):
    trained(Toy(), tmp_path, checkpoint_s=1e-9)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(brainlens.CheckpointError, match=r"expected format 1 of 'other', found format 1 of 'toy'"):
        trained(Toy(), tmp_path, identity="other")
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_checkpoint_of_another_format_is_refused_and_stays(tmp_path: Path):
    trained(Toy(), tmp_path, checkpoint_s=1e-9)
    file = tmp_path / "checkpoint.pt"
    content = torch.load(file, weights_only=True)
    for found in (content["format"] + 1, None):
        torch.save({**content, "format": found}, file)
        before = file.read_bytes()
        with pytest.raises(brainlens.CheckpointError, match=f"expected format 1 of .*, found format {found} of 'toy'"):
            trained(Toy(), tmp_path)
        assert file.read_bytes() == before
    torch.save(content, file)
    assert torch.equal(trained(Toy(), tmp_path), trained(Toy()))


@pytest.mark.parametrize("damage", ["cut", "pickle", "empty"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str):
    trained(Toy(), tmp_path, checkpoint_s=1e-9)
    file = tmp_path / "checkpoint.pt"
    if damage == "pickle":
        torch.save({"format": 1, "identity": "toy", "module": Path("x")}, file)
    else:
        file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else 500])
    with pytest.raises(brainlens.CheckpointError, match="found a file that cannot be read .* Remove"):
        trained(Toy(), tmp_path)


FULL = """
import json, logging, resource, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from test_loop import Batch, Toy, plan
import brainlens
from brainlens_mindeye.loop import train

class Large(Toy):
    def forward(self, subject, voxels, draws):
        size = int(sys.argv[2]) * len(voxels)
        filled = torch.zeros(size, dtype=torch.uint8)
        return super().forward(subject, voxels, draws)

toy = Large()
train(Toy(), plan(n_epochs=1), context=brainlens.Context(), folder=None, identity="")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
try:
    progress = train(toy, plan(), context=brainlens.Context(), folder=None, identity="")
except brainlens.DeviceError as error:
    print(json.dumps([0, str(error)]))
else:
    print(json.dumps([progress.piece, toy.weights().tolist()]))
"""


def run_full(bytes_per_trial: int) -> list[Any]:
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(Path(__file__).parent), str(bytes_per_trial)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_where_memory_runs_out_pieces_get_smaller_and_the_batch_stays():
    # Six trials of a part take 600 MB, of which 256 are free; three take 300, one takes 100.
    piece, weights = run_full(100_000_000)
    assert piece == 1
    assert torch.allclose(torch.tensor(weights), trained(Toy()), atol=2e-5)


def test_where_not_even_one_trial_fits_an_error_says_what_to_do():
    piece, said = run_full(400_000_000)
    assert piece == 0
    assert "expected memory for one trial at a time" in said
    assert "gradient_checkpointing=True" in said


def test_another_error_of_a_step_is_not_taken_for_a_full_memory():
    class Broken(Toy):
        def forward(self, subject: int, voxels: Tensor, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {"found": voxels @ torch.zeros(3, 3)}

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trained(Broken())
