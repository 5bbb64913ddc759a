"""A Kafka of strangers, with TLS and SCRAM, three brokers: every client of a run reaches it, tells nobody the secret,
takes its turn there, and leaves nothing."""

import contextlib
import re
import signal
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from conftest import assert_nothing_left, awaited, sampled
from secure_kafka import COPIES, LOGIN, NAME, SECRET, SecureKafka
from test_contract import assert_answered_once_and_rightly
from test_contract import spec_of as made_spec

from crayfish.engine import jvm, secure
from crayfish.harness import broker, given
from crayfish.spec import discovery
from crayfish.spec.errors import CrayfishError, NotMade

LOAD = {"kind": "constant", "rate": 50.0, "warmup_s": 0.5, "warmup_at_most_s": 0.5, "measure_s": 1.5}
PROCESSORS = tuple(discovery.names("processors"))
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def strangers(resources, tmp_path_factory) -> Iterator[SecureKafka]:
    jars = sorted(map(str, (resources / "jars/kafka").glob("*.jar")))
    kafka = SecureKafka(jvm.find().executable, jars, tmp_path_factory.mktemp("strangers") / "kafka")
    yield kafka
    kafka.stop()


def spec_of(processor: str, **more: object):
    scorer = "noop" if discovery.processor(processor).floor else "onnx"
    return made_spec({"processor": processor, "scorer": scorer, "segments": [LOAD], **more})


def options(kafka: SecureKafka) -> dict[str, object]:
    return {"broker-address": kafka.servers, "kafka-client": kafka.client_file}


@pytest.mark.parametrize("processor", sampled(PROCESSORS, 0, step=3))
def test_every_client_proves_who_it_is_and_no_secret_is_told(harness, strangers, tmp_path, processor):
    seen: list[str] = []
    out = tmp_path / "run"
    spec = spec_of(processor)

    def start(*arguments: object, **settings: object):
        run = harness(*arguments, **settings)
        run.await_log("segment 1/1")
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                seen.append(" ".join(process.cmdline()))
        return run

    manifest = assert_answered_once_and_rightly(start, spec, out, 100, **options(strangers))
    strangers.live()
    assert manifest["topics"] == {"replication_factor": COPIES, "min.insync.replicas": "2"}
    assert not [line for line in seen if SECRET in line and "kafka.tools" not in line]
    told = [file for file in [*out.rglob("*")] if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert told == []
    assert manifest["clients"]["generator"]["sasl.password"] == secure.HIDDEN
    awaited(lambda: strangers.topics() <= {given.TOPIC} or None, DEADLINE_S, "the removal of its topics")
    assert strangers.groups() <= {given.GROUP}


def test_two_runs_take_turns_and_the_second_is_told_whose_it_is(harness, strangers, tmp_path, monkeypatch):
    monkeypatch.setattr(given, "TURN_DEADLINE_S", 5.0)
    run = harness(spec_of("relay", segments=[{**LOAD, "measure_s": 20}]), tmp_path / "run", **options(strangers))
    run.await_log("segment 1/1")
    with pytest.raises(NotMade, match=rf"another Crayfish run measures on the Kafka at .*process {run.process.pid} of"):
        given.Turn(strangers.servers, str(strangers.client_file), lambda: None).__enter__()
    output = run.finish()
    assert run.process.returncode == 0, output
    with given.Turn(strangers.servers, str(strangers.client_file), lambda: None) as turn:
        turn.check()


def test_a_topic_that_its_broker_hears_of_late_is_waited_for(strangers, monkeypatch):
    monkeypatch.setattr(given, "TOPIC", "crayfish-turns-late")
    monkeypatch.setattr(given, "GROUP", "crayfish-measures-late")
    make = broker.make_topics
    monkeypatch.setattr(broker, "make_topics", lambda *asked: threading.Timer(3, make, asked).start())
    with given.Turn(strangers.servers, str(strangers.client_file), lambda: None) as turn:
        turn.check()
    broker.remove_topics(strangers.admin, [given.TOPIC])
    given.remove_groups(strangers.admin, [given.GROUP])


def test_what_a_killed_run_has_left_goes_after_a_day(harness, strangers, tmp_path):
    run = harness(spec_of("relay", segments=[{**LOAD, "measure_s": 60}]), tmp_path / "run", **options(strangers))
    run.await_log("segment 1/1")
    run.process.send_signal(signal.SIGKILL)
    run.finish()
    assert_nothing_left(run.before)
    left = strangers.topics() - {given.TOPIC}
    assert len(left) == 2
    assert given.sweep(strangers.admin, time.time()) == [], "it may still run"
    removed = given.sweep(strangers.admin, time.time() + given.OLD_S + 60)
    assert left <= set(removed)
    awaited(lambda: strangers.topics() <= {given.TOPIC} or None, DEADLINE_S, "the removal of its topics")


def test_a_wrong_secret_is_told_without_it(harness, strangers, tmp_path):
    wrong = tmp_path / "client.properties"
    wrong.write_text(strangers.client_file.read_text().replace(SECRET, "not-the-one"))
    run = harness(spec_of("relay"), tmp_path / "run", **{**options(strangers), "kafka-client": wrong})
    output = run.finish()
    assert f"{strangers.servers} refuses the clients that {wrong} describes: " in output, output
    assert "uthentication failed" in output, output
    assert "not-the-one" not in output
    run.assert_failed_cleanly(output)


# --- the file --------------------------------------------------------------------------------------------------------


def written(tmp_path, **changed: object):
    values = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": LOGIN,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "/ca.pem",
        **{name.replace("_", "."): value for name, value in changed.items()},
    }
    file = tmp_path / "client.properties"
    file.write_text("! a comment\n\n" + "".join(f"{name} = {value}\n" for name, value in values.items() if value))
    return str(file)


