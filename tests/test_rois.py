"""ROI expressions against Python's own parser and sets; listing; sorting; the texts of errors."""

import ast
import contextlib
import operator

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

from brainlens.errors import DimensionError, ParameterError
from brainlens.rois import list_rois, roi_sites, select_roi, sort_by_roi

# A busy machine is slow now and then; pytest-timeout catches what hangs.
examples = settings(deadline=None, max_examples=50)

N_VOXELS = 8
V1, V2, FFA, OFA = {0, 1, 2}, {2, 3}, {4, 5}, {5, 6}
LEFT = {0, 2, 4, 6}


def subject(rois=None, *, site="voxel", n=N_VOXELS, hemisphere=True):
    """Two trials whose response tells the label of its site."""
    rois = {"V1": V1, "V2": V2, "FFA-1": FFA, "my roi": OFA, "none": set()} if rois is None else rois
    labels = np.arange(n) + 100
    mask = np.array([[position in sites for position in range(n)] for sites in rois.values()], bool).reshape(
        len(rois), n
    )
    dataset = xr.Dataset(
        {
            "response": (("trial", site), np.stack([labels, -labels]).astype("float32")),
            "roi_mask": (("roi", site), mask),
        },
        {"trial": [0, 1], site: labels, "roi": list(rois), "i": (site, labels * 2)},
        {"subject": "subj01"},
    )
    if hemisphere:
        sides = np.where(np.isin(np.arange(n), list(LEFT)), "left", "right")
        dataset = dataset.assign_coords(hemisphere=(site, sides))
    return dataset


def chosen(expression, dataset=None):
    return set(np.flatnonzero(roi_sites(subject() if dataset is None else dataset, expression)).tolist())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("V1", V1),
        ("V1+V2", V1 | V2),
        ("  V1\t+ V2\n", V1 | V2),
        ("V1 - V2", V1 - V2),
        ("V1 & V2", V1 & V2),
        ("V?", V1 | V2),
        ("*", V1 | V2 | FFA | OFA),
        ("V* & left", (V1 | V2) & LEFT),
        ("right", set(range(N_VOXELS)) - LEFT),
        ("all - V1", set(range(N_VOXELS)) - V1),
        ("'FFA-1'", FFA),
        ('"FFA-1" - "my roi"', FFA - OFA),
        ("('FFA-1' + 'my roi') & left", (FFA | OFA) & LEFT),
        ("V1 + V2 & left", V1 | (V2 & LEFT)),
        ("V1 - V2 + V2", (V1 - V2) | V2),
        ("all - V1 - V2", set(range(N_VOXELS)) - V1 - V2),
        ("all - (V1 - V2)", set(range(N_VOXELS)) - (V1 - V2)),
        ("F*", FFA),
    ],
)
def test_expressions_mean_sets_of_sites(expression, expected):
    assert chosen(expression) == expected


NAMES = ("A", "B", "C", "D")
MEANINGS = {ast.Add: operator.or_, ast.Sub: operator.sub, ast.Mult: operator.and_}


def tree_texts():
    """Texts of random expressions, parentheses only where the random tree puts them."""
    spaces = st.sampled_from(["", " ", "  "])
    leaf = st.sampled_from(NAMES)
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds("{0}{2}{3}{2}{1}".format, inner, inner, spaces, st.sampled_from("+-&")),
            st.builds("({0})".format, inner),
        ),
        max_leaves=12,
    )


def meaning(text, sets):
    """Evaluate with Python's parser: `*` binds tighter than + and -, as `&` does in ROI expressions."""

    def value(node):
        if isinstance(node, ast.Name):
            return sets[node.id]
        return MEANINGS[type(node.op)](value(node.left), value(node.right))

    return value(ast.parse(text.replace("&", "*"), mode="eval").body)


