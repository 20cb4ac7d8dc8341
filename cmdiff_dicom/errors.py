"""What can go wrong, ordered by what happens next.

    CmdiffError
    ├── Refused   this study cannot be done; never retried, told to the user by name
    │   ├── NoUsableSequence       no stack that could serve as a reference
    │   ├── UnreadablePixels       truncated or undecodable pixel data
    │   ├── EnhancedNotSupported   Enhanced MR is stored but not read yet
    │   ├── RegistrationFailed     no pose explains two sequences
    │   ├── BrainNotFound          no plausible brain mask
    │   └── TwoPatients            two patients under one Study Instance UID
    ├── NotNow    an outer thing is missing; the ledger retries with backoff
    │   ├── PacsUnavailable        no connection, association rejected, out of resources
    │   ├── SpoolFull              the disk is below its hard floor
    │   ├── StoreUnavailable       the ledger's database does not answer
    │   ├── BrokerUnavailable      Redis does not answer
    │   └── DeviceOutOfMemory      the accelerator is full
    └── Broken    something of ours or of the installation; stop and say so
        ├── SettingsFault          the settings file or an option is wrong
        ├── WeightsFault           weights missing, altered, or of another version
        ├── EncodingFault          a DICOM object of ours would not be right
        ├── DeliveryRefused        the destination refused for good
        ├── CommitmentRefused      the destination has the object and will not commit to it
        └── UnreadableInstance     bytes that are no DICOM data set

Texts say where, what was found, what was wanted and the next step; never the value of a patient's
element. Errors met at the listener carry the C-STORE status to answer with (PS3.4 Table B.2-1).
"""

from __future__ import annotations


class CmdiffError(Exception):
    """Everything that this package raises on purpose."""

    dimse_status: int = 0x0110
    """What the listener answers a C-STORE with that ended so."""

    def __init__(self, text: str, peer_status: int | None = None) -> None:
        """`peer_status` is what a peer answered us, where that was the fault."""
        super().__init__(text)
        self.peer_status = peer_status

    @property
    def reason(self) -> str:
        """One line for `jobs show`: the kind of fault and its text."""
        return f"{type(self).__name__}: {self}"


class Refused(CmdiffError):
    """This study cannot be analysed; a retry would end the same way."""


class NoUsableSequence(Refused):
    """Nothing in the study can serve: which sequences were found, which were wanted."""


class UnreadablePixels(Refused):
    """Pixel data are cut short or in a form that cannot be decoded."""


class EnhancedNotSupported(Refused):
    """The study came as Enhanced MR, which is stored but not read by this version."""


class RegistrationFailed(Refused):
    """No rigid pose brings one sequence onto the reference."""


class BrainNotFound(Refused):
    """No sequence gave a plausible brain mask."""


class TooDoubtful(Refused):
    """Of too few sequences something was found, and it is too unsure of it to be told."""


class TwoPatients(Refused):
    """Two different patients stand under one Study Instance UID."""


class NotNow(CmdiffError):
    """Something outside is missing for the moment; the ledger tries again."""

    dimse_status = 0xA700


class PacsUnavailable(NotNow):
    """A destination could not be reached or had no resources."""


class SpoolFull(NotNow):
    """The spool's disk is below its hard floor."""


class StoreUnavailable(NotNow):
    """The ledger's database does not answer or could not commit."""


class BrokerUnavailable(NotNow):
    """Redis does not answer; jobs stay in the ledger and are rung again."""


class DeviceOutOfMemory(NotNow):
    """The accelerator has too little free memory for one study."""


class Broken(CmdiffError):
    """Something of the installation is wrong; a person has to mend it."""


class SettingsFault(Broken):
    """The settings are wrong; the text lists every fault."""


class WeightsFault(Broken):
    """The weights are missing, altered, or of a form that this version does not know."""


class EncodingFault(Broken):
    """A result object would not say what was computed, so it is not sent."""


class DeliveryRefused(Broken):
    """A destination refused an object for good."""


class CommitmentRefused(Broken):
    """A destination that has an object does not take requests to commit to it."""


class UnreadableInstance(Broken):
    """Received bytes that cannot be understood as a DICOM data set with the UIDs that an instance needs."""

    dimse_status = 0xC000
