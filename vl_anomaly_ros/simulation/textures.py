# SPDX-License-Identifier: Apache-2.0
"""Procedural textures: small uint8 RGB tiles from noise, one set per scene."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
Image = NDArray[np.uint8]
Rng = np.random.Generator

SIZE_PX = 128


def noise(rng: Rng, cells: int, size_px: int = SIZE_PX) -> FloatImage:
    """Smooth tileable noise in 0..1, `cells` bumps across the tile, (size_px, size_px) float32."""
    grid = rng.random((cells, cells), dtype=np.float32)
    grid = np.pad(grid, ((1, 2), (1, 2)), mode="wrap")
    scale = size_px // cells
    large = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    tile = large[scale : scale + cells * scale, scale : scale + cells * scale]
    return np.asarray(cv2.resize(tile, (size_px, size_px)), dtype=np.float32)


def fractal(rng: Rng, weights: tuple[float, ...] = (1.0, 0.6, 0.4, 0.3), first_cells: int = 4) -> FloatImage:
    """Sum of noises of doubling frequency, scaled to 0..1."""
    total = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    for octave, weight in enumerate(weights):
        total += weight * noise(rng, min(first_cells * 2**octave, SIZE_PX))
    total -= total.min()
    return np.asarray(total / max(float(total.max()), 1e-6), dtype=np.float32)


def _grey(values: FloatImage, low: float, high: float) -> FloatImage:
    return np.repeat((low + (high - low) * values)[..., None], 3, axis=2)


def _blend(values: FloatImage, dark: tuple[float, float, float], light: tuple[float, float, float]) -> FloatImage:
    weight = np.clip(values, 0, 1)[..., None]
    return np.asarray((1 - weight) * np.array(dark, np.float32) + weight * np.array(light, np.float32), np.float32)


def _plain(rng: Rng) -> FloatImage:
    return _grey(fractal(rng), 0.93, 1.0)


def _asphalt(rng: Rng) -> FloatImage:
    grain = rng.random((SIZE_PX, SIZE_PX), dtype=np.float32)
    base = 0.6 * fractal(rng, (1.0, 0.5, 0.5, 0.5)) + 0.4 * grain
    tint = np.array([1.0, rng.uniform(0.97, 1.0), rng.uniform(0.94, 1.03)], np.float32)
    return _grey(base, 0.62, 1.0) * tint


def _concrete(rng: Rng) -> FloatImage:
    tile = _grey(fractal(rng, (1, 0.7, 0.5, 0.5)), 0.75, 1.0)
    if rng.random() < 0.7:  # slabs
        step = SIZE_PX // int(rng.choice([1, 2, 4]))
        tile[::step] *= 0.7
        tile[:, ::step] *= 0.7
    return tile


def _brick(rng: Rng) -> FloatImage:
    tile = np.empty((SIZE_PX, SIZE_PX, 3), np.float32)
    mortar = rng.uniform(0.55, 0.95)
    tile[:] = mortar
    height, width = 16, 32
    for row in range(SIZE_PX // height):
        shift = (row % 2) * width // 2
        for column in range(SIZE_PX // width):
            shade = rng.uniform(0.7, 1.0)
            columns = (np.arange(width - 2) + column * width + shift) % SIZE_PX
            tile[row * height + 1 : (row + 1) * height - 1, columns] = shade * np.array([1.0, 0.92, 0.88])
    return tile * _grey(fractal(rng), 0.85, 1.0)


def _grass(rng: Rng) -> FloatImage:
    blades = cv2.blur(rng.random((SIZE_PX, SIZE_PX), dtype=np.float32), (1, 3))
    mix = 0.55 * fractal(rng) + 0.45 * np.asarray(blades, np.float32)
    return _blend(mix, (0.45, 0.5, 0.3), (1.0, 1.0, 0.75))


def _foliage(rng: Rng) -> FloatImage:
    leaves = np.asarray(fractal(rng, (0.3, 0.7, 1.0, 1.0), 8), np.float32)
    return _grey(np.clip((leaves - 0.25) * 1.7, 0, 1), 0.22, 1.0)


def _bark(rng: Rng) -> FloatImage:
    return _grey(np.asarray(cv2.resize(fractal(rng)[:, :32], (SIZE_PX, SIZE_PX)), np.float32), 0.4, 1.0)


def _wood(rng: Rng) -> FloatImage:
    grain = np.asarray(cv2.resize(fractal(rng, (1, 1, 1, 1))[:, :12], (SIZE_PX, SIZE_PX)), np.float32)
    tile = _blend(grain, (0.62, 0.5, 0.4), (1.0, 0.93, 0.82))
    return np.ascontiguousarray(tile.transpose(1, 0, 2))


def _fur(rng: Rng) -> FloatImage:
    hair = cv2.blur(rng.random((SIZE_PX, SIZE_PX), dtype=np.float32), (7, 1))
    return _grey(np.asarray(0.5 * fractal(rng) + 0.8 * np.asarray(hair) - 0.15, np.float32), 0.6, 1.0)


def _wool(rng: Rng) -> FloatImage:
    return _grey(np.abs(fractal(rng, (0.2, 1.0, 0.6, 0.3), 8) * 2 - 1).astype(np.float32), 0.65, 1.0)


def _spots(rng: Rng) -> FloatImage:
    mask = (fractal(rng, (1.0, 0.4, 0.1), 4) > rng.uniform(0.45, 0.6)).astype(np.float32)
    dark = (0.12, 0.1, 0.09) if rng.random() < 0.6 else (0.4, 0.22, 0.12)
    return _blend(mask, dark, (1.0, 0.98, 0.93)) * _grey(fractal(rng), 0.85, 1.0)


def _fabric(rng: Rng) -> FloatImage:
    weave = np.tile(np.array([[0.85, 1.0], [1.0, 0.88]], np.float32), (SIZE_PX // 2, SIZE_PX // 2))
    tile = np.repeat(weave[..., None], 3, axis=2) * _grey(fractal(rng), 0.8, 1.0)
    if rng.random() < 0.4:
        stripe = (np.arange(SIZE_PX) // int(rng.choice([8, 16])) % 2 == 0).astype(np.float32)
        tile *= (0.65 + 0.35 * stripe)[None, :, None]
    return np.asarray(tile, np.float32)


def _tread(rng: Rng) -> FloatImage:
    bars = ((np.arange(SIZE_PX) // 8) % 2).astype(np.float32)
    return _grey(np.asarray(np.tile(bars, (SIZE_PX, 1)), np.float32), 0.45, 1.0) * _grey(fractal(rng), 0.7, 1.0)


def _cardboard(rng: Rng) -> FloatImage:
    tile = _grey(fractal(rng), 0.85, 1.0)
    tile[56:70] *= 1.18  # parcel tape
    tile[:, ::8] *= 0.96
    return np.minimum(tile, 1.0)


def _metal(rng: Rng) -> FloatImage:
    brushed = np.repeat(rng.random((SIZE_PX, 1), dtype=np.float32), SIZE_PX, axis=1)
    return _grey(np.asarray(0.5 * brushed + 0.5 * fractal(rng), np.float32), 0.75, 1.0)


def _rust(rng: Rng) -> FloatImage:
    return _blend(fractal(rng, (1, 1, 0.8, 0.6)), (0.42, 0.2, 0.1), (1.0, 0.95, 0.9))


def _rock(rng: Rng) -> FloatImage:
    ridges = np.abs(fractal(rng, (1, 0.8, 0.6, 0.6)) * 2 - 1).astype(np.float32)
    return _grey(ridges, 0.45, 1.0)


def _hay(rng: Rng) -> FloatImage:
    straw = cv2.blur(rng.random((SIZE_PX, SIZE_PX), dtype=np.float32), (9, 1))
    cross = cv2.blur(rng.random((SIZE_PX, SIZE_PX), dtype=np.float32), (1, 5))
    mix = np.clip((np.asarray(straw) + np.asarray(cross) - 0.7) * 2, 0, 1).astype(np.float32)
    return _blend(mix, (0.5, 0.38, 0.15), (1.0, 0.9, 0.55))


def _dirt(rng: Rng) -> FloatImage:
    grain = rng.random((SIZE_PX, SIZE_PX), dtype=np.float32)
    return _blend(0.7 * fractal(rng) + 0.3 * grain, (0.5, 0.42, 0.34), (1.0, 0.92, 0.82))


def _facade(rng: Rng) -> FloatImage:
    """Wall with a grid of windows; one tile is a few storeys high."""
    tile = _grey(fractal(rng), 0.86, 1.0)
    if rng.random() < 0.4:
        tile *= _brick(rng)
    rows, columns = int(rng.choice([2, 3, 4])), int(rng.choice([2, 3, 4, 5]))
    cell_h, cell_w = SIZE_PX // rows, SIZE_PX // columns
    width, height = rng.uniform(0.3, 0.75) * cell_w, rng.uniform(0.4, 0.7) * cell_h
    frame = rng.uniform(0.4, 1.0)
    glass = np.array([rng.uniform(0.1, 0.4), rng.uniform(0.15, 0.45), rng.uniform(0.2, 0.5)], np.float32)
    for row in range(rows):
        for column in range(columns):
            x0 = round(column * cell_w + (cell_w - width) / 2)
            y0 = round(row * cell_h + (cell_h - height) / 2)
            x1, y1 = round(x0 + width), round(y0 + height)
            tile[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = frame
            tile[y0:y1, x0:x1] = glass * rng.uniform(0.6, 1.4)
            if rng.random() < 0.5:
                tile[y0:y1, (x0 + x1) // 2] = frame
    return tile


def _planks(rng: Rng) -> FloatImage:
    tile = _wood(rng)
    tile = np.ascontiguousarray(tile.transpose(1, 0, 2)) if rng.random() < 0.5 else tile
    step = int(rng.choice([8, 16, 32]))
    for start in range(0, SIZE_PX, step):
        tile[:, start : start + step] *= rng.uniform(0.8, 1.05)
        tile[:, start] *= 0.35
    return np.minimum(tile, 1.0)


def _bars(rng: Rng) -> FloatImage:
    """Corrugated sheet."""
    period = int(rng.choice([8, 16, 32]))
    wave = 0.5 + 0.5 * np.sin(np.arange(SIZE_PX) * 2 * np.pi / period)
    return _grey(np.asarray(np.tile(wave, (SIZE_PX, 1)), np.float32), 0.6, 1.0)


def _hazard(rng: Rng) -> FloatImage:
    """Horizontal rings in white and full colour (cones, barrels)."""
    rows = np.arange(SIZE_PX) // int(rng.choice([32, 64])) % 2
    tile = np.ones((SIZE_PX, SIZE_PX, 3), np.float32)
    tile[rows == 1] = np.array([1.0, 0.36, 0.08]) if rng.random() < 0.7 else np.array([0.95, 0.12, 0.1])
    return tile


def _weave(rng: Rng) -> FloatImage:
    """Wire mesh, as on trolleys and chain-link fences."""
    tile = np.full((SIZE_PX, SIZE_PX), rng.uniform(0.25, 0.4), np.float32)
    tile[::8] = tile[1::8] = 1.0
    tile[:, ::8] = tile[:, 1::8] = 1.0
    return _grey(tile, 0.0, 1.0)


def _roof(rng: Rng) -> FloatImage:
    rows = ((np.arange(SIZE_PX) % 16) / 16).astype(np.float32)
    return _grey(np.tile(rows[:, None], (1, SIZE_PX)), 0.6, 1.0) * _grey(fractal(rng), 0.75, 1.0)


_MAKERS: dict[str, tuple[Callable[[Rng], FloatImage], float]] = {
    "plain": (_plain, 2.0),
    "asphalt": (_asphalt, 4.0),
    "concrete": (_concrete, 3.0),
    "brick": (_brick, 1.6),
    "grass": (_grass, 4.0),
    "foliage": (_foliage, 2.5),
    "bark": (_bark, 1.2),
    "wood": (_wood, 0.8),
    "fur": (_fur, 0.8),
    "wool": (_wool, 0.6),
    "spots": (_spots, 2.2),
    "fabric": (_fabric, 0.7),
    "tread": (_tread, 0.5),
    "cardboard": (_cardboard, 1.0),
    "metal": (_metal, 1.0),
    "rust": (_rust, 1.2),
    "rock": (_rock, 0.9),
    "hay": (_hay, 0.8),
    "dirt": (_dirt, 3.0),
    "facade0": (_facade, 9.0),
    "facade1": (_facade, 10.0),
    "facade2": (_facade, 12.0),
    "facade3": (_facade, 8.0),
    "planks": (_planks, 2.0),
    "bars": (_bars, 1.0),
    "hazard": (_hazard, 0.7),
    "weave": (_weave, 0.5),
    "roof": (_roof, 2.5),
}

TILE_M: dict[str, float] = {name: tile_m for name, (_, tile_m) in _MAKERS.items()}
"""Edge of one texture tile on the object, metres."""


def make_textures(rng: Rng) -> dict[str, Image]:
    """One fresh set: name -> (SIZE_PX, SIZE_PX, 3) uint8 RGB. Colours come from the part the tile is laid on."""
    return {
        name: np.ascontiguousarray((np.clip(maker(rng), 0, 1) * 255).astype(np.uint8))
        for name, (maker, _) in _MAKERS.items()
    }
