"""Peaks: what GPUs compute per second at most, by their exact names."""

import re

# Dense TFLOP/s of bf16 products that are added in float32 (of fp16 on a T4, which has no bf16), from the manufacturers'
# data sheets, by the name that nvidia-smi and torch give without maker, memory and SXM: see `short_name`.
PEAK_TFLOPS = {
    "A10": 125,
    "A10G": 70,
    "A30": 165,
    "A40": 150,
    "A100": 312,
    "A100 PCIe": 312,
    "A800": 312,
    "A800 PCIe": 312,
    "B200": 2_250,
    "GB200": 2_500,
    "GH200": 989,
    "H100": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H200": 989,
    "H200 NVL": 835,
    "H800": 989,
    "H800 PCIe": 756,
    "L4": 121,
    "L40": 181,
    "L40S": 362,
    "RTX 3090": 71,
    "RTX 4090": 165,
    "RTX 5090": 209,
    "RTX A6000": 155,
    "T4": 65,
}
OTHER_WORDS = re.compile(r"NVIDIA|Tesla|GeForce|Graphics|Device|SXM\d?|HBM\w*|\d+GB?", re.IGNORECASE)


def short_name(name: str) -> str:
    """Return a GPU's name without maker, memory and SXM: `NVIDIA A100-SXM4-80GB` is `A100`.

    Forms with another clock or memory stay apart: `H100 PCIe`, `H100 NVL`. So do parts of a card (MIG) and laptops.
    """
    words = [word for word in re.split(r"[\s-]+", name.strip()) if word and not OTHER_WORDS.fullmatch(word)]
    return " ".join("PCIe" if word.upper() == "PCIE" else word for word in words)


def peak_tflops(name: str) -> float | None:
    """Return the peak of a GPU by the name that nvidia-smi or torch gives; None where it is not known."""
    return PEAK_TFLOPS.get(short_name(name))
