"""A command as its user calls it, but a fault is raised, not told."""

from cmdiff_dicom.cli import build_parser


def called(command: str, *given: object) -> int:
    arguments = build_parser(command).parse_args([command, *map(str, given)])
    return arguments.command(arguments)
