"""How clients prove who they are to a Kafka that is there already: a file in the form of Kafka's client.properties.

Its path goes from process to process, never what it says. Java's clients take its settings as they are; librdkafka has
other names for some, and reads certificates as PEM alone.
"""

from __future__ import annotations

import re
from pathlib import Path

from crayfish.spec.errors import CrayfishError

MODULES = {"PLAIN": "plain.PlainLoginModule", "SCRAM-SHA-256": "scram.ScramLoginModule"}
MODULES["SCRAM-SHA-512"] = MODULES["SCRAM-SHA-256"]
PACKAGE = "org.apache.kafka.common.security."
LOGIN = re.compile(r'[\w.]+\.(?:Plain|Scram)LoginModule\s+required\s+username="([^"]+)"\s+password="([^"]+)"\s*;')
PROTOCOLS = ("SSL", "SASL_SSL", "SASL_PLAINTEXT", "PLAINTEXT")
# Java's name -> librdkafka's; None: it has another form there.
NAMES = {
    "security.protocol": "security.protocol",
    "sasl.mechanism": "sasl.mechanism",
    "sasl.jaas.config": None,
    "ssl.truststore.type": None,
    "ssl.truststore.location": "ssl.ca.location",
    "ssl.keystore.type": None,
    "ssl.keystore.location": "ssl.certificate.location",
    "ssl.key.password": "ssl.key.password",
    "ssl.endpoint.identification.algorithm": None,
}
SECRET = ("sasl.jaas.config", "sasl.password", "ssl.key.password")
HIDDEN = "(not told)"


def read(file: str) -> dict[str, str]:
    """The settings of such a file. CrayfishError for what cannot be read, is not known, or only Java could use."""
    try:
        text = Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CrayfishError(f"kafka_client: {file} cannot be read: {error}") from error
    found = {}
    for number, line in enumerate(re.sub(r"\\\n\s*", "", text).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or name not in NAMES:
            raise CrayfishError(
                f"kafka_client: {file}, line {number}: {name!r} is not known; allowed: {', '.join(NAMES)}"
            )
        found[name] = value
    _check(file, found)
    return found


def _check(file: str, found: dict[str, str]) -> None:
    protocol = found.get("security.protocol", "")
    if protocol not in PROTOCOLS:
        raise CrayfishError(f"kafka_client: {file}: security.protocol is {protocol!r}; allowed: {', '.join(PROTOCOLS)}")
    for store in ("truststore", "keystore"):
        if f"ssl.{store}.location" in found and found.get(f"ssl.{store}.type") != "PEM":
            raise CrayfishError(
                f"kafka_client: {file}: ssl.{store}.type must be PEM, which all clients read: openssl makes one of"
                " another store"
            )
    if protocol.startswith("SASL"):
        if (mechanism := found.get("sasl.mechanism", "")) not in MODULES:
            raise CrayfishError(f"kafka_client: {file}: sasl.mechanism is {mechanism!r}; allowed: {', '.join(MODULES)}")
        if not LOGIN.fullmatch(found.get("sasl.jaas.config", "")):
            raise CrayfishError(
                f"kafka_client: {file}: sasl.jaas.config must have the form {PACKAGE}{MODULES[mechanism]} required"
                ' username="NAME" password="SECRET";'
            )


def java(file: str | None, shaded: str = "") -> dict[str, object]:
    """Of one of Kafka's own clients; shaded: what an engine puts before the names of Kafka's packages."""
    if file is None:
        return {}
    found: dict[str, object] = dict(read(file))
    if "sasl.jaas.config" in found:
        module = f"{shaded}{PACKAGE}{MODULES[str(found['sasl.mechanism'])]}"
        found["sasl.jaas.config"] = re.sub(r"^\S+", module, str(found["sasl.jaas.config"]))
    return found


def librdkafka(file: str | None) -> dict[str, object]:
    """Of one of confluent-kafka."""
    if file is None:
        return {}
    given = read(file)
    found: dict[str, object] = {
        name: given[java_name] for java_name, name in NAMES.items() if name and java_name in given
    }
    if "ssl.keystore.location" in given:  # a PEM store has both
        found["ssl.key.location"] = given["ssl.keystore.location"]
    if given.get("ssl.endpoint.identification.algorithm") == "":
        found["ssl.endpoint.identification.algorithm"] = "none"
    if login := LOGIN.fullmatch(given.get("sasl.jaas.config", "")):
        found |= {"sasl.username": login[1], "sasl.password": login[2]}
    return found


def hidden(settings: dict[str, object]) -> dict[str, object]:
    """The settings without what is secret, whatever an engine puts before the names."""
    return {name: HIDDEN if name.endswith(SECRET) else value for name, value in settings.items()}
