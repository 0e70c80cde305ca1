import os
import shutil
from pathlib import Path

import pytest
import torch
from brainlens_diffusion.convert import convert, main
from safetensors.torch import load_file

import brainlens


@pytest.fixture
def pickled(kandinsky: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(kandinsky, tmp_path / "pickled")
    for file in folder.glob("*/*.safetensors"):
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()
    return folder


def test_weights_are_the_same_afterwards(pickled: Path, kandinsky: Path) -> None:
    written = convert(pickled)
    assert sorted(file.parent.name for file in written) == ["movq", "unet"]
    for file in written:
        again = load_file(file)
        before = load_file(kandinsky / file.parent.name / file.name)
        assert all(torch.equal(again[name], value) for name, value in before.items())
        assert list(again) == list(before)
    assert convert(pickled) == []


def test_the_names_are_those_that_the_loaders_look_for(tmp_path: Path) -> None:
    for part, name in (("text_encoder", "pytorch_model.bin"), ("vae", "diffusion_pytorch_model.fp16.bin")):
        (tmp_path / part).mkdir()
        torch.save({"weight": torch.ones(2, 3).T}, tmp_path / part / name)
    names = {file.parent.name: file.name for file in convert(tmp_path)}
    assert names == {"text_encoder": "model.safetensors", "vae": "diffusion_pytorch_model.fp16.safetensors"}


class Code:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("was-run",)


@pytest.mark.parametrize("content", [Code(), [1, 2], {"a": "text"}])
def test_what_is_no_file_of_tensors_is_refused_and_not_run(
    tmp_path: Path, content: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unet").mkdir()
    torch.save(content, tmp_path / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(brainlens.CheckpointError, match=r"diffusion_pytorch_model.bin': expected"):
        convert(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["diffusion_pytorch_model.bin", "unet"]


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "unet").mkdir()
    torch.save({"weight": torch.ones(2)}, tmp_path / "unet" / "diffusion_pytorch_model.bin")
    main([str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path / 'unet' / 'diffusion_pytorch_model.safetensors'}\n"
