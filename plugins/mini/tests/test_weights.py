import shutil
from pathlib import Path

import pytest
import torch
from brainlens_mini.weights import WEIGHTS, checkpoints, file_sha256, other_folder, own_folder

import brainlens

MODEL = "image-text/open_clip_model.safetensors"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the weights that may be damaged."""
    for part in ("image-text", "judge"):
        shutil.copytree(WEIGHTS / part, tmp_path / part)
    return tmp_path


def test_what_was_shipped_is_accepted(copy: Path) -> None:
    assert own_folder("image-text") == WEIGHTS / "image-text"
    assert own_folder("image-text", weights=copy) == copy / "image-text"


def test_a_flipped_bit_is_refused(copy: Path) -> None:
    content = bytearray((copy / MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / MODEL).write_bytes(content)
    with pytest.raises(
        brainlens.CheckpointError, match=r"SHA-256 [0-9a-f]{64}, found .* the file was altered. Nothing"
    ):
        own_folder("image-text", weights=copy)


def test_a_truncated_file_is_refused_with_both_sizes(copy: Path) -> None:
    size = (copy / MODEL).stat().st_size
    (copy / MODEL).write_bytes((copy / MODEL).read_bytes()[: size // 2])
    with pytest.raises(brainlens.CheckpointError, match=rf"expected {size} bytes .* found {size // 2} bytes"):
        own_folder("image-text", weights=copy)


def test_a_missing_file_is_refused(copy: Path) -> None:
    (copy / MODEL).unlink()
    with pytest.raises(brainlens.CheckpointError, match=f"{MODEL}: expected the file in .*, found none. Install"):
        own_folder("image-text", weights=copy)


def test_a_pickle_in_the_place_of_weights_is_refused(copy: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, copy / MODEL)
    with pytest.raises(brainlens.CheckpointError, match="the file was altered"):
        own_folder("image-text", weights=copy)


def test_a_pickle_beside_the_weights_is_refused(copy: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, copy / "image-text" / "open_clip_pytorch_model.bin")
    with pytest.raises(brainlens.CheckpointError, match="open_clip_pytorch_model.bin: expected no such file"):
        own_folder("image-text", weights=copy)


def test_records_of_checkpoints_are_those_of_the_files() -> None:
    for record in checkpoints("image-text", "autoencoder", "judge"):
        path = WEIGHTS / record.id.removeprefix("mini/")
        assert (record.size_bytes, record.sha256) == (path.stat().st_size, file_sha256(path))


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
