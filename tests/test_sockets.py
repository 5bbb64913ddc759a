"""What listens during a run: on the loopback alone, and what answers without a secret stands in docs/security.md."""

import contextlib
import re
import socket

import psutil
import pytest
from conftest import ROOT, sampled
from sampling import EXTERNAL, FLOORS, PROCESSORS

from crayfish.engine import child
from crayfish.harness import stages

LOAD = {"kind": "constant", "rate": 50.0, "warmup_s": 1.0, "measure_s": 60.0}
ASK_DEADLINE_S = 2.0
ANSWER_BYTES = 64
# What is said in each language to whoever listens, and how an answer begins that no secret was needed for.
ASKED = {
    "http": (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", rb"HTTP/1\.1 (?!401|403)"),
    "grpc": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", rb"\x00..\x04\x00"),
    "kafka": (b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff", rb"\x00\x00..\x00\x00\x00\x01\x00\x00"),
    "py4j": (b"r\nu\njava.lang.System\nrj\ne\n", rb"!y"),
}
LISTED = re.compile(r"^\| `(\w+)` \| [^|]+ \| `(\w+)` \|", re.MULTILINE)


def answers(address: tuple[str, int], language: str) -> bool:
    """Whether what listens there answers in this language to somebody without a secret."""
    request, answer = ASKED[language]
    try:
        with socket.create_connection(address, ASK_DEADLINE_S) as connection:
            connection.sendall(request)
            return bool(re.match(answer, connection.recv(ANSWER_BYTES), re.DOTALL))
    except OSError:
        return False


def listening(tag: str) -> set[tuple[str, str, int]]:
    """(stage, address, port) of every port on which a process of a run listens."""
    found = set()
    for process in stages.tagged(tag):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            ports = [one.laddr for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
            found |= {(process.environ()[stages.STAGE], address.ip, address.port) for address in ports}
    return found


PAIRS = (
    *((name, "noop") for name in FLOORS),
    *((name, "onnx") for name in PROCESSORS),
    *(("kafka_streams", name) for name in EXTERNAL),
)


@pytest.mark.parametrize("pair", sampled(PAIRS, 1), ids="-".join)
def test_what_listens_is_on_the_loopback_and_what_answers_anybody_is_told(harness, tmp_path, pair):
    processor, scorer = pair
    run = harness({"processor": processor, "scorer": scorer, "parallelism": 2, "segments": [LOAD]}, tmp_path / "run")
    run.await_log("sent")
    found = listening(run.stage("processor").environ()[child.TAG])
    parts = {"broker": "kafka", "processor": processor, "server": scorer}
    told = {
        (parts[stage], language) for stage, ip, port in found for language in ASKED if answers((ip, port), language)
    }
    run.process.terminate()
    run.finish(60)
    assert {ip for _, ip, _ in found} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert ("kafka", "kafka") in told, "the broker does not answer: this asks wrongly"
    assert told <= set(LISTED.findall((ROOT / "docs/security.md").read_text())), sorted(found)
