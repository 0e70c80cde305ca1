import shutil
from pathlib import Path

import pytest
import torch
from brainlens_diffusion.folders import Model
from brainlens_diffusion.loading import choose_precision, latent_shape, load_network, load_scheduler
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel, UniPCMultistepScheduler, VQModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

import brainlens


@pytest.fixture
def copy(kandinsky: Path, tmp_path: Path) -> Model:
    return Model(folder=shutil.copytree(kandinsky, tmp_path / "copy"), name="copy")


def weights_of(model: Model, part: str) -> Path:
    (file,) = model.part(part).glob("*.safetensors")
    return file


def test_every_weight_is_the_one_of_the_file(copy: Model) -> None:
    network = load_network(UNet2DConditionModel, copy, "unet")
    kept = load_file(weights_of(copy, "unet"))
    assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())
    assert not network.training
    assert not any(each.requires_grad for each in network.parameters())


def test_weights_are_held_in_the_precision_that_was_chosen(copy: Model) -> None:
    assert load_network(VQModel, copy, "movq", dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_are_missing_or_too_many_are_refused(copy: Model, change: str) -> None:
    file = weights_of(copy, "unet")
    weights = load_file(file)
    first = sorted(weights)[0]
    if change == "missing":
        del weights[first]
    elif change == "extra":
        weights["surplus"] = torch.zeros(1)
    else:
        weights[first] = torch.zeros(3, 3)
    save_file(weights, file, metadata={"format": "pt"})
    expected = {
        "missing": f"part 'unet': expected weights for every part .* found 1 without weights: '{first}'. Copy the",
        "extra": "found 1 that the network lacks: 'surplus'",
        "shape": "part 'unet': expected a UNet2DConditionModel, found one that does not load: .*shape",
    }[change]
    with pytest.raises(brainlens.CheckpointError, match=expected):
        load_network(UNet2DConditionModel, copy, "unet")


def test_a_file_that_was_cut_short_is_refused(copy: Model) -> None:
    file = weights_of(copy, "movq")
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(brainlens.CheckpointError, match="'copy', part 'movq': expected a VQModel, found one that does"):
        load_network(VQModel, copy, "movq")


def test_half_precision_files_alone_are_taken(copy: Model) -> None:
    file = weights_of(copy, "movq")
    half = {name: value.half() for name, value in load_file(file).items()}
    save_file(half, file.with_name("diffusion_pytorch_model.fp16.safetensors"), metadata={"format": "pt"})
    file.unlink()
    network = load_network(VQModel, copy, "movq")
    assert network.dtype == torch.float32
    assert all(torch.equal(half[name].float(), value) for name, value in network.state_dict().items())


def test_a_pickle_beside_safetensors_is_never_opened(copy: Model) -> None:
    weights_of(copy, "unet").with_suffix(".bin").write_bytes(b"not a pickle at all")
    load_network(UNet2DConditionModel, copy, "unet")


def test_float16_on_the_cpu_is_refused() -> None:
    assert choose_precision(brainlens.Context(precision="bfloat16")) is torch.bfloat16
    assert choose_precision(brainlens.Context(precision="float16", device="cuda:0")) is torch.float16
    with pytest.raises(brainlens.DeviceError, match="expected 'float32' or 'bfloat16' on the CPU, found 'float16'"):
        choose_precision(brainlens.Context(precision="float16"))


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        ("published", DDPMScheduler), ("ddpm", DDPMScheduler), ("ddim", DDIMScheduler),
        ("unipc", UniPCMultistepScheduler),
    ],
)  # fmt: skip
def test_a_scheduler_keeps_the_noise_of_the_published_one(copy: Model, chosen: str, kind: type) -> None:
    found = load_scheduler(copy, "scheduler", chosen)
    assert type(found) is kind
    assert found.config.beta_end == 0.012
    assert torch.equal(found.alphas_cumprod, load_scheduler(copy, "scheduler").alphas_cumprod)


def test_a_network_says_the_size_that_it_paints(copy: Model) -> None:
    network = load_network(UNet2DConditionModel, copy, "unet")
    assert latent_shape(network, copy) == (4, 8, 8)
    network.register_to_config(sample_size=[8, 16])
    with pytest.raises(
        brainlens.CheckpointError, match=r"expected sample_size .* the side of a square, found \[8, 16\]"
    ):
        latent_shape(network, copy)


@pytest.mark.parametrize("named", ["Unknown", "UnknownScheduler", "SchedulerMixin"])
def test_a_scheduler_that_diffusers_does_not_have_is_refused(copy: Model, named: str) -> None:
    (copy.part("scheduler") / "scheduler_config.json").write_text(f'{{"_class_name": "{named}"}}')
    with pytest.raises(brainlens.CheckpointError, match=f"expected a scheduler of diffusers, found '{named}'"):
        load_scheduler(copy, "scheduler")


def test_a_scheduler_that_cannot_take_the_prediction_is_refused(copy: Model) -> None:
    text = '{"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": true}'
    (copy.part("scheduler") / "scheduler_config.json").write_text(text)
    load_scheduler(copy, "scheduler")
    with pytest.raises(brainlens.ParameterError, match="for a network that predicts 'flow_prediction', found 'ddim'"):
        load_scheduler(copy, "scheduler", "ddim")


@pytest.mark.parametrize("change", ["missing", "extra", "published"])
def test_encoders_of_transformers_are_held_to_the_same(unclip: Path, tmp_path: Path, change: str) -> None:
    model = Model(folder=shutil.copytree(unclip, tmp_path / "copy"), name="copy")
    file = weights_of(model, "text_encoder")
    weights = load_file(file)
    if change == "missing":
        name = next(name for name in weights if name.endswith("final_layer_norm.weight"))
        del weights[name]
    elif change == "extra":
        weights["surplus"] = torch.zeros(1)
    else:
        # Public checkpoints of 2022 and 2023 have these names, and hold what is no weight.
        weights = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in weights.items()}
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, file, metadata={"format": "pt"})
    if change == "published":
        network = load_network(CLIPTextModel, model, "text_encoder")
        kept = {name.removeprefix("text_model."): value for name, value in weights.items()}
        for name, value in network.state_dict().items():
            assert torch.equal(value, kept[name.removeprefix("text_model.")])
        return
    what = "1 without weights: '.*final_layer_norm.weight'" if change == "missing" else "1 that the network lacks: 'sur"
    with pytest.raises(brainlens.CheckpointError, match=f"part 'text_encoder': expected weights .* found {what}"):
        load_network(CLIPTextModel, model, "text_encoder")
