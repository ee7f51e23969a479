# SPDX-License-Identifier: Apache-2.0
"""Meshes have the size asked for and look outwards."""

from __future__ import annotations

import numpy as np
import pytest

from vl_anomaly_ros.simulation.meshes import (
    Mesh,
    blob,
    box,
    combine,
    lathe,
    limb,
    loft,
    ribbon,
    rotation_xyz,
    sheet,
    trapezoids,
)

CONVEX = {
    "box": box((1.0, 2.0, 3.0)),
    "blob": blob((1.0, 2.0, 0.5)),
    "limb": limb((0, 0, 0), (0.3, 0.2, 1.0), 0.1, 0.05),
    "upright limb": limb((0, 0, 0), (0, 0, 1.0), 0.1, 0.1),
    "sideways limb": limb((0, -1, 0), (0, 1, 0), 0.1, 0.1),
    "loft": loft([[-1, 0, 0.5, 0.4], [1, 0, 0.6, 0.4]], exponent=5),
    "lathe": lathe([[0.01, 0.0], [0.5, 0.0], [0.5, 1.0], [0.01, 1.0]]),
    "trapezoids": trapezoids([[-1, 0, 1, 0.5, 0.4], [1, 0, 1, 0.5, 0.4]]),
}


@pytest.mark.parametrize("name", CONVEX)
def test_faces_and_normals_look_outwards(name: str) -> None:
    mesh = CONVEX[name]
    corners = mesh.vertices[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    outwards = np.einsum("ij,ij->i", across, corners.mean(axis=1) - middle)
    areas = np.linalg.norm(across, axis=1)
    assert areas[outwards > 0].sum() > 0.99 * areas.sum()
    agrees = np.einsum("ij,ij->i", across, mesh.normals[mesh.faces].sum(axis=1))
    assert areas[agrees > 0].sum() > 0.98 * areas.sum()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", CONVEX)
def test_signed_volume_is_positive(name: str) -> None:
    a, b, c = np.moveaxis(CONVEX[name].vertices[CONVEX[name].faces], 1, 0)
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 > 0


def test_box_extents_and_volume() -> None:
    mesh = box((1.0, 2.0, 3.0), (5.0, 0.0, 0.0))
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [4.5, -1.0, -1.5])
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [5.5, 1.0, 1.5])


def test_level_surfaces_look_up() -> None:
    s = np.linspace(0, 4, 5)
    left, right = np.stack([s, 0 * s + 1, 0 * s], 1), np.stack([s, 0 * s - 1, 0 * s], 1)
    x, y = np.meshgrid(s, s, indexing="ij")
    for mesh in (ribbon(left, right), sheet(np.stack([x, y, 0 * x], -1))):
        np.testing.assert_allclose(mesh.normals, np.tile([0.0, 0.0, 1.0], (len(mesh.vertices), 1)), atol=1e-9)


def test_turned_mesh_keeps_its_shape() -> None:
    mesh = CONVEX["box"].moved((1, 2, 3), rotation_xyz(0, 0, np.pi / 2))
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [2.0, 1.0, 3.0], atol=1e-9)


def test_combine_keeps_every_triangle() -> None:
    both: Mesh = combine([CONVEX["box"], CONVEX["blob"]])
    assert len(both.faces) == len(CONVEX["box"].faces) + len(CONVEX["blob"].faces)
    assert both.faces.max() == len(both.vertices) - 1
