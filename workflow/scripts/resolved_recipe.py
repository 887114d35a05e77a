"""Write the recipe as Snakemake resolved it: several config files and `--config` applied, defaults filled in."""

import json
import sys
import time
from pathlib import Path

with Path(snakemake.log[0]).open("w", encoding="utf-8") as sys.stderr:
    print(f"+ python workflow/scripts/resolved_recipe.py  # {time.strftime('%Y-%m-%dT%H:%M:%S%z')}", file=sys.stderr)
    recipe = json.loads(snakemake.params.recipe)
    Path(snakemake.output[0]).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
