"""The JVM inside a Python process, on a real one."""

import os
import subprocess

from conftest import ROOT

from crayfish.engine.child import SCRIPTS
from crayfish.spec import discovery, paths

DEADLINE_S = 60
# What a processor does whose instances are threads; the process is to end after its last line.
IN_A_THREAD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from crayfish.engine import jvm
from crayfish.spec.run_spec import Job, RunSpec, Segment

spec = RunSpec("kafka_streams", "nd4j", (Segment("constant", rate=1.0),))
jars = tuple(str(jar) for jar in jvm.jar_files([Path(folder) for folder in sys.argv[1:]]))
job = Job.without_kafka(spec, ".", scorer_jars=jars)
with ThreadPoolExecutor(1) as pool:
    pool.submit(jvm.start, job).result()
"""


def test_a_process_ends_though_another_thread_has_started_its_jvm(resources, tmp_path):
    command = [str(ROOT / paths.interpreter("kafka_streams")), "-c", IN_A_THREAD]
    command += [str(ROOT / paths.jar_set(name)) for name in discovery.scorer("nd4j").jars]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
