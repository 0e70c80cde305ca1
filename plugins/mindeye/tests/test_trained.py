import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mindeye.decoder import MindEyeDecoder
from brainlens_mindeye.params import HighLevelParams

import brainlens


def subjects(planted, names: tuple[str, ...], **options) -> tuple[list[xr.Dataset], list[xr.Dataset]]:
    """Return subjects who saw the same stimuli, each with voxels of their own."""
    made = [planted(seed=3, subject=name, n_voxels=20 + 5 * number, **options) for number, name in enumerate(names)]
    return [each[0] for each in made], [each[1] for each in made]


def test_what_was_learnt_comes_back_from_its_state(planted, fitted):
    response, target = planted(shape=(3, 4))
    decoder = fitted(response, target, epochs=2, validation=0.2)
    state = {name: np.array(value) for name, value in decoder.state().items()}
    again = MindEyeDecoder(decoder.params, brainlens.Context())
    again.load_state(state)
    assert again.predict(response).equals(decoder.predict(response))
    assert again.history == decoder.history
    assert set(again.history) == {"loss", "contrastive", "prior", "validated_epoch", "validation_top_1"}
    del state["module.network.backbone.out.bias"]
    with pytest.raises(
        brainlens.CheckpointError, match="expected the weights of this network, found others: .*out.bias"
    ):
        MindEyeDecoder(decoder.params, brainlens.Context()).load_state(state)


def test_several_subjects_share_all_but_their_entries(planted, fitted):
    responses, targets = subjects(planted, ("s1", "s2"))
    decoder = fitted(responses, targets, epochs=3)
    assert decoder.n_voxels() == [20, 25]
    alone = [decoder.predict(each)["embedding"] for each in responses]
    assert alone[0].shape == alone[1].shape
    again = MindEyeDecoder(decoder.params, brainlens.Context())
    again.load_state(decoder.state())
    assert again.predict(responses[1])["embedding"].equals(alone[1])
    with pytest.raises(brainlens.DimensionError, match="expected one of the 2 subjects .* found 's3'. Closest: 's2'"):
        decoder.predict(responses[0].assign_attrs(subject="s3"))
    with pytest.raises(brainlens.DimensionError, match="expected the 25 voxels .* found 20"):
        decoder.predict(responses[0].assign_attrs(subject="s2"))


def test_what_one_subject_teaches_helps_another_with_little_data(planted, fitted, split, top_1, small, described):
    # Their voxels differ; what is shared is the way from the common width to the target.
    responses, targets = subjects(planted, ("s1", "s2", "s3"), n_stimuli=200, noise=0.5, shape=(16,))
    test = [split(*pair, n_test=40) for pair in zip(responses, targets, strict=True)]
    options = {"entry": "linear", "epochs": 60, "prior": "none", "entry_dropout": 0.0}
    shared = fitted([each[0] for each in test[1:]], [each[1] for each in test[1:]], **options)
    few = np.flatnonzero(np.isin(test[0][0]["stimulus_id"], np.unique(test[0][0]["stimulus_id"])[:20]))
    little = test[0][0].isel(trial=few), test[0][1].isel(trial=few)
    scores = {}
    for name in ("fresh", "shared"):
        decoder = MindEyeDecoder(HighLevelParams(**{**small, **options, "batch_size": 20}), brainlens.Context())
        if name == "shared":
            decoder.start_from(shared.state(), described([each[0] for each in test[1:]], test[1][1]))
        decoder.fit(*little)
        scores[name] = top_1(decoder.predict(test[0][2]), test[0][3], "retrieval")
    assert scores["shared"] > scores["fresh"]


