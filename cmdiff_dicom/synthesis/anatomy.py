"""The lasting anatomy of a head as smooth fields in its own millimetres: what lies where before any tumour.

Head coordinates are LPS mm with the origin near the thalamus: +x left, +y posterior, +z up. Most shapes come in pairs
and are drawn once, on the absolute value of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmdiff_dicom.synthesis.fields import Field, Points, as_points, capsule, ellipsoid, union, wave_noise

GYRUS_WAVELENGTH_MM = 17.0
"""Sulci run where wave noise on the brain's hull crosses zero, so gyri are about half a wavelength wide."""
FOLIA_WAVELENGTH_MM = 8.0
BASAL_SULCUS_MM = 6.0
HULL_RADIUS_MM = 75.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Fields of one head in mm, all on one grid; signed distances (negative inside) unless said otherwise.

    `midplane` is the signed distance from the plane between the hemispheres; `fold` the distance from the nearest
    sulcus along the surface, signed by its bank; `sulcus_floor` is negative where sulci still reach; `folia` like
    `fold`, in the cerebellum; `veins` (no unit) is near 0 where a vein crosses the fluid over the cortex; `uneven` is
    noise (no unit) by which layers vary in thickness.
    """

    cavity: Field
    cerebrum: Field
    cerebellum: Field
    stem: Field
    ventricles: Field
    choroid: Field
    deep_grey: Field
    callosum: Field
    sylvian: Field
    midplane: Field
    fold: Field
    sulcus_floor: Field
    folia: Field
    head: Field
    eyes: Field
    orbits: Field
    airways: Field
    temporalis: Field
    veins: Field
    uneven: Field


def draw_anatomy(outer: Points, inner: Points, rng: np.random.Generator) -> Anatomy:
    """The fields at the given points.

    `outer` and `inner` are the same points in head coordinates; `inner` is what a mass effect has moved, and places
    everything within the brain, so that skull and scalp stay where they are.
    """
    mirrored = (np.abs(inner[0]), inner[1], inner[2])
    cerebrum, cerebellum, stem = _brain_hull(outer)
    fold, sulcus_depth, folia = _folds(inner, rng)
    # deep sulci belong to the convexity; on the base they are shallow
    sulcus_floor = np.minimum(-_dome(outer) - sulcus_depth, -cerebrum - np.float32(BASAL_SULCUS_MM))
    irregular = np.float32(0.9) * wave_noise(inner, 17.0, rng, waves=10)
    ventricles, choroid = _ventricles(mirrored)
    skull_side = (np.abs(outer[0]), outer[1], outer[2])
    cavity = union([cerebrum - 2.2, cerebellum - 2.5, stem - 3.5], blend_mm=10.0)
    uneven = wave_noise(outer, 34.0, rng, waves=10)
    return Anatomy(
        cavity=cavity,
        cerebrum=cerebrum,
        cerebellum=cerebellum,
        stem=stem,
        ventricles=ventricles + irregular,
        choroid=choroid,
        deep_grey=_deep_grey(mirrored) + irregular,
        callosum=ellipsoid(inner, (0, 4, 6), (200, 42, 25)),
        sylvian=_sylvian(mirrored),
        midplane=inner[0] + np.float32(0.8) * wave_noise(inner, 55.0, rng, waves=8),
        fold=fold,
        sulcus_floor=sulcus_floor,
        folia=folia,
        head=_head_surface(skull_side, cavity, uneven),
        eyes=ellipsoid(skull_side, (32, -79, -32), (12, 12.5, 12)),
        orbits=_orbits(skull_side),
        airways=_airways(skull_side),
        temporalis=ellipsoid(skull_side, (72, -30, -22), (13, 34, 38)),
        veins=wave_noise(inner, 24.0, rng, waves=12),
        uneven=uneven,
    )


def _dome(points: Points) -> Field:
    """The convexity of the cerebrum."""
    return ellipsoid(points, (0, 4, 5), (64, 81, 63))


def _brain_hull(points: Points) -> tuple[Field, Field, Field]:
    """Cerebrum, cerebellum and brainstem without their folds."""
    x, y, z = points
    side = (np.abs(x), y, z)
    dome = _dome(points)
    floor = np.asarray(-z - np.float32(24) - np.float32(0.10) * y - np.float32(0.05) * np.abs(x), dtype=np.float32)
    upper = np.maximum(dome, floor)
    temporal = ellipsoid(side, (41, -8, -25), (22, 38, 21))
    frontal_base = ellipsoid(side, (20, -44, -16), (20, 30, 15))
    cerebrum = union([upper, temporal, frontal_base], blend_mm=8.0)
    hemispheres, vermis = ellipsoid(side, (24, 52, -49), (30, 31, 23)), ellipsoid(points, (0, 50, -45), (15, 28, 22))
    cerebellum = union([hemispheres, vermis], blend_mm=6.0)
    tentorium = np.asarray(z + np.float32(27) + np.float32(0.14) * np.abs(x) - np.float32(0.10) * (y - 45), dtype=np.float32)
    cerebellum = np.maximum(cerebellum, tentorium)
    cerebrum = np.where(y > 8, np.maximum(cerebrum, np.float32(2.5) - tentorium), cerebrum)
    pons = ellipsoid(points, (0, 16, -40), (16, 14, 16))
    midbrain = capsule(points, (0, 10, -16), (0, 18, -42), 14, 13)
    cord = capsule(points, (0, 24, -58), (0, 36, -140), 9, 6)
    peduncles = capsule(side, (8, 22, -42), (18, 38, -44), 7, 8)
    stem = union([pons, midbrain, cord, peduncles], blend_mm=6.0)
    return cerebrum, cerebellum, stem


def _folds(points: Points, rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """Where sulci and cerebellar folia run: noise on the hull, carried inward along the radius and bent a little."""
    x, y, z = points
    radius = np.sqrt((x / np.float32(0.82)) ** 2 + (y - 4) ** 2 + ((z - 4) / np.float32(0.85)) ** 2)
    reach = np.asarray(np.float32(HULL_RADIUS_MM) / np.maximum(radius, 12), dtype=np.float32)
    bend = np.float32(3.0) * wave_noise(points, 26.0, rng, waves=8)
    on_hull = as_points(x * reach + bend, (y - 4) * reach - bend, (z - 4) * reach + bend)
    steepness = 2 * np.pi / GYRUS_WAVELENGTH_MM * 0.8
    fold = wave_noise(on_hull, GYRUS_WAVELENGTH_MM, rng, waves=22) / np.float32(steepness) / np.maximum(reach, 1)
    depth = 13 + 4.5 * wave_noise(on_hull, 32.0, rng, waves=8)
    leaf = as_points(x * np.float32(0.35), y, z * np.float32(1.35) + np.float32(0.22) * np.abs(y - 50))
    folia = wave_noise(leaf, FOLIA_WAVELENGTH_MM, rng, waves=10) * np.float32(FOLIA_WAVELENGTH_MM / (2 * np.pi))
    return np.asarray(fold, np.float32), np.asarray(np.clip(depth, 4, 20), np.float32), np.asarray(folia, np.float32)


def _ventricles(side: Points) -> tuple[Field, Field]:
    """Lateral ventricles with three horns, third and fourth ventricle; and the choroid plexus inside them."""
    frontal = capsule(side, (7, -30, 8), (9, -12, 16), 4.0, 5.5)
    body = capsule(side, (9, -12, 16), (15, 24, 19), 5.5, 5.0)
    atrium = capsule(side, (15, 24, 19), (25, 38, 6), 5.0, 6.5)
    occipital = capsule(side, (25, 38, 6), (25, 58, 2), 5.5, 2.0)
    temporal = capsule(side, (25, 38, 6), (33, 2, -20), 5.0, 2.0)
    third = ellipsoid(side, (0, 2, 0), (2.2, 15, 11))
    fourth = ellipsoid(side, (0, 33, -42), (7, 4.5, 10))
    plexus = union([capsule(side, (20, 30, 13), (26, 38, 3), 2.0, 3.0), capsule(side, (12, 10, 16), (20, 30, 13), 1.2, 2.0)])
    return union([frontal, body, atrium, occipital, temporal, third, fourth], blend_mm=3.0), plexus


def _deep_grey(side: Points) -> Field:
    """Caudate, putamen, thalamus, hippocampus and the deep nuclei of the cerebellum."""
    caudate = union([ellipsoid(side, (13, -24, 8), (5.5, 10, 9)), capsule(side, (15, -16, 16), (22, 22, 22), 3.5, 1.8)])
    putamen = ellipsoid(side, (25, -8, 2), (5.5, 17, 10))
    thalamus = ellipsoid(side, (10, 12, 4), (8.5, 15, 9))
    hippocampus = capsule(side, (26, 2, -24), (24, 30, -6), 5.0, 3.5)
    return union([caudate, putamen, thalamus, hippocampus])


def _sylvian(side: Points) -> Field:
    """Distance to the Sylvian fissure: a sheet over the temporal lobe, opening onto the bulging insula."""
    x, y, z = side
    lid = np.abs(z + np.float32(8) - np.float32(0.28) * y - np.float32(0.12) * (x - 45))
    lid = np.maximum(np.maximum(lid, np.float32(37) - x), np.maximum(np.float32(-24) - y, y - np.float32(26)))
    insula = np.maximum(np.abs(ellipsoid(side, (17, 0, 0), (20, 30, 22))), np.float32(30) - x)
    return np.asarray(np.minimum(lid, insula), dtype=np.float32)


def _head_surface(side: Points, cavity: Field, uneven: Field) -> Field:
    """The skin: skull and scalp around the cavity, the face, the ears' region and the neck."""
    scalp = cavity - (np.float32(14.5) + np.float32(0.6) * uneven)
    face = ellipsoid(side, (0, -52, -72), (60, 56, 62))
    nose = capsule(side, (0, -98, -42), (0, -118, -70), 8, 12)
    jaw = ellipsoid(side, (30, -36, -92), (38, 48, 45))
    neck = capsule(side, (0, 14, -60), (0, 26, -160), 62, 56)
    return union([scalp, face, nose, jaw, neck], blend_mm=18.0)


def _orbits(side: Points) -> Field:
    """The fat around the eyes, drawn out to the optic canal."""
    return union([ellipsoid(side, (31, -72, -32), (17, 21, 15)), capsule(side, (28, -66, -32), (8, -34, -24), 13, 4)], 8.0)


def _airways(side: Points) -> Field:
    """Nasal cavity, maxillary and sphenoid sinus, throat, frontal sinus, mastoid and the ear canal."""
    parts = [
        capsule(side, (5, -100, -62), (5, -60, -58), 4, 5),
        ellipsoid(side, (30, -72, -64), (13, 17, 15)),
        ellipsoid(side, (8, -38, -38), (9, 12, 8)),
        capsule(side, (0, -22, -62), (0, -4, -150), 9, 8),
        ellipsoid(side, (12, -88, -16), (11, 4, 7)),
        ellipsoid(side, (60, 28, -52), (8, 12, 13)),
        capsule(side, (66, 8, -48), (90, 8, -50), 3, 4),
    ]
    return union(parts)
