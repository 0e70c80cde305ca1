"""Train the image-text model on simulated scenes: contrastive loss, and labels of the scene as side tasks.

    python train_image_text.py --registry train.zarr --scenes train1 train2 --out build/image-text

Stops at any time and goes on from its last checkpoint when started again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from scenes import Scenes, cell_shares
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

import brainlens

CONTEXT = 64
VISION = {
    "resnet": {"layers": [1, 1, 1, 1], "width": 24, "head_width": 32, "image_size": 64},
    "resnet2": {"layers": [1, 2, 2, 1], "width": 24, "head_width": 32, "image_size": 64},
    "vit": {
        "layers": 4, "width": 192, "head_width": 48, "patch_size": 8, "image_size": 64, "mlp_ratio": 3.0,
        "pool_type": "avg", "final_ln_after_pool": True, "output_tokens": False, "no_ln_pre": True,
    },
}  # fmt: skip
TEXT = {"context_length": CONTEXT, "width": 128, "heads": 4, "layers": 2, "hf_tokenizer_name": "local"}
WIDTHS = {"resnet": (192, 384), "resnet2": (192, 384), "vit": (192,)}
# Shares of batches whose texts are tags, sentences and paragraphs.
CAPTION_SHARES = (0.3, 0.5, 0.2)
MEAN, STD = (0.48, 0.45, 0.42), (0.25, 0.24, 0.25)


def make_tokenizer(texts: np.ndarray) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words that occur; the end of a text has the highest number, as open_clip needs."""
    split = pre_tokenizers.Whitespace()
    some = texts[:20000]
    words = sorted({word for text in some.ravel().tolist() for word, _ in split.pre_tokenize_str(text)})
    order = ["<pad>", "<unk>", *words, "<start>", "<end>"]
    vocabulary = {word: number for number, word in enumerate(order)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = split
    ends = [("<start>", vocabulary["<start>"]), ("<end>", vocabulary["<end>"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>",
        model_max_length=CONTEXT,
    )  # fmt: skip


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens (row, caption, position), and a number for each text that equal texts share (row, caption)."""
    tokens = np.zeros((*texts.shape, CONTEXT), np.int16)
    for low in range(0, len(texts), 2000):
        part = texts[low : low + 2000]
        made = tokenizer(
            part.ravel().tolist(), max_length=CONTEXT, padding="max_length", truncation=True, return_tensors="np"
        )["input_ids"]
        tokens[low : low + 2000] = made.reshape(*part.shape, CONTEXT)
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(text, len(numbers)) for text in texts.ravel().tolist()]
    return tokens, np.array(codes).reshape(texts.shape)


class SideTasks(nn.Module):
    """Linear read-outs that exist during training only: what is where, which kinds, colours and places."""

    def __init__(self, embed_dim: int, widths: tuple[int, ...], n_names: int, n_colours: int, n_kinds: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.Conv2d(width, n_names, 1) for width in widths])
        self.names = nn.Linear(embed_dim, n_names - 1)
        self.colours = nn.Linear(embed_dim, n_colours)
        self.kinds = nn.Linear(embed_dim, n_kinds)


def encode_image(model: nn.Module, images: torch.Tensor, arch: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the pooled embedding and the maps (row, channel, y, x) that the side tasks read."""
    visual = model.visual
    if arch.startswith("resnet"):
        x = visual.layer1(visual.stem(images))
        second = visual.layer2(x)
        third = visual.layer3(second)
        return visual.attnpool(visual.layer4(third)), [second, third]
    found = visual.forward_intermediates(images, indices=1)
    return found["image_features"], found["image_intermediates"]


def encode_text(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Return text embeddings; cut behind the longest text, which changes nothing since attention looks back only."""
    length = int((tokens != 0).sum(dim=1).max())
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)
    return x[torch.arange(len(x)), tokens.argmax(dim=1)] @ model.text_projection


def contrast(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Return the symmetric contrastive loss; texts that are equal word for word are equally right."""
    logits = scale * functional.normalize(image.float(), dim=-1) @ functional.normalize(text.float(), dim=-1).T
    target = same / same.sum(dim=1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def main() -> None:
    """Train, from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--scenes", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", choices=sorted(VISION), default="resnet")
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    scenes = Scenes(brainlens.open(given.registry, quiet=True), given.scenes)
    words = scenes.vocabulary()
    colours = sorted(set(scenes.object_colours.ravel()) - {""})
    tokenizer = make_tokenizer(scenes.captions)
    tokenizer.save_pretrained(given.out)
    tokens, codes = tokenize(tokenizer, scenes.captions)
    scenes.captions = None
    name_ids = np.vectorize({name: number for number, name in enumerate(words.names)}.get)(scenes.object_names)
    ids = np.concatenate([np.zeros((len(scenes), 1), int), name_ids], axis=1)
    colour_ids = np.vectorize({"": 0, **{name: number + 1 for number, name in enumerate(colours)}}.get)(
        scenes.object_colours
    )
    kind_ids = np.vectorize({kind: number for number, kind in enumerate(words.kinds)}.get)(scenes.kinds)

    config = {"embed_dim": 256, "vision_cfg": VISION[given.arch], "text_cfg": {**TEXT, "vocab_size": len(tokenizer)}}
    model = open_clip.CLIP(**config)
    heads = SideTasks(256, WIDTHS[given.arch], len(words.names), len(colours), len(words.kinds))
    params = [*model.parameters(), *heads.parameters()]
    decay = [param for param in params if param.ndim > 1]
    rest = [param for param in params if param.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=given.lr, betas=(0.9, 0.98)
    )
    n_steps = given.samples // given.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 500) * (0.5 + 0.5 * math.cos(math.pi * min(1, step / n_steps)))
    )
    file, step, spent = given.out / "checkpoint.pt", 0, 0.0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        heads.load_state_dict(saved["heads"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step, spent = saved["step"], saved["spent"]
    (given.out / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": config,
                "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bilinear", "resize_mode": "squash"},
            },
            indent=1,
        )
    )
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))

    def save() -> None:
        state = {
            "model": model.state_dict(), "heads": heads.state_dict(), "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(), "step": step, "spent": spent,
        }  # fmt: skip
        torch.save(state, given.out / "checkpoint.part")
        (given.out / "checkpoint.part").replace(file)

    started = last = time.monotonic()
    sums, since, every = np.zeros(5), 0, 100
    model.train()
    while step < n_steps and time.monotonic() - started < given.stop_after * 60:
        # Order, captions and everything else of a step follow from its number, so that a resumed training is the same.
        per_epoch = len(scenes) // given.batch
        epoch, within = divmod(step, per_epoch)
        if within == 0 or since == 0:
            order = np.random.default_rng([given.seed, epoch]).permutation(len(scenes))
        rng = np.random.default_rng([given.seed, epoch, within])
        rows = np.sort(order[within * given.batch : (within + 1) * given.batch])
        kind_of_text = rng.choice(3, p=CAPTION_SHARES)
        images = (torch.from_numpy(scenes.pixels(rows)).permute(0, 3, 1, 2).float() - mean) / std
        same = torch.from_numpy((codes[rows, kind_of_text][:, None] == codes[rows, kind_of_text]).astype(np.float32))
        maps = scenes.object_maps(rows)
        present = np.zeros((len(rows), len(words.names)), np.float32)
        np.put_along_axis(present, name_ids[rows], 1, axis=1)
        coloured = np.zeros((len(rows), len(colours) + 1), np.float32)
        np.put_along_axis(coloured, colour_ids[rows], 1, axis=1)
        with torch.autocast("cpu", torch.bfloat16):
            image, grids = encode_image(model, images, given.arch)
            text = encode_text(model, torch.from_numpy(tokens[rows, kind_of_text].astype(np.int64)))
            cell_logits = [head(grid) for head, grid in zip(heads.cells, grids, strict=True)]
            name_logits, colour_logits, kind_logits = heads.names(image), heads.colours(image), heads.kinds(image)
        losses = [contrast(image, text, model.logit_scale.exp(), same)]
        dense = 0.0
        for logits in cell_logits:
            share = torch.from_numpy(cell_shares(maps, ids[rows], len(words.names), logits.shape[-1])).permute(
                0, 3, 1, 2
            )
            dense = dense + functional.cross_entropy(logits.float(), share) / len(cell_logits)
        losses.append(dense)
        losses.append(
            functional.binary_cross_entropy_with_logits(name_logits.float(), torch.from_numpy(present[:, 1:]))
        )
        losses.append(
            functional.binary_cross_entropy_with_logits(colour_logits.float(), torch.from_numpy(coloured[:, 1:]))
        )
        losses.append(functional.cross_entropy(kind_logits.float(), torch.from_numpy(kind_ids[rows])))
        loss = losses[0] + 2 * losses[1] + 10 * losses[2] + 3 * losses[3] + 0.3 * losses[4]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        sums += [float(item.detach()) for item in losses]
        step, since = step + 1, since + 1
        if step % every == 0:
            now = time.monotonic()
            spent += now - last
            rate = every * given.batch / (now - last)
            names = ("contrast", "cells", "names", "colours", "kinds")
            shown = " ".join(f"{name} {value:.3f}" for name, value in zip(names, sums / every, strict=True))
            print(f"{step}/{n_steps} {shown} {rate:.0f}/s {spent / 60:.1f} min", flush=True)
            sums[:], last = 0, now
            if step % 500 == 0:
                save()
    save()


if __name__ == "__main__":
    main()
