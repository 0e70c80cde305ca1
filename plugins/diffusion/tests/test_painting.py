import importlib
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.kandinsky import generate
from brainlens_diffusion.painting import ran_out
from brainlens_diffusion.params import KandinskyParams

import brainlens

Make = Callable[..., xr.Dataset]


@pytest.fixture
def embedding(random_embedding: Make) -> xr.Dataset:
    return random_embedding(16)


def paint(folder: Path, embedding: xr.Dataset, context: brainlens.Context, **more: Any) -> xr.Dataset:
    inputs = {key: more.pop(key) for key in ("initial", "latents") if key in more}
    params = KandinskyParams(model=str(folder), **{"n_steps": 3, **more})
    return generate(embedding=embedding, params=params, context=context, **inputs)


def off(first: xr.DataArray | np.ndarray, second: xr.DataArray | np.ndarray) -> int:
    """Return by how many grey values images differ at most."""
    return int(np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).max())


def test_an_image_is_the_same_alone_and_in_any_batch(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context
) -> None:
    whole = paint(kandinsky, embedding, context, n_candidates=3, batch_size=16)
    for size in (1, 4):
        split = paint(kandinsky, embedding, context, n_candidates=3, batch_size=size)
        np.testing.assert_array_equal(whole["noise_seed"], split["noise_seed"])
        # Rounding differs with the size of a batch, by one grey value at most.
        assert off(whole["image"], split["image"]) <= 1


def test_more_candidates_leave_the_first_as_it_is(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context
) -> None:
    one, four = (paint(kandinsky, embedding, context, n_candidates=count) for count in (1, 4))
    assert off(one["image"], four["image"].isel(candidate=0)) <= 1
    assert off(four["image"].isel(candidate=0), four["image"].isel(candidate=1)) > 1


def test_one_item_is_painted_again_alone_by_the_seed_it_was_given(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context
) -> None:
    whole = paint(kandinsky, embedding, context, n_candidates=2, batch_size=16)
    again = embedding.assign_coords(noise_seed=(("trial", "candidate"), whole["noise_seed"].values)).isel(trial=[3])
    alone = paint(kandinsky, again, brainlens.Context(seed=999), n_candidates=2)
    assert off(alone["image"].isel(trial=0), whole["image"].isel(trial=3)) <= 1
    np.testing.assert_array_equal(alone["noise_seed"].isel(trial=0), whole["noise_seed"].isel(trial=3))
    without = paint(kandinsky, embedding.isel(trial=[3]), context, n_candidates=2)
    assert off(without["image"].isel(trial=0), whole["image"].isel(trial=3)) > 1


@pytest.mark.parametrize("dim", ["stimulus", "roi"])
def test_stimuli_and_rois_are_painted_as_trials_are(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, dim: str
) -> None:
    rows = embedding.drop_vars("stimulus_id").rename(trial=dim)
    for n_candidates in (1, 2):
        made = paint(kandinsky, rows, context, n_candidates=n_candidates)
        brainlens.validate(made, "image.v1")
        wanted = paint(kandinsky, embedding, context, n_candidates=n_candidates)["image"].values
        np.testing.assert_array_equal(made["image"].values.reshape(wanted.shape), wanted)
        assert made["image"].dims[:-3] == {
            ("stimulus", 1): ("trial",), ("stimulus", 2): ("trial", "candidate"),
        }.get((dim, n_candidates), ("roi", "candidate"))  # fmt: skip
        assert made["noise_seed"].dims == made["image"].dims[:-3]
        assert made["trial" if dim == "stimulus" else "roi"].values.tolist() == rows[dim].values.tolist()


def test_where_it_starts_is_seen_unless_strength_is_1(
    kandinsky: Path, embedding: xr.Dataset, initial: xr.Dataset, context: brainlens.Context
) -> None:
    free = paint(kandinsky, embedding, context)["image"]
    started = paint(kandinsky, embedding, context, initial=initial, strength=0.4)["image"]
    assert off(started, free) > 1
    np.testing.assert_array_equal(paint(kandinsky, embedding, context, initial=initial, strength=1.0)["image"], free)


def test_latents_of_an_image_are_as_good_as_the_image(
    kandinsky: Path, embedding: xr.Dataset, initial: xr.Dataset, context: brainlens.Context, embedding_of: Make
) -> None:
    from brainlens_diffusion.autoencoder import encode
    from diffusers import VQModel

    movq = VQModel.from_pretrained(kandinsky / "movq").eval().requires_grad_(False)
    encoded = encode(movq, initial["image"].values, "cpu").flatten(2).transpose(1, 2).numpy()
    latents = embedding_of(encoded).assign_attrs(grid=[8, 8])
    for strength in (0.0, 0.5):
        by_image = paint(kandinsky, embedding, context, initial=initial, strength=strength)
        by_latents = paint(kandinsky, embedding, context, latents=latents, strength=strength)
        assert off(by_image["image"], by_latents["image"]) <= 1


