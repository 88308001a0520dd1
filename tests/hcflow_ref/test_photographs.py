"""The test photographs that ship are scikit-image's, to the pixel."""

import numpy as np
import pytest
import skimage.data

from hcflow_ref.images.photographs import PHOTOGRAPHS, photograph


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_shipped_photograph_is_that_of_scikit_image(name: str) -> None:
    original = np.asarray(getattr(skimage.data, name)())[..., :3]
    np.testing.assert_array_equal(photograph(name), original)


def test_an_unknown_photograph_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no photograph 'lena'; there are astronaut, chelsea"):
        photograph("lena")