def test_one_file_serves_java_and_librdkafka(tmp_path):
    file = written(tmp_path, **{"ssl_endpoint_identification_algorithm": None})
    assert secure.java(file)["sasl.jaas.config"] == LOGIN
    assert secure.java(file, "shaded.")["sasl.jaas.config"].startswith("shaded.org.apache.kafka.common.security.scram.")
    assert secure.librdkafka(file) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "ssl.ca.location": "/ca.pem",
        "sasl.username": NAME,
        "sasl.password": SECRET,
    }
    assert secure.java(None) == secure.librdkafka(None) == {}
    told = str([secure.hidden(secure.java(file)), secure.hidden(secure.librdkafka(file))])
    assert SECRET not in told and re.search(rf"'sasl\.password': '{re.escape(secure.HIDDEN)}'", told)
    assert secure.hidden({"kafka.sasl.jaas.config": LOGIN}) == {"kafka.sasl.jaas.config": secure.HIDDEN}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"security_protocol": "TLS"}, "security.protocol is 'TLS'; allowed: SSL, SASL_SSL"),
        ({"ssl_truststore_type": "JKS"}, "ssl.truststore.type must be PEM"),
        ({"sasl_mechanism": "GSSAPI"}, "sasl.mechanism is 'GSSAPI'; allowed: PLAIN, SCRAM"),
        ({"sasl_jaas_config": "what;"}, "sasl.jaas.config must have the form"),
        ({"group_id": "mine"}, "line 8: 'group.id' is not known; allowed: security.protocol"),
    ],
)
def test_what_the_file_may_say(tmp_path, changed, told):
    with pytest.raises(CrayfishError, match=re.escape(told)) as error:
        secure.read(written(tmp_path, **changed))
    assert SECRET not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CrayfishError, match=r"kafka_client: .*nothing cannot be read"):
        secure.java(str(tmp_path / "nothing"))


def test_names_tell_their_age():
    name = given.name_of("0123456789abcdef", 1_790_000_000.4)
    assert name == "crayfish-1790000000-0123456789ab"
    assert not given.is_old(name, 1_790_000_000 + given.OLD_S) and given.is_old(f"{name}-input", 1_790_100_000)
    assert not given.is_old("crayfish-turns", 1e10) and not given.is_old("other-1-0123456789ab", 1e10)
