"""A label map becomes a DICOM-SEG on the reference series' own grid, byte for byte the same at every retry.

BINARY and Explicit VR Little Endian, mutually exclusive segments numbered from 1: the form that every viewer and
archive known to us takes. Every UID follows from the job key and every date from the job, so that a job which dies
after sending and runs again sends the same object, not a second one. Source: PS3.3 A.51, C.8.20.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from io import BytesIO

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

import cmdiff_dicom
from cmdiff_dicom.encode.codes import BRAIN, MEANINGS, MORPHOLOGICALLY_ABNORMAL
from cmdiff_dicom.encode.readback import check_written
from cmdiff_dicom.encode.repair import copy_patient_and_study, decimals, repaired_copies, value_of
from cmdiff_dicom.encode.uids import derived_uid
from cmdiff_dicom.errors import EncodingFault
from cmdiff_dicom.geometry import Geometry
from cmdiff_dicom.logs import place
from cmdiff_dicom.records import Label, LabelMap, ModelIdentity, SegObject

OMIT_EMPTY_FRAMES = True
"""Slices without a segment get no frame of it. False keeps them, at four times the bytes, for viewers that count frames."""

GRID_TOLERANCE = 0.1
"""A source may lie this part of a slice step away from the label map's grid: scanners round, slices swapped are a step away."""

SERIES_DESCRIPTION = "Brain tumour (CMDiff) - Research use, not for diagnosis"
"""With " rev 999" behind it still within the 64 characters of a long string (PS3.5 6.2)."""

ALGORITHM_NAME = "CMDiff"

FIRST_SERIES_NUMBER = 9000
"""Behind a scanner's own series in every list that sorts by number; the revision is added."""


def encode_seg(
    label_map: LabelMap, sources: Sequence[Dataset], key: str, created_at: datetime, revision: int
) -> SegObject:
    """The label map as a finished DICOM-SEG that has been read back and agrees with it.

    `sources` are the reference series' headers in slice order, one per slice of the label map; they are not changed.
    `created_at` is the job's own time, `revision` counts a study's results from 1.

    Raises: EncodingFault where the label map is empty or does not lie on the sources, or the object would be wrong.
    """
    present = [label for label in Label if np.any(label_map.labels == label)]
    _check_labels(label_map, present)
    _check_sources(label_map.geometry, sources)
    numbers = {label: number for number, label in enumerate(present, start=1)}
    local_time = _in_the_sources_zone(created_at, sources[0])
    try:
        copies = repaired_copies(sources, label_map.geometry)
        seg = _build(label_map, numbers, copies, key=key, created_at=local_time, revision=revision)
        copy_patient_and_study(next((source for source in sources if value_of(source, "PatientID")), sources[0]), seg)
        _stamp(seg, key, local_time)
        _pad_with_null(seg)
        buffer = BytesIO()
        dcmwrite(buffer, seg, enforce_file_format=True)
    except EncodingFault:
        raise
    except Exception as fault:  # the libraries' texts may quote a patient's element: kind and place only
        raise EncodingFault(f"encode: the SEG could not be built ({place(fault)})") from None
    part10 = buffer.getvalue()
    check_written(part10, label_map.labels, numbers, sources)
    return SegObject(sop_uid=str(seg.SOPInstanceUID), series_uid=str(seg.SeriesInstanceUID), part10=part10)


# --- what must hold before anything is built -----------------------------------------------------------


def _check_labels(label_map: LabelMap, present: Sequence[Label]) -> None:
    if label_map.is_empty:
        raise EncodingFault("encode: the label map is empty; a study without tumour ends as no tumour found, without a SEG")
    unknown = sorted(set(np.unique(label_map.labels).tolist()) - {0} - {int(label) for label in present})
    if unknown:
        raise EncodingFault(f"encode: labels {unknown} have no meaning, wanted {[int(label) for label in Label]}")
    if Label.WT in present and len(present) > 1:
        raise EncodingFault("encode: Whole tumour stands beside its own parts; segments must exclude each other")


def _check_sources(grid: Geometry, sources: Sequence[Dataset]) -> None:
    """The label map's slices are those of one series, in order."""
    shapes = {(int(value_of(source, "Rows") or 0), int(value_of(source, "Columns") or 0)) for source in sources}
    if len(sources) != grid.shape[0] or shapes != {grid.shape[1:]}:
        raise EncodingFault(
            f"encode: {len(sources)} source images of {sorted(shapes)} pixels for a label map of {grid.shape}; "
            "the reference series and the analysis do not belong together"
        )
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        if len({str(value) for source in sources if (value := value_of(source, keyword))}) > 1:
            raise EncodingFault(f"encode: the source images have more than one {keyword}, wanted one series")
    corner = np.array([[k, 0, 0] for k in range(grid.shape[0])])
    positions = np.array(
        [decimals(source, "ImagePositionPatient", 3) or mm for source, mm in zip(sources, grid.mm(corner), strict=True)],
        dtype=np.float64,
    )
    off_mm = float(np.abs(positions - grid.mm(corner)).max())
    if off_mm > GRID_TOLERANCE * grid.spacing_mm[0]:
        raise EncodingFault(
            f"encode: source images lie {off_mm:.3g} mm from the label map's slices, wanted {GRID_TOLERANCE:g} of a step; "
            "they are of another series or in another order"
        )


