#!/bin/sh
# Makes what an image holds beside the checkout in /crayfish, on a bare Debian 12, as root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends ca-certificates git make python3 python3-venv
rm -rf /var/lib/apt/lists/*
git config --system --add safe.directory /crayfish # whoever runs it, manifests hold the commit
# Debian's certificates, to which a site may have added its own (docs/cluster.md), and not those inside packages.
SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt # uv
PIP_CERT=$SSL_CERT_FILE REQUESTS_CA_BUNDLE=$SSL_CERT_FILE
export SSL_CERT_FILE PIP_CERT REQUESTS_CA_BUNDLE
# Compiled ahead, since an image may be read-only where it runs.
export UV_COMPILE_BYTECODE=1
make -C /crayfish environments
python3 -m compileall -q /crayfish/workflow/scripts
rm -rf /root/.cache /crayfish/logs /crayfish/.snakemake
