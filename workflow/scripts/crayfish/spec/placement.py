"""Which nodes the parts of a run are on: node 0 has the harness, whose clock tells all latencies.

In a config it is a mapping, `{broker: 1, processor: [2, 3]}`; in a RunSpec and in a run's name a text, which this
module makes of it: "broker1+processor2.3". What is on node 0 is not named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from crayfish.spec.errors import CrayfishError

CLIENTS = ("generator", "sink")
PARTS = ("broker", "processor", "server", *CLIENTS)
WORD = re.compile(rf"({'|'.join(PARTS)})(\d+(?:\.\d+)*)")
HERE = (0,)


def text(placement: Mapping[str, int | Sequence[int]], external: bool, most: Mapping[str, int]) -> str:
    """The text of a mapping for a run; a server's node is left out where the scorer is not an external one.

    most: part -> how many instances it has, which can be on no more nodes.
    """
    words = []
    for part in PARTS:
        nodes = placement.get(part, 0)
        numbers = (nodes,) if isinstance(nodes, int) else tuple(nodes)
        numbers = numbers[: most.get(part, len(numbers))]
        if numbers != HERE and (external or part != "server"):
            words.append(part + ".".join(map(str, numbers)))
    return "+".join(words)


def parsed(told: str) -> dict[str, tuple[int, ...]]:
    """Part -> its nodes, of all PARTS. CrayfishError for a text that is none."""
    found: dict[str, tuple[int, ...]] = {}
    for word in told.split("+") if told else ():
        match = WORD.fullmatch(word)
        if not match or match[1] in found:
            raise CrayfishError(
                f"run.placement: {told!r}: allowed: {', '.join(PARTS)}, each once and with its nodes, as in"
                " broker1+processor2.3; in a config: placement: {broker: 1, processor: [2, 3]}"
            )
        nodes = found[match[1]] = tuple(map(int, match[2].split(".")))
        if len(set(nodes)) < len(nodes):
            raise CrayfishError(f"run.placement: {told!r}: {match[1]} is twice on one node")
    return {part: found.get(part, HERE) for part in PARTS}


def nodes(told: str) -> int:
    """How many nodes a run takes: those up to the last one that a part is on."""
    return 1 + max(number for numbers in parsed(told).values() for number in numbers)
