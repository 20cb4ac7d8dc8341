"""settings.toml -> one frozen `Settings`, read once at the command line; each room gets only its slice.

Every default stands here and is explained in deploy/settings.example.toml (a test compares the two). Environment
variables override the file: CMDIFF_LISTEN__PORT=104 is `port` in `[listen]`. All faults are told at once.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from cmdiff_dicom.errors import SettingsFault

ENVIRONMENT_PREFIX = "CMDIFF_"
SETTINGS_VARIABLE = "CMDIFF_SETTINGS"
GIGABYTE = 1_000_000_000
A_CENTURY_DAYS = 36500.0
"""As good as for ever, and a number of days that dates can be reckoned with."""
SAME_NAME = "two destinations have the same name"


def at_home(path: Path) -> Path:
    """The path, in which ~ is the home of whoever runs this."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("nobody's home is known by that ~") from None


def checked_ae_title(title: str) -> str:
    """An AE title of 1 to 16 characters without backslash or control characters (PS3.5 6.2)."""
    if not 1 <= len(title.strip()) <= 16 or "\\" in title or not title.isprintable() or not title.isascii():
        raise ValueError("an AE title has 1 to 16 ASCII characters and no backslash")
    return title.strip()


def written_as(pattern: str, wanted: str) -> AfterValidator:
    """A text that the pattern matches as a whole; else what is wanted is told."""

    def judge(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"wanted {wanted}")
        return text

    return AfterValidator(judge)


Place = Annotated[Path, AfterValidator(at_home)]
AETitle = Annotated[str, AfterValidator(checked_ae_title)]
SOPClass = Annotated[str, written_as(r"(?=.{,64}\Z)[0-9]+(\.[0-9]+)+", "the UID of a SOP class, as 1.2.840.10008.5.1.4.1.1.4")]
LedgerUrl = Annotated[
    str,
    written_as(
        r"(sqlite:///.+|postgres(ql)?(\+psycopg)?://.+)?",
        "sqlite:///PATH or postgresql://USER@HOST/NAME, or nothing for SQLite in the state folder",
    ),
]
RedisUrl = Annotated[
    str,
    written_as(r"(rediss?|redis\+socket|sentinel)://.+", "redis://HOST:PORT/0, rediss:// for TLS, or redis+socket:///PATH"),
]
Device = Annotated[str, written_as(r"auto|cpu|cuda(:[0-9]+)?", "auto, cpu, cuda or cuda:1")]


class Slice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ListenSettings(Slice):
    """Who we are on the network, and who may call."""

    ae_title: AETitle = "CMDIFF"
    host: str = "0.0.0.0"  # noqa: S104  a DICOM node is there to be reached
    port: int = Field(default=11112, ge=1, le=65535)
    calling_ae_titles: tuple[AETitle, ...] = ()
    check_called_ae_title: bool = True
    only_sop_classes: tuple[SOPClass, ...] = ()
    max_associations: int = Field(default=25, ge=1)
    max_object_mb: int = Field(default=2048, ge=1)
    idle_timeout_s: float = Field(default=60.0, gt=0)


class SpoolSettings(Slice):
    """Where bytes are kept, and how full the disk may become."""

    folder: Place | None = None
    low_water_gb: float = Field(default=10.0, ge=0)
    floor_gb: float = Field(default=2.0, ge=0)
    keep_days: float = Field(default=7.0, ge=0, le=A_CENTURY_DAYS)

    @property
    def low_water_bytes(self) -> int:
        return int(self.low_water_gb * GIGABYTE)

    @property
    def floor_bytes(self) -> int:
        return int(self.floor_gb * GIGABYTE)


class LedgerSettings(Slice):
    """The database that knows everything: "" is SQLite in the state folder."""

    url: LedgerUrl = ""


class QueueSettings(Slice):
    """Redis, the doorbell."""

    url: RedisUrl = "redis://127.0.0.1:6379/0"


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
    device: Device = "auto"
    threads: int = Field(default=0, ge=0)

    @property
    def weights_path(self) -> Path | None:
        """The weights file; None for the one that ships."""
        return at_home(Path(self.weights)) if self.weights else None


class DeliverSettings(Slice):
    """How the result is sent."""

    processes: int = Field(default=2, ge=1)
    timeout_s: float = Field(default=30.0, gt=0)
    max_attempts: int = Field(default=700, ge=1)
    commitment_wait_s: float = Field(default=300.0, gt=0)
    commitment_requests: int = Field(default=3, ge=1)


class DestinationSettings(Slice):
    """One place that gets every result: a DICOM peer, or a folder."""

    model_config = ConfigDict(validate_default=True)  # what is left out is judged too

    name: str = Field(min_length=1)
    kind: Literal["dicom", "folder"] = "dicom"
    ae_title: str = ""
    host: str = ""
    port: int = Field(default=104, ge=1, le=65535)
    folder: Place | None = None
    commitment: bool = True

    @field_validator("ae_title", "host", "folder")
    @classmethod
    def _is_given_where_wanted(cls, value: Any, info: ValidationInfo) -> Any:
        """Each field is judged by itself, so that an entry with several faults tells all of them."""
        if info.field_name == "folder":
            if info.data.get("kind") == "folder" and value is None:
                raise ValueError("a destination of kind 'folder' needs it")
        elif info.data.get("kind", "dicom") == "dicom":
            if not value:
                raise ValueError("a destination of kind 'dicom' needs ae_title, host and port")
            return checked_ae_title(value) if info.field_name == "ae_title" else value
        return value

    @property
    def wants_commitment(self) -> bool:
        return self.kind == "dicom" and self.commitment