def test_a_start_gives_its_weights_and_its_space_and_keeps_the_entry_of_a_subject_it_knows(
    planted, fitted, small, described
):
    responses, targets = subjects(planted, ("s1", "s2"))
    first = fitted(responses, targets, epochs=2)
    options = {**small, "epochs": 1, "learning_rate": 1e-12}
    second = MindEyeDecoder(HighLevelParams(**options), brainlens.Context(seed=5))
    second.start_from(first.state(), described(responses, targets[0]))
    second.fit([responses[1]], [targets[1]])
    assert second.subjects == ["s2"]
    found, expected = (each.predict(responses[1])["embedding"].sel(variant="retrieval") for each in (second, first))
    assert np.allclose(found, expected, atol=1e-4)
    third = MindEyeDecoder(HighLevelParams(**options), brainlens.Context(seed=5))
    third.start_from(first.state(), described(responses, targets[0]))
    other, other_target = planted(subject="s9", n_voxels=13)
    third.fit([other], [other_target])
    assert torch.equal(third.space.mean, first.space.mean)
    for name, value in third.module.state_dict().items():
        if "entries" not in name:
            assert torch.allclose(value, first.module.state_dict()[name], atol=1e-6), name
    fresh = MindEyeDecoder(HighLevelParams(**options), brainlens.Context(seed=5))
    fresh.fit([other], [other_target])
    assert torch.allclose(
        third.module.network.entries[0][0].weight, fresh.module.network.entries[0][0].weight, atol=1e-6
    )


def test_a_start_of_another_target_is_refused(planted, fitted, described):
    first = fitted(*planted(), epochs=1)
    second = MindEyeDecoder(first.params, brainlens.Context())
    second.start_from(first.state(), described(*planted()))
    with pytest.raises(brainlens.DimensionError, match="expected 1 tokens of 6 channels as the model to start from"):
        second.fit(*planted(shape=(8,)))


def test_a_subject_that_a_start_knows_may_bring_its_voxels_in_another_order(planted, fitted, small, described):
    responses, targets = subjects(planted, ("s1", "s2"))
    first = fitted(responses, targets, epochs=2)
    order = np.random.default_rng(0).permutation(25)
    second = MindEyeDecoder(HighLevelParams(**{**small, "epochs": 1, "learning_rate": 1e-12}), brainlens.Context())
    second.start_from(first.state(), described(responses, targets[0]))
    second.fit(responses[1].isel(voxel=order), targets[1])
    found = second.predict(responses[1].isel(voxel=order))["embedding"].sel(variant="retrieval")
    assert np.allclose(found, first.predict(responses[1])["embedding"].sel(variant="retrieval"), atol=1e-4)
    # In the order that the weights do not know, it is another brain.
    assert not np.allclose(second.predict(responses[1])["embedding"].sel(variant="retrieval"), found, atol=1e-2)


def test_a_start_takes_a_subject_by_its_voxels_and_refuses_others_before_anything_is_read(
    planted, fitted, small, described
):
    response, target = planted()
    first = fitted(response, target, epochs=1)
    decoder = MindEyeDecoder(HighLevelParams(**small), brainlens.Context())
    decoder.start_from(first.state(), described(response, target))
    unread = response.copy(deep=True)
    unread["response"][3, 4] = np.nan
    for other, message in (
        (
            unread.assign_coords(voxel=np.arange(30) + 7),
            "found 30: 7 that it does not know .* and 7 of its own",
        ),
        (unread.isel(voxel=slice(29)), r"found 29: 1 of its own missing \(29\)"),
    ):
        with pytest.raises(brainlens.DimensionError, match=f"start: expected the 30 voxels of 's1' .*, {message}"):
            decoder.fit(other, target)
    # The same model can still be started from, and the same voxels under another name are another brain.
    decoder.fit(response.assign_coords(voxel=np.arange(30) + 7).assign_attrs(subject="s2"), target)
    assert decoder.subjects == ["s2"]


def test_a_start_of_another_space_of_targets_is_refused(planted, fitted, small, described):
    response, target = planted()
    first = fitted(response, target, epochs=1)
    decoder = MindEyeDecoder(first.params, brainlens.Context())
    decoder.start_from(first.state(), described(response, target))
    with pytest.raises(brainlens.DimensionError, match="expected a target of 'planted', .*, found 'another'"):
        decoder.fit(response, target.assign_attrs(model="another"))
    uncentred = MindEyeDecoder(HighLevelParams(**{**small, "centre": False}), brainlens.Context())
    uncentred.start_from(first.state(), described(response, target))
    with pytest.raises(brainlens.ParameterError, match="centre: expected True as in the model to start from"):
        uncentred.fit(response, target)


