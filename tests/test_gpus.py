"""GPUs: what is refused where none will do, what nvidia-smi's words are taken for, and what a table makes of them. No
GPU is needed: a run on one is not tested here (benchmarks/gpu.sh)."""

import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import DATASET, ROOT, assert_nothing_left, assert_nothing_written, awaited, snakemake
from generated_runs import folder_of, spec_of, write_run
from test_plan import CONFIG

from crayfish.engine import child
from crayfish.harness import gpus as sampling
from crayfish.results import captions, looks, tabulation
from crayfish.results.summaries import summarise
from crayfish.servers import torchserve, triton
from crayfish.spec import dependencies, discovery, gpus, inheritance, paths, plan, samples
from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.run_spec import Job, RunSpec, Segment

LOAD = Segment("constant", rate=10)
SCORERS = discovery.names("scorers")
ON_GPUS = [name for name in SCORERS if "cuda" in discovery.scorer(name).devices]
IDLE = "0, GPU-1a2b, NVIDIA H200, 580.95.05, 143771, 143100"
BUSY = "1, GPU-3c4d, NVIDIA H200, 580.95.05, 143771, 900"
PART = "0, GPU-1a2b, NVIDIA H200, 580.95.05, [N/A], [N/A]"


def spec(scorer: str = "onnx", **fields: object) -> RunSpec:
    return RunSpec("kafka_streams", scorer, (LOAD,), **{"device": "cuda", **fields})


def asked(*lines: str, visible: str = "not set") -> gpus.Asked:
    return gpus.told(0, "\n".join([visible, "/dev/nvidia0", *lines]) + "\n", "")


# --- what a run is


@pytest.mark.parametrize("scorer", ["noop", "nd4j", "dl4j", "tf_serving"])
def test_a_scorer_that_has_no_gpu_is_refused(scorer):
    with pytest.raises(CrayfishError, match=f"run.device: {scorer} does not offer 'cuda'; allowed: cpu"):
        spec(scorer)


def test_a_device_that_is_none_is_refused():
    with pytest.raises(CrayfishError, match=r"run.device: 'gpu' is not known; allowed: cpu, cuda"):
        spec(device="gpu")


def test_the_cpu_is_in_no_name():
    assert "cpu" not in spec(device="cpu").identifier and "_cuda_" in spec().identifier


@pytest.mark.parametrize("scorer", ON_GPUS)
@pytest.mark.parametrize("processor", [name for name in discovery.names("processors") if name != "relay"])
def test_every_pair_has_an_environment_for_it(processor, scorer):
    made = RunSpec(processor, scorer, (LOAD,), device="cuda")
    inputs = dependencies.run_inputs(made, {}, [])
    assert inputs["processor_python"] == [paths.interpreter(made.environments["processor"])]
    for name in made.environments.values():
        assert (ROOT / paths.environment_pins(name)).exists() and paths.packages(name) in inputs["packages"]
    own = {name for name in made.environments.values() if name.endswith("_cuda")}
    assert bool(own) == discovery.scorer(scorer).cuda_environment
    assert made.environments.keys() == ({"processor", "server"} if discovery.scorer(scorer).external else {"processor"})


def test_a_pair_without_its_environment_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert spec(device="cpu").environments == {"processor": "kafka_streams"}
    with pytest.raises(CrayfishError, match=r"needs the environment envs/kafka_streams_onnx_cuda.yaml, .* `make lock`"):
        spec()


def test_an_experiment_varies_it():
    block = {
        "vary": {"processor": ["kafka_streams"], "scorer": ["embedded"], "device": ["cpu", "cuda"]},
        "load": {"kind": "constant", "rate": 10},
    }
    made = plan.make_plan({**CONFIG, "experiments": {"devices": block}, "figures": {}, "draw": []})
    by_device = {
        device: {each.scorer for each in made.runs.values() if each.device == device} for device in ("cpu", "cuda")
    }
    embedded = {name for name in SCORERS if discovery.scorer(name).format and not discovery.scorer(name).external}
    assert by_device == {"cpu": embedded, "cuda": embedded & {*ON_GPUS}}
    assert any("does not offer 'cuda'" in line for line in made.left_out_lines())