@examples
@given(text=tree_texts(), members=st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=9))
def test_any_expression_agrees_with_set_operations_in_pythons_precedence(text, members):
    sets = {name: {site for site, names in enumerate(members) if name in names} for name in NAMES}
    expected = meaning(text, sets)
    dataset = subject(sets, n=len(members), hemisphere=False)
    if expected:
        assert chosen(text, dataset) == expected
    else:
        with pytest.raises(DimensionError, match="expected at least one voxel, found none"):
            roi_sites(dataset, text)


@examples
@given(
    name=st.text(st.characters(exclude_characters="'", exclude_categories=["Cs", "Zl", "Zp", "Zs", "Cc"]), min_size=1)
)
def test_any_quoted_name_without_that_quote_is_found(name):
    assert chosen(f"'{name}' + other", subject({name: {1}, "other ": {2}, "other": {3}})) == {1, 3}


@examples
@given(st.text("V12 +-&()'\"*?", max_size=12))
def test_any_text_gives_sites_or_one_of_two_errors(text):
    # Any other exception, such as IndexError, leaves this block and fails the test.
    with contextlib.suppress(ParameterError, DimensionError):
        assert chosen(text)


def test_selection_keeps_labels_values_and_order_in_every_variable():
    part = select_roi(subject(), "V2 + V1 & right")
    assert part["voxel"].values.tolist() == [101, 102, 103]
    assert part["response"].values.tolist() == [[101, 102, 103], [-101, -102, -103]]
    assert part["i"].values.tolist() == [202, 204, 206]
    assert part["roi_mask"].sel(roi="V2").values.tolist() == [False, True, True]
    assert part.attrs == {"subject": "subj01"}


def test_sites_that_are_not_in_one_piece_are_selected_by_label():
    assert select_roi(subject(), "V1 & left + 'my roi'")["voxel"].values.tolist() == [100, 102, 105, 106]


def test_surface_vertices_are_selected_like_voxels():
    assert select_roi(subject(site="vertex"), "left - V1").sizes == {"trial": 2, "roi": 5, "vertex": 2}


def test_a_transposed_mask_is_read_by_its_dims():
    dataset = subject()
    dataset["roi_mask"] = dataset["roi_mask"].transpose("voxel", "roi")
    assert chosen("V1", dataset) == V1
    assert list_rois(dataset) == list_rois(subject())


def test_selection_is_lazy(tmp_path):
    texts = {name: subject()[name].astype(object) for name in ("roi", "hemisphere")}
    subject().assign_coords(texts).to_zarr(tmp_path / "a.zarr", consolidated=False)
    lazy = xr.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False)
    part = select_roi(lazy, "V1 & left")
    assert not part["response"].variable._in_memory
    xr.testing.assert_equal(part.load(), select_roi(subject(), "V1 & left"))


def test_an_roi_called_like_a_hemisphere_wins_over_the_hemisphere():
    dataset = subject({"left": {7}, "all": {6}})
    assert chosen("left", dataset) == {7}
    assert chosen("all", dataset) == {6}
    assert list_rois(dataset) == {"left": 1, "all": 1, "right": 4}


def test_hemispheres_are_known_without_masks():
    dataset = subject().drop_vars(["roi_mask", "roi"])
    assert chosen("all - left", dataset) == set(range(N_VOXELS)) - LEFT
    assert list_rois(dataset) == {"left": 4, "right": 4}


def test_rois_are_listed_in_stored_order_with_sizes():
    rois = list_rois(subject())
    assert list(rois.items()) == [
        ("V1", 3), ("V2", 2), ("FFA-1", 2), ("my roi", 2), ("none", 0), ("left", 4), ("right", 4)
    ]  # fmt: skip
    assert list_rois(xr.Dataset()) == {}
    assert list_rois(subject({}, hemisphere=False)) == {}


