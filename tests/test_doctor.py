from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from brainlens.doctor import diagnose, lines, read_build, torch_problems


@pytest.fixture
def host_of(plugin_folder):
    """A host of one sound plugin and those that a test adds."""
    plugin_folder.add("sound")
    return plugin_folder.host


def test_a_report_is_json_and_names_what_is_installed(host_of):
    report = json.loads(json.dumps(diagnose(host_of(), passes=False)))
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "xarray", "zarr", "pluggy"} <= set(report["libraries"])
    assert report["cpus"] >= 1
    assert report["memory_gb"] > 0
    assert report["passes"] == {}
    (plugin,) = report["plugins"]
    assert (plugin["name"], plugin["state"], plugin["components"]) == ("sound", "loaded", ["sound"])


def test_each_decoder_is_tried_without_telling_listeners(plugin_folder, host_of):
    plugin_folder.add("diary", "import brainlens\n@brainlens.hookimpl\ndef brainlens_computed(result):\n    exit('no')")
    report = diagnose(host_of())
    assert report["passes"] == {"sound": "ok"}
    assert "    sound: ok" in lines(report)


def test_a_decoder_that_fails_is_a_problem_and_stops_no_other(plugin_folder, host_of):
    plugin_folder.add("bad", decoder="import no_such_library")
    report = diagnose(host_of())
    assert report["passes"]["sound"] == "ok"
    (problem,) = [problem for problem in report["problems"] if "'bad'" in problem]
    assert problem == (
        "component 'bad' does not work here: component 'bad' (acme-bad 1.0): target 'brainlens_bad_decoder:Decoder' "
        "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'. Install what it needs, or see "
        "'brainlens doctor'."
    )


def test_a_decoder_of_another_kind_is_not_tried(plugin_folder, host_of):
    source = (plugin_folder.path / "brainlens_sound.py").read_text().replace("sound", "pixels")
    plugin_folder.add("pixels", source.replace("output=", 'inputs={"target": "stimulus_image"}, output='))
    report = diagnose(host_of())
    expected = "not tried: component 'pixels' reads 'stimulus_image', which the synthetic study does not have."
    assert report["passes"]["pixels"] == expected
    assert not any("pixels" in problem for problem in report["problems"])


REFUSING = """
import warnings
import brainlens


class Decoder(brainlens.Trainable):
    def fit(self, response, target):
        self.context.log.warning("features have one token")
        warnings.warn("a library grumbles")
        raise brainlens.{error}("n_stimuli: expected at least 64, found 14. Choose a smaller batch_size.")

    def predict(self, response):
        raise NotImplementedError
"""


@pytest.mark.parametrize("error", ["ParameterError", "DimensionError"])
def test_what_refuses_the_small_study_in_plain_words_is_not_tried_and_no_problem(plugin_folder, host_of, error):
    plugin_folder.add("picky", decoder=REFUSING.format(error=error))
    report = diagnose(host_of())
    expected = (
        "not tried: it refuses the small simulated study. n_stimuli: expected at least 64, found 14. Choose a smaller "
        "batch_size."
    )
    assert report["passes"] == {"sound": "ok", "picky": expected}
    assert f"    picky: {expected}" in lines(report)
    assert not any("picky" in problem for problem in report["problems"])


@pytest.mark.parametrize("error", ["DeviceError", "CheckpointError", "SchemaError"])
def test_any_other_error_of_a_component_is_a_problem(plugin_folder, host_of, error):
    plugin_folder.add("bad", decoder=REFUSING.format(error=error))
    (problem,) = [problem for problem in diagnose(host_of())["problems"] if "'bad'" in problem]
    assert problem == (
        "component 'bad' does not work here: n_stimuli: expected at least 64, found 14. Choose a smaller batch_size."
    )


def test_what_is_logged_and_warned_during_the_trial_does_not_leak(plugin_folder, host_of, caplog, recwarn):
    plugin_folder.add("picky", decoder=REFUSING.format(error="ParameterError"))
    diagnose(host_of())
    logging.getLogger("brainlens").warning("heard again")
    assert caplog.messages == ["heard again"]
    assert not recwarn.list


def test_each_component_is_named_before_it_is_tried(plugin_folder, host_of):
    plugin_folder.add("bad", decoder="import no_such_library")
    said = []
    diagnose(host_of(), say=said.append)
    assert sorted(said) == ["trying bad", "trying sound"]
    said.clear()
    diagnose(host_of(), passes=False, say=said.append)
    assert said == []