# --- what nvidia-smi tells


def test_what_the_driver_tells_of_a_gpu():
    (gpu,) = asked(IDLE).gpus
    assert (gpu.index, gpu.uuid, gpu.name, gpu.driver) == ("0", "GPU-1a2b", "NVIDIA H200", "580.95.05")
    assert gpu.memory_bytes == 143771 * 2**20 and gpu.free_bytes == 143100 * 2**20
    assert gpus.required(asked(IDLE)).variables == {
        "CUDA_VISIBLE_DEVICES": "0",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "NVIDIA_TF32_OVERRIDE": "0",
    }


@pytest.mark.parametrize(
    ("visible", "index"),
    [("not set", "0"), ("0,1", "0"), ("1", "1"), ("1,0", "1"), ("GPU-3c", "1"), ("", None), ("-1", None), ("7", None)],
)
def test_the_first_that_is_visible_is_used(visible, index):
    gpu = gpus.chosen(asked(IDLE, BUSY, visible=visible))
    assert (gpu and gpu.index) == index
    if gpu:
        assert gpu.variables["CUDA_VISIBLE_DEVICES"] == index


def test_a_part_of_a_gpu_is_used_as_it_is_named():
    gpu = gpus.required(asked(PART, visible="MIG-77"))
    assert gpu.variables["CUDA_VISIBLE_DEVICES"] == "MIG-77" and gpu.free_bytes is None
    gpus.require_memory(gpu, spec(model="vgg19"), 8)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (gpus.told(127, "not set\n\n", "sh: 1: exec: nvidia-smi: not found"), "which is not on PATH; /dev/nvidia0 and"),
        (gpus.told(9, "0\n\nNVIDIA-SMI has failed\n", ""), "which failed: NVIDIA-SMI has failed; /dev/nvidia0 and"),
        (gpus.told(3, "", ""), "which failed: exit status 3"),
        (asked(), "which lists none; /dev/nvidia0 and further ones: /dev/nvidia0; CUDA_VISIBLE_DEVICES: not set."),
        (asked(IDLE, visible="-1"), r"which lists 0 \(NVIDIA H200\); .* CUDA_VISIBLE_DEVICES: -1\."),
    ],
)
def test_none_is_refused_with_what_was_looked_for(found, said):
    with pytest.raises(NotMade, match=f"run.device: 'cuda': no GPU was found here. Looked for: nvidia-smi, .*{said}"):
        gpus.required(found)


def test_the_memory_that_instances_need_on_it():
    busy = gpus.required(asked(BUSY))
    with pytest.raises(CrayfishError, match=r"4 instances of resnet50 need about 8\.6 GB of GPU memory .* 0\.9 GB of"):
        gpus.require_memory(busy, spec(model="resnet50", parallelism=4), 4)
    gpus.require_memory(gpus.required(asked(IDLE)), spec(model="resnet50", parallelism=4), 4)


@pytest.mark.parametrize(
    ("packages", "driver", "refused"),
    [
        ({"nvidia-cuda-runtime": "13.0.96"}, "580.95.05", False),
        ({"nvidia-cuda-runtime": "13.0.96"}, "570.86.15", True),
        ({"nvidia-cuda-runtime-cu12": "12.9.79"}, "570.86.15", False),
        ({"nvidia-cuda-runtime-cu12": "12.9.79"}, "470.57", True),
        ({"numpy": "2.1.3"}, "470.57", False),
    ],
)
def test_the_driver_that_an_environment_asks_for(packages, driver, refused):
    gpu = gpus.required(asked(IDLE.replace("580.95.05", driver)))
    try:
        gpus.require_driver(gpu, {"environment": "own", "packages": packages})
    except NotMade as error:
        assert refused and f"the driver {driver} of NVIDIA H200 is older than" in str(error) and "own" in str(error)
    else:
        assert not refused


