"""The runner for phones: who builds it, with which commands, and what its sources keep from."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from toolkit.cli import doctor
from toolkit.errors import PocketError
from toolkit.toolchain.android import (
    NDK_VARIABLES,
    SDK_VARIABLES,
    VARIABLE,
    build_android_runner,
    find_ndk,
)
from toolkit.toolchain.build import SOURCES

# It stands for an NDK's clang++, which can't be had here: it writes down how it was called.
CLANG = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/calls"
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
: > "$out"
"""
# Where musl's headers and bionic disagree, and what needs thread-local storage or a locale.
FORBIDDEN = re.compile(
    r"\b(sysconf|sigaction|sigprocmask|pthread_sigmask|setjmp|longjmp|sem_init|thread_local|__thread"
    r"|dynamic_cast|typeid|stringstream|istringstream|ostringstream|iostream|fstream|regex)\b"
    r"|<(sstream|iostream|fstream|locale|regex|filesystem)>"
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No NDK, no SDK and no ready runner on this machine."""
    for name in (VARIABLE, *NDK_VARIABLES, *SDK_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


def make_ndk(folder: Path) -> Path:
    clang = folder / "toolchains/llvm/prebuilt/linux-x86_64/bin/clang++"
    clang.parent.mkdir(parents=True)
    clang.write_text(CLANG)
    clang.chmod(clang.stat().st_mode | stat.S_IXUSR)
    return folder


def test_the_newest_ndk_of_the_sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_ndk() is None
    for version in ("9.1", "27.2.1", "27.10.3"):
        make_ndk(tmp_path / "Android/Sdk/ndk" / version)
    (tmp_path / "Android/Sdk/ndk/28.0.0-incomplete").mkdir()
    assert find_ndk() == tmp_path / "Android/Sdk/ndk/27.10.3"
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "elsewhere"))
    assert find_ndk() is None
    named = make_ndk(tmp_path / "named")
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(named))
    assert find_ndk() == named
    assert doctor._android().detail == f"NDK {named}"
    monkeypatch.setenv("ANDROID_NDK_HOME", "")
    assert find_ndk() is None


def test_a_variable_that_names_no_ndk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    with pytest.raises(PocketError, match="ANDROID_NDK_HOME names no NDK"):
        build_android_runner()
    assert "names no NDK" in doctor._android().detail


def test_commands_for_an_ndk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ndk = make_ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(ndk))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(PocketError, match="no program for arm64 Android"):
        build_android_runner()  # what this clang++ links is empty
    *compiles, link = (
        next(ndk.glob("toolchains/llvm/prebuilt/*/bin/calls")).read_text().splitlines()
    )
    folders = {file.parent for file in SOURCES.rglob("*.cpp")}
    assert len(compiles) == len(folders) - 1  # without bionic/
    assert all("--target=aarch64-linux-android26 @" in line for line in compiles)
    assert "-static-libstdc++" in link and "-Wl,-z,max-page-size=16384" in link
    assert list((tmp_path / "cache/pocketcl").iterdir()) == []


def test_without_any_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.toolchain.android.find_zig", lambda: None)
    with pytest.raises(PocketError) as error:
        build_android_runner()
    assert "pip install 'pocketcl[android]'" in error.value.hint
    check = doctor._android()
    assert not check.ok and not check.needed and "pocketcl[android]" in check.remedy


def test_sources_keep_from_what_differs_on_android() -> None:
    files = [*SOURCES.rglob("*.cpp"), *SOURCES.rglob("*.h")]
    assert len(files) > 40
    for file in files:
        code = re.sub(r"//[^\n]*|/\*.*?\*/|\"(\\.|[^\"\\\n])*\"", "", file.read_text(), flags=re.S)
        assert not (found := FORBIDDEN.search(code)), f"{file.name}: {found}"
    assert FORBIDDEN.search("sysconf(_SC_PAGESIZE)") and FORBIDDEN.search("#include <sstream>")
