from __future__ import annotations

import pytest

import brainlens
from brainlens.testing import PluginContract, check_plugin

SOUND = """
import numpy as np
import xarray as xr
import brainlens


class Decoder(brainlens.Trainable):
    def fit(self, response, target):
        x, y = response["response"].values, target["embedding"].values
        {before}
        self.weights_ = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)

    def predict(self, response):
        x = response["response"].values
        values = x @ self.weights_
        {predict}
        return xr.Dataset({{"embedding": (("trial", "channel"), values)}})
"""


def add_acme(plugin_folder, *, before="pass", predict="pass"):
    plugin_folder.add("acme", decoder=SOUND.format(before=before, predict=predict))


def test_a_sound_plugin_passes_every_check(plugin_folder, tmp_path):
    add_acme(plugin_folder)
    assert check_plugin("acme", tmp_path, host=plugin_folder.host()) == []


ENCODER = """
import numpy as np
import xarray as xr
import brainlens


class Encoder(brainlens.Trainable):
    def fit(self, features, response):
        x, y = features["embedding"].values, response["response"].values
        self.weights_ = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)

    def predict(self, features):
        return xr.Dataset({"response": (("trial", "voxel"), features["embedding"].values @ self.weights_)})
"""
ENCODER_HOOKS = """
import brainlens


@brainlens.hookimpl
def brainlens_components():
    return [
        brainlens.Component(
            name="acme", role="encoder", summary="Ridge.", version="1", target="brainlens_acme_decoder:Encoder",
            output=("response",),
        )
    ]
"""


def test_a_sound_encoder_passes_every_check(plugin_folder, tmp_path):
    plugin_folder.add("acme", ENCODER_HOOKS, decoder=ENCODER)
    assert check_plugin("acme", tmp_path, host=plugin_folder.host()) == []


def test_problems_of_all_checks_are_listed_together(plugin_folder, tmp_path):
    add_acme(plugin_folder, before="x *= 2", predict="import brainlens.store")
    problems = check_plugin("acme", tmp_path, host=plugin_folder.host())
    assert [problem.split(":")[0] for problem in problems] == [
        "site-packages/brainlens_acme_decoder.py, line 16",
        "component 'acme'",
    ]


def test_a_broken_plugin_is_one_problem(plugin_folder, tmp_path):
    plugin_folder.add("bad", "1 / 0")
    (problem,) = check_plugin("bad", tmp_path, host=plugin_folder.host())
    assert problem.startswith("plugin 'bad' (acme-bad 1.0) failed to load: ZeroDivisionError: division by zero")


def test_listeners_hear_nothing_of_the_suite(plugin_folder, tmp_path):
    add_acme(plugin_folder)
    plugin_folder.add("diary", "import brainlens\n@brainlens.hookimpl\ndef brainlens_computed(result):\n    1 / 0")
    assert check_plugin("acme", tmp_path, host=plugin_folder.host()) == []
    assert plugin_folder.host().announce(None) != []


def contract_of(plugin_folder, name):
    class Contract(PluginContract):
        plugin = name

        def host(self):
            return plugin_folder.host()

    return Contract()


def test_the_class_fails_with_the_problems(plugin_folder, tmp_path):
    add_acme(plugin_folder, before="x *= 2")
    with pytest.raises(AssertionError, match="expected the response unchanged, found it modified"):
        contract_of(plugin_folder, "acme").test_what_is_fitted_survives_storage_and_leaves_inputs_alone(tmp_path)


def test_the_class_skips_what_a_plugin_does_not_have(plugin_folder, tmp_path):
    add_acme(plugin_folder)
    with pytest.raises(pytest.skip.Exception, match="plugin 'acme' has no importer"):
        contract_of(plugin_folder, "acme").test_importers_refuse_what_does_not_exist(tmp_path)


def test_the_class_demands_a_name():
    with pytest.raises(
        brainlens.ParameterError, match="expected the name of a plugin, as in plugin = 'linear', found ''"
    ):
        PluginContract().test_plugin_loads()
