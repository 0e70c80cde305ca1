from __future__ import annotations

from pathlib import Path

import pytest

import brainlens
from brainlens.plugins import PluginHost
from brainlens.scaffold import new_plugin

ORIGINAL = Path(__file__).parents[1] / "plugins" / "template"
WRITTEN = ("README.md", "pyproject.toml", "*.py")


def files_of(folder: Path) -> dict[str, bytes]:
    found = [path for pattern in WRITTEN for path in folder.rglob(pattern)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_the_template_that_is_written_is_the_one_in_the_repository(tmp_path):
    written = files_of(new_plugin("template", tmp_path, taken={}))
    remedy = "cp plugins/template/FILE brainlens/plugin-template/FILE.txt"
    assert written == files_of(ORIGINAL), f"brainlens/plugin-template differs from plugins/template: {remedy}"
    assert len(written) == 6


def test_the_decoder_has_at_most_forty_lines_and_only_fit_and_predict():
    text = (ORIGINAL / "brainlens_template" / "decoder.py").read_text()
    assert len(text.splitlines()) <= 40
    assert [line.split("(")[0].strip() for line in text.splitlines() if "def " in line] == ["def fit", "def predict"]


def test_every_name_is_the_new_one(tmp_path):
    made = new_plugin("my-decoder", tmp_path)
    files = files_of(made)
    assert made == tmp_path / "my-decoder"
    assert "brainlens_my_decoder/decoder.py" in files
    assert not any(b"template" in content for content in files.values())
    assert b'\nname = "brainlens-my-decoder"\n' in files["pyproject.toml"]
    assert b'\nmy-decoder = "brainlens_my_decoder"\n' in files["pyproject.toml"]
    assert b'    plugin = "my-decoder"\n' in files["tests/test_contract.py"]
    assert b'            name="my-decoder",\n' in files["brainlens_my_decoder/__init__.py"]


def test_a_new_plugin_loads(tmp_path, plugin_folder):
    made = new_plugin("my-decoder", tmp_path)
    (made / "brainlens_my_decoder").rename(plugin_folder.path / "brainlens_my_decoder")
    plugin_folder.declare("my-decoder", "brainlens_my_decoder", distribution="brainlens-my-decoder")
    host = plugin_folder.host()
    decoder = host.resolve(host.component("my-decoder", roles=("decoder",)))
    assert issubclass(decoder, brainlens.Trainable)


@pytest.mark.parametrize(
    "name", ["", "My", "my_decoder", "my--decoder", "-my", "my-", "1st", "a b", "../x", "ä", "a" * 61, 3]
)
def test_a_malformed_name_is_refused(tmp_path, name):
    with pytest.raises(brainlens.PluginError) as caught:
        new_plugin(name, tmp_path)
    assert str(caught.value) == (
        f"plugin name {name!r} cannot be used. Use lower-case letters, digits and single hyphens, such as 'my-decoder'."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_installed_is_refused(tmp_path, plugin_folder):
    plugin_folder.add("two-words")
    with pytest.raises(brainlens.PluginError) as caught:
        new_plugin("two-words", tmp_path)
    assert str(caught.value) == (
        "plugin name 'two-words' is taken by acme-two-words, which is installed. Choose another name."
    )
    assert not (tmp_path / "two-words").exists()


def test_a_name_whose_package_is_the_cores_is_refused(tmp_path):
    with pytest.raises(brainlens.PluginError, match="plugin name 'schemas' is taken by brainlens, which is installed"):
        new_plugin("schemas", tmp_path)


def test_nothing_that_exists_is_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(brainlens.RegistryError) as caught:
        new_plugin("mine", tmp_path)
    expected = f"new plugin {str(tmp_path / 'mine')!r}: something is there already. Choose another name or folder."
    assert str(caught.value) == expected
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_a_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(brainlens.RegistryError, match="expected a folder, found none. Make it first."):
        new_plugin("mine", tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_every_installed_plugin_name_is_one_that_could_be_made(tmp_path):
    for plugin in PluginHost().plugins():
        assert new_plugin(plugin.name, tmp_path, taken={}).name == plugin.name