@pytest.mark.parametrize(
    ("expression", "place", "expected", "found"),
    [
        ("", 1, "a name or '('", "the end"),
        ("V1 +", 5, "a name or '('", "the end"),
        ("V1 + + V2", 6, "a name or '('", "'+'"),
        ("(V1 + V2", 9, "an operator (+ - &) or ')'", "the end"),
        ("V1)", 3, "an operator (+ - &) or the end", "')'"),
        ("my roi", 4, "an operator (+ - &) or the end", "'roi'"),
        ("V1 + 'my", 6, "a name between two equal quotes", '"\'my"'),
        ("V1 + ''", 6, "a name between two equal quotes", "\"''\""),
        ("V1 | V2", 4, "an operator (+ - &) or the end", "'|'"),
        ("(" * 51 + "V1" + ")" * 51, 51, "a name, at most 50 parentheses deep", "'('"),
    ],
)
def test_syntax_errors_point_at_the_place(expression, place, expected, found):
    with pytest.raises(ParameterError) as caught:
        roi_sites(subject(), expression)
    first, text, caret, hint = str(caught.value).split("\n")
    assert first == f"ROI expression, position {place}: expected {expected}, found {found}."
    assert text == f"  {expression}"
    assert caret.index("^") - 2 == place - 1
    assert "quote names that hold spaces or operators" in hint


@pytest.mark.parametrize(
    ("expression", "joined"), [("V1,V2", "V1 + V2"), ("V1,V2,", "V1 + V2"), ("left + V1,X", "V1 + X")]
)
def test_a_comma_between_names_is_met_with_how_they_are_joined(expression, joined):
    with pytest.raises(DimensionError) as caught:
        roi_sites(subject(), expression)
    assert str(caught.value).startswith(f"ROI expression {expression!r}: there is no ROI 'V1,")
    assert str(caught.value).endswith(f". To mean the voxels of several ROIs, join them with +: {joined!r}.")


def test_fifty_nested_parentheses_are_read():
    assert chosen("(" * 50 + "V1" + ")" * 50) == V1


def test_something_that_is_not_text_is_refused():
    with pytest.raises(ParameterError, match=r"expected text such as 'V1 \+ V2', found 3\."):
        roi_sites(subject(), 3)


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(DimensionError) as caught:
        roi_sites(subject(), "V1 + V22")
    assert str(caught.value) == (
        "ROI expression 'V1 + V22': there is no ROI 'V22'. Closest: 'V2'. "
        "Known: 'FFA-1', 'V1', 'V2', 'all', 'left', 'my roi', 'none', 'right'."
    )


def test_a_name_with_an_operator_in_it_asks_for_quotes():
    with pytest.raises(
        DimensionError, match=r"there is no ROI 'FFA'.* To mean one ROI of that name, quote it: 'FFA-1'\."
    ):
        roi_sites(subject(), "V1 + FFA-1")


def test_a_wildcard_without_match_is_refused():
    with pytest.raises(DimensionError, match=r"'V1 \+ X\*': no ROI matches 'X\*'\. Known: 'FFA-1'"):
        roi_sites(subject(), "V1 + X*")


def test_wildcards_match_neither_hemispheres_nor_other_cases_and_do_nothing_in_quotes():
    for expression in ("lef?", "'V*'", "v*"):
        with pytest.raises(DimensionError, match="no ROI"):
            roi_sites(subject(), expression)


def test_brackets_in_names_are_not_wildcards():
    assert chosen("V[1]*", subject({"V1": V1, "V[1]a": {7}})) == {7}


def test_no_site_left_names_the_sizes_of_the_parts():
    with pytest.raises(DimensionError) as caught:
        select_roi(subject(), "V1 & 'FFA-1' + none")
    assert str(caught.value) == (
        "ROI expression \"V1 & 'FFA-1' + none\": expected at least one voxel, found none. "
        "Sizes of its parts: 'V1' 3, 'FFA-1' 2, 'none' 0. list_rois(dataset) gives the sizes of all ROIs."
    )


