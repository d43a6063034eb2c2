"""The shipped devices.yaml: a source for every figure, one profile for a phone; drivers' faults."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit.devices import resolve as devices
from toolkit.devices.match import gpu_key, match_phone, socs
from toolkit.devices.profiles import profiles

SHIPPED: dict[str, Any] = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "devices.yaml").read_text(encoding="utf-8")
)
FIGURES = (  # what an entry may hold besides; all of these are measured, told or guessed
    "clock_mhz",
    "fp16_tflops",
    "fp32_tflops",
    "bandwidth_gbs",
    "bandwidth_measured_gbs",
    "memory",
    "ufs",
    "ufs_sequential_gbs",
    "ufs_random_512k_gbs",
    "ufs_random_4k_gbs",
    "ufs_random_4k_in_128mb_gbs",
)
# What PocketCL was asked to know, figure by figure: GPU, clock, fp16 TFLOPS, nominal GB/s, UFS.
KNOWN = {
    "SM8450": ("Adreno 730", 818, 3.4, 51.2, "3.1"),
    "SM8550": ("Adreno 740", 680, 4.2, 67.2, "4.0"),
    "SM8650": ("Adreno 750", 903, 5.5, 76.8, "4.0"),
    "SM8750": ("Adreno 830", 1100, 6.8, 84.8, "4.0"),
    "SM7475": ("Adreno 725", 580, 2.4, 51.2, "3.1"),
    "SM6450": ("Adreno 710", 676, 0.7, 22.0, "3.1"),
    "MT6983": ("Mali-G710 MC10", 850, 2.2, 60.0, "3.1"),
    "MT6985": ("Immortalis-G715 MC11", 981, 5.5, 68.3, "4.0"),
    "MT6989": ("Immortalis-G720 MC12", 1300, 8.0, 76.8, "4.0"),
    "MT6991": ("Immortalis-G925 MC12", 1612, 9.9, 85.3, "4.0"),
    "MT6897": ("Mali-G615 MC6", 1400, 4.3, 68.3, "4.0"),
    "S5E9925": ("Xclipse 920", 1300, 2.0, 51.2, "3.1"),
    "S5E9945": ("Xclipse 940", 1095, 3.4, 68.3, "4.0"),
    "zuma": ("Mali-G715 MC7", 890, 3.2, 68.3, "3.1"),
    "zumapro": ("Mali-G715 MC7", 940, 3.4, 68.3, "3.1"),
    "kirin9000s": ("Maleoon 910", 750, 2.0, 44.0, "3.1"),
}


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def sources_of(facts: dict[str, Any]) -> dict[str, str]:
    source = facts["source"]
    return source if isinstance(source, dict) else {"rest": source}


ENTRIES = [
    (kind, name, facts)
    for kind in ("classes", "devices", "ufs")
    for name, facts in SHIPPED[kind].items()
]


@pytest.mark.parametrize("kind, name, facts", ENTRIES, ids=[f"{k}.{n}" for k, n, _ in ENTRIES])
def test_every_figure_has_a_source(kind: str, name: str, facts: dict[str, Any]) -> None:
    if kind == "classes" and "source" not in facts:
        assert set(facts) == {"align"}  # what OpenCL promises of every device
        return
    sources = sources_of(facts)
    figures = [key for key in facts if key in FIGURES or kind != "devices"]
    for figure in figures:
        assert figure in sources or "rest" in sources or figure == "source", figure
    for figure, source in sources.items():
        assert figure == "rest" or figure in facts, f"{figure} has a source and is not there"
        letter, _, where = source.partition(" ")
        assert letter.rstrip(":;") in ("E", "F", "S"), source
        assert letter != "S" or where, f"{figure}: where from?"


def test_short_names_of_sources_are_spelled_out() -> None:
    used = {
        source.removeprefix("S ").split(" (")[0]
        for _, _, facts in ENTRIES
        for source in sources_of(facts if "source" in facts else {"source": "E"}).values()
        if source.startswith("S ") and "#" not in source
    }
    listed = set(SHIPPED["sources"])
    words = {u for u in used if " " not in u}
    assert words == listed, words ^ listed


@pytest.mark.parametrize("soc", KNOWN)
def test_known_socs_figure_by_figure(soc: str) -> None:
    [facts] = [each for each in SHIPPED["devices"].values() if soc in socs(each)]
    keys = ("gpu", "clock_mhz", "fp16_tflops", "bandwidth_gbs", "ufs")
    assert tuple(facts[key] for key in keys) == KNOWN[soc]


def test_no_soc_and_no_platform_twice() -> None:
    names = [s.lower() for facts in SHIPPED["devices"].values() for s in socs(facts)]
    names += [f["platform"] for f in SHIPPED["devices"].values() if "platform" in f]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [n for n, f in SHIPPED["devices"].items() if socs(f)])
def test_every_entry_is_found_by_its_soc_alone(name: str) -> None:
    for soc in socs(SHIPPED["devices"][name]):
        for prop in ("ro.soc.model", "ro.board.platform", "ro.hardware"):
            assert match_phone({prop: soc}, "", "", profiles()) == name
        assert match_phone({"ro.soc.model": f"{soc.upper()}-AB"}, "", "", profiles()) == name


@pytest.mark.parametrize(
    "props, gpu, name",
    [
        ({"ro.soc.model": "MT6989W"}, "Mali-G720-Immortalis r0p0", "dimensity-9300"),
        ({"ro.soc.model": "Tensor G2"}, "", "tensor-g2"),
        ({"ro.soc.model": "Tensor"}, "", "tensor-g1"),
        ({"ro.soc.model": "SM8850"}, "QUALCOMM Adreno(TM) 840", "snapdragon-8-elite-gen-5"),
        ({"ro.board.platform": "kalama"}, "", "snapdragon-8-gen-2"),
        # Properties win over the GPU: a phone says best what it is.
        ({"ro.soc.model": "SM8475"}, "QUALCOMM Adreno(TM) 730", "snapdragon-8-plus-gen-1"),
        ({}, "QUALCOMM Adreno(TM) 740", "snapdragon-8-gen-2"),
        ({}, "Adreno (TM) 642L", "snapdragon-778g"),
        ({}, "Mali-G925-Immortalis MC12", "dimensity-9400"),
        ({}, "Mali-G1-Ultra MC12", "dimensity-9500"),
        ({}, "Samsung Xclipse 940", "exynos-2400"),
        ({}, "PowerVR D-Series DXT-48-1536 MC1", "tensor-g5"),
        # Two SoCs have it: only its family is certain.
        ({}, "QUALCOMM Adreno(TM) 730", "adreno"),
        ({"ro.soc.model": "SM9999"}, "QUALCOMM Adreno(TM) 999", "adreno"),
        ({"ro.soc.model": "MT9999"}, "Mali-G999 r0p1", "mali"),
        ({"ro.soc.model": "unknown"}, "Vivante GC7000", "generic"),
        ({}, "", "generic"),
    ],
)
def test_match(props: dict[str, str], gpu: str, name: str) -> None:
    assert match_phone(props, gpu, "", profiles()) == name


def test_gpus_in_any_spelling() -> None:
    assert gpu_key("QUALCOMM Adreno(TM) 740") == gpu_key("Adreno 740") == "adreno 740"
    assert gpu_key("Mali-G715-Immortalis r1p0") == gpu_key("Immortalis-G715 MC11") == "g715"
    assert gpu_key("pthread-Intel(R) Xeon(R)") == ""


def test_a_name_of_several_socs_resolves() -> None:
    assert devices.resolve_device("exynos2400")["name"] == "exynos-2400"
    assert devices.resolve_device("gs101")["compute_units"] == 20
