import pytest
from brainlens_nsd.names import merged_names, read_names

import brainlens


def table(tmp_path, text):
    path = tmp_path / "names.mgz.ctab"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("file", "label", "name"),
    [
        ("prf-visualrois", 7, "hV4"),
        ("floc-faces", 2, "FFA-1"),
        ("streams", 5, "streams: ventral"),
        ("prf-eccrois", 5, "ecc4+"),
    ],
)
def test_known_labels_have_the_documented_names(file, label, name):
    assert read_names(file, None)[label] == name


def test_a_table_decides_with_or_without_colours(tmp_path):
    path = table(tmp_path, "0 Unknown 0 0 0 0\n1 one 255 0 0 0\n\n  3   three\n")
    assert read_names("floc-faces", path) == {1: "one", 3: "three"}


def test_labels_called_after_the_place_alone_get_the_name_of_the_file(tmp_path):
    assert read_names("HCP_MMP1", table(tmp_path, "0 ???\n1 V1 \n")) == {1: "HCP_MMP1: V1"}


@pytest.mark.parametrize("file", ["floc-words", "HCP_MMP1", "new"])
def test_labels_whose_names_are_not_sure_need_their_table(file):
    with pytest.raises(brainlens.ParameterError, match=f"^rois '{file}': .*'{file}.mgz.ctab'"):
        read_names(file, None)


@pytest.mark.parametrize("text", ["1\n", "x V1\n", "1 V1\n1 V2\n", "1 V1\n2 V1\n", "0 Unknown\n", ""])
def test_a_table_that_cannot_be_read_is_refused_by_name(tmp_path, text):
    with pytest.raises(brainlens.ParameterError, match=r"^label table '.*names\.mgz\.ctab'"):
        read_names("floc-faces", table(tmp_path, text))


def test_wholes_are_made_of_their_parts():
    visual = read_names("prf-visualrois", None)
    assert merged_names("prf-visualrois", visual) == {"V1": (1, 2), "V2": (3, 4), "V3": (5, 6)}
    assert merged_names("floc-places", read_names("floc-places", None)) == {"floc-places": (1, 2, 3)}
    assert merged_names("streams", read_names("streams", None)) == {}
