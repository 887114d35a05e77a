# Snakemake runs this once, inside the environment that it made from led.yaml.
set -eu
python -m pip install --no-deps pyserini==1.6.0
