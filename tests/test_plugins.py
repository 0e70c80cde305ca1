from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import brainlens
from brainlens.plugins import PluginHost
from brainlens.scaffold import new_plugin
from brainlens.synthetic import synthetic_study

OTHER_HOOK = """
import brainlens


@brainlens.hookimpl
def brainlens_components():
    {body}
"""

COMPONENT = "brainlens.Component(name={name!r}, role='analysis', summary='Does it.', version='1', target='x:y')"


def returning(*names: str) -> str:
    records = ", ".join(COMPONENT.format(name=name) for name in names)
    return OTHER_HOOK.format(body=f"return [{records}]")


def error_of(host: PluginHost, name: str) -> str:
    with pytest.raises(brainlens.PluginError) as caught:
        host.plugin(name)
    return str(caught.value)


def stored_study(folder: Path, host: PluginHost) -> brainlens.Registry:
    registry = brainlens.open(folder / "study.zarr", host=host, quiet=True)
    study = synthetic_study(n_stimuli=20, n_voxels=6, n_channels=4)
    for name in ("response", "target"):
        registry.put(name, study[name])
    return registry


# Listing and loading


def test_listing_imports_no_plugin(plugin_folder):
    plugin_folder.add("lazy")
    (listed,) = plugin_folder.host().plugins()
    assert (listed.name, listed.origin, listed.module, listed.state) == (
        "lazy", "acme-lazy 1.0", "brainlens_lazy", "listed",
    )  # fmt: skip
    assert "brainlens_lazy" not in sys.modules


def test_a_plugin_on_the_path_is_found_without_pip(plugin_folder):
    plugin_folder.add("found")
    assert PluginHost().plugin("found").origin == "acme-found 1.0"


def test_only_the_plugin_that_is_asked_for_is_loaded(plugin_folder):
    plugin_folder.add("asked")
    plugin_folder.add("silent")
    host = plugin_folder.host()
    assert host.component("asked").role == "decoder"
    assert [plugin.state for plugin in host.plugins()] == ["loaded", "listed"]
    assert "brainlens_silent" not in sys.modules


def test_two_hosts_share_nothing(plugin_folder):
    plugin_folder.add("both")
    first, second = plugin_folder.host(), plugin_folder.host()
    first.plugin("both")
    assert second.plugins()[0].state == "listed"
    assert second.plugin("both").state == "loaded"


def test_a_disabled_plugin_says_how_to_enable_it(plugin_folder, monkeypatch):
    plugin_folder.add("off")
    plugin_folder.add("on")
    monkeypatch.setenv("BRAINLENS_DISABLE_PLUGINS", "off, other")
    host = plugin_folder.host()
    assert error_of(host, "off") == (
        "plugin 'off' is disabled by BRAINLENS_DISABLE_PLUGINS. Take it out of that variable to use it."
    )
    assert [component.name for component in host.components()] == ["on"]
    assert "brainlens_off" not in sys.modules


def test_a_damaged_distribution_hides_no_other(plugin_folder):
    plugin_folder.add("sound")
    plugin_folder.add("damaged")
    (plugin_folder.path / "acme_damaged-1.0.dist-info" / "METADATA").unlink()
    assert {plugin.name: plugin.state for plugin in plugin_folder.host().plugins(load=True)}["sound"] == "loaded"


# Unknown names


def test_an_unknown_plugin_is_answered_with_the_closest(plugin_folder):
    plugin_folder.add("linear2")
    assert error_of(plugin_folder.host(), "linar2") == (
        "no plugin 'linar2'. Closest: 'linear2'. Installed: 'linear2'. See 'brainlens plugins list'."
    )


@pytest.mark.parametrize("name", ["gallery.rnk", "galery.rank"])
def test_an_unknown_component_is_answered_with_the_closest(plugin_folder, name):
    plugin_folder.add("gallery", returning("gallery.rank", "gallery.identify"))
    plugin_folder.add("wrecked", "1 / 0")
    with pytest.raises(brainlens.PluginError) as caught:
        plugin_folder.host().component(name, roles=("analysis",))
    assert str(caught.value) == (
        f"no analysis {name!r}. Closest: 'gallery.rank'. Installed: 'gallery.identify', 'gallery.rank'. "
        "Broken plugins: wrecked; see 'brainlens doctor'."
    )


def test_a_component_of_another_role_is_answered_with_its_verb(plugin_folder):
    plugin_folder.add("mean")
    with pytest.raises(brainlens.PluginError) as caught:
        plugin_folder.host().component("mean", roles=("analysis", "embedder"))
    assert str(caught.value) == (
        "component 'mean' is of role decoder, expected analysis or embedder. Use 'brainlens fit mean'."
    )


# Broken plugins. Each of them stands beside a sound one, which must not notice.