# --- the object ------------------------------------------------------------------------------------------


def _build(
    label_map: LabelMap, numbers: dict[Label, int], copies: list[Dataset], *, key: str, created_at: datetime, revision: int
) -> Dataset:
    """highdicom's Segmentation of the label map, with the job's UIDs; `numbers` gives each label its segment number."""
    from highdicom import ContributingEquipment
    from highdicom.seg import Segmentation, SegmentationTypeValues
    from pydicom.sr.codedict import codes

    numbered = np.zeros(256, dtype=np.uint8)
    for label, number in numbers.items():
        numbered[int(label)] = number
    ours = ContributingEquipment(
        manufacturer="cmdiff-dicom",
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=ALGORITHM_NAME,
        software_versions=cmdiff_dicom.__version__,
        contribution_datetime=created_at,
        contribution_description="Brain tumour segmentation. Research use, not for diagnosis",
    )
    seg: Dataset = Segmentation(
        source_images=copies,
        pixel_array=numbered[label_map.labels],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_segment_descriptions(numbers, label_map.model, key),
        series_instance_uid=derived_uid(key, "series"),
        series_number=FIRST_SERIES_NUMBER + revision,
        sop_instance_uid=derived_uid(key, "instance"),
        instance_number=1,
        manufacturer="cmdiff-dicom",
        manufacturer_model_name=ALGORITHM_NAME,
        software_versions=cmdiff_dicom.__version__,
        device_serial_number=label_map.model.weights_sha256[:16] or "no weights",
        content_label="BRAIN_TUMOUR",
        content_description="Brain tumour segmentation",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=OMIT_EMPTY_FRAMES,
        contributing_equipment=[ours],
        series_description=SERIES_DESCRIPTION if revision <= 1 else f"{SERIES_DESCRIPTION} rev {revision}",
        content_date=created_at.date(),
        content_time=created_at.time(),
    )
    return seg


def _segment_descriptions(numbers: dict[Label, int], model: ModelIdentity, key: str) -> list[Dataset]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(
        name=ALGORITHM_NAME, family=codes.DCM.ArtificialIntelligence, version=algorithm_version(model)
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=MEANINGS[label].name,
            segmented_property_category=MORPHOLOGICALLY_ABNORMAL,
            segmented_property_type=MEANINGS[label].kind,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=derived_uid(key, "tracking", label.name),
            tracking_id=f"CMDiff {label.name} {key[:16]}",
            anatomic_regions=[BRAIN],
            display_color=CIELabColor.from_rgb(*MEANINGS[label].rgb),
        )
        for label, number in numbers.items()
    ]


def algorithm_version(model: ModelIdentity) -> str:
    """Version and weights in the 64 characters of a long string: "1.2.0 weights 3f9a...", 32 digits of the digest."""
    digest = f" weights {model.weights_sha256[:32]}"
    return model.version[: 64 - len(digest)] + digest


def _stamp(seg: Dataset, key: str, created_at: datetime) -> None:
    """Puts the job's time and UIDs where highdicom puts the clock's and random ones."""
    seg.InstanceCreationDate = seg.SeriesDate = created_at.strftime("%Y%m%d")
    seg.InstanceCreationTime = seg.SeriesTime = created_at.strftime("%H%M%S.%f")
    for equipment in seg.ContributingEquipmentSequence:
        if equipment.get("ManufacturerModelName") == "highdicom":
            equipment.ContributionDateTime = created_at.strftime("%Y%m%d%H%M%S.%f")
    organization = derived_uid(key, "dimension organization")
    for item in (*seg.DimensionOrganizationSequence, *seg.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization


def _pad_with_null(seg: Dataset) -> None:
    """An odd number of bytes ends in 00H (PS3.5 6.2, OB); highdicom pads with the character 0, which reads as two set bits."""
    used = (int(seg.NumberOfFrames) * int(seg.Rows) * int(seg.Columns) + 7) // 8
    seg.PixelData = seg.PixelData[:used] + b"\0" * (used % 2)


def _in_the_sources_zone(created_at: datetime, source: Dataset) -> datetime:
    """`created_at` on the clock that the source's own times are told by, as PS3.3 C.12.1.1.8 has viewers read it.

    That is the zone which the source names (Timezone Offset From UTC), else this machine's: UTC would be shown as the
    wrong hour, and near midnight as the wrong day.
    """
    if created_at.tzinfo is None:
        return created_at
    offset = re.fullmatch(r"([+-])([01]\d)([0-5]\d)", str(value_of(source, "TimezoneOffsetFromUTC") or "").strip())
    if offset is None:
        return created_at.astimezone().replace(tzinfo=None)
    ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return created_at.astimezone(timezone(ahead if offset[1] == "+" else -ahead)).replace(tzinfo=None)
