"""What of the variables of a user's or a site's environment a rule and a stage of a run inherit: this list, no more.

A cluster's SPARK_HOME, a PYTHONPATH with another numpy or a JAVA_TOOL_OPTIONS with an agent would change what is
measured, or break it. The manifest names what would have mattered. It uses no package: it serves everywhere.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

DROPPED = "CRAYFISH_DROPPED"  # by which a rule's shell tells the harness what it has dropped
# Names, or their beginnings where they end in *.
KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "PWD", "TMPDIR", "TERM"),
    *("TZ", "LANG", "LANGUAGE", "LC_*"),
    "JAVA_HOME",
    "TENSORFLOW_MODEL_SERVER",  # the official program, where it is not on PATH
    "SPARK_LOCAL_IP",  # of several addresses the one that a given Spark cluster reaches: docs/cluster.md
    "LD_LIBRARY_PATH",  # without which a Python of environment modules does not start
    # Which GPUs there are and how they are reached (MPS: how processes share one).
    *("CUDA_VISIBLE_DEVICES", "CUDA_MPS_*", "NVIDIA_*"),
    *("SLURM_*", "SLURMD_NODENAME", "SNAKEMAKE_*"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
)
# What a rule inherits beside them: how packages and data are found.
KEPT_BY_RULES = (
    *KEPT,
    *("UV_*", "PIP_*", "CONDA_*", "MAMBA_*", "XDG_*"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)
# What engines, clients, JVMs, interpreters and numerical libraries read.
MATTER = (
    *("FLINK_*", "SPARK_*", "PYSPARK_*", "HADOOP_*", "YARN_*", "HDFS_*", "RAY_*", "KAFKA_*", "TS_*", "TRITON*"),
    *("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "CLASSPATH", "PYTHON*"),
    *("LD_*", "GLIBC_TUNABLES", "MALLOC_*", "OMP_*", "KMP_*", "GOMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "NUMEXPR_*"),
    *("CUDA_*", "NVIDIA_*", "CUDNN_*", "CUBLAS_*", "NCCL_*"),
    *("ORT_*", "TF_*", "TORCH_*", "PYTORCH_*", "XLA_*", "ONNX*", "DL4J_*", "ND4J_*"),
    *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # the others are a shell's exported functions


def _among(name: str, listed: tuple[str, ...]) -> bool:
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in listed)


def inherited(environment: Mapping[str, str], kept: tuple[str, ...] = KEPT) -> dict[str, str]:
    """What a stage, or what else has this list, inherits of an environment."""
    return {name: value for name, value in environment.items() if _among(name, kept)}


def told(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of what matters, for the manifest: what a stage inherits, and what it does not, with what a rule's
    shell has dropped."""
    mattering = {name for name in environment if _among(name, MATTER)}
    kept = {name for name in mattering if _among(name, KEPT)}
    return {"kept": sorted(kept), "dropped": sorted((mattering - kept) | set(environment.get(DROPPED, "").split()))}


def shell_prefix(environment: Mapping[str, str]) -> str:
    """What the shell of a rule does first: drop all that it does not inherit, and note what would have mattered."""
    names = [name for name in environment if NAME.fullmatch(name) and not _among(name, KEPT_BY_RULES)]
    noted = shlex.quote(" ".join(told(environment)["dropped"]))
    dropping = f"unset {' '.join(sorted(names))}; " if names else ""
    return f"{dropping}export {DROPPED}={noted}; "