@pytest.mark.parametrize("option", ["attention_slicing", "cpu_offload"])
def test_what_saves_memory_changes_no_picture(
    kandinsky: Path, embedding: xr.Dataset, initial: xr.Dataset, context: brainlens.Context, option: str
) -> None:
    plain = paint(kandinsky, embedding, context, initial=initial, strength=0.5)
    saving = paint(kandinsky, embedding, context, initial=initial, strength=0.5, **{option: True})
    assert off(plain["image"], saving["image"]) <= 1


def test_a_network_is_lent_to_the_device_only_while_it_is_needed(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[str, str]] = []
    before = torch.nn.Module.to

    def to(self: torch.nn.Module, device: Any = None, *rest: Any, **more: Any) -> torch.nn.Module:
        if isinstance(device, str):
            moved.append((type(self).__name__, device))
        return before(self, device, *rest, **more)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    monkeypatch.setattr("diffusers.models.modeling_utils.ModelMixin.to", to)
    paint(kandinsky, embedding, context, cpu_offload=True, batch_size=5)
    assert moved == [("UNet2DConditionModel", "cpu")] * 2 + [("VQModel", "cpu")] * 2


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("verb", ["kandinsky", "unclip", "variations", "versatile"])
def test_devices_precisions_and_offloading_paint_nearly_the_same(
    verb: str, device: str, request: pytest.FixtureRequest, random_embedding: Make
) -> None:
    module = importlib.import_module(f"brainlens_diffusion.{verb}")
    kind = getattr(importlib.import_module("brainlens_diffusion.params"), f"{verb.capitalize()}Params")
    embedding = random_embedding(*((257, 16) if verb == "versatile" else (16,)))
    more = {"text": random_embedding(77, 16)} if verb == "versatile" else {}

    def painted(device: str, precision: str, **options: Any) -> np.ndarray:
        params = kind(model=str(request.getfixturevalue(verb)), n_steps=3, **options)
        context = brainlens.Context(seed=2, device=device, precision=precision)
        found = module.generate(embedding=embedding, params=params, context=context, **more)["image"]
        return found.values.astype(int)

    expected = painted("cpu", "float32")
    assert np.abs(painted(device, "float32") - expected).mean() < 0.5
    assert np.abs(painted(device, "float32", cpu_offload=True) - expected).mean() < 0.5
    for precision in ("bfloat16",) if device == "cpu" else ("bfloat16", "float16"):
        assert 0 < np.abs(painted(device, precision) - expected).mean() < 4


def test_images_lie_in_a_file_until_they_are_read(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, tmp_path: Path
) -> None:
    kept = brainlens.Context(seed=context.seed, scratch=tmp_path)
    made = paint(kandinsky, embedding, kept, n_candidates=2)
    owner = made["image"].variable._data
    while not isinstance(owner, np.memmap):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.array
    assert Path(owner.filename) == tmp_path / "images.raw"
    assert (tmp_path / "images.raw").stat().st_size == made["image"].size
    xr.testing.assert_identical(made, paint(kandinsky, embedding, context, n_candidates=2))


def test_the_registry_stores_what_lies_in_the_file(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, initial: xr.Dataset, tmp_path: Path
) -> None:
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("decoded", embedding)
    registry.put("small", initial.isel(y=slice(8)))
    given = {"embedding": "decoded", "model": str(kandinsky), "n_steps": 3, "device": "cpu", "seed": context.seed}
    name = registry.compute("diffusion.kandinsky", **given)
    np.testing.assert_array_equal(registry[name]["image"], paint(kandinsky, embedding, context)["image"])
    with pytest.raises(brainlens.DimensionError, match="with 32 x 32 pixels, found"):
        registry.compute("diffusion.kandinsky", **given, initial="small", strength=0.5, name="wrong")
    assert "wrong" not in registry.list()
    assert list((tmp_path / "study.zarr").rglob("images.*")) == []


