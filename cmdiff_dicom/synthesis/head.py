"""A digital head with a tumour whose truth is known, deterministic from a seed; arrays only.

Anatomy and tumour are drawn as smooth fields at twice the voxel size, refined, and cut into tissues. A head has its own pose,
size and asymmetry; a tumour has an irregular enhancing rim around a necrotic core, an edema that spreads along white
matter and spares the cortex, and pushes its surroundings aside.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import Label
from cmdiff_dicom.synthesis.anatomy import Anatomy, draw_anatomy
from cmdiff_dicom.synthesis.fields import Field, Points, refine, wave_noise

FIELD_OF_VIEW_MM = (208.0, 248.0, 192.0)
"""Height, depth and width of the box around a head: from the vertex to the upper jaw."""
BRAIN_CENTRE_MM = (112.0, 122.0, 96.0)
"""Where in that box the head's origin lies, before its pose."""
GREY_MM = 2.9
"""Thickness of the cortex."""


class Tissue(IntEnum):
    """What a voxel is made of."""

    AIR = 0
    CSF = 1
    GREY = 2
    WHITE = 3
    DEEP_GREY = 4
    CHOROID = 5
    DURA = 6
    VESSEL = 7
    BONE = 8
    MARROW = 9
    FAT = 10
    MUSCLE = 11
    SKIN = 12
    EYE = 13
    MUCOSA = 14
    NECROSIS = 15
    EDEMA = 16
    RIM = 17


LESION_TISSUE = {Label.NCR: Tissue.NECROSIS, Label.ED: Tissue.EDEMA, Label.ET: Tissue.RIM}


@dataclass(frozen=True, eq=False)
class Head:
    """One head. Shapes: `tissue` uint8 (k, j, i), a `Tissue`; `label` uint8 alike, 0 or a `Label`; `brain` bool alike.

    `brain` is everything inside the dura: what a perfect brain extraction would keep.
    """

    tissue: NDArray[np.uint8]
    label: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    geometry: Geometry
    seed: int


@dataclass(frozen=True)
class Tumour:
    """Where a tumour sits, in head coordinates, and how it is made; lengths in mm."""

    centre_mm: tuple[float, float, float]
    core_radius_mm: float
    stretch: tuple[float, float, float]
    rim_mm: float
    edema_mm: float
    push: float
    """Share of the distance from its centre by which tissue is pushed away there; 0 = no mass effect."""


def make_head(seed: int, tumour: bool = True, spacing_mm: float = 1.0) -> Head:
    """The head of `seed` on an isotropic grid along the patient's axes; the same seed gives the same head.

    With `tumour` False the same person without a tumour.
    """
    rng = np.random.default_rng([seed, 1])
    coarse = _coarse_grid(spacing_mm)
    posed = _pose(coarse, rng)
    growth = _choose_tumour(np.random.default_rng([seed, 2])) if tumour else None
    moved = _push_aside(posed, growth) if growth else posed
    anatomy = draw_anatomy(posed, moved, np.random.default_rng([seed, 3]))
    tissue, brain = _cut_tissues(anatomy)
    label = np.zeros(tissue.shape, dtype=np.uint8)
    if growth:
        label = _grow(growth, posed, tissue, anatomy, np.random.default_rng([seed, 4]))
        for value, lesion in LESION_TISSUE.items():
            tissue[label == value] = lesion
    geometry = Geometry(tissue.shape, _mm_from_index(spacing_mm))
    return Head(tissue, label, brain, geometry, seed)


def _coarse_grid(spacing_mm: float) -> Points:
    """Voxel centres at twice `spacing_mm`, mm from the head's origin before its pose."""
    axes = []
    for length, origin in zip(FIELD_OF_VIEW_MM, BRAIN_CENTRE_MM, strict=True):
        count = round(length / (2 * spacing_mm))
        axes.append(np.arange(count, dtype=np.float32) * np.float32(2 * spacing_mm) - np.float32(origin))
    return axes[2][None, None, :], axes[1][None, :, None], axes[0][:, None, None]


def _mm_from_index(spacing_mm: float) -> NDArray[np.float64]:
    matrix = np.zeros((4, 4))
    matrix[[2, 1, 0], [0, 1, 2]] = spacing_mm
    matrix[:3, 3] = [-BRAIN_CENTRE_MM[2], -BRAIN_CENTRE_MM[1], -BRAIN_CENTRE_MM[0]]
    matrix[3, 3] = 1
    return matrix


