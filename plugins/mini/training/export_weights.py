"""Bring trained networks into the layouts that public loaders read, and write the digest of every file.

    python export_weights.py --build build

Weights are stored as float16, all together in less than 40 MB. Latents are scaled to unit variance inside the
autoencoder, embeddings inside the generator.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import open_clip
import torch
from brainlens_mini.judge import Judge
from brainlens_mini.weights import WEIGHTS, file_sha256
from diffusers import DPMSolverMultistepScheduler, KandinskyV22Pipeline, VQModel
from safetensors.torch import save_file
from train_autoencoder import make_model as make_autoencoder
from train_generator import EMBEDDING_SCALE, N_TIMES, make_model as make_generator

# Of all files together, so that they can be in the package.
MOST_BYTES = 40_000_000
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
N_JUDGED = 21


def export_image_text(build: Path, target: Path) -> None:
    """Write the image-text model as open_clip reads it from a folder."""
    about = json.loads((build / "open_clip_config.json").read_text())
    model = open_clip.CLIP(**about["model_cfg"])
    model.load_state_dict(torch.load(build / "checkpoint.pt", weights_only=True)["model"])
    target.mkdir(parents=True)
    save_file(_half(model), target / "open_clip_model.safetensors")
    for name in ("open_clip_config.json", *TOKENIZER):
        shutil.copyfile(build / name, target / name)


def export_painting(build: Path, weights: Path) -> None:
    """Write the generator as a Kandinsky 2.2 decoder pipeline, with the autoencoder as a part of it."""
    saved = torch.load(build / "generator-tuned/checkpoint.pt", weights_only=True)
    movq = scaled_autoencoder(build, saved["shift"], saved["scale"]).half()
    shutil.rmtree(weights / "generator", ignore_errors=True)
    unet = make_generator(saved["averaged"]["encoder_hid_proj.image_embeds.weight"].shape[1])
    unet.load_state_dict(saved["averaged"])
    with torch.no_grad():
        unet.encoder_hid_proj.image_embeds.weight.mul_(EMBEDDING_SCALE)
        unet.add_embedding.image_proj.weight.mul_(EMBEDDING_SCALE)
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=N_TIMES, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0
    )
    pipeline = KandinskyV22Pipeline(unet=unet.half(), scheduler=scheduler, movq=movq)
    pipeline.save_pretrained(weights / "generator", safe_serialization=True)


def scaled_autoencoder(build: Path, shift: torch.Tensor, scale: torch.Tensor) -> VQModel:
    """Return the autoencoder with latents of mean 0 and variance 1; the pipeline applies no factor of its own."""
    movq = make_autoencoder()
    movq.load_state_dict(torch.load(build / "autoencoder/checkpoint.pt", weights_only=True)["model"])
    with torch.no_grad():
        movq.quant_conv.weight.div_(scale)
        movq.quant_conv.bias.sub_(shift).div_(scale)
        movq.post_quant_conv.bias.add_(movq.post_quant_conv.weight[:, :, 0, 0] @ shift)
        movq.post_quant_conv.weight.mul_(scale)
    return movq


def export_judge(build: Path, target: Path) -> None:
    """Write the judge: its weights, and the names and concepts that it tells apart."""
    model = Judge(N_JUDGED)
    model.load_state_dict(torch.load(build / "checkpoint.pt", weights_only=True)["model"])
    target.mkdir(parents=True)
    save_file(_half(model), target / "judge.safetensors")
    shutil.copyfile(build / "names.json", target / "names.json")


def write_digests(weights: Path) -> None:
    """Write SHA-256 and size of every file, unless they are too large together."""
    files = sorted(path for path in weights.rglob("*") if path.is_file() and path.parent != weights)
    together = sum(path.stat().st_size for path in files)
    assert together < MOST_BYTES, f"weights: expected less than {MOST_BYTES} bytes, found {together}. Make one smaller."
    for path in files:
        path.chmod(0o644)
    known = {
        path.relative_to(weights).as_posix(): {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
        for path in files
    }
    (weights / "digests.json").write_text(json.dumps(known, indent=1) + "\n")


def main() -> None:
    """Export what has been trained, and leave the rest as it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    exports = {"image-text": export_image_text, "judge": export_judge}
    for part, export in exports.items():
        if (given.build / part / "checkpoint.pt").exists():
            shutil.rmtree(given.weights / part, ignore_errors=True)
            export(given.build / part, given.weights / part)
    if (given.build / "generator-tuned/checkpoint.pt").exists():
        export_painting(given.build, given.weights)
    write_digests(given.weights)


def _half(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }


if __name__ == "__main__":
    main()