def test_broken_plugins_are_problems_with_their_traceback(plugin_folder, host_of):
    plugin_folder.add("bad", "raise ValueError('no config')")
    report = diagnose(host_of(), passes=False)
    assert any(problem.startswith("plugin 'bad' (acme-bad 1.0) failed to load") for problem in report["problems"])
    text = lines(report)
    assert "plugin bad (acme-bad 1.0): broken" in text
    assert "    ValueError: no config" in text


def test_a_misspelt_name_of_a_disabled_plugin_is_a_problem(host_of, monkeypatch):
    monkeypatch.setenv("BRAINLENS_DISABLE_PLUGINS", "sund")
    assert diagnose(host_of(), passes=False)["problems"] == [
        "BRAINLENS_DISABLE_PLUGINS names 'sund', which is not installed. Closest: 'sound'. Installed: 'sound'."
    ]


def test_scratch_folders_of_the_registry_and_the_user_are_listed_and_are_no_problem(host_of, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for root, size in (("study.zarr/.brainlens", 2_500_000), ("cache/brainlens", 10)):
        (tmp_path / root / "scratch/ab").mkdir(parents=True)
        (tmp_path / root / "scratch/ab/epoch-3").write_bytes(b"x" * size)
        (tmp_path / root / "scratch/ab.lock").touch()
    report = diagnose(host_of(), passes=False, registry=str(tmp_path / "study.zarr"))
    assert report["scratch"] == [
        {"folder": str(tmp_path / "study.zarr/.brainlens/scratch/ab"), "size_mb": 2.5},
        {"folder": str(tmp_path / "cache/brainlens/scratch/ab"), "size_mb": 0.0},
    ]
    (line, _) = [line for line in lines(report) if line.startswith("scratch")]
    assert line.endswith("scratch/ab (2.5 MB): of a computation that is under way or was interrupted")
    assert report["problems"] == []
    assert len(diagnose(host_of(), passes=False, registry="s3://bucket/study.zarr")["scratch"]) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__version__ = '2.9.0+cu128'\ncuda: Optional[str] = '12.8'", "cu128"),
        ("__version__ = '2.9.0'\ncuda: Optional[str] = '12.8'", "cu128"),
        ("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None", "cpu"),
        ("__version__ = '2.9.0'\ncuda: Optional[str] = None", "cpu"),
        ("__version__ = '0.24.0+cu130'\ngit_version = 'f122'", "cu130"),
        ("__version__ = '0.24.0a0+f122815'\ngit_version = 'f122'", ""),
        ("", ""),
    ],
)
def test_the_build_is_read_without_importing(tmp_path, text, expected):
    (tmp_path / "version.py").write_text(text)
    assert read_build(tmp_path / "version.py") == expected


def report_of(*, torch="cu128", torchvision="cu128", gpus=(), wanted=None):
    return {
        "torch": {"torch": torch, "torchvision": torchvision},
        "libraries": {"torch": "2.9.0", "torchvision": "0.24.0"},
        "torch_wanted": {"torchvision": wanted} if wanted else {},
        "gpus": list(gpus),
    }


def test_a_matching_pair_has_no_problem():
    gpu = {"name": "H200", "memory_gb": 150.0}
    assert list(torch_problems(report_of(gpus=[gpu], wanted="2.9.0"))) == []


def test_builds_that_do_not_match_are_a_problem():
    assert list(torch_problems(report_of(torch="cpu"))) == [
        "torch is built for cpu, torchvision for cu128: importing torchvision fails. "
        "Install both anew from one source: pip install --force-reinstall torch torchvision."
    ]


def test_a_gpu_that_torch_cannot_use_is_a_problem():
    gpu = {"name": "H200", "memory_gb": 150.0}
    assert list(torch_problems(report_of(torch="cpu", torchvision="cpu", gpus=[gpu]))) == [
        "there is a GPU (H200), but torch is built for the CPU only. Install a CUDA build."
    ]


def test_versions_that_do_not_match_are_a_problem():
    assert list(torch_problems(report_of(wanted="2.8.0"))) == [
        "torchvision 0.24.0 needs torch 2.8.0, found 2.9.0. Install a matching pair."
    ]


def test_gpus_are_read_from_the_drivers_own_tool(host_of, tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771'\necho '[N/A], [N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert diagnose(host_of(), passes=False)["gpus"] == [{"name": "NVIDIA H200", "memory_gb": 150.8}]


def test_a_quick_report_imports_no_heavy_library():
    code = """
import sys
from brainlens.doctor import diagnose
from brainlens.plugins import PluginHost
diagnose(PluginHost([]), passes=False)
print(sorted({"torch", "sklearn", "matplotlib"} & set(sys.modules)))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_a_report_without_problems_says_so(host_of):
    report = {**diagnose(host_of(), passes=False), "problems": []}
    assert lines(report)[-1] == "no problems found"