class Settings(Slice):
    """All settings. `state` is the folder for everything that the node keeps."""

    state: Place = Path("/var/lib/cmdiff-dicom")
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
        if _has_one_twice(destination.name for destination in destinations):
            raise ValueError(SAME_NAME)
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


def settings_file(path: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The file that is read: `path`, else that of CMDIFF_SETTINGS; None for the defaults alone."""
    named = environment.get(SETTINGS_VARIABLE)
    return Path(named) if path is None and named else path


def read_settings(path: Path | None = None, environment: dict[str, str] | None = None) -> Settings:
    """The settings of `path` (else of CMDIFF_SETTINGS, else the defaults), overridden by the environment.

    Raises: SettingsFault with every fault: file, key, what was found wrong.
    """
    environ = dict(os.environ) if environment is None else environment
    path = settings_file(path, environ)
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows begin with a mark
        except OSError as error:
            raise SettingsFault(f"{path}: cannot be read ({error.strerror}); name another file with --settings") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsFault(f"{path}: is not TOML: {error}") from None
    overridden = _override(values, environ)
    faults = _misnamed(environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            key = tuple(map(str, fault["loc"]))
            source = overridden.get(key[:2]) or overridden.get(key[:1]) or path or "settings"
            faults.append(f"{source}: {_key_in_words(key, values)}: {_in_words(fault)}")
        entries = values.get("destinations")
        if isinstance(entries, list) and _has_one_twice(str(entry.get("name")) for entry in entries if isinstance(entry, dict)):
            faults.append(f"{path or 'settings'}: destinations: {SAME_NAME}")  # not looked for where an entry has a fault
    if faults:
        raise SettingsFault("\n".join(dict.fromkeys(faults)) + "\nSee deploy/settings.example.toml for every key.")
    return settings


def _key_in_words(key: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """The key as the file writes it; a destination by its place and name."""
    if key[:1] != ("destinations",) or len(key) < 2:
        return ".".join(key) or "file"
    entry = values["destinations"][int(key[1])]
    name = f" ({entry['name']})" if isinstance(entry, dict) and entry.get("name") else ""
    return ": ".join((f"[[destinations]] {int(key[1]) + 1}{name}", ".".join(key[2:]))).removesuffix(": ")


def _in_words(fault: Any) -> str:
    """What is wrong with a key, for whoever wrote it."""
    if fault["type"] == "extra_forbidden":
        *section, key = map(str, fault["loc"])
        near = difflib.get_close_matches(key, _keys_of(section), n=1)
        return "there is no such key" + (f"; {near[0]} perhaps" if near else "")
    if fault["type"] == "tuple_type":
        return "wanted [[destinations]] over each" if fault["loc"] == ("destinations",) else 'wanted a list, as ["A", "B"]'
    if fault["type"] in ("model_type", "model_attributes_type"):
        return "wanted a section, with keys of its own"
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "value_error":  # our own words, which show no password of a URL
        return str(fault["msg"]).removeprefix("Value error, ")
    found = f", not {fault['input']!r}" if isinstance(fault["input"], int | float | str) else ""
    return str(fault["msg"]).replace("Input should be", "should be") + found


def _keys_of(section: list[str]) -> list[str]:
    """The keys that there are in a section, [] being the file itself and ["destinations", "0"] an entry."""
    if not section:
        return list(Settings.model_fields)
    if section[0] == "destinations":
        return list(DestinationSettings.model_fields)
    return list(getattr(Settings.model_fields[section[0]].annotation, "model_fields", {}))


def _has_one_twice(names: Iterable[str]) -> bool:
    listed = list(names)
    return len(set(listed)) != len(listed)


def _override(values: dict[str, Any], environ: dict[str, str]) -> dict[tuple[str, ...], str]:
    """CMDIFF_SLICE__KEY=value and CMDIFF_STATE=value into `values`; lists are comma-separated. Which variable set which key."""
    overridden: dict[tuple[str, ...], str] = {}
    for name, text in sorted(environ.items()):
        part, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name == f"{ENVIRONMENT_PREFIX}STATE":
            values["state"] = text
            overridden["state",] = name
        if not name.startswith(ENVIRONMENT_PREFIX) or not key or part == "destinations":
            continue
        given = values.setdefault(part, {})
        if isinstance(given, dict):  # else a fault of the file, which is told with all others
            given[key] = [piece.strip() for piece in text.split(",") if piece.strip()] if _is_list(part, key) else text
            overridden[(part, key) if part in Settings.model_fields else (part,)] = name
    return overridden


def _misnamed(environ: Mapping[str, str]) -> list[str]:
    """Variables that were meant to set something, and do not: one fault for each. Kubernetes tells of its services by tcp://."""
    keys = [f"{part}__{key}" for part in Settings.model_fields if part != "destinations" for key in _keys_of([part])]
    known = [SETTINGS_VARIABLE, *(f"{ENVIRONMENT_PREFIX}{key}".upper() for key in ("state", *keys))]
    faults = []
    for name in sorted(set(environ) - set(known)):
        if name.startswith(f"{ENVIRONMENT_PREFIX}DESTINATIONS"):
            faults.append(f"{name}: destinations are set in the file alone")
        elif name.startswith(ENVIRONMENT_PREFIX) and "__" not in name and not environ[name].startswith("tcp://"):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            faults += [f"{name}: sets nothing; {meant} perhaps" for meant in near]
    return faults


def _is_list(part: str, key: str) -> bool:
    field = Settings.model_fields.get(part)
    of_slice = getattr(field and field.annotation, "model_fields", {})
    return key in of_slice and "tuple" in str(of_slice[key].annotation)
