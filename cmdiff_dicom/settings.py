"""settings.toml -> one frozen `Settings`, read once at the command line; each room gets only its slice.

Every default stands here and is explained in deploy/settings.example.toml (a test compares the two). Environment
variables override the file: CMDIFF_LISTEN__PORT=104 is `port` in `[listen]`. All faults are told at once.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cmdiff_dicom.errors import SettingsFault

ENVIRONMENT_PREFIX = "CMDIFF_"
SETTINGS_VARIABLE = "CMDIFF_SETTINGS"
GIGABYTE = 1_000_000_000


class Slice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ListenSettings(Slice):
    """Who we are on the network, and who may call."""

    ae_title: str = "CMDIFF"
    host: str = "0.0.0.0"  # noqa: S104  a DICOM node is there to be reached
    port: int = Field(default=11112, ge=1, le=65535)
    calling_ae_titles: tuple[str, ...] = ()
    check_called_ae_title: bool = True
    only_sop_classes: tuple[str, ...] = ()
    max_associations: int = Field(default=25, ge=1)
    max_object_mb: int = Field(default=2048, ge=1)
    idle_timeout_s: float = Field(default=60.0, gt=0)

    @field_validator("ae_title")
    @classmethod
    def _fits(cls, title: str) -> str:
        return checked_ae_title(title)

    @field_validator("calling_ae_titles")
    @classmethod
    def _fit(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(checked_ae_title, titles))

    @field_validator("only_sop_classes")
    @classmethod
    def _are_uids(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[0-9]+(\.[0-9]+)+", uid) and len(uid) <= 64 for uid in classes):
            raise ValueError("a SOP class is named by its UID, as 1.2.840.10008.5.1.4.1.1.4")
        return classes


class SpoolSettings(Slice):
    """Where bytes are kept, and how full the disk may become."""

    folder: Path | None = None
    low_water_gb: float = Field(default=10.0, ge=0)
    floor_gb: float = Field(default=2.0, ge=0)
    keep_days: float = Field(default=7.0, ge=0)

    @property
    def low_water_bytes(self) -> int:
        return int(self.low_water_gb * GIGABYTE)

    @property
    def floor_bytes(self) -> int:
        return int(self.floor_gb * GIGABYTE)


class LedgerSettings(Slice):
    """The database that knows everything: "" is SQLite in the state folder."""

    url: str = ""


class QueueSettings(Slice):
    """Redis, the doorbell."""

    url: str = "redis://127.0.0.1:6379/0"


class DispatchSettings(Slice):
    """When a study is complete, and how long things may take."""

    quiet_s: float = Field(default=60.0, gt=0)
    give_up_s: float = Field(default=900.0, gt=0)
    needed_sequences: tuple[Literal["T1", "T1c", "T2", "FLAIR"], ...] = ("T1", "T1c", "T2", "FLAIR")
    min_slices: int = Field(default=8, ge=2)
    tick_s: float = Field(default=2.0, gt=0)
    lease_s: float = Field(default=120.0, gt=0)
    max_lost_leases: int = Field(default=3, ge=1)
    max_attempts: int = Field(default=100, ge=1)


class SegmentSettings(Slice):
    """Which weights on which device; "" are the weights that ship, "auto" takes a GPU where there is one."""

    weights: str = ""
    device: str = "auto"
    threads: int = Field(default=0, ge=0)

    @property
    def weights_path(self) -> Path | None:
        """The weights file; None for the one that ships."""
        return Path(self.weights) if self.weights else None


class DeliverSettings(Slice):
    """How the result is sent."""

    processes: int = Field(default=2, ge=1)
    timeout_s: float = Field(default=30.0, gt=0)
    max_attempts: int = Field(default=700, ge=1)
    commitment_wait_s: float = Field(default=300.0, gt=0)
    commitment_requests: int = Field(default=3, ge=1)


class DestinationSettings(Slice):
    """One place that gets every result: a DICOM peer, or a folder."""

    name: str = Field(min_length=1)
    kind: Literal["dicom", "folder"] = "dicom"
    ae_title: str = ""
    host: str = ""
    port: int = Field(default=104, ge=1, le=65535)
    folder: Path | None = None
    commitment: bool = True

    @model_validator(mode="after")
    def _complete(self) -> DestinationSettings:
        if self.kind == "dicom":
            checked_ae_title(self.ae_title)
            if not self.host:
                raise ValueError("a destination of kind 'dicom' needs ae_title, host and port")
        elif self.folder is None:
            raise ValueError("a destination of kind 'folder' needs folder")
        return self

    @property
    def wants_commitment(self) -> bool:
        return self.kind == "dicom" and self.commitment


class Settings(Slice):
    """All settings. `state` is the folder for everything that the node keeps."""

    state: Path = Path("/var/lib/cmdiff-dicom")
    listen: ListenSettings = ListenSettings()
    spool: SpoolSettings = SpoolSettings()
    ledger: LedgerSettings = LedgerSettings()
    queue: QueueSettings = QueueSettings()
    dispatch: DispatchSettings = DispatchSettings()
    segment: SegmentSettings = SegmentSettings()
    deliver: DeliverSettings = DeliverSettings()
    destinations: tuple[DestinationSettings, ...] = ()

    @field_validator("destinations")
    @classmethod
    def _names_differ(cls, destinations: tuple[DestinationSettings, ...]) -> tuple[DestinationSettings, ...]:
        names = [destination.name for destination in destinations]
        if len(set(names)) != len(names):
            raise ValueError("two destinations have the same name")
        return destinations

    @property
    def spool_folder(self) -> Path:
        return self.spool.folder or self.state / "spool"

    @property
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self._ledger_file}"

    @property
    def has_ledger(self) -> bool:
        """False where the ledger is a file of ours that no process has made yet."""
        return bool(self.ledger.url) or self._ledger_file.is_file()

    @property
    def _ledger_file(self) -> Path:
        return self.state.absolute() / "ledger.sqlite"


def checked_ae_title(title: str) -> str:
    """An AE title of 1 to 16 characters without backslash or control characters (PS3.5 6.2)."""
    if not 1 <= len(title.strip()) <= 16 or "\\" in title or not title.isprintable() or not title.isascii():
        raise ValueError("an AE title has 1 to 16 ASCII characters and no backslash")
    return title.strip()


def read_settings(path: Path | None = None, environment: dict[str, str] | None = None) -> Settings:
    """The settings of `path` (else of CMDIFF_SETTINGS, else the defaults), overridden by the environment.

    Raises: SettingsFault with every fault: file, key, what was found wrong.
    """
    environ = dict(os.environ) if environment is None else environment
    if path is None and environ.get(SETTINGS_VARIABLE):
        path = Path(environ[SETTINGS_VARIABLE])
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows begin with a mark
        except OSError as error:
            raise SettingsFault(f"{path}: cannot be read ({error.strerror}); name another file with --settings") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsFault(f"{path}: is not TOML: {error}") from None
    overridden = _override(values, environ)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            key = tuple(map(str, fault["loc"]))
            source = overridden.get(key[:2]) or overridden.get(key[:1]) or path or "settings"
            faults.append(f"{source}: {'.'.join(key) or 'file'}: {fault['msg']}")
        raise SettingsFault("\n".join(faults) + "\nSee deploy/settings.example.toml for every key.") from None


def _override(values: dict[str, Any], environ: dict[str, str]) -> dict[tuple[str, ...], str]:
    """CMDIFF_SLICE__KEY=value and CMDIFF_STATE=value into `values`; lists are comma-separated. Which variable set which key."""
    overridden: dict[tuple[str, ...], str] = {}
    for name, text in sorted(environ.items()):
        part, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name == f"{ENVIRONMENT_PREFIX}STATE":
            values["state"] = text
            overridden["state",] = name
        if not name.startswith(ENVIRONMENT_PREFIX) or not key:
            continue
        given = values.setdefault(part, {})
        if isinstance(given, dict):  # else a fault of the file, which is told with all others
            given[key] = [piece.strip() for piece in text.split(",") if piece.strip()] if _is_list(part, key) else text
            overridden[(part, key) if part in Settings.model_fields else (part,)] = name
    return overridden


def _is_list(part: str, key: str) -> bool:
    field = Settings.model_fields.get(part)
    of_slice = getattr(field and field.annotation, "model_fields", {})
    return key in of_slice and "tuple" in str(of_slice[key].annotation)