def _pose(points: Points, rng: np.random.Generator) -> Points:
    """Head coordinates of the grid's points: a random turn, shift, size and a gentle asymmetric bend."""
    turn = _rotation(rng.normal(0, [5.0, 3.0, 4.0]))
    size = rng.normal(1.0, 0.03, size=3) * rng.normal(1.0, 0.025)
    shift = rng.normal(0, 2.5, size=3)
    matrix = (turn / np.clip(size, 0.9, 1.1)[:, None]).astype(np.float32)
    x, y, z = points
    rows = [m[0] * (x - np.float32(s)) + m[1] * y + m[2] * z for m, s in zip(matrix, shift, strict=True)]
    bend = [np.float32(1.6) * wave_noise(points, 95.0, rng, waves=6) for _ in range(3)]
    return rows[0] + bend[0], rows[1] + bend[1], rows[2] + bend[2]


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z, dtype=np.float64)


def _choose_tumour(rng: np.random.Generator) -> Tumour:
    """A glioma in the white matter of one hemisphere, away from midline and brainstem."""
    side = rng.choice([-1.0, 1.0])
    centre = (side * rng.uniform(24, 40), rng.uniform(-44, 48), rng.uniform(2, 40))
    radius = rng.uniform(11, 21)
    stretch = rng.uniform(0.8, 1.25, size=3)
    return Tumour(
        centre_mm=centre,
        core_radius_mm=radius,
        stretch=(stretch[0], stretch[1], stretch[2]),
        rim_mm=rng.uniform(3.0, 6.0),
        edema_mm=rng.uniform(9, 24),
        push=rng.uniform(0.05, 0.35),
    )


def _push_aside(points: Points, tumour: Tumour) -> Points:
    """The head coordinates whose tissue now lies at each point: a growing mass moves tissue away from its centre."""
    offsets = [p - np.float32(c) for p, c in zip(points, tumour.centre_mm, strict=True)]
    reach = np.float32(2.0 * tumour.core_radius_mm)
    distance = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)
    share = np.float32(tumour.push) * np.exp(-((distance / reach) ** 2))
    x, y, z = (p - share * o for p, o in zip(points, offsets, strict=True))
    return x, y, z


