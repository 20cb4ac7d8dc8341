"""Listener, dispatcher and deliver worker run without torch, SimpleITK and highdicom."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node import free_port
from tests.support.small_weights import write_small_weights

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "SimpleITK", "highdicom", "scipy", "matplotlib", "deepbet")

LISTENER = """
with services.listening(settings) as listener:
    import time
    time.sleep(0.5)          # a few ticks of the dispatcher
"""
DISPATCHER = """
ledger, spool = parts.open_the_ledger(settings), parts.open_spool(settings)
parts.build_dispatcher(settings, ledger, spool).tick()
parts.recogniser(settings)(())
"""
DELIVER = """
from cmdiff_dicom.dispatch import make_celery_app
ledger, spool = parts.open_the_ledger(settings), parts.open_spool(settings)
deliver, ask = parts.deliver_worker(settings, ledger, spool)
make_celery_app(settings.queue.url, services._not_here, deliver, ask)
deliver(1)
ask(1)
parts.destinations(settings, ledger)("here").check()
"""


@pytest.mark.parametrize("process", [LISTENER, DISPATCHER, DELIVER], ids=["listen", "dispatch", "deliver"])
def test_a_process_that_does_not_segment_loads_none_of_what_segmenting_needs(tmp_path, process):
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'state = "{tmp_path / "state"}"\n[listen]\nhost = "127.0.0.1"\nport = {free_port()}\n[dispatch]\ntick_s = 0.1\n'
        f'[segment]\nweights = "{write_small_weights(tmp_path / "w.safetensors")}"\n[spool]\nlow_water_gb = 0\nfloor_gb = 0\n'
        f'[[destinations]]\nname = "here"\nkind = "folder"\nfolder = "{tmp_path}"\n'
    )
    code = f"""
import json, sys
from pathlib import Path
from cmdiff_dicom import parts, services
from cmdiff_dicom.settings import read_settings
settings = read_settings(Path({str(settings)!r}))
{process}
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == []
