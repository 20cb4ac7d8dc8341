"""Dice of real studies on their own grid and on a grid turned by 20 degrees, by the way that `segment` and `evaluate` share.

    python tests/bench/bench_turned_grid.py DATA [STUDY ...] [--degrees 20] [--weights FILE]

Without names: every tuning and test study of the weights' split. Prints what each region gains by the turn, and the means.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cmdiff_dicom.analyse import analyse
from cmdiff_dicom.research.brats import LabelledStudy, find_studies, read_study
from cmdiff_dicom.research.evaluation import REFERENCE
from cmdiff_dicom.segment import Segmenter, load_segmenter
from tests.support.grids import turned
from tests.support.reading import dice_of_regions, resampled_labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("studies", nargs="*")
    parser.add_argument("--degrees", type=float, default=20.0)
    parser.add_argument("--weights", type=Path, default=None)
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.weights, "cpu", 0)
    split = segmenter.recipe.split
    places = find_studies(arguments.data)
    gains = []
    for name in arguments.studies or [*split["tune"], *split["test"]]:
        straight, on_turned = both_ways(read_study(name, places[name]), arguments.degrees, segmenter)
        gains.append([on_turned[region] - straight[region] for region in straight])
        cells = (f"  {region} {straight[region]:.3f} {gain:+.3f}" for region, gain in zip(straight, gains[-1], strict=True))
        print(f"{name:24}" + "".join(cells), flush=True)
    for what, values in (("mean gain", np.mean(gains, axis=0)), ("mean size", np.mean(np.abs(gains), axis=0))):
        print(f"{what} of {len(gains)} studies: WT {values[0]:+.4f}  TC {values[1]:+.4f}  ET {values[2]:+.4f}")


def both_ways(study: LabelledStudy, degrees: float, segmenter: Segmenter) -> tuple[dict[str, float], dict[str, float]]:
    """Dice by region on the study's own grid and on the turned one."""
    straight = dice_of_regions(analyse(study.volumes, REFERENCE, segmenter).label_map.labels, study.truth)
    volumes = {sequence: turned(volume, degrees) for sequence, volume in study.volumes.items()}
    label_map = analyse(volumes, REFERENCE, segmenter).label_map
    truth = resampled_labels(study.truth, study.geometry, label_map.geometry)
    return straight, dice_of_regions(label_map.labels, truth)


if __name__ == "__main__":
    main()