def test_a_registry_refuses_to_start_with_other_voxels_and_stores_nothing(planted, small, tmp_path):
    """With what the core stores of a model of one subject, and of two."""
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    responses, targets = subjects(planted, ("s1", "s2"))
    for number, response in enumerate(responses):
        registry.put(f"r{number}", response)
    registry.put("target", targets[0])
    relabelled = responses[1].assign_coords(voxel=np.arange(25) + 100)
    registry.put("relabelled", relabelled)
    registry.put("named", relabelled.assign_attrs(subject="s3"))
    order = np.random.default_rng(1).permutation(25)
    registry.put("permuted", responses[1].isel(voxel=order))
    options = {"target": "target", "device": "cpu", **small, "prior": "none", "epochs": 1}
    for start, given in (("one", "r1"), ("two", ["r0", "r1"])):
        registry.fit("mindeye", response=given, name=start, **options)
        names = {entry.name for entry in registry.query(kind="model")}
        with pytest.raises(
            brainlens.DimensionError, match="start: expected the 25 voxels of 's2' .*, found 25: 25 that"
        ):
            registry.fit("mindeye", response="relabelled", start=start, **options)
        assert {entry.name for entry in registry.query(kind="model")} == names
        registry.fit("mindeye", response="named", start=start, name=f"{start}-named", **options)
        still = {**options, "learning_rate": 1e-12}
        registry.fit("mindeye", response="permuted", start=start, name=f"{start}-permuted", **still)
        found, expected = (
            registry[registry.predict(model, response="r1", device="cpu")]["embedding"].values
            for model in (f"{start}-permuted", start)
        )
        assert np.allclose(found, expected, atol=1e-4)


def test_fewer_stimuli_than_a_batch_takes_are_refused_before_training(planted, fitted):
    response, target = planted(n_stimuli=19)
    message = "at least the 20 stimuli that a batch takes, found 19 to train on. Choose batch_size=19 or less."
    with pytest.raises(brainlens.DimensionError, match=message):
        fitted(response, target)
    response, target = planted(n_stimuli=21)
    with pytest.raises(brainlens.DimensionError, match="found 17 to train on"):
        fitted(response, target, validation=0.2)


def test_subjects_that_no_step_or_entry_is_left_for_are_refused_before_anything_is_read(planted, fitted):
    responses, targets = subjects(planted, ("s1", "s2", "s3"))
    responses[0]["response"][3, 4] = np.nan
    with pytest.raises(brainlens.DimensionError, match="batch_size: expected a trial of each of 3 subjects .* found 2"):
        fitted(responses, targets, batch_size=2)
    with pytest.raises(brainlens.DimensionError, match="expected each of another subject, found 2 of 's1'"):
        fitted([responses[0], responses[0]], [targets[0], targets[0]])
    few = [each.isel(trial=np.flatnonzero(each["stimulus_id"] < 6)) for each in (responses[2], targets[2])]
    with pytest.raises(brainlens.DimensionError, match="response of 's3': expected at least the 10 stimuli .* found 6"):
        fitted([responses[1], few[0]], [targets[1], few[1]])
    pair = [each.isel(trial=np.flatnonzero(each["stimulus_id"] < 2)) for each in (responses[2], targets[2])]
    with pytest.raises(brainlens.DimensionError, match="found 0 to train on. Give more stimuli, or hold fewer out"):
        fitted(*pair, batch_size=2, validation=0.5)


def test_a_step_of_one_trial_of_each_subject_trains(planted, fitted):
    responses, targets = subjects(planted, ("s1", "s2", "s3"), n_stimuli=8)
    decoder = fitted(responses, targets, batch_size=3, epochs=1)
    assert np.isfinite(decoder.predict(responses[2])["embedding"]).all()