# In a process of its own: a call that is killed and made again, and one that has too little memory.
ELSEWHERE = """
import json, os, resource, signal, sys
from pathlib import Path
import numpy as np, torch, xarray as xr
torch.set_num_threads(1)
import brainlens
from brainlens_diffusion import kandinsky, painting
from brainlens_diffusion.params import KandinskyParams

scratch, model, values = Path(sys.argv[1]), sys.argv[2], np.load(sys.argv[3])
labels = {name: ("trial", np.arange(len(values))) for name in ("trial", "stimulus_id")}
embedding = xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, {"model": "some-model"})
count, killed, said = 0, False, {}
paint_batch, denoise = painting.paint_batch, painting.denoise

def call(batch_size, scratch=None):
    params = KandinskyParams(model=model, n_steps=3, batch_size=batch_size)
    context = brainlens.Context(seed=2, scratch=scratch)
    return kandinsky.generate(embedding=embedding, params=params, context=context)["image"].values

def dying(*given):
    global count
    count += 1
    if killed and count == 2:
        # As if the kill had come while a batch was being written.
        with (scratch / "images.raw").open("ab") as file:
            file.write(bytes(5000))
        os.kill(os.getpid(), signal.SIGKILL)
    return paint_batch(*given)

painting.paint_batch = dying
child = os.fork()
killed = not child
said["end"] = 0 if killed else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
again = call(2, scratch)
said["batches"] = count
straight = call(2)
said["same"] = bool((again == straight).all() and straight.any())

image_bytes, sizes = 80_000_000, []

def filling(scheduler, predict, noise, **more):
    filled = torch.zeros(len(noise) * image_bytes, dtype=torch.uint8)
    found = denoise(scheduler, predict, noise, **more)
    sizes.append(len(noise))
    return found

painting.denoise = filling
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
said["off"] = int(np.abs(call(5).astype(int) - straight.astype(int)).max())
said["sizes"], image_bytes = list(sizes), 2**30
try:
    call(5)
except brainlens.DeviceError as error:
    said["error"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def elsewhere(kandinsky: Path, random_embedding: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("elsewhere")
    np.save(folder / "values.npy", random_embedding(16)["embedding"])
    command = [sys.executable, "-c", ELSEWHERE, str(folder), str(kandinsky), str(folder / "values.npy")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {**json.loads(done.stdout), "stderr": done.stderr}


def test_a_killed_call_goes_on_to_the_very_same_images(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["end"] == -signal.SIGKILL
    assert elsewhere["batches"] == 2  # Of three batches one was there.
    assert elsewhere["same"]


def test_where_memory_runs_out_batches_get_smaller_and_pictures_stay(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["sizes"] == [2, 2, 1]
    assert elsewhere["off"] <= 1
    assert "Going on with 2 images at a time." in elsewhere["stderr"]


def test_where_one_image_does_not_fit_it_is_said(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["error"].startswith("device 'cpu': expected memory for one image at a time, found it full (")
    assert elsewhere["error"].endswith("choose precision='bfloat16', or take a larger device.")


def test_a_full_disk_is_said_and_the_call_goes_on_once_there_is_room(
    kandinsky: Path, embedding: xr.Dataset, tmp_path: Path
) -> None:
    context = brainlens.Context(seed=2, scratch=tmp_path)
    expected = paint(kandinsky, embedding, brainlens.Context(seed=2), batch_size=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Room for three images and a half.
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 3072 + 1500, before[1]))
    try:
        with pytest.raises(
            brainlens.RegistryError, match=r"expected room for 5 images of 3072 bytes, found none after 2"
        ):
            paint(kandinsky, embedding, context, batch_size=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "images.raw").stat().st_size == 3 * 3072 + 1500
    xr.testing.assert_identical(paint(kandinsky, embedding, context, batch_size=2), expected)


def test_networks_that_do_not_fit_the_device_are_said(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("diffusers.models.modeling_utils.ModelMixin.to", fail)
    with pytest.raises(
        brainlens.DeviceError, match="expected memory for the networks of 'tiny-kandinsky', found it full"
    ):
        paint(kandinsky, embedding, context)


def test_what_another_model_left_is_not_gone_on_with(
    kandinsky: Path, embedding: xr.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = brainlens.Context(seed=2, scratch=tmp_path)
    expected = paint(kandinsky, embedding, brainlens.Context(seed=2))
    paint(kandinsky, embedding, context)
    (tmp_path / "images.raw").write_bytes(bytes(5 * 32 * 32 * 3))
    assert not paint(kandinsky, embedding, context)["image"].any()
    record = json.loads((tmp_path / "images.json").read_text())
    record["weights_sha256"] = "another"
    (tmp_path / "images.json").write_text(json.dumps(record))
    xr.testing.assert_equal(paint(kandinsky, embedding, context), expected)
    assert "The model was exchanged since" in caplog.text


def test_running_out_of_memory_is_told_from_other_errors() -> None:
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert ran_out(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"))
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_another_error_is_not_taken_for_a_full_memory(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("brainlens_diffusion.painting.denoise", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        paint(kandinsky, embedding, context)
