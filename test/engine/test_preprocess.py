# SPDX-License-Identifier: Apache-2.0
"""The way into the network and back has no offset."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.engine.preprocess import Letterbox

GREY = (0.5, 0.5, 0.5)
SIZES = [(1, 1), (2, 3), (7, 500), (500, 7), (64, 32), (512, 256), (1242, 375), (1920, 1080), (1080, 1920), (3840, 1)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_size_fits_in_whole_mask_pixels(width: int, height: int) -> None:
    box = Letterbox.fit(width, height, 512, 256)
    assert all(value % 4 == 0 for value in (box.x0, box.y0, box.width, box.height))
    assert box.width >= 4
    assert box.height >= 4
    assert box.x0 + box.width <= 512
    assert box.y0 + box.height <= 256
    assert box.width == 512 or box.height == 256
    image = np.full((height, width, 3), 7, np.uint8)
    padded = box.apply(image, GREY)
    assert padded.shape == (1, 256, 512, 3)
    assert padded.dtype == np.uint8
    inside = padded == 7
    assert inside.sum() == box.width * box.height * 3
    assert set(np.unique(padded)) <= {7, 128}
    maps = np.zeros((3, 64, 128), np.float32)
    assert box.crop(maps).shape == (3, box.height // 4, box.width // 4)


@pytest.mark.parametrize(("width", "height"), SIZES[4:9])
def test_aspect_ratio_is_kept_up_to_half_a_mask_pixel(width: int, height: int) -> None:
    box = Letterbox.fit(width, height, 512, 256)
    scale = min(512 / width, 256 / height)
    assert abs(box.width - width * scale) <= 2
    assert abs(box.height - height * scale) <= 2


@pytest.mark.parametrize(("width", "height"), [(1242, 375), (1920, 1080), (600, 600), (300, 900)])
def test_what_is_seen_at_a_place_comes_back_at_that_place(width: int, height: int) -> None:
    """A linear ramp keeps its values through resizing, mask stride and back, but for the border."""
    import cv2

    box = Letterbox.fit(width, height, 512, 256)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    for ramp in (x / width, y / height):
        image = np.repeat((ramp * 255).astype(np.uint8)[..., None], 3, axis=2)
        seen = box.apply(image, GREY)[0, ..., 0].astype(np.float32)
        masks = seen.reshape(64, 4, 128, 4).mean(axis=(1, 3))
        back = cv2.resize(box.crop(masks), (width, height), interpolation=cv2.INTER_LINEAR)
        dy, dx = int(8 * height / box.height), int(8 * width / box.width)
        error = np.abs(back / 255 - ramp)[dy:-dy, dx:-dx]
        assert error.max() < 0.008


def test_features_of_the_whole_input_pass_unchanged() -> None:
    features = np.random.default_rng(0).normal(size=(5, 8, 16)).astype(np.float32)
    np.testing.assert_array_equal(Letterbox.fit(512, 256, 512, 256).crop_features(features), features)


def test_features_are_resampled_where_the_border_cuts_cells() -> None:
    box = Letterbox.fit(1242, 375, 512, 256)  # rows 48..204 of 256, cells of 16: 3.0 to 12.75
    rows = np.tile(((np.arange(16) + 0.5) / 16).astype(np.float32)[None, :, None], (2, 1, 32))
    features = box.crop_features(rows)
    assert features.shape == (2, 10, 32)
    expected = (48 + (np.arange(10) + 0.5) / 10 * 156) / 256
    np.testing.assert_allclose(features[1, :, 7], expected, atol=1e-6)


def test_padding_has_the_colour_it_is_given() -> None:
    padded = Letterbox.fit(100, 10, 64, 32).apply(np.zeros((10, 100, 3), np.uint8), (1.0, 0.5, 0.0))
    assert padded[0, 0, 0].tolist() == [255, 128, 0]