def test_every_environment_for_gpus_tells_its_cuda():
    for name in (path.stem for path in (ROOT / "envs").glob("*_cuda.yaml")):
        text = (ROOT / paths.environment_pins(name)).read_text()
        told = [package for package in gpus.RUNTIMES if f"- {package}==" in text]
        assert len(told) == 1, name  # two would mean that one's cuDNN lies over the other's
        assert "onnxruntime==" not in text, name  # it would lie over onnxruntime-gpu


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has nvidia-smi")
def test_this_machine_has_none():
    (told,) = gpus.missing_here([spec(device="cpu"), spec()])
    assert "nvidia-smi, the program of NVIDIA's driver, which is not on PATH" in told
    assert gpus.missing_here([spec(device="cpu")]) == []


NVIDIA_SMI = """#!/bin/sh
case "$*" in
*--loop-ms*) while true; do echo "43, 2048, 1980, 3201, 412.50"; sleep 0.05; done ;;
*) echo "{line}" ;;
esac
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program that prints what NVIDIA's would."""
    file = tmp_path / "nvidia-smi"
    file.write_text(NVIDIA_SMI.replace("{line}", IDLE))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return file


def test_the_program_is_asked(program):
    assert gpus.required(gpus.ask()).name == "NVIDIA H200"
    assert gpus.required(gpus.ask(lambda words: ["env", *words]), "on node 2").index == "0"
    assert gpus.missing_here([spec()]) == []
    program.write_text("#!/bin/sh\necho it cannot talk to the driver\nexit 9\n")
    with pytest.raises(NotMade, match="which failed: it cannot talk to the driver;"):
        gpus.required(gpus.ask())


class Waiting:
    """As much of a run as its GPUs ask for."""

    tag, anchor_ns = "test-of-gpus", 0

    def __init__(self, scored: RunSpec, tmp_path, existing: dict[str, str] | None = None):
        (tmp_path / "packages.json").write_text(
            json.dumps({"environment": "kafka_streams_onnx_cuda", "packages": {"nvidia-cuda-runtime": "13.0.96"}})
        )
        self.spec, self.places, self.warnings = scored, self, []
        self.existing, self.packages = existing or {}, [tmp_path / "packages.json"]

    def nodes_of(self, part: str) -> list:
        return [None]


def test_a_gpu_is_sampled_while_the_run_lasts(program, tmp_path):
    run = Waiting(spec(), tmp_path)
    with sampling.Gpus(run) as own:
        assert own.variables(None)["CUDA_VISIBLE_DEVICES"] == "0"
        (sampler,) = own._samplers
        awaited(lambda: len(sampler.series["time_ns"]) >= 3 or None, 30, "three samples")
    ((about,), (series,)) = own.about, own.samples
    assert about["name"] == "NVIDIA H200" and about["driver"] == "580.95.05"
    assert about["start"]["clock_mhz"] == about["end"]["clock_mhz"] == 1980
    assert about["start"]["time_ns"] < about["end"]["time_ns"]
    assert series["utilisation"][0] == 0.43 and series["memory_bytes"][0] == 2048 * 2**20
    assert not sampler.is_alive() and sampler._process.poll() is not None and run.warnings == []


def test_a_program_that_ends_too_early_is_a_warning(program, tmp_path):
    run = Waiting(spec(), tmp_path)
    with sampling.Gpus(run) as own:
        own._samplers[0]._process.kill()
        own._samplers[0]._process.wait()
    assert run.warnings == ["nvidia-smi ended before the run: its samples of the GPU are not whole"]


@pytest.mark.parametrize(
    ("device", "existing"), [("cpu", {}), ("cuda", {"processor": "elsewhere:1"})], ids=["cpu", "given"]
)
def test_nothing_is_asked_of_a_cpu_or_of_what_is_there_already(tmp_path, monkeypatch, device, existing):
    monkeypatch.setenv("PATH", "/nowhere")
    with sampling.Gpus(Waiting(spec(device=device), tmp_path, existing)) as own:
        assert own.variables(None) == {}
    assert own.about == own.samples == []


def test_what_is_not_told_is_none():
    series: dict[str, list] = {"time_ns": [], **{name: [] for name in sampling.SAMPLED}}
    sampling.note(series, "[N/A], 512, 1500, 2000, [Not Supported]\n", 7)
    sampling.note(series, "No devices were found\n", 8)
    assert series["time_ns"] == [7] and series["utilisation"] == [None] and series["memory_bytes"] == [512 * 2**20]


