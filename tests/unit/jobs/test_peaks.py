"""The peak of a GPU follows from its exact name; a name that is not listed has none."""

import pytest

from led_pipeline.jobs.peaks import PEAK_TFLOPS, peak_tflops, short_name


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA GH200 144G HBM3e", 989),
        ("NVIDIA B200", 2_250),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA RTX A6000", 155),
        ("NVIDIA GeForce RTX 4090", 165),
        ("Tesla T4", 65),
    ],
)
def test_the_peak_of_a_listed_card(name, peak):
    assert peak_tflops(name) == peak


@pytest.mark.parametrize(
    "name",
    [
        "Tesla V100-SXM2-32GB",  # no kernels in torch
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA H20",
        "NVIDIA A100X",
        "NVIDIA L4000",
        "AMD Instinct MI300X",
        "",
    ],
)
def test_any_other_card_is_unknown_and_not_one_with_a_similar_name(name):
    assert peak_tflops(name) is None


def test_the_keys_of_the_table_are_short_names():
    assert [short_name(name) for name in PEAK_TFLOPS] == list(PEAK_TFLOPS)
