#!/bin/sh
# Makes what an image holds beside the checkout in /crayfish, on a bare Debian 12, as root.
set -eu
apt-get update
apt-get install --yes --no-install-recommends ca-certificates git make python3 python3-venv
rm -rf /var/lib/apt/lists/*
git config --system --add safe.directory /crayfish # whoever runs it, manifests hold the commit
# Compiled ahead, since an image may be read-only where it runs.
export UV_COMPILE_BYTECODE=1
make -C /crayfish environments
python3 -m compileall -q /crayfish/workflow/scripts
rm -rf /root/.cache /crayfish/logs /crayfish/.snakemake