# --- what the stages and the servers are told


def test_which_variables_of_gpus_are_inherited():
    own = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps", "NVIDIA_VISIBLE_DEVICES": "all"}
    other = {"CUDA_LAUNCH_BLOCKING": "1", "CUDNN_LOGINFO_DBG": "1"}
    assert inheritance.inherited(own | other) == own
    assert inheritance.told(own | other) == {"kept": sorted(own), "dropped": sorted(other)}


@pytest.mark.parametrize(("device", "count", "kind"), [("cpu", 0, "KIND_CPU"), ("cuda", 1, "KIND_GPU gpus: [ 0 ]")])
def test_what_servers_are_told(tmp_path, device, count, kind):
    job = Job.without_kafka(spec("torchserve", device=device), str(tmp_path), model_path="/models/ffnn.mar")
    assert torchserve.settings(job, 1, 2, 3, 4)["number_of_gpu"] == count
    job = Job.without_kafka(spec("triton", device=device, parallelism=2), str(tmp_path), model_path="/ffnn.onnx")
    config = triton.model_config(job)
    assert f"instance_group [ {{ kind: {kind} count: 2 }} ]" in config
    assert ("CUDAExecutionProvider" if count else "CPUExecutionProvider") in config


# --- what is made of it


def gpu_series(*utilisation: float | None) -> dict[str, list]:
    own = [second * 10**9 for second in range(len(utilisation))]
    alike = {name: [100.0 + second for second in range(len(own))] for name in sampling.SAMPLED}
    return {**alike, "time_ns": own, "utilisation": list(utilisation)}


def test_what_gpus_did_in_a_window():
    told = samples.gpus_during([gpu_series(0, 0.5, 0.7, 0), gpu_series(0, 0.1, 0.1, 0)], 10**9, 2 * 10**9)
    assert told["gpu_memory_bytes"] == 204 and told["gpu_clock_mhz"] == 101
    assert told["gpu_utilisation"] == pytest.approx((0.4 + 0.2 / 3) / 2)
    nothing = {"gpu_utilisation": None, "gpu_memory_bytes": None, "gpu_clock_mhz": None}
    assert samples.gpus_during([gpu_series()], 0, 10**9) == nothing
    assert samples.gpus_during([gpu_series(0.5, None)], 0, 2 * 10**9)["gpu_utilisation"] == 0.5