def _cut_tissues(anatomy: Anatomy) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tissues and the inside of the dura, on the fine grid."""
    cavity, uneven = refine(anatomy.cavity), refine(anatomy.uneven)
    tissue = _cut_outside(anatomy, cavity, uneven)
    brain = cavity < -1.0
    tissue[cavity < 0] = Tissue.DURA
    tissue[brain] = Tissue.CSF
    _cut_cerebrum(anatomy, tissue)
    _cut_hindbrain(anatomy, tissue)
    return tissue, brain


def _cut_outside(anatomy: Anatomy, cavity: Field, uneven: Field) -> NDArray[np.uint8]:
    """Skull, scalp, face and neck."""
    head = refine(anatomy.head)
    airways, eyes, orbits = refine(anatomy.airways), refine(anatomy.eyes), refine(anatomy.orbits)
    temporalis = refine(anatomy.temporalis)
    tissue = np.zeros(cavity.shape, dtype=np.uint8)
    inside = head < 0
    tissue[inside] = Tissue.FAT
    deep = (head < -7 - 2 * uneven) & (cavity > 9)
    tissue[deep] = Tissue.MUSCLE
    tissue[deep & (uneven > 1.0)] = Tissue.FAT
    tissue[inside & (head > -1.6)] = Tissue.SKIN
    tissue[(temporalis < 0) & (head < -3)] = Tissue.MUSCLE
    table = 2.0 + 0.3 * uneven
    skull = inside & (cavity < 2 * table + 3.2 + 0.7 * uneven) & (head < -3)
    tissue[skull] = Tissue.BONE
    tissue[skull & (cavity > table) & (cavity < table + 3.0 + 0.7 * uneven)] = Tissue.MARROW
    tissue[(orbits < 0) & (cavity > 3)] = Tissue.FAT
    tissue[(eyes < 1.2) & (cavity > 3)] = Tissue.MUSCLE
    tissue[eyes < 0] = Tissue.EYE
    lining = inside & (airways < 1.5) & (cavity > 2.5)
    tissue[lining] = Tissue.MUCOSA
    tissue[lining & (airways < 0)] = Tissue.AIR
    return tissue


def _cut_cerebrum(anatomy: Anatomy, tissue: NDArray[np.uint8]) -> None:
    """Cortex, white matter, fissures, ventricles and nuclei into `tissue`."""
    cerebrum, midplane = refine(anatomy.cerebrum), refine(anatomy.midplane)
    inside = cerebrum < 0
    fissure = np.abs(midplane)
    np.maximum(fissure, -refine(anatomy.callosum), out=fissure)
    sulcus = np.maximum(np.abs(refine(anatomy.fold)) - np.float32(0.55), refine(anatomy.sulcus_floor))
    np.minimum(sulcus, refine(anatomy.sylvian) - np.float32(0.9), out=sulcus)
    pial = np.minimum(np.minimum(-cerebrum, sulcus), fissure - np.float32(1.3))
    tissue[inside] = Tissue.WHITE
    tissue[inside & (pial < GREY_MM)] = Tissue.GREY
    tissue[inside & (pial < 0)] = Tissue.CSF
    tissue[inside & (pial < 0.6) & (cerebrum > -16) & (np.abs(refine(anatomy.veins)) < 0.14)] = Tissue.VESSEL
    tissue[(np.abs(midplane) < 0.6) & (fissure < 0.6) & (cerebrum < 2)] = Tissue.DURA
    nuclei = refine(anatomy.deep_grey) < 0
    tissue[inside & nuclei] = Tissue.DEEP_GREY
    ventricles = refine(anatomy.ventricles) < 0
    tissue[ventricles & (inside | (refine(anatomy.stem) < 4))] = Tissue.CSF
    tissue[ventricles & (refine(anatomy.choroid) < 0)] = Tissue.CHOROID


def _cut_hindbrain(anatomy: Anatomy, tissue: NDArray[np.uint8]) -> None:
    """Cerebellum with its folia and the brainstem into `tissue`, and the tentorium above them."""
    depth = -refine(anatomy.cerebellum)
    folia = refine(anatomy.folia)
    fourth = refine(anatomy.ventricles) < 0
    inside = (depth > 0) & ~fourth
    tissue[inside] = Tissue.GREY
    tissue[inside & (np.abs(folia) > 1.0) & (depth > 4)] = Tissue.WHITE
    tissue[inside & (depth > 11)] = Tissue.WHITE
    tissue[inside & (np.abs(folia) < 0.3) & (depth < 6)] = Tissue.CSF
    stem = (refine(anatomy.stem) < 0) & ~fourth
    tissue[stem & (tissue != Tissue.DEEP_GREY) & (tissue != Tissue.GREY)] = Tissue.WHITE


def _grow(
    tumour: Tumour, points: Points, tissue: NDArray[np.uint8], anatomy: Anatomy, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Labels of the tumour within the brain. Shapes: uint8, the shape of `tissue`."""
    offsets = [(p - np.float32(c)) / np.float32(s) for p, c, s in zip(points, tumour.centre_mm, tumour.stretch, strict=True)]
    distance = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)
    lumps = 2.6 * wave_noise(points, 30.0, rng, waves=10) + 1.0 * wave_noise(points, 11.0, rng, waves=12)
    core = np.asarray(distance - np.float32(tumour.core_radius_mm) + lumps, dtype=np.float32)
    rim = np.asarray(np.clip(tumour.rim_mm + 1.8 * wave_noise(points, 20.0, rng, waves=10), 0.8, 10), dtype=np.float32)
    fingers = 4.0 * wave_noise(points, 24.0, rng, waves=12)
    spread = refine(np.asarray(np.maximum(core, 0) + fingers - np.float32(tumour.edema_mm), dtype=np.float32))
    core, rim = refine(core), refine(rim)

    same_side = np.sign(refine(anatomy.midplane)) == np.sign(tumour.centre_mm[0])
    home = same_side & (refine(anatomy.cerebrum) < 0) & (refine(anatomy.cavity) < -3.0)
    cortex = np.isin(tissue, [Tissue.GREY, Tissue.DEEP_GREY])
    edema = ((tissue == Tissue.WHITE) & (spread < 0)) | (cortex & (spread < -0.75 * tumour.edema_mm))
    label = np.zeros(tissue.shape, dtype=np.uint8)
    label[home & edema] = Label.ED
    label[home & (core < 0)] = Label.ET
    label[home & (core < -rim)] = Label.NCR
    return label
