"""A received instance as a row of the ledger, and back: what is asked for has a column, the rest is compact JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping

from cmdiff_dicom.records import Acquisition, Blob, ReceivedInstance

_COLUMNS = frozenset({"study_uid", "series_uid", "sop_uid", "blob", "received_at", "acquisition"})
_NOTHING = ReceivedInstance("", "", "", "", "", Blob("", 0), None)  # type: ignore[arg-type]  # asked for its defaults alone
_SILENT = {field.name: getattr(_NOTHING, field.name, "") for field in fields(ReceivedInstance) if field.name not in _COLUMNS}
_SILENT_ACQUISITION = vars(Acquisition())


def row_of(instance: ReceivedInstance) -> dict[str, Any]:
    """The columns of `instance`. What a header was silent about takes no room."""
    said = _differing(instance, _SILENT)
    physics = _differing(instance.acquisition, _SILENT_ACQUISITION)
    if "words" in physics:
        physics["words"] = sorted(physics["words"])
    if physics:
        said["acquisition"] = physics
    return {
        "study_uid": instance.study_uid,
        "series_uid": instance.series_uid,
        "sop_uid": instance.sop_uid,
        "sha256": instance.blob.sha256,
        "size_bytes": instance.blob.size_bytes,
        "received_at": instance.received_at,
        "header": json.dumps(said, separators=(",", ":")),
    }


def instance_of(row: RowMapping) -> ReceivedInstance:
    """The instance that `row_of` made the row of."""
    header = json.loads(row["header"])
    physics = _known(header.get("acquisition", {}), _SILENT_ACQUISITION)
    physics["words"] = frozenset(physics.get("words", ()))
    return ReceivedInstance(
        study_uid=row["study_uid"],
        series_uid=row["series_uid"],
        sop_uid=row["sop_uid"],
        blob=Blob(row["sha256"], row["size_bytes"]),
        received_at=row["received_at"],
        acquisition=Acquisition(**physics),
        **{**_SILENT, **_known(header, _SILENT)},
    )


def _differing(record: ReceivedInstance | Acquisition, silent: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name in silent and value != silent[name]}


def _known(said: dict[str, Any], silent: Mapping[str, Any]) -> dict[str, Any]:
    """What `said` has for the fields of a record; what only an older version recorded is passed over."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items() if name in silent}
