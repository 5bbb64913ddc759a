"""The JVM inside a Python process, on a real one."""

import os
import subprocess

import pytest
from conftest import ROOT

from crayfish.engine import jvm
from crayfish.engine.child import SCRIPTS
from crayfish.spec import discovery, paths
from crayfish.spec.errors import CrayfishError

DEADLINE_S = 60
# What a processor does whose instances are threads, with much for Java to let go of; it ends after its last line.
IN_A_THREAD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jpype

from crayfish.engine import jvm
from crayfish.spec.run_spec import Job, RunSpec, Segment

spec = RunSpec("kafka_streams", "nd4j", (Segment("constant", rate=1.0),))
jars = tuple(str(jar) for jar in jvm.jar_files([Path(folder) for folder in sys.argv[1:]]))
job = Job.without_kafka(spec, ".", scorer_jars=jars)
def use():
    jvm.start(job)
    held = jpype.java.util.ArrayList()
    for _ in range(20_000):
        held.add(jpype.JProxy("java.lang.Runnable", dict={"run": print}))
    held.clear()
    jpype.java.lang.System.gc()
with ThreadPoolExecutor(1) as pool:
    pool.submit(use).result()
"""


def test_a_process_ends_though_another_thread_has_started_its_jvm(resources, tmp_path):
    command = [str(ROOT / paths.interpreter("kafka_streams")), "-c", IN_A_THREAD]
    command += [str(ROOT / paths.jar_set(name)) for name in discovery.scorer("nd4j").jars]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_two_parts_set_an_option_of_the_jvm_inside_python_differently():
    parts = {"every JVM": jvm.OPTIONS}
    for room, part in (("processors", discovery.processor), ("scorers", discovery.scorer)):
        parts |= {name: part(name).jvm_options for name in discovery.names(room)}
    for processor in discovery.names("processors"):
        for scorer in discovery.names("scorers"):
            options = jvm.combined({name: parts[name] for name in ("every JVM", processor, scorer)})
            sizes = [option for option in options if option.startswith("-Xm") or option.endswith("GC")]
            assert sizes == ["-XX:+UseSerialGC", "-Xms256m", "-Xmx2g", "-Xmn48m"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-Xmx1g", "-Xmx2g"),
        ("-XX:+UseSerialGC", "-XX:+UseG1GC"),
        ("-XX:+DisableExplicitGC", "-XX:-DisableExplicitGC"),
        ("-Da.b=1", "-Da.b=2"),
        ("-XX:MaxDirectMemorySize=1g", "-XX:MaxDirectMemorySize=2g"),
    ],
)
def test_options_that_contradict_each_other_are_refused(one, other):
    assert jvm.combined({"engine": [one], "scorer": [one, "-Dx=y"]}) == [one, "-Dx=y"]
    with pytest.raises(CrayfishError, match="out of the jvm_options of scorer"):
        jvm.combined({"engine": [one], "scorer": [other]})