def test_a_dataset_without_masks_says_what_to_do():
    with pytest.raises(DimensionError) as caught:
        select_roi(subject().drop_vars("roi_mask"), "V1")
    assert str(caught.value) == (
        "ROI expression 'V1': 'V1' needs a variable 'roi_mask' (roi, voxel), found 'response'. "
        "Import the data with ROI masks, or use all sites."
    )


def test_left_without_hemisphere_is_refused():
    with pytest.raises(DimensionError, match=r"ROI 'left': expected a coordinate 'hemisphere' \(voxel\)"):
        roi_sites(subject(hemisphere=False), "left")


def test_a_hemisphere_that_is_not_about_sites_is_refused():
    dataset = subject(hemisphere=False).assign_coords(hemisphere=("trial", ["left", "right"]))
    with pytest.raises(DimensionError, match=r"'hemisphere': expected dims \(voxel,\), found \('trial',\)"):
        roi_sites(dataset, "left")


def test_malformed_masks_are_refused():
    good = subject()
    with pytest.raises(DimensionError, match="dtype bool, found .* and int8"):
        list_rois(good.assign(roi_mask=good["roi_mask"].astype("int8")))
    with pytest.raises(DimensionError, match=r"expected dims \(roi, voxel\) .* found \('roi', 'trial'\)"):
        list_rois(good.assign(roi_mask=(("roi", "trial"), np.ones((5, 2), bool))))
    with pytest.raises(DimensionError, match="expected a coordinate 'roi' with the names"):
        list_rois(good.drop_vars("roi"))
    with pytest.raises(DimensionError, match="expected unique names, found 'V1' more than once"):
        list_rois(good.assign_coords(roi=["V1", "V2", "V3", "V1", "V1"]))
    with pytest.raises(DimensionError, match=r"a dim 'voxel' or 'vertex', found dims \('trial',\)"):
        roi_sites(xr.Dataset(coords={"trial": [0]}), "all")


def test_sorting_orders_sites_by_the_first_roi_they_are_in():
    shuffled = subject().isel(voxel=[7, 5, 3, 1, 6, 4, 2, 0])
    ordered = sort_by_roi(shuffled)
    assert ordered["voxel"].values.tolist() == [101, 102, 100, 103, 105, 104, 106, 107]
    assert ordered["source_index"].values.tolist() == [3, 6, 7, 2, 1, 5, 4, 0]
    assert ordered["response"].values[0].tolist() == ordered["voxel"].values.tolist()
    assert ordered["i"].values.tolist() == (ordered["voxel"].values * 2).tolist()


@examples
@given(st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=12))
def test_sorting_keeps_every_site_with_its_labels_and_is_done_once(members):
    sets = {name: {site for site, names in enumerate(members) if name in names} for name in NAMES}
    dataset = subject(sets, n=len(members))
    ordered = sort_by_roi(dataset)
    xr.testing.assert_identical(ordered.sel(voxel=dataset["voxel"]).drop_vars("source_index"), dataset)
    assert (dataset["voxel"].values[ordered["source_index"].values] == ordered["voxel"].values).all()
    firsts = [min((NAMES.index(name) for name in members[site]), default=99) for site in ordered["source_index"].values]
    assert firsts == sorted(firsts)
    xr.testing.assert_identical(sort_by_roi(ordered), ordered)


def test_a_source_index_that_is_there_is_sorted_along():
    dataset = (
        subject().assign_coords(source_index=("voxel", np.arange(N_VOXELS) + 50)).isel(voxel=slice(None, None, -1))
    )
    ordered = sort_by_roi(dataset)
    assert (ordered["source_index"].values - 50 == ordered["voxel"].values - 100).all()


def test_sorting_without_masks_changes_nothing():
    dataset = subject().drop_vars(["roi_mask", "roi"])
    assert sort_by_roi(dataset) is dataset


def test_sorting_with_no_roi_keeps_the_order():
    ordered = sort_by_roi(subject({}))
    assert ordered["source_index"].values.tolist() == list(range(N_VOXELS))
