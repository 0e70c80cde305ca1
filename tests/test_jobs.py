"""What decides a result, and how a component's errors become one."""

from __future__ import annotations

from typing import Any

import pytest

import brainlens
from brainlens.jobs import guarded, is_absent


@pytest.mark.parametrize(
    ("given", "expected"), [(None, True), ([], True), ((), True), (["a"], False), ("", False), (0, False)]
)
def test_nothing_and_empty_lists_are_no_inputs(given: Any, expected: bool) -> None:
    assert is_absent(given) is expected


def test_errors_of_brainlens_pass_as_they_are_and_others_name_the_component(plugin_folder: Any) -> None:
    plugin_folder.add("acme", decoder="import brainlens")
    host = plugin_folder.host()
    component = host.component("acme")
    for error, expected, text in (
        (brainlens.DimensionError("as it is"), brainlens.DimensionError, "^as it is$"),
        (
            ValueError("no voxels\nat all"),
            brainlens.PluginError,
            r"^component 'acme' \(.*\) failed while looking: .*no vox",
        ),
        (SystemExit(), brainlens.PluginError, "SystemExit: no message"),
    ):
        with pytest.raises(expected, match=text), guarded(host, component, "looking"):
            raise error


def test_what_was_interrupted_by_the_user_is_no_error_of_the_component(plugin_folder: Any) -> None:
    plugin_folder.add("acme", decoder="import brainlens")
    host = plugin_folder.host()
    with pytest.raises(KeyboardInterrupt), guarded(host, host.component("acme"), "looking"):
        raise KeyboardInterrupt
