"""Names and layouts of 10 x 10 images."""

import numpy as np
from brainlens_public.patches import form_images, form_target, name_patches
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp


@given(hnp.arrays(np.int8, (3, 100), elements=st.integers(0, 1)))
def test_a_name_says_all_of_an_image(patches):
    names = name_patches(patches)
    for name, row in zip(names, patches, strict=True):
        assert len(name) == 25
        assert f"{int(name, 16):0100b}" == "".join(map(str, row))


@given(hnp.arrays(np.int8, (4, 100), elements=st.integers(0, 1)))
def test_images_and_target_hold_every_image_once(patches):
    names = name_patches(patches)
    images, target = form_images(names, patches), form_target(names, patches)
    assert images["stimulus"].values.tolist() == target["stimulus"].values.tolist() == sorted(set(names.tolist()))
    for name, row in zip(names, patches, strict=True):
        pixels = images["image"].sel(stimulus=name).values
        assert all(pixels[place % 10, place // 10] == 255 * int(row[place]) for place in range(100))
