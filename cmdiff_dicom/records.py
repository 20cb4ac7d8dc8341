"""The values that cross rooms. All frozen; arrays inside are read-only by convention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from cmdiff_dicom.geometry import Geometry, Volume


class Sequence(Enum):
    """The four MR contrasts, in channel order."""

    T1N = "T1"
    T1C = "T1c"
    T2W = "T2"
    T2F = "FLAIR"

    @property
    def channel(self) -> int:
        """Its index where the four stand in channel order."""
        return list(Sequence).index(self)


class Label(IntEnum):
    """Mutually exclusive voxel labels. BraTS data sets up to 2021 write ET as 4."""

    NCR = 1
    ED = 2
    ET = 3
    WT = 4
    """Whole tumour as one label: all that is told where T1c is missing."""


LABEL_NAMES: Mapping[Label, str] = {
    Label.NCR: "Necrotic or non-enhancing core",
    Label.ED: "Edema",
    Label.ET: "Enhancing tumour",
    Label.WT: "Whole tumour",
}
"""What people are shown, in the SEG and in pictures; ASCII, since viewers garble the rest."""

LABEL_RGB: Mapping[Label, tuple[int, int, int]] = {
    Label.NCR: (170, 85, 220),
    Label.ED: (140, 224, 228),
    Label.ET: (255, 96, 64),
    Label.WT: (144, 238, 144),
}
"""The sRGB colour of each label (0-255), in the SEG and in pictures.

Edema and neoplasm have the colours of dcmqi's terminology, which viewers share. Its necrosis (216, 191, 216) is so pale
that half transparent on a grey image it is not seen as a colour, so its hue is kept and its saturation raised.
"""


class Region(Enum):
    """Nested regions that the network predicts: WT contains TC contains ET."""

    WT = 0
    TC = 1
    ET = 2


# --- what arrives -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blob:
    """Bytes in the spool, named by their own digest.

    `sha256` is that of the data set's bytes without file meta information, so that a newer library's
    preamble does not turn a resend into "other bytes".
    """

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Acquisition:
    """What a header says about the physics of a series; numbers are None where the header is silent.

    No free text: of descriptions only the words that `words.py` knows are kept, since the rest may name a patient.
    """

    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    scan_options: tuple[str, ...] = ()
    sequence_name: str = ""
    acquisition_type: str = ""
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    echo_train_length: float | None = None
    flip_angle_deg: float | None = None
    image_type: tuple[str, ...] = ()
    contrast_agent: bool = False
    """True where an agent, its volume or its start time is given and is not a word for none."""
    angio: bool = False
    diffusion_b_value: float | None = None
    words: frozenset[str] = frozenset()
    body_part: str = ""
    acquisition_number: int | None = None
    temporal_position: int | None = None
    acquisition_day: int | None = None
    """On a calendar of the study's own: tells days apart and names no date."""
    acquisition_time: str = ""
    """TM or DT text, comparable within one study; "" where absent."""


@dataclass(frozen=True)
class ReceivedInstance:
    """One instance as the listener saw it: identity, place in space, physics, and where its bytes are.

    `orientation` are the six direction cosines of Image Orientation (Patient), `position_mm` is Image Position
    (Patient), `pixel_spacing_mm` is (between rows, between columns); each empty where the header has none.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    blob: Blob
    received_at: datetime
    calling_ae: str = ""
    accession_number: str = ""
    patient_digest: str = ""
    """sha256 over study UID and Patient ID: tells two patients apart and names none; "" where there is no Patient ID."""
    modality: str = ""
    frame_of_reference_uid: str = ""
    rows: int = 0
    columns: int = 0
    number_of_frames: int = 1
    orientation: tuple[float, ...] = ()
    position_mm: tuple[float, ...] = ()
    pixel_spacing_mm: tuple[float, ...] = ()
    acquisition: Acquisition = field(default_factory=Acquisition)


# --- what is made of it ------------------------------------------------------------------------


@dataclass(frozen=True)
class Stack:
    """Parallel slices of one acquisition in slice order, and what they were recognised as.

    `why` says which evidence decided; `fault` is "" or names what keeps the stack from serving
    (a gap with its position in mm, repeated positions, a shear, too few slices, not MR).
    """

    series_uid: str
    instances: tuple[ReceivedInstance, ...]
    sequence: Sequence | None
    why: str
    fault: str = ""


@dataclass(frozen=True, eq=False)
class AssembledStudy:
    """The chosen stacks as volumes. `reference` is the sequence whose series carries the result."""

    study_uid: str
    volumes: Mapping[Sequence, Volume]
    stacks: Mapping[Sequence, Stack]
    reference: Sequence
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """Everything on one 1 mm grid along the patient's axes, in the reference's own millimetres.

    Shapes: `image` float32 (4, k, j, i) in channel order, own intensities, 0 where a sequence is missing;
    `available` bool (4,); `brain` bool (k, j, i). `scanner_grid` is the reference series' own grid; both grids are
    in the same millimetres. `registration` holds each moved sequence's quality (1 = as good as the metric can tell).
    """

    image: NDArray[np.float32]
    available: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    grid: Geometry
    scanner_grid: Geometry
    registration: Mapping[Sequence, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelIdentity:
    """Which network spoke: its name, version and the sha256 of its weights file (recipe included)."""

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True)
class Sampling:
    """How the sampler ran: DDIM steps, eta, samples averaged, seed of the noise."""

    steps: int
    eta: float
    samples: int
    seed: int


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Region probabilities on the model grid.

    Shapes: `probability` float32 (3, k, j, i) of WT, TC, ET in [0, 1]; `spread` alike, the standard deviation over samples.
    """

    probability: NDArray[np.float32]
    spread: NDArray[np.float32]
    grid: Geometry
    model: ModelIdentity
    sampling: Sampling
    available: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels on the scanner's grid. Shapes: `labels` uint8 (k, j, i), 0 or a `Label`. Volumes in ml."""

    labels: NDArray[np.uint8]
    geometry: Geometry
    volume_ml: Mapping[Label, float]
    model: ModelIdentity

    @property
    def is_empty(self) -> bool:
        return not bool(np.any(self.labels))


@dataclass(frozen=True, eq=False)
class Analysis:
    """One study's analysis: what was put in, what the network said, what it means on the scanner's grid."""

    prepared: PreparedStudy
    result: SegmentationResult
    label_map: LabelMap
    seconds: Mapping[str, float] = field(default_factory=dict)


# --- what leaves -------------------------------------------------------------------------------


@dataclass(frozen=True)
class SegObject:
    """A finished DICOM-SEG. `part10` is the whole file: preamble, file meta and data set."""

    sop_uid: str
    series_uid: str
    part10: bytes


@dataclass(frozen=True)
class Receipt:
    """A destination's answer to a C-STORE: only 0x0000 and 0xBxxx mean stored (PS3.4 Table B.2-1)."""

    destination: str
    sop_uid: str
    dimse_status: int


@dataclass(frozen=True)
class CommitmentReport:
    """A storage commitment N-EVENT-REPORT (PS3.4 J.3.3): what is committed, what failed and with which reason."""

    transaction_uid: str
    committed: tuple[str, ...]
    failed: Mapping[str, int]
