"""What scanners of three vendors write about the physics of each contrast, as attributes by keyword.

Times in ms, angles in degrees. Philips names neither the inversion time of its FLAIR nor the contrast agent; GE tells its
FLAIR by an inversion in Scanning Sequence; Siemens calls an MPRAGE a gradient echo with inversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cmdiff_dicom.records import Sequence

SIEMENS, GE, PHILIPS = "SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems"

Physics = Mapping[str, Any]

_SIEMENS: Mapping[Sequence, Physics] = {
    Sequence.T1N: {
        "SeriesDescription": "t1_mprage_p2_iso", "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"],
        "ScanOptions": "IR", "SequenceName": "*tfl3d1_16ns", "MRAcquisitionType": "3D", "RepetitionTime": 2300,
        "EchoTime": 2.98, "InversionTime": 900, "EchoTrainLength": 1, "FlipAngle": 9,
    },
    Sequence.T2W: {
        "SeriesDescription": "t2_tse_tra_p2", "ScanningSequence": "SE", "SequenceVariant": ["SK", "SP", "OSP"],
        "ScanOptions": "", "SequenceName": "*tse2d1_17", "MRAcquisitionType": "2D", "RepetitionTime": 5200, "EchoTime": 96,
        "EchoTrainLength": 17, "FlipAngle": 150,
    },
    Sequence.T2F: {
        "SeriesDescription": "t2_tirm_tra_dark-fluid", "ScanningSequence": ["SE", "IR"],
        "SequenceVariant": ["SK", "SP", "MP", "OSP"], "ScanOptions": "IR", "SequenceName": "*tir2d1rs16",
        "MRAcquisitionType": "2D", "RepetitionTime": 9000, "EchoTime": 99, "InversionTime": 2500, "EchoTrainLength": 16,
        "FlipAngle": 150,
    },
}  # fmt: skip
_GE: Mapping[Sequence, Physics] = {
    Sequence.T1N: {
        "SeriesDescription": "3D T1 BRAVO", "ScanningSequence": "GR", "SequenceVariant": ["SS", "SP", "SK"],
        "ScanOptions": ["FAST_GEMS", "EDR_GEMS"], "SequenceName": "BRAVO", "MRAcquisitionType": "3D", "RepetitionTime": 8.2,
        "EchoTime": 3.2, "EchoTrainLength": 1, "FlipAngle": 12,
    },
    Sequence.T2W: {
        "SeriesDescription": "Ax T2 PROPELLER", "ScanningSequence": "SE", "SequenceVariant": "SK", "ScanOptions": "NPW",
        "SequenceName": "fse-xl", "MRAcquisitionType": "2D", "RepetitionTime": 4800, "EchoTime": 102,
        "EchoTrainLength": 24, "FlipAngle": 142,
    },
    Sequence.T2F: {
        "SeriesDescription": "Ax T2 FLAIR", "ScanningSequence": ["SE", "IR"], "SequenceVariant": "SK", "ScanOptions": "NPW",
        "SequenceName": "fse-xl", "MRAcquisitionType": "2D", "RepetitionTime": 9002, "EchoTime": 120, "InversionTime": 2400,
        "EchoTrainLength": 21, "FlipAngle": 160,
    },
}  # fmt: skip
_PHILIPS: Mapping[Sequence, Physics] = {
    Sequence.T1N: {
        "SeriesDescription": "sT1W_3D_TFE", "ScanningSequence": "GR", "SequenceVariant": "MP", "ScanOptions": "OTHER",
        "SequenceName": "T1TFE", "MRAcquisitionType": "3D", "RepetitionTime": 8.1, "EchoTime": 3.7,
        "EchoTrainLength": 225, "FlipAngle": 8,
    },
    Sequence.T2W: {
        "SeriesDescription": "T2W_TSE", "ScanningSequence": "SE", "SequenceVariant": "SK", "ScanOptions": "OTHER",
        "SequenceName": "TSE", "MRAcquisitionType": "2D", "RepetitionTime": 3000, "EchoTime": 80,
        "EchoTrainLength": 15, "FlipAngle": 90,
    },
    Sequence.T2F: {
        "SeriesDescription": "FLAIR_longTR", "ScanningSequence": "IR", "SequenceVariant": "SK", "ScanOptions": "OTHER",
        "SequenceName": "TIR", "MRAcquisitionType": "2D", "RepetitionTime": 11000, "EchoTime": 125, "InversionTime": "",
        "EchoTrainLength": 27, "FlipAngle": 90,
    },
}  # fmt: skip
_TABLES = {SIEMENS: _SIEMENS, GE: _GE, PHILIPS: _PHILIPS}
VENDORS = tuple(_TABLES)
_PHILIPS_KINDS = {Sequence.T1N: "FFE", Sequence.T2W: "SE", Sequence.T2F: "IR"}
_AGENT: Physics = {"ContrastBolusAgent": "Gadobutrol", "ContrastBolusVolume": 7.5, "ContrastBolusStartTime": "102000"}


def physics_of(sequence: Sequence, vendor: str = SIEMENS) -> dict[str, Any]:
    """The attributes that make a series of this contrast recognisable; T1c is the T1 with an agent."""
    kind = Sequence.T1N if sequence is Sequence.T1C else sequence
    physics = dict(_TABLES[vendor][kind]) | {"ImageType": ["ORIGINAL", "PRIMARY", *_image_type(kind, vendor)]}
    if sequence is Sequence.T1C:
        physics["SeriesDescription"] += " +C"
        physics |= {} if vendor == PHILIPS else _AGENT
    return physics


def _image_type(kind: Sequence, vendor: str) -> list[str]:
    if vendor == PHILIPS:
        return [f"M_{_PHILIPS_KINDS[kind]}", "M", _PHILIPS_KINDS[kind]]
    return ["OTHER"] if vendor == GE else ["M", "ND", "NORM"]
