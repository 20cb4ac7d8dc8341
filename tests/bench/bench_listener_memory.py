"""What the listener's process holds in memory while it receives, the dispatcher aside. Wanted: under 200 MB after 5,000, and flat.

python tests/bench/bench_listener_memory.py [instances]
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.bench_receive import serve_durably
from tests.support.instances import mr_data_set
from tests.support.raw_peer import RawPeer

WANTED_MB = 200
FLAT_MB = 10
"""How much the second half of the instances may add."""


def resident_mb(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def main(instances: int = 5000) -> int:
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve_durably, args=(Path(name), theirs))
        server.start()
        port, seen = ours.recv(), []
        for start in range(0, instances, instances // 10):
            with RawPeer(port) as peer:  # a new association for each tenth, as senders come and go
                peer.associate()
                for number in range(start, start + instances // 10):
                    if peer.store(mr_data_set(f"1.2.{number}", number), f"1.2.{number}") != 0x0000:
                        raise RuntimeError(f"instance {number} was not stored")
                peer.release()
            seen.append(resident_mb(server.pid or 0))
            print(f"after {start + instances // 10:5d}: {seen[-1]:.1f} MB", flush=True)
        ours.send("stop")
        server.join()
    growth = seen[-1] - seen[len(seen) // 2]
    print(f"{seen[-1]:.1f} MB, wanted under {WANTED_MB}; the second half added {growth:.1f} MB, wanted under {FLAT_MB}")
    return 0 if seen[-1] < WANTED_MB and growth < FLAT_MB else 1


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.exit(main(*map(int, sys.argv[1:])))
