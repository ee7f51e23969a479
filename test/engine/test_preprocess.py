# SPDX-License-Identifier: Apache-2.0
"""The way into the network and back has no offset."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.engine.preprocess import Letterbox
from vl_anomaly_ros.engine.shrinking import shrink
from vl_anomaly_ros.types import ByteArray

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


def sweep(height: int, width: int) -> ByteArray:
    """Waves that shorten from left to right until one is 12 pixels long, of full contrast."""
    x, y = np.arange(width), np.arange(height)[:, None]
    waves = np.sin(0.05 * x + 0.235 * x * x / width) * np.cos(y / 7)
    return np.repeat((127.5 + 127.5 * waves).astype(np.uint8)[..., None], 3, axis=2)


def test_a_much_larger_image_is_halved_first_and_looks_the_same() -> None:
    import cv2

    box = Letterbox.fit(1920, 1080, 456, 256)
    image = sweep(1080, 1920)
    directly = cv2.resize(image, (box.width, box.height), interpolation=cv2.INTER_AREA).astype(int)
    difference = np.abs(box.apply(image, GREY)[0].astype(int) - directly)
    assert 0 < difference.mean() < 2
    assert np.percentile(difference, 99) <= 12


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(
    ("size", "place"),
    [((1920, 1080), (456, 256)), ((2050, 1026), (512, 256)), ((4, 4), (1, 1)), ((4, 4), (2, 2)), ((40, 4), (7, 1)),
     ((6, 62), (1, 13))],
)  # fmt: skip
def test_halving_and_interpolating_is_within_a_grey_level_of_opencv(
    size: tuple[int, int], place: tuple[int, int], turn: bool
) -> None:
    import cv2

    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image[: size[1] // 2] = image[: size[1] // 2] // 128 * 255  # black and white
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    expected = np.asarray(cv2.resize(half, place, interpolation=cv2.INTER_LINEAR), np.uint8)
    wider = np.full((place[1], place[0] + 2, 3), 77, np.uint8)
    shrink(image[:, :, ::-1] if turn else image, wider[:, 1:-1], turn=turn)
    assert np.abs(wider[:, 1:-1].astype(int) - expected).max() <= 1
    assert np.all(wider[:, [0, -1]] == 77)


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_a_level_picture_stays_level(value: int) -> None:
    image = np.full((1080, 1920, 3), value, np.uint8)
    assert np.all(Letterbox.fit(1920, 1080, 512, 256).apply(image, (value / 255,) * 3) == value)


@pytest.mark.parametrize("part", [(slice(None), slice(0, 1920)), (slice(0, 2160, 2), slice(5, 1925))])
def test_an_image_that_is_part_of_a_larger_one_serves(part: tuple[slice, slice]) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (2160, 2000, 3), np.uint8)
    image = whole[part]
    image.flags.writeable = False
    box = Letterbox.fit(image.shape[1], image.shape[0], 512, 256)
    np.testing.assert_array_equal(box.apply(image, GREY), box.apply(image.copy(), GREY))
    np.testing.assert_array_equal(box.apply(image[:, :, ::-1], GREY), box.apply(image[:, :, ::-1].copy(), GREY))


def test_what_one_frame_got_is_not_changed_by_the_next() -> None:
    box = Letterbox.fit(1920, 1080, 512, 256)
    first = box.apply(np.full((1080, 1920, 3), 9, np.uint8), GREY)
    before = first.copy()
    first[:, :, 0] = 3
    second = box.apply(np.full((1080, 1920, 3), 9, np.uint8), GREY)
    np.testing.assert_array_equal(second, before)


@pytest.mark.parametrize(("width", "height"), [(700, 350), (1023, 511), (1242, 375), (1919, 1081), (2044, 1020)])
def test_a_smaller_picture_looks_like_means_over_areas(width: int, height: int) -> None:
    import cv2

    box = Letterbox.fit(width, height, 512, 256)
    image = sweep(height, width)
    directly = cv2.resize(image, (box.width, box.height), interpolation=cv2.INTER_AREA).astype(int)
    inside = box.apply(image, GREY)[0, box.y0 : box.y0 + box.height, box.x0 : box.x0 + box.width]
    difference = np.abs(inside.astype(int) - directly)
    assert difference.mean() < 3
    assert np.percentile(difference, 99) <= 16


@pytest.mark.parametrize("scale", [1.3, 1.9, 2.0, 2.3, 2.9, 3.5, 3.9, 4.5, 4.9, 5.0, 6.1, 7.9])
def test_a_line_as_wide_as_a_pixel_of_the_network_is_never_lost(scale: float) -> None:
    """Wherever it lies, a good part of its contrast is left."""
    size = round(128 * scale)
    box = Letterbox.fit(size, size, 128, 128)
    wide = int(np.ceil(scale))
    for first in range(size // 2, size // 2 + 2 * wide):
        image = np.zeros((size, size, 3), np.uint8)
        image[:, first : first + wide] = 255
        assert box.apply(image, GREY)[0, 64, :, 0].max() > 0.45 * 255, first
        turned = np.ascontiguousarray(image.transpose(1, 0, 2))
        assert box.apply(turned, GREY)[0, :, 64, 0].max() > 0.45 * 255, first


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1242, 375), (200, 100)])
def test_a_view_of_bgr_gives_the_same_as_a_copy_in_rgb(width: int, height: int) -> None:
    bgr = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    box = Letterbox.fit(width, height, 512, 256)
    np.testing.assert_array_equal(box.apply(bgr[:, :, ::-1], GREY), box.apply(bgr[:, :, ::-1].copy(), GREY))
