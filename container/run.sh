#!/bin/sh
# What an image runs: Snakemake in the working directory, where results go. Arguments are targets and Snakemake's options.
set -eu
[ $# -gt 0 ] || set -- figures report
test -e resources || ln -s /crayfish/resources resources
export PATH="/crayfish/.venv/bin:$PATH"
exec snakemake --snakefile /crayfish/Snakefile --cores all "$@"
