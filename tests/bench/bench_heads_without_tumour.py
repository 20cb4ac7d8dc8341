"""What is found in heads without a tumour that are not ours: label maps of real heads in synthetic contrasts, and MS patients.

    python tests/bench/bench_heads_without_tumour.py HEADS [--weights FILE]

HEADS holds `labels_synthseg/*.nii.gz` (FreeSurfer labels by `index_to_label.json`) and `openms_*/{T1W,T2W,FLAIR}.nii.gz`.
MS patients have lesions, so what is found there is reported and not judged.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cmdiff_dicom.analyse import analyse
from cmdiff_dicom.errors import Refused
from cmdiff_dicom.geometry import Geometry, Volume, resample
from cmdiff_dicom.prepare.grid import patient_grid
from cmdiff_dicom.records import Sequence
from cmdiff_dicom.segment import Segmenter, load_segmenter
from cmdiff_dicom.synthesis import Head, acquire, render
from cmdiff_dicom.synthesis.head import Tissue
from tests.support.nifti_dicom import read_nifti

FREESURFER = {
    Tissue.WHITE: (2, 41, 7, 46, 16, 25, 57, 77, 85),
    Tissue.GREY: (3, 42, 8, 47, 17, 53, 18, 54),
    Tissue.DEEP_GREY: (10, 49, 11, 50, 12, 51, 13, 52, 26, 58, 28, 60),
    Tissue.CSF: (4, 43, 5, 44, 14, 15, 24, 72),
    Tissue.VESSEL: (30, 62),
}
"""Labels inside the dura, by tissue; the others are left out, as by a brain extraction."""
MS_SEQUENCES = {"T1W": Sequence.T1N, "T2W": Sequence.T2W, "FLAIR": Sequence.T2F}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", type=Path)
    parser.add_argument("--weights", type=Path, default=None)
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.weights, "cpu", 0)
    maps = sorted((arguments.heads / "labels_synthseg").glob("*.nii.gz"))
    found = [told(path.name, rendered(path, seed), Sequence.T1C, segmenter) for seed, path in enumerate(maps, start=1)]
    analysed = [ml for ml in found if ml is not None]
    print(f"median of {len(analysed)} rendered heads of {len(found)}: {statistics.median(analysed):.2f} ml")
    for folder in sorted(arguments.heads.glob("openms_*")):
        files = {sequence: folder / f"{name}.nii.gz" for name, sequence in MS_SEQUENCES.items()}
        volumes = {sequence: read_nifti(path) for sequence, path in files.items() if path.exists()}
        told(f"{folder.name} ({', '.join(s.value for s in volumes)})", volumes, Sequence.T2F, segmenter)


def rendered(path: Path, seed: int) -> dict[Sequence, Volume]:
    """A label map in four contrasts at 1 mm, without skull."""
    names = {int(index): label for index, label in json.loads((path.parent / "index_to_label.json").read_text()).items()}
    source = read_nifti(path)
    tissue_of = np.zeros(256, dtype=np.float32)
    for tissue, labels in FREESURFER.items():
        tissue_of[[index for index, label in names.items() if label in labels]] = tissue
    grid = patient_grid(source.geometry)
    even = Geometry(tuple(n - n % 2 for n in grid.shape), grid.mm_from_index)
    tissue = resample(Volume(tissue_of[source.array.astype(int)], source.geometry), even, order=0).astype(np.uint8)
    head = Head(tissue, np.zeros_like(tissue), tissue > 0, even, seed)
    return {s: Volume(acquire(render(head, s, bias=0.15), even, seed=seed).array * head.brain, even) for s in Sequence}


def told(name: str, volumes: Mapping[Sequence, Volume], reference: Sequence, segmenter: Segmenter) -> float | None:
    """Prints the volume found, or why the head is not analysed; that volume in ml, or None."""
    try:
        ml = sum(analyse(volumes, reference, segmenter).label_map.volume_ml.values())
    except Refused as refusal:
        print(f"{name}: {refusal.reason}", flush=True)
        return None
    print(f"{name}: {ml:.2f} ml", flush=True)
    return ml


if __name__ == "__main__":
    main()
