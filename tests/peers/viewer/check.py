"""Our SEGs on axial, sagittal, oblique and reversed series, as Cornerstone3D's adapters read them, against the truth.

usage: python -m tests.peers.viewer.check   (Node 20 or newer; `npm install` in this folder once, 95 MB)
Prints one line per segment; exit status 1 where a voxel count, label or colour differs or a centre is 0.001 mm off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom import dcmwrite

from cmdiff_dicom.encode import encode_seg
from cmdiff_dicom.encode.codes import MEANINGS
from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.records import Label
from tests.support.sources import AXIAL, OBLIQUE, SAGITTAL, grid, label_map, series

HERE = Path(__file__).parent
REVERSED = np.diag([1.0, 1.0, -1.0])
PLANES = {"axial": AXIAL, "sagittal": SAGITTAL, "oblique": OBLIQUE, "reversed oblique": REVERSED @ OBLIQUE}


def lesion(geometry: Geometry) -> np.ndarray:
    """Blocks that no flip, swap or shift maps onto themselves; the core stands apart, with empty slices between."""
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:5, 4:30, 3:9] = Label.ED
    labels[4:8, 20:26, 5:25] = Label.ET
    labels[10:12, 9:14, 20:31] = Label.NCR
    return labels


def check(plane: str) -> bool:
    geometry = grid((14, 35, 33), PLANES[plane])
    labels, sources = lesion(geometry), series(geometry)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mr").mkdir()
        for source in sources:
            dcmwrite(Path(folder) / "mr" / f"{source.InstanceNumber:03d}.dcm", source, enforce_file_format=True)
        seg = Path(folder) / "seg.dcm"
        seg.write_bytes(encode_seg(label_map(geometry, labels), sources, "8" * 64, datetime(2026, 1, 2, tzinfo=UTC), 1).part10)
        command = ["node", str(HERE / "read_seg.mjs"), str(seg), str(Path(folder) / "mr")]
        read = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    good = len(read) == 3
    for segment, label in zip(read, (Label.NCR, Label.ED, Label.ET), strict=False):
        inside = np.argwhere(labels == label)
        off_mm = float(np.linalg.norm(np.array(segment["centre_mm"], float) - geometry.mm(inside).mean(axis=0)))
        meaning = MEANINGS[label]
        right = segment["voxels"] == len(inside) and segment["label"] == meaning.name and off_mm <= 1e-3
        right = right and max(abs(a - b) for a, b in zip(segment["rgb"], meaning.rgb, strict=True)) <= 2
        print(f"{plane:18} {segment['label']:32} {segment['voxels']:5} voxels, {off_mm:.4f} mm off, {'right' if right else 'WRONG'}")
        good = good and right
    return good


if __name__ == "__main__":
    verdicts = [check(plane) for plane in PLANES]
    sys.exit(0 if all(verdicts) else 1)
