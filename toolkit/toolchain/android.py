"""The runner for arm64 phones, Android 8 and newer: built by the user's NDK, else by zig."""

import os
import re
from functools import partial
from pathlib import Path

from toolkit.errors import PocketError
from toolkit.toolchain.build import Toolchain, build
from toolkit.toolchain.elf import API_LEVEL, PAGE, check_program
from toolkit.toolchain.sysroot import (
    BIONIC,
    REMEDY,
    TARGET,
    find_zig,
    symbols,
    sysroot,
    zig_environment,
    zig_version,
)

VARIABLE = "POCKETCL_PHONE_RUNNER"
ARM64 = "aarch64"
NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")
SDK_VARIABLES = ("ANDROID_HOME", "ANDROID_SDK_ROOT")
SDK_FOLDERS = ("Android/Sdk", "Library/Android/sdk")  # Android Studio's, on Linux and on macOS
NAME = "android-runner"
REPORT = "report this; or try the other toolchain: an NDK, or pip install 'pocketcl[android]'"


def build_android_runner(machine: str = ARM64) -> Path:
    """The runner's program for arm64 Android, built unless this toolchain has built it before.

    `$POCKETCL_PHONE_RUNNER` names a finished program instead. The rules of elf.py are for arm64:
    they are not checked for another `machine` (of `uname -m`), such as an emulator's.

    Raises:
        PocketError: there is no toolchain, it fails, or the program breaks a rule of elf.py.
    """
    if given := os.environ.get(VARIABLE):
        return _checked(Path(given), machine)
    ndk = find_ndk()
    return build(ndk_toolchain(ndk) if ndk else zig_toolchain())


def _checked(given: Path, machine: str) -> Path:
    hint = f"set {VARIABLE} to a runner that is built for the phone, or unset it"
    if not os.access(given, os.X_OK) or given.is_dir():
        because = f"{VARIABLE} names {given}, which is no program"
        raise PocketError("the phone's runner is missing", because, hint)
    if machine == ARM64:
        check_program(given, None, hint)
    return given


def describe_toolchain() -> str:
    """The toolchain that builds the runner, for people; empty if there is none."""
    if given := os.environ.get(VARIABLE):
        return f"{VARIABLE}={given}"
    if ndk := find_ndk():
        return f"NDK {ndk}"
    return f"zig {zig_version()}" if find_zig() else ""


def find_ndk() -> Path | None:
    """The NDK's folder: the one that a variable names, else the newest in the Android SDK.

    A variable that is set and empty means that no NDK is to be used.
    """
    for name in NDK_VARIABLES:
        if name in os.environ:
            folder = Path(os.environ[name]) if os.environ[name] else None
            if folder and not _clang(folder):
                because = f"{folder} has no toolchains/llvm/prebuilt/*/bin/clang++"
                raise PocketError(f"{name} names no NDK", because, "correct it, or unset it")
            return folder
    named = [Path(os.environ[name]) for name in SDK_VARIABLES if os.environ.get(name)]
    for sdk in named or [Path.home() / folder for folder in SDK_FOLDERS]:
        versions = sorted((f for f in sdk.glob("ndk/*") if _clang(f)), key=_version)
        if versions:
            return versions[-1]
    return None


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name)]


def _clang(ndk: Path) -> Path | None:
    return next(iter(sorted(ndk.glob("toolchains/llvm/prebuilt/*/bin/clang++"))), None)


def _options_in(name: str) -> str:
    return (BIONIC / name).read_text()


def ndk_toolchain(ndk: Path) -> Toolchain:
    """The NDK's clang, called directly: its CMake file needs CMake and sets the same options."""
    clang = _clang(ndk)
    assert clang, ndk
    common = (str(clang), f"--target=aarch64-linux-android{API_LEVEL}")
    page = f"-Wl,-z,max-page-size={PAGE}"
    properties = ndk / "source.properties"
    return Toolchain(
        name=NAME,
        compile=(*common, f"@{BIONIC / 'compile.txt'}"),
        link=(*common, "-flto", "-pie", "-static-libstdc++", "-s", "-Wl,--gc-sections", page),
        libraries=("-ldl", "-lm"),
        identity=(
            clang.stat().st_mtime_ns,
            properties.is_file() and properties.read_text(),
            _options_in("compile.txt"),
        ),
        remedy=f"use another NDK, or set {NDK_VARIABLES[0]}= and pip install 'pocketcl[android]'",
        check=partial(check_program, symbols=None, hint=REPORT),
    )


def zig_toolchain() -> Toolchain:
    """The clang and the linker of PyPI's `ziglang`, with a sysroot of our own."""
    zig = find_zig()
    if zig is None:
        because = "there is neither an Android NDK nor Python's package ziglang"
        raise PocketError(f"the {NAME} can't be built", because, REMEDY)
    root = sysroot(zig)
    allowed = frozenset(name for names in symbols().values() for name in names)
    starts = (f"{root}/crt0.o", f"{root}/compat.o")
    return Toolchain(
        name=NAME,
        compile=(str(zig), "c++", *TARGET, f"@{BIONIC / 'compile.txt'}"),
        link=(str(zig), "ld.lld", *starts, f"@{BIONIC / 'link.txt'}", f"-L{root}"),
        libraries=(),
        identity=(
            _options_in("compile.txt"),
            _options_in("link.txt"),
        ),  # the sysroot's name has a hash of the rest
        remedy=REMEDY,
        environment=zig_environment,
        check=partial(check_program, symbols=allowed, hint=REPORT),
    )
