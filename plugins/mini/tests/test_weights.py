import json
import shutil
from pathlib import Path

import pytest
import torch
from brainlens_mini.weights import AUTOENCODER, WEIGHTS, checkpoints, file_sha256, other_folder, own_folder

import brainlens

MODELS = (
    "image-text/open_clip_model.safetensors",
    "generator/unet/diffusion_pytorch_model.safetensors",
    "generator/movq/diffusion_pytorch_model.safetensors",
    "judge/judge.safetensors",
)
every_model = pytest.mark.parametrize("model", MODELS)


def part_of(model: str) -> str:
    return model.partition("/")[0]


@pytest.fixture
def copy(tmp_path: Path, model: str) -> Path:
    """A copy of the weights of one part, which may be damaged."""
    shutil.copytree(WEIGHTS / part_of(model), tmp_path / part_of(model))
    return tmp_path


@every_model
def test_what_was_shipped_is_accepted(copy: Path, model: str) -> None:
    assert own_folder(part_of(model)) == WEIGHTS / part_of(model)
    assert own_folder(part_of(model), weights=copy) == copy / part_of(model)


@every_model
def test_a_flipped_bit_is_refused(copy: Path, model: str) -> None:
    content = bytearray((copy / model).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / model).write_bytes(content)
    with pytest.raises(
        brainlens.CheckpointError, match=r"SHA-256 [0-9a-f]{64}, found .* the file was altered. Nothing"
    ):
        own_folder(part_of(model), weights=copy)


@every_model
def test_a_truncated_file_is_refused_with_both_sizes(copy: Path, model: str) -> None:
    size = (copy / model).stat().st_size
    (copy / model).write_bytes((copy / model).read_bytes()[: size // 2])
    with pytest.raises(brainlens.CheckpointError, match=rf"expected {size} bytes .* found {size // 2} bytes"):
        own_folder(part_of(model), weights=copy)


@every_model
def test_a_missing_file_is_refused(copy: Path, model: str) -> None:
    (copy / model).unlink()
    with pytest.raises(brainlens.CheckpointError, match=f"{model}: expected the file in .*, found none. Install"):
        own_folder(part_of(model), weights=copy)


@every_model
def test_a_pickle_in_the_place_of_weights_is_refused(copy: Path, model: str) -> None:
    torch.save({"weight": torch.zeros(3)}, copy / model)
    with pytest.raises(brainlens.CheckpointError, match="the file was altered"):
        own_folder(part_of(model), weights=copy)


@every_model
def test_a_pickle_beside_the_weights_is_refused(copy: Path, model: str) -> None:
    beside = (copy / model).with_name("pytorch_model.bin")
    torch.save({"weight": torch.zeros(3)}, beside)
    with pytest.raises(brainlens.CheckpointError, match=r"pytorch_model.bin: expected no such file"):
        own_folder(part_of(model), weights=copy)


def test_every_file_of_the_generator_is_known() -> None:
    known = json.loads((WEIGHTS / "digests.json").read_text("utf-8"))
    found = {path.relative_to(WEIGHTS).as_posix() for path in (WEIGHTS / "generator").rglob("*") if path.is_file()}
    assert found == {name for name in known if name.startswith("generator/")}
    assert {"generator/model_index.json", "generator/scheduler/scheduler_config.json"} < found


def test_records_of_checkpoints_are_those_of_the_files() -> None:
    for record in checkpoints("image-text", "generator", "judge"):
        path = WEIGHTS / record.id.removeprefix("mini/")
        assert (record.size_bytes, record.sha256) == (path.stat().st_size, file_sha256(path))


def test_the_autoencoder_is_a_part_of_the_generator() -> None:
    (record,) = checkpoints(AUTOENCODER)
    assert record.id == "mini/generator/movq/diffusion_pytorch_model.safetensors"
    assert own_folder(AUTOENCODER) == WEIGHTS / "generator/movq"


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 40e6


def test_only_safetensors_hold_weights() -> None:
    assert {path.suffix for path in WEIGHTS.rglob("*") if path.is_file()} <= {".safetensors", ".json", ".md"}


def test_somebody_elses_folder_is_noted_for_the_provenance(clip_folder: Path, context: brainlens.Context) -> None:
    assert other_folder(str(clip_folder), context, needs=("*.safetensors",)) == clip_folder
    assert context.sources == [clip_folder]


def test_somebody_elses_pickles_are_refused(tmp_path: Path, context: brainlens.Context) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(brainlens.CheckpointError, match="safetensors only, found .*pytorch_model.bin.*can run code"):
        other_folder(str(tmp_path), context, needs=("*.safetensors",))


def test_a_folder_without_a_model_is_refused(tmp_path: Path, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.CheckpointError, match="expected open_clip_config.json, found none in that folder"):
        other_folder(str(tmp_path), context, needs=("open_clip_config.json",))


def test_a_file_is_no_folder(tmp_path: Path, context: brainlens.Context) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(brainlens.CheckpointError, match="expected a folder, found a file"):
        other_folder(str(tmp_path / "model.safetensors"), context, needs=())