@pytest.mark.parametrize("where", ["response", "target"])
def test_values_that_are_not_finite_are_refused_before_training(planted, where, fitted):
    response, target = planted()
    (response if where == "response" else target)[where if where == "response" else "embedding"].values[7, 2] = np.nan
    with pytest.raises(brainlens.DimensionError, match=f"{where}: expected finite values, found others .*: 7"):
        fitted(response, target)


def test_another_number_of_voxels_is_refused(planted, fitted):
    response, target = planted()
    decoder = fitted(response, target, epochs=1)
    with pytest.raises(brainlens.DimensionError, match="expected the 30 voxels .* found 29"):
        decoder.predict(response.isel(voxel=slice(29)))


@pytest.mark.parametrize("lazy", [True, False])
def test_several_processes_find_the_weights_that_one_finds(planted, fitted, tmp_path, caplog, lazy: bool):
    """The same but for rounding, with dropout and mixing; from stored data that is opened in every process as well."""
    made = [planted(seed=3, subject=name, n_voxels=20) for name in ("s1", "s2")]
    responses, targets = [each[0] for each in made], [each[1] for each in made]
    if lazy:
        registry = brainlens.open(tmp_path / "study.zarr")
        for number, (response, target) in enumerate(made):
            registry.put(f"{number}/response", response)
            registry.put(f"{number}/target", target.assign_attrs(subject=response.attrs["subject"]))
        responses, targets = (
            [registry.get(f"{number}/{what}") for number in range(2)] for what in ("response", "target")
        )
    options = {"epochs": 3, "batch_size": 16, "validation": 0.2, "averaging": 0.5, "clip": 1.0}
    one = fitted(responses, targets, piece=4, **options)
    with caplog.at_level("INFO", logger="brainlens"):
        two = fitted(responses, targets, processes=2, **options)
    assert sum("epoch 3 of 3" in each for each in caplog.messages) == 1
    before = fitted(responses, targets, piece=4, **{**options, "epochs": 1}).module.state_dict()
    for name, value in one.module.state_dict().items():
        assert torch.allclose(value, two.module.state_dict()[name], atol=1e-4, rtol=1e-3), name
    # What rounding does is small beside what training does.
    assert any(not torch.allclose(value, before[name], atol=1e-2) for name, value in one.module.state_dict().items())
    assert set(two.history) == set(one.history)
    for name, values in one.history.items():
        assert two.history[name] == pytest.approx(values, abs=2e-2, rel=1e-3)
    found, expected = two.predict(responses[0])["embedding"], one.predict(responses[0])["embedding"]
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_batch_that_processes_cannot_share_is_refused_before_anything_is_read(planted, fitted):
    response, target = planted()
    response["response"][3, 4] = np.nan
    with pytest.raises(brainlens.DimensionError, match="batch_size: expected a multiple of 3"):
        fitted(response, target, processes=3)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    import brainlens, torch
    from brainlens_mindeye.decoder import MindEyeDecoder
    from brainlens_mindeye.params import HighLevelParams
    from conftest import SMALL, make_planted
    folder = Path(sys.argv[2])
    params = HighLevelParams(**{**SMALL, "epochs": 300, "processes": 2, "checkpoint_s": 1e-9, "averaging": 0.9})
    decoder = MindEyeDecoder(params, brainlens.Context(scratch=folder))
    decoder.fit(*make_planted(shape=(2, 3)))
    torch.save(decoder.module.state_dict(), folder / "weights.pt")
"""


@pytest.mark.slow
def test_several_processes_that_were_killed_go_on_to_the_very_same_weights(tmp_path):
    found = []
    for name in ("killed", "straight"):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(folder)]
        if name == "killed":
            process = subprocess.Popen(command)
            while not (folder / "checkpoint.pt").exists():
                assert process.poll() is None
                time.sleep(0.05)
            process.kill()
            process.wait()
            step = torch.load(folder / "checkpoint.pt", weights_only=True)["progress"]["step"]
            assert 0 < step < 900
        subprocess.run(command, check=True)
        found.append(torch.load(folder / "weights.pt", weights_only=True))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
