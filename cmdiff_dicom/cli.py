"""The command line: parse, call one function, print. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmdiff_dicom import __version__
from cmdiff_dicom.errors import CmdiffError, SettingsFault
from cmdiff_dicom.settings import Settings, read_settings, settings_file

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
Command = Callable[[argparse.Namespace], int]

EPILOG = """\
Begin with:
  cmdiff-dicom demo                                  the whole trip on this machine, with a synthetic patient
  cmdiff-dicom segment STUDY --output RESULT         one folder of DICOM files, without network or queue
  cmdiff-dicom check --settings settings.toml        is everything in place, and what to mend
  cmdiff-dicom run --settings settings.toml          serve: listener, dispatcher, workers and a Redis of its own

Exit status: 0 done, 1 a fault (told on stderr), 2 a wrong command line; `check`: 1 something is to be mended;
`jobs retry`: 1 nothing to retry; `segment`: 3 not analysed, 4 no tumour found.
Research use, not for diagnosis.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and answers its exit status; our own faults end as one message, never as a traceback."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = build_parser(given[0] if given else "").parse_args(given)
        command: Command = arguments.command
        return command(arguments)
    except CmdiffError as error:
        print(f"cmdiff-dicom: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        extra = "train" if error.name == "monai" else "infer"
        print(f"cmdiff-dicom: the Python package {error.name} is needed: pip install 'cmdiff-dicom[{extra}]'", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output, `head` perhaps, has left
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"cmdiff-dicom: {where}{error.strerror or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser(asked: str = "") -> argparse.ArgumentParser:
    """All commands, each with a help that shows an example; only the command `asked` for gets another module's options."""
    parser = argparse.ArgumentParser(
        prog="cmdiff-dicom",
        description="A DICOM node that receives brain MRI, segments tumours with CMDiff and returns a DICOM-SEG.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cmdiff-dicom {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serving(commands)
    _add_looking(commands)
    _add_working(commands)
    _add_rooms(commands, asked)
    return parser


# --- processes that serve -----------------------------------------------------------------------


def _add_serving(commands: Commands) -> None:
    _add(commands, "run", _run, "everything on this machine: listener, dispatcher, workers, and a Redis of its own",
         "cmdiff-dicom run --settings /etc/cmdiff-dicom/settings.toml")  # fmt: skip
    listen = _add(commands, "listen", _listen, "receive studies by C-STORE, and settle them",
                  "cmdiff-dicom listen --settings settings.toml")  # fmt: skip
    listen.add_argument("--no-dispatcher", action="store_true", help="only receive; a `dispatch` runs elsewhere")
    _add(commands, "dispatch", _dispatch, "settle studies, ring workers, pick up what was lost",
         "cmdiff-dicom dispatch --settings settings.toml")  # fmt: skip
    worker = _add(commands, "worker", _worker, "segment studies and deliver results",
                  "cmdiff-dicom worker --queues deliver        # a host without a GPU and without torch")  # fmt: skip
    worker.add_argument("--queues", default="segment,deliver", metavar="QUEUE[,QUEUE]",
                        help="what to serve: segment, deliver or both (default %(default)s)")  # fmt: skip
    worker.add_argument("--child", action="store_true", help=argparse.SUPPRESS)


def _run(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom import services

    return services.run(_settings(arguments), arguments.settings)


def _listen(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom import services

    return services.listen(_settings(arguments), with_dispatcher=not arguments.no_dispatcher)


def _dispatch(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom import services

    return services.dispatch(_settings(arguments))


def _worker(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom import services
    from cmdiff_dicom.dispatch import DELIVER_QUEUE, SEGMENT_QUEUE

    queues = [queue.strip() for queue in arguments.queues.split(",") if queue.strip()]
    if not queues or set(queues) - {SEGMENT_QUEUE, DELIVER_QUEUE}:
        raise SettingsFault(f"--queues {arguments.queues}: wanted {SEGMENT_QUEUE} or {DELIVER_QUEUE}, or both with a comma")
    settings = _settings(arguments)
    if arguments.child:
        return services.serve(settings, queues[0])
    return services.worker(settings, queues, arguments.settings)


# --- looking ------------------------------------------------------------------------------------

QUERY = "a Study Instance UID, an accession number, or 8 digits or more of a job key"


def _add_looking(commands: Commands) -> None:
    check = _add(commands, "check", _check, "test settings, network, PACS, Redis, disks, device and weights; say what to mend",
                 "cmdiff-dicom check --settings settings.toml")  # fmt: skip
    jobs = commands.add_parser("jobs", **_words("where every study is, and why", "cmdiff-dicom jobs list"))
    verbs = jobs.add_subparsers(title="verbs", metavar="VERB", required=True)
    listing = _add(verbs, "list", _jobs_list, "the newest jobs with their state and reason",
                   "cmdiff-dicom jobs list --limit 20\n  cmdiff-dicom jobs list ACC1234")  # fmt: skip
    listing.add_argument("query", nargs="?", help=QUERY)
    listing.add_argument("--limit", type=_count, default=50, metavar="N", help="how many (default %(default)s)")
    show = _add(verbs, "show", _jobs_show, "one study: its jobs, deliveries and history",
                "cmdiff-dicom jobs show ACC1234")  # fmt: skip
    show.add_argument("query", help=QUERY)
    retry = _add(verbs, "retry", _jobs_retry, "a failed or refused job, or deliveries that failed or lack commitment, again",
                 "cmdiff-dicom jobs retry ACC1234")  # fmt: skip
    retry.add_argument("query", help=QUERY)
    for parser in (check, listing, show, retry):
        parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def _check(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom.checkup import check_everything, print_findings, which_file

    settings = _settings(arguments)
    findings = (which_file(settings_file(arguments.settings, os.environ)), *check_everything(settings))
    if arguments.json:
        print(json.dumps([finding.__dict__ for finding in findings], indent=2, default=str))
    else:
        print_findings(findings)
    return 1 if any(finding.level == "FAIL" for finding in findings) else 0


def _jobs_list(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom import jobs_view

    return jobs_view.show_list(_settings(arguments), arguments.query, arguments.limit, arguments.json)


def _jobs_show(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom import jobs_view

    return jobs_view.show_one(_settings(arguments), arguments.query, arguments.json)


def _jobs_retry(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom import jobs_view

    return jobs_view.retry(_settings(arguments), arguments.query, arguments.json)


# --- working on folders -------------------------------------------------------------------------


def _add_working(commands: Commands) -> None:
    segment = _add(commands, "segment", _segment, "segment one folder of DICOM files, without network or queue",
                   "cmdiff-dicom segment STUDY --output RESULT")  # fmt: skip
    segment.add_argument("folder", type=Path, help="one study's DICOM files, in any order and depth")
    segment.add_argument("--output", type=Path, required=True, metavar="FOLDER",
                         help="gets segmentation.dcm, overlay.png and summary.json")  # fmt: skip
    segment.add_argument("--weights", metavar="FILE", help="other weights than those of the settings")
    segment.add_argument("--device", help="auto, cpu, cuda or cuda:N, instead of that of the settings")
    explain = _add(commands, "explain", _explain, "which series would serve as which sequence, and why",
                   "cmdiff-dicom explain STUDY")  # fmt: skip
    explain.add_argument("folder", type=Path, help="DICOM files of one or more studies, in any order and depth")


def _segment(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom.segment_folder import segment_folder

    settings = _settings(arguments)
    given = {"weights": arguments.weights, "device": arguments.device}
    changes = {name: value for name, value in given.items() if value is not None}
    chosen = settings.segment.model_copy(update=changes)
    outcome = segment_folder(arguments.folder, arguments.output, chosen, settings.dispatch.min_slices)
    print(outcome.text)
    return outcome.status


def _explain(arguments: argparse.Namespace) -> int:
    from cmdiff_dicom.segment_folder import explain_folder

    print(explain_folder(arguments.folder, _settings(arguments).dispatch.min_slices))
    return 0


# --- commands of other rooms ----------------------------------------------------------------------

ROOMS = (
    ("demo", "cmdiff_dicom.phantom.demo", "cmdiff-dicom demo --seed 3",
     "the whole trip on this machine: a small PACS, a synthetic patient, the overlay back in the PACS"),
    ("train", "cmdiff_dicom.research.train", "cmdiff-dicom train --data FOLDER --out RUN", "train the network"),
    ("evaluate", "cmdiff_dicom.research.evaluate", "cmdiff-dicom evaluate --data FOLDER --json FILE",
     "score weights on labelled studies"),
    ("ablate", "cmdiff_dicom.research.ablate", "cmdiff-dicom ablate --data FOLDER", "compare variants of the method"),
)  # fmt: skip
"""Name, module with `add_arguments(parser)` and `run(arguments) -> int`, example, help."""


def _add_rooms(commands: Commands, asked: str) -> None:
    for name, module, example, text in ROOMS:
        parser = commands.add_parser(name, **_words(text, example))
        if name == asked:  # the others' modules may load libraries that this process is better without
            room = import_module(module)
            room.add_arguments(parser)
            parser.set_defaults(command=room.run)


# --- common -------------------------------------------------------------------------------------


def _add(commands: Commands, name: str, command: Command, text: str, example: str) -> argparse.ArgumentParser:
    """One command with its help, an example, and the option that all share."""
    parser = commands.add_parser(name, **_words(text, example))
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings.toml (else CMDIFF_SETTINGS, else the defaults)")
    parser.set_defaults(command=command)
    return parser


def _words(text: str, example: str) -> dict[str, Any]:
    """A command's help in the list, its description, and its example."""
    return {
        "help": text,
        "description": f"{text[0].upper()}{text[1:]}.",
        "epilog": f"Example:\n  {example}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("1 or more is wanted")
    return int(text)


def _settings(arguments: argparse.Namespace) -> Settings:
    return read_settings(arguments.settings)


if __name__ == "__main__":
    sys.exit(main())
