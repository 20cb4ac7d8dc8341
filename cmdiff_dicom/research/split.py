"""Which studies are for training, which for tuning, which for the test: by patient, once; the split travels in the recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cmdiff_dicom.errors import SettingsFault

Split = Mapping[str, tuple[str, ...]]
"""Names of studies by part: train, tune, test."""


def names_of_parts(split: Split, parts: str) -> set[str] | None:
    """The names in the comma-separated parts of a weights' split; None, for every study, where all are asked for.

    Raises: SettingsFault where the split has no such part.
    """
    if parts == "all":
        return None
    asked = [part.strip() for part in parts.split(",")]
    unknown = [part for part in asked if part not in split]
    if unknown:
        known = ", ".join([*split, "all"])
        raise SettingsFault(f"these weights' split has no part {', '.join(map(repr, unknown))}; wanted {known}")
    return {name for part in asked for name in split[part]}


def patient_of(name: str) -> str:
    """The patient behind a study's name, the same over the challenge's years: "Brats18_TCIA10_639_1" -> "TCIA_639"."""
    core = re.sub(r"^(BraTS-[A-Z]+-|BraTS20\d\d_|Bra[tT]S\d\d_|Brats\d\d_|brats_)", "", name)
    core = re.sub(r"^TCIA\d+", "TCIA", core)
    return re.sub(r"[-_]\d{1,3}$", "", core) or core


def split_by_patient(volumes_ml: Mapping[str, tuple[float, float]]) -> dict[str, tuple[str, ...]]:
    """Study names for "train", "tune" and "test": no patient in two parts, and each part with its share of the hard ones.

    `volumes_ml` gives each study's (whole tumour, enhancing tumour) volume. Patients are ordered by enhancing tumour absent,
    under 1 ml, more, and by size, then dealt out along that order: about 15 % to tune, 18 % to test. No randomness.
    """
    patients: dict[str, list[str]] = {}
    for name in sorted(volumes_ml):
        patients.setdefault(patient_of(name), []).append(name)
    strata: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for patient, names in patients.items():
        enhancing = volumes_ml[names[0]][1]
        strata[0 if enhancing == 0 else 1 if enhancing < 1 else 2].append(patient)
    parts: dict[str, list[str]] = {"train": [], "tune": [], "test": []}
    for listed in strata.values():
        listed.sort(key=lambda patient: volumes_ml[patients[patient][0]][0])
        count = len(listed)
        test = _spread(count, max(1, round(count * 0.165)) if count > 1 else 0, 0)
        rest = [n for n in range(count) if n not in test]
        tune = {rest[n] for n in _spread(len(rest), max(1, round(count * 0.125)) if count > 1 else 0, 1)}
        for n, patient in enumerate(listed):
            parts["test" if n in test else "tune" if n in tune else "train"].extend(patients[patient])
    return {part: tuple(sorted(names)) for part, names in parts.items()}


def _spread(count: int, picks: int, shift: int) -> set[int]:
    """`picks` of `count` places, evenly apart and holding both a small and a large end."""
    return {min(count - 1, int((n + 0.5) * count / picks) + shift * (n % 2)) for n in range(picks)}