BROKEN = {
    "import": (
        "import no_such_library",
        "ModuleNotFoundError: No module named 'no_such_library' (site-packages/brainlens_bad.py, line 1)",
    ),
    "syntax": ("def (", "SyntaxError: invalid syntax (brainlens_bad.py, line 1)"),
    "exit": ("raise SystemExit('install me differently')", "SystemExit: install me differently"),
    "hook": (
        OTHER_HOOK.format(body="raise ValueError('no config')"),
        "ValueError: no config (site-packages/brainlens_bad.py, line 7)",
    ),
    "generator": (
        OTHER_HOOK.format(body="yield 1 / 0"),
        "ZeroDivisionError: division by zero (site-packages/brainlens_bad.py, line 7)",
    ),
    "nothing": (OTHER_HOOK.format(body="pass"), "brainlens_components: expected a list of records, found None"),
    "number": (OTHER_HOOK.format(body="return 3"), "brainlens_components: expected a list of records, found 3"),
    "text": (OTHER_HOOK.format(body="return ['bad']"), "brainlens_components: expected Component records, found 'bad'"),
    "misspelt": (
        "import brainlens\n@brainlens.hookimpl\ndef brainlens_component():\n    return []",
        "hook 'brainlens_component' does not exist. Closest: 'brainlens_components'. "
        "Known: 'brainlens_components', 'brainlens_computed', 'brainlens_schemas'",
    ),
    "unmarked": (
        "def brainlens_components():\n    return []",
        "function 'brainlens_components' looks like a hook but is not marked. Put @brainlens.hookimpl before it",
    ),
    "no hook": (
        "import brainlens",
        "expected at least one hook, found none. Write brainlens_components under @brainlens.hookimpl",
    ),
    "argument": (
        "import brainlens\n@brainlens.hookimpl\ndef brainlens_components(registry):\n    return []",
        "PluginValidationError: Plugin 'bad' for hook 'brainlens_components'",
    ),
    "twice": (returning("bad", "bad"), "component 'bad' is declared 2 times"),
    "elsewhere": (
        returning("good.rank"),
        "component 'good.rank': expected the name 'bad' or one that begins with 'bad.'",
    ),
    "prefix": (returning("badly"), "component 'badly': expected the name 'bad' or one that begins with 'bad.'"),
    "role": (
        returning("bad").replace("'analysis'", "'decodr'"),
        "component 'bad': role 'decodr' does not exist. Closest: 'decoder'. Known: 'analysis', 'decoder', "
        "'embedder', 'encoder', 'exporter', 'generator', 'importer'",
    ),
    "target": (
        returning("bad").replace("x:y", "x.y"),
        "component 'bad': target expected 'module:attribute', found 'x.y'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_says_why_and_stops_no_other(plugin_folder, fault):
    source, expected = BROKEN[fault]
    plugin_folder.add("bad", source)
    plugin_folder.add("good")
    host = plugin_folder.host()
    assert [component.name for component in host.components()] == ["good"]
    assert host.component("good").summary == "Predicts the mean."
    text = error_of(host, "bad")
    assert text.startswith(f"plugin 'bad' (acme-bad 1.0) failed to load: {expected}")
    assert text.endswith(". Mend or reinstall it, or see 'brainlens doctor'.")
    bad, good = host.plugins()
    assert (bad.state, bad.components, good.state) == ("broken", (), "loaded")


def test_details_show_the_line_of_a_broken_plugin(plugin_folder):
    plugin_folder.add("bad", OTHER_HOOK.format(body="raise ValueError('no config')"))
    (plugin,) = plugin_folder.host().plugins(load=True)
    assert "raise ValueError('no config')" in plugin.details
    assert 'brainlens_bad.py", line 7' in plugin.details


def test_a_broken_plugin_is_not_told_of_results(plugin_folder):
    source = returning("elsewhere") + "\n@brainlens.hookimpl\ndef brainlens_computed(result):\n    raise ValueError\n"
    plugin_folder.add("bad", source)
    assert plugin_folder.host().announce(None) == []


def test_a_target_that_is_not_there_names_plugin_and_module(plugin_folder):
    plugin_folder.add("astray", returning("astray"))
    host = plugin_folder.host()
    with pytest.raises(brainlens.PluginError) as caught:
        host.resolve(host.component("astray"))
    assert str(caught.value) == (
        "component 'astray' (acme-astray 1.0): target 'x:y' cannot be imported: ModuleNotFoundError: "
        "No module named 'x'. Install what it needs, or see 'brainlens doctor'."
    )


def test_a_target_without_its_attribute_is_reported(plugin_folder):
    plugin_folder.add("astray", returning("astray").replace("x:y", "brainlens_astray_decoder:Absent"))
    host = plugin_folder.host()
    with pytest.raises(brainlens.PluginError, match="has no attribute 'Absent'"):
        host.resolve(host.component("astray"))


# Names claimed twice


def test_a_name_claimed_twice_is_refused_to_both(plugin_folder):
    plugin_folder.add("gallery", distribution="brainlens-gallery", version="0.1.0")
    plugin_folder.declare("gallery", "acme_gallery", distribution="acme-gallery", version="2.3")
    plugin_folder.add("good")
    host = plugin_folder.host()
    text = error_of(host, "gallery")
    assert text.startswith("plugin name 'gallery' is claimed by ")
    assert "brainlens-gallery 0.1.0" in text
    assert "acme-gallery 2.3" in text
    assert text.endswith(". Uninstall one.")
    assert "brainlens_gallery" not in sys.modules
    assert [component.name for component in host.components()] == ["good"]


def test_the_same_distribution_found_twice_is_no_conflict(plugin_folder):
    plugin_folder.add("once")
    points = [plugin.entry_point for plugin in plugin_folder.host().plugins()]
    assert PluginHost([*points, *points]).plugin("once").state == "loaded"


SCHEMA = """
import brainlens


@brainlens.hookimpl
def brainlens_schemas():
    return [brainlens.Schema(name={name!r}, document={{"type": "object"}})]
"""


def test_a_plugin_may_define_a_schema(plugin_folder):
    plugin_folder.add("mesh", SCHEMA.format(name="mesh.v1"))
    assert plugin_folder.host().schemas()["mesh.v1"].kind == "mesh"


def test_a_schema_of_brainlens_cannot_be_claimed(plugin_folder):
    plugin_folder.add("thief", SCHEMA.format(name="response.v1"))
    assert "schema 'response.v1' is claimed by acme-thief 1.0 and brainlens." in error_of(plugin_folder.host(), "thief")


def test_a_schema_claimed_twice_names_both(plugin_folder):
    plugin_folder.add("first", SCHEMA.format(name="mesh.v1"))
    plugin_folder.add("second", SCHEMA.format(name="mesh.v1"))
    host = plugin_folder.host()
    host.plugin("first")
    expected = (
        "schema 'mesh.v1' is claimed by acme-second 1.0 and acme-first 1.0. Choose another kind, or uninstall one"
    )
    assert expected in error_of(host, "second")


@pytest.mark.parametrize("name", ["mesh", "mesh.1", "Mesh.v1", "mesh.v0", "mesh.v1.2"])
def test_a_schema_without_a_version_is_refused(plugin_folder, name):
    plugin_folder.add("mesh", SCHEMA.format(name=name))
    expected = f"schema {name!r}: expected a kind and a version, such as 'mesh.v1'."
    assert expected in error_of(plugin_folder.host(), "mesh")


# While components work

LISTENER = """
import brainlens
heard = []


@brainlens.hookimpl
def brainlens_computed(result):
    heard.append((result.entry.name, result.provenance["component"]))
    {body}
"""


def test_a_plugin_that_only_listens_is_told_of_every_result(plugin_folder, tmp_path):
    plugin_folder.add("mean")
    module = plugin_folder.add("diary", LISTENER.format(body="pass"))
    registry = stored_study(tmp_path, plugin_folder.host())
    registry.fit("mean", response="response", target="target", name="model", device="cpu")
    assert sys.modules[module].heard == [("model", "mean")]


@pytest.mark.parametrize("fault", ["raise ValueError('tracker is down')", "raise SystemExit('tracker is down')"])
def test_a_listener_that_raises_changes_nothing_and_is_logged(plugin_folder, tmp_path, caplog, fault):
    plugin_folder.add("mean")
    plugin_folder.add("diary", LISTENER.format(body=fault))
    registry = stored_study(tmp_path, plugin_folder.host())
    with caplog.at_level(logging.WARNING, "brainlens"):
        registry.fit("mean", response="response", target="target", name="model", device="cpu")
    kind = fault.split()[1].split("(")[0]
    assert caplog.messages == [
        f"plugin 'diary' (acme-diary 1.0) failed in brainlens_computed: {kind}: tracker is down. "
        "The result is stored all the same."
    ]
    assert registry.verify() == ["model", "response", "target"]


FAILING = """
import brainlens
import numpy as np
import xarray as xr


class Decoder(brainlens.Trainable):
    def fit(self, response, target):
        {fit}

    def predict(self, response):
        {predict}
"""


def test_an_exception_in_fit_names_component_file_and_line_and_stores_nothing(plugin_folder, tmp_path):
    plugin_folder.add("faulty", decoder=FAILING.format(fit="raise ValueError('too few trials')", predict="pass"))
    registry = stored_study(tmp_path, plugin_folder.host())
    with pytest.raises(brainlens.PluginError) as caught:
        registry.fit("faulty", response="response", target="target", name="model", device="cpu")
    assert str(caught.value).startswith(
        "component 'faulty' (acme-faulty 1.0) failed while fitting: ValueError: too few trials "
        "(brainlens_faulty_decoder.py, line 9). Nothing was stored."
    )
    assert isinstance(caught.value.__cause__, ValueError)
    assert registry.verify() == ["response", "target"]


WRONG_PREDICTIONS = {
    "none": ("return None", "expected predict to return an xarray.Dataset with 'embedding', found NoneType"),
    "variable": (
        "return xr.Dataset({'values': ('trial', np.zeros(n))})",
        "expected predict to return an xarray.Dataset with 'embedding', found a dataset with 'values'",
    ),
    "trials": (
        "return xr.Dataset({'embedding': (('trial', 'channel'), np.zeros((n - 1, 4)))})",
        "expected 18 predicted trials, found 17",
    ),
    "channels": (
        "return xr.Dataset({'embedding': (('trial', 'channel'), np.zeros((n, 5)))})",
        "expected 4 along 'channel', found 5",
    ),
    "relabelled": (
        "return xr.Dataset({'embedding': (('trial', 'channel'), np.zeros((n, 4)))}, {'trial': np.arange(n)[::-1]})",
        "predict changed the labels of 'trial'; expected them in the order given",
    ),
}


@pytest.mark.parametrize("fault", WRONG_PREDICTIONS)
def test_a_prediction_of_the_wrong_form_is_refused(plugin_folder, tmp_path, fault):
    statement, expected = WRONG_PREDICTIONS[fault]
    predict = f"n = response.sizes['trial']; {statement}"
    plugin_folder.add("faulty", decoder=FAILING.format(fit="self.mean_ = np.zeros(4)", predict=predict))
    registry = stored_study(tmp_path, plugin_folder.host())
    registry.fit("faulty", response="response", target="target", name="model", device="cpu")
    with pytest.raises(brainlens.PluginError) as caught:
        registry.predict("model", response="response", device="cpu")
    assert str(caught.value).startswith(f"component 'faulty': {expected}")
    assert registry.verify() == ["model", "response", "target"]


def test_a_prediction_that_is_not_finite_is_refused(plugin_folder, tmp_path):
    predict = "return xr.Dataset({'embedding': (('trial', 'channel'), np.full((response.sizes['trial'], 4), np.nan))})"
    plugin_folder.add("faulty", decoder=FAILING.format(fit="self.mean_ = np.zeros(4)", predict=predict))
    registry = stored_study(tmp_path, plugin_folder.host())
    registry.fit("faulty", response="response", target="target", name="model", device="cpu")
    with pytest.raises(brainlens.SchemaError, match="expected finite values, found 72 of 72 not finite"):
        registry.predict("model", response="response", device="cpu")
    assert registry.verify() == ["model", "response", "target"]


def test_a_fit_that_learns_nothing_is_refused(plugin_folder, tmp_path):
    plugin_folder.add("faulty", decoder=FAILING.format(fit="pass", predict="pass"))
    registry = stored_study(tmp_path, plugin_folder.host())
    with pytest.raises(brainlens.PluginError, match=r"Decoder\.fit learnt nothing that can be stored"):
        registry.fit("faulty", response="response", target="target", name="model", device="cpu")
    assert registry.list() == ["response", "target"]


def test_a_target_that_is_no_trainable_is_refused(plugin_folder, tmp_path):
    plugin_folder.add("faulty", decoder="def Decoder(*args): pass")
    registry = stored_study(tmp_path, plugin_folder.host())
    with pytest.raises(brainlens.PluginError, match=r"to be a subclass of brainlens\.Trainable, found <function"):
        registry.fit("faulty", response="response", target="target", name="model", device="cpu")
    assert registry.list() == ["response", "target"]


# A third party's plugin, from its first line to its removal


def in_process(folder: Path, installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


LIST = (
    "import json; from brainlens.plugins import PluginHost; print(json.dumps([p.name for p in PluginHost().plugins()]))"
)


def test_a_third_partys_plugin_is_installed_proven_and_removed(tmp_path):
    source, installed = new_plugin("third-party", tmp_path), tmp_path / "installed"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    pip = in_process(tmp_path, installed, "-m", "pip", "install", *options, "--target", str(installed), str(source))
    assert pip.returncode == 0, pip.stderr
    assert "third-party" in json.loads(in_process(tmp_path, installed, "-c", LIST).stdout)
    pytest_options = ["--import-mode=importlib", "-p", "no:cacheprovider", "-q"]
    tested = in_process(tmp_path, installed, "-m", "pytest", *pytest_options, str(source / "tests"))
    assert tested.returncode == 0, tested.stdout
    shutil.rmtree(installed)
    assert "third-party" not in json.loads(in_process(tmp_path, installed, "-c", LIST).stdout)
