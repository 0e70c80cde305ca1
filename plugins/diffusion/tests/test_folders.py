import shutil
from pathlib import Path

import pytest
from brainlens_diffusion.folders import find_model
from huggingface_hub.constants import HF_HUB_CACHE

import brainlens

PARTS = ("unet", "movq")


def find(model: object, revision: str = "", *, context: brainlens.Context | None = None) -> object:
    files = ("scheduler/scheduler_config.json",)
    return find_model(str(model), revision, context or brainlens.Context(), weights=PARTS, files=files)


def test_a_folder_is_found_and_noted(kandinsky: Path, context: brainlens.Context) -> None:
    found = find(kandinsky, context=context)
    assert found.name == "tiny-kandinsky"
    assert found.revision == ""
    assert context.sources == [kandinsky]
    assert found.config("unet")["encoder_hid_dim"] == 16


def test_a_folder_that_is_not_there_is_refused(kandinsky: Path) -> None:
    with pytest.raises(brainlens.RegistryError, match="Closest in .*: 'tiny-kandinsky'"):
        find(kandinsky.with_name("tiny-kandinski"))


def test_a_file_is_refused(kandinsky: Path) -> None:
    with pytest.raises(brainlens.CheckpointError, match="expected a folder, found a file. Give the folder it lies in"):
        find(kandinsky / "model_index.json")


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(brainlens.CheckpointError, match="in diffusers' layout with model_index.json, found no such"):
        find(tmp_path)


def test_a_folder_has_no_revision(kandinsky: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="revision: expected '' for a folder, found 'v2'"):
        find(kandinsky, "v2")


def test_a_part_without_weights_is_refused(kandinsky: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(kandinsky, tmp_path / "model")
    next((folder / "movq").glob("*.safetensors")).unlink()
    with pytest.raises(brainlens.CheckpointError, match=r"expected movq/\*\.safetensors, found none in .* Copy the wh"):
        find(folder)


@pytest.mark.parametrize("ending", [".bin", ".ckpt"])
def test_pickled_weights_alone_are_refused_and_never_opened(kandinsky: Path, tmp_path: Path, ending: str) -> None:
    folder = shutil.copytree(kandinsky, tmp_path / "model")
    file = next((folder / "unet").glob("*.safetensors"))
    file.rename(file.with_suffix(ending))
    with pytest.raises(brainlens.CheckpointError) as caught:
        find(folder)
    assert str(caught.value) == (
        f"model {str(folder)!r}: expected weights of 'unet' as safetensors, found only "
        f"'diffusion_pytorch_model{ending}', which can run code when it is loaded. Convert them: python -m "
        "brainlens_diffusion.convert FOLDER."
    )


def test_an_id_that_was_not_downloaded_is_refused_without_asking_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(brainlens.CheckpointError) as caught:
        find("nobody/never-made", "v2.0")
    assert str(caught.value) == (
        "model 'nobody/never-made': expected a folder, or an id in the local cache of the hub, revision 'v2.0', found "
        "neither, and nothing is downloaded. On a machine with network run 'hf download nobody/never-made --revision "
        "v2.0 --local-dir FOLDER', and give that folder as 'model'."
    )


def test_an_id_is_found_in_the_cache_with_its_commit(
    kandinsky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert HF_HUB_CACHE
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--somebody--tiny"
    shutil.copytree(kandinsky, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    found = find("somebody/tiny")
    assert (found.name, found.revision) == ("somebody/tiny", commit)


def test_a_damaged_configuration_is_refused(kandinsky: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(kandinsky, tmp_path / "model")
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(brainlens.CheckpointError, match="expected unet/config.json to be JSON, found what cannot be"):
        find(folder).config("unet")
    (folder / "unet" / "config.json").write_text("[]")
    with pytest.raises(brainlens.CheckpointError, match="to hold named values, found list"):
        find(folder).config("unet")


def test_the_digest_is_of_what_is_used(kandinsky: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(kandinsky, tmp_path / "model")
    before = find(kandinsky).digest
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never opened")
    (folder / "unused").mkdir()
    (folder / "unused" / "config.json").write_text("{}")
    assert find(folder).digest == before
    (folder / "scheduler" / "scheduler_config.json").write_text("{ }")
    assert find(folder).digest != before
