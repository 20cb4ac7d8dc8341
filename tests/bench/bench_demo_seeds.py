"""Whole-tumour Dice of the demo's synthetic patients, many seeds, as DICOM through the same path as `segment`.

    python tests/bench/bench_demo_seeds.py [--first 1001] [--count 10] [--healthy]

Prints each seed's Dice (WT, TC, ET), then the medians. With --healthy: heads without tumour, and the volume found in them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np

from cmdiff_dicom.analyse import analyse
from cmdiff_dicom.assemble import assemble_study, choose_stacks
from cmdiff_dicom.geometry import resample
from cmdiff_dicom.phantom.show import region_dice
from cmdiff_dicom.phantom.study import write_study
from cmdiff_dicom.receive import read_folder
from cmdiff_dicom.segment import load_segmenter
from cmdiff_dicom.segment_folder import Memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1001)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--healthy", action="store_true")
    parser.add_argument("--weights", type=Path, default=None)
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.weights, "cpu", 0)
    rows = []
    for seed in range(arguments.first, arguments.first + arguments.count):
        with tempfile.TemporaryDirectory() as folder:
            phantom = write_study(Path(folder), seed, tumour=not arguments.healthy)
            memory = Memory()
            study = assemble_study(choose_stacks(read_folder(phantom.folder, memory.keep).instances), memory.read)
            analysis = analyse(study.volumes, study.reference, segmenter)
        grid = analysis.label_map.geometry
        truth = resample(phantom.truth, grid, order=0).astype(np.uint8)
        dice = list(region_dice(analysis.label_map.labels, truth).values())
        found_ml = float((analysis.label_map.labels > 0).sum()) * grid.voxel_ml
        rows.append([*dice, found_ml])
        print(f"seed {seed}: WT {dice[0]:.3f}  TC {dice[1]:.3f}  ET {dice[2]:.3f}  found {found_ml:6.1f} ml  "
              f"true {float((truth > 0).sum()) * grid.voxel_ml:6.1f} ml", flush=True)  # fmt: skip
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(f"median of {len(rows)}: WT {medians[0]:.3f}  TC {medians[1]:.3f}  ET {medians[2]:.3f}  found {medians[3]:.2f} ml")


if __name__ == "__main__":
    main()