def on_gpu(folder):
    """The run of a folder, with a GPU that was sampled."""
    manifest, used = (json.loads((folder / name).read_text()) for name in ("manifest.json", "processor.json"))
    manifest["gpus"] = [{"name": "NVIDIA H200", "driver": "580.95.05"}]
    begun = used["machine"]["time_ns"][0]
    series = gpu_series(*[0.5] * 60)
    used["gpus"] = [{**series, "time_ns": [begun + at for at in series["time_ns"]]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "processor.json").write_text(json.dumps(used))
    return folder


@pytest.fixture
def table(tmp_path):
    """A table of the same runs on the CPU and on a GPU."""
    load = Segment("constant", 200, warmup_s=3, measure_s=9)
    folders = []
    for device in ("cpu", "cuda"):
        own = spec_of("flink", "onnx", load) | {"device": device}
        for number in (1, 2):
            named = folder_of(tmp_path, own, number).parent.name
            folder = write_run(tmp_path / f"{named}_{device}" / str(number), own, seed=number)
            folders.append(on_gpu(folder) if device == "cuda" else folder)
    summaries = [json.loads(json.dumps(summarise(folder))) for folder in folders]
    return tabulation.tabulate("devices", summaries, "means")


def test_tables_carry_the_device_and_what_it_did(table):
    cpu, cuda = table.sort("device").iter_rows(named=True)
    assert (cpu["device"], cuda["device"]) == ("cpu", "cuda")
    assert cuda["gpu_utilisation"] == 0.5 and cpu["gpu_utilisation"] is None
    assert cuda["machine"] == f"{cpu['machine']}, GPU NVIDIA H200 (driver 580.95.05)"


def test_figures_tell_the_devices_apart_and_warn_of_no_other_machine(table):
    kind = discovery.figure_kind("latency_by_rate")
    assert {system.label for system in looks.systems(table, kind.axes)} == {
        "Flink, ONNX Runtime (CPU)",
        "Flink, ONNX Runtime (GPU)",
    }
    told = captions.machines_in_words(table)
    assert told.endswith("GPU NVIDIA H200 (driver 580.95.05).") and "Warning" not in told


# --- real parts without a GPU

LOADS = """
import json, sys
from crayfish.spec import discovery, errors
from crayfish.spec.run_spec import Job, RunSpec
job = Job.without_kafka(RunSpec.from_dict(json.loads(sys.argv[1])), sys.argv[2], model_path=sys.argv[3])
errors.main(lambda: discovery.scorer(job.spec.scorer).open(job).__enter__())
"""


@pytest.mark.parametrize(
    ("scorer", "told"),
    [
        ("onnx", r"onnx: run.device: this onnxruntime \S+ has no CUDAExecutionProvider \(it has: .*CPUExecution"),
        ("torchscript", r"torchscript: run.device: torch \S+ cannot use a GPU: Found no NVIDIA driver"),
        ("savedmodel", r"savedmodel: run.device: TensorFlow \S+ sees no GPU"),
    ],
)
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has nvidia-smi")
def test_a_library_that_finds_no_gpu_says_so(resources, tmp_path, scorer, told):
    form = discovery.scorer(scorer).format
    model = ROOT / paths.model_file(DATASET, "ffnn", form)
    command = [str(ROOT / paths.interpreter("kafka_streams")), "-c", LOADS, spec(scorer).to_json(), str(tmp_path)]
    done = subprocess.run(
        [*command, str(model)], env={"PYTHONPATH": str(child.SCRIPTS)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.search(f"error: {told}", done.stderr), done.stderr


@pytest.mark.parametrize("scorer", ["torchscript", "torchserve"])
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has nvidia-smi")
def test_a_run_is_refused_before_anything_starts(harness, tmp_path, scorer):
    started = harness(spec(scorer), tmp_path)
    output = started.finish(deadline_s=60)
    assert started.process.returncode != 0 and "Traceback" not in output
    assert "run.device: 'cuda': no GPU was found here. Looked for: nvidia-smi" in output
    assert_nothing_written(tmp_path)
    assert [log.name for log in (tmp_path / "logs").glob("*")] == []  # no stage was started
    assert_nothing_left(started.before)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has nvidia-smi")
def test_the_pipeline_refuses_before_it_makes_anything(tmp_path):
    done = snakemake(
        "figures", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config/gpu.yaml"), cwd=tmp_path
    )
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "run.device: 'cuda': no GPU was found here. Looked for: nvidia-smi" in done.stdout
    assert not (tmp_path / paths.RESOURCES / "environments").exists()


def test_the_benchmark_says_what_a_machine_lacks(tmp_path):
    done = subprocess.run(
        ["sh", str(ROOT / "benchmarks/gpu.sh"), str(tmp_path)],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "nvidia-smi, the program of NVIDIA's driver, is not on PATH" not in done.stderr:
        pytest.skip("this machine has nvidia-smi")
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []


def test_the_benchmark_measures_a_scorer_and_a_server(resources, tmp_path):
    """On the CPU: the same path as on a GPU, up to the device."""
    command = [str(ROOT / paths.interpreter("harness")), str(ROOT / "benchmarks/gpu.py"), "--out", str(tmp_path)]
    command += ["--model", "ffnn", "--scorers", "onnx", "torchserve", "triton", "--devices", "cpu"]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(child.SCRIPTS), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())["scorers"]
    for name in ("onnx", "torchserve", "triton"):
        assert "failed" not in found[name]["cpu"], found[name]["cpu"]["failed"]
        batches = found[name]["cpu"]["batches"]
        assert batches.keys() == {"1", "8", "32"} and all(each["right"] for each in batches.values())
        assert f"| `{name}` | 32 | {batches['32']['median_ms']:.2f} | - | - |" in done.stdout
