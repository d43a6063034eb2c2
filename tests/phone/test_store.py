"""Only what changed is copied, it arrives whole, and what was interrupted goes on where it was."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from adb_server import AdbServer
from device import Device
from pushes import Files, MiB, push

from toolkit.errors import PocketError
from toolkit.phone import store as phone_store
from toolkit.phone.adb import Gone, find_phone
from toolkit.phone.layout import HOME
from toolkit.phone.store import Store


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "plan")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a megabyte go one by one, as shards of 256 MiB do."""
    monkeypatch.setattr(phone_store, "BATCH_BYTES", MiB)


def received(phone: Device) -> int:
    """Bytes that came over the cable since the last look."""
    total = sum(phone.received.values())
    phone.received.clear()
    return total


def test_everything_arrives_once(phone: Device, files: Files) -> None:
    store = push(files)
    assert received(phone) == files.bytes() == store.transfer.pushed_bytes
    assert (store.transfer.pushed_files, store.transfer.skipped_files) == (5, 0)
    for item in files.items():
        assert (
            find_phone()
            .shell(f"cat {HOME}/{store.tree}/{item.path} | sha256sum")
            .startswith(item.sha256)
        )
    again = push(files)
    assert received(phone) == 0
    assert (again.transfer.pushed_files, again.transfer.skipped_files) == (0, 5)
    assert again.transfer.pushed_bytes == 0


def test_only_the_file_that_changed_is_copied(phone: Device, files: Files) -> None:
    push(files)
    received(phone)
    files.write("kernels/b.cl", b"kernel b, edited")
    store = push(files)
    assert received(phone) == files.bytes("kernels/b.cl") == store.transfer.pushed_bytes
    text = find_phone().shell(f"cat {HOME}/{store.tree}/kernels/b.cl")
    assert text == "kernel b, edited"


def test_plans_share_what_is_equal(phone: Device, files: Files, tmp_path: Path) -> None:
    first = push(files)
    received(phone)
    other = Files(tmp_path / "other")
    for name in ("weights.0.bin", "weights.1.bin"):
        other.write(name, (files.folder / name).read_bytes())
    other.write("plan.json", b'{"other": 1}')
    second = push(other)
    assert received(phone) == other.bytes("plan.json")
    assert second.tree != first.tree
    assert find_phone().shell(f"cat {HOME}/{first.tree}/plan.json") == "{}"


def test_equal_contents_of_one_plan_are_copied_once(phone: Device, files: Files) -> None:
    files.write("kernels/b.cl", b"kernel a")
    push(files)
    assert received(phone) == files.bytes() - len(b"kernel a")


def test_an_unplugged_push_goes_on_where_it_broke(
    phone: Device, adb: AdbServer, files: Files, small_batches: None
) -> None:
    phone.faults.unplug_after = 4 * MiB  # in the second of the shards
    with pytest.raises(Gone) as error:
        push(files)
    assert "weights.1.bin" in error.value.what and phone.serial in error.value.what
    assert "3.0 of 5.0 MiB had arrived" in error.value.because
    assert "connect it and repeat" in error.value.hint
    received(phone)
    phone.plug_in()
    adb.connect(phone.serial)
    store = push(files)
    assert received(phone) == files.bytes("weights.1.bin")
    assert store.transfer.skipped_files == 4
    assert find_phone().shell(f"ls {HOME}/incoming") == ""


def test_whole_files_of_a_broken_batch_are_kept(
    phone: Device, adb: AdbServer, files: Files
) -> None:
    phone.faults.unplug_after = 4 * MiB
    with pytest.raises(Gone):
        push(files)
    received(phone)
    phone.plug_in()
    adb.connect(phone.serial)
    push(files)
    assert received(phone) == files.bytes("weights.1.bin")


def test_a_blob_that_lost_bytes_is_copied_again(phone: Device, files: Files) -> None:
    push(files)
    received(phone)
    item = next(item for item in files.items() if item.path == "weights.0.bin")
    find_phone().shell(f"printf x > {HOME}/blobs/{item.sha256}")
    push(files)
    assert received(phone) == item.bytes


def test_too_little_storage_is_said_before_anything_is_copied(phone: Device, files: Files) -> None:
    phone.root.limit_storage(66 * MiB)
    with pytest.raises(PocketError, match="too little storage") as error:
        push(files)
    assert "5 MiB" in error.value.because and "free" in error.value.because
    assert "phone clean" in error.value.hint
    assert received(phone) == 0


def test_storage_that_fills_up_meanwhile(
    phone: Device, files: Files, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_store, "MARGIN", -(2**40))
    phone.root.limit_storage(4 * MiB)
    with pytest.raises(PocketError, match="could not be copied") as error:
        push(files)
    assert "storage is full" in error.value.because and "phone clean" in error.value.hint
    received(phone)
    phone.root.limit_storage(100 * MiB)
    push(files)
    assert received(phone) == files.bytes("weights.1.bin")


def test_weights_that_are_damaged_here_are_named(phone: Device, files: Files) -> None:
    items = files.items()
    files.write("weights.0.bin", b"x" * (3 * MiB))
    with pytest.raises(PocketError, match="damaged") as error:
        Store(find_phone()).install("plans", items)
    assert str(files.folder / "weights.0.bin") in error.value.what
    assert "plan lists" in error.value.because


def test_what_arrives_otherwise_is_refused(
    phone: Device, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that changed on the way; the phone's own SHA-256 finds them."""
    found = find_phone()
    honest = type(found).push

    def damaging(self: object, sources: list[Path], target: str) -> None:
        honest(found, sources, target)
        for source in sources:
            found.shell(f"printf x | dd of={target}{source.name} conv=notrunc 2>/dev/null")

    with monkeypatch.context() as broken, pytest.raises(PocketError, match="arrived damaged"):
        broken.setattr(type(found), "push", damaging)
        push(files)
    assert find_phone().shell(f"ls {HOME}/blobs {HOME}/plans").split() == [
        f"{HOME}/blobs:",
        f"{HOME}/plans:",
    ]


def test_names_are_only_names(phone: Device, files: Files) -> None:
    for name in ("a b.cl", "$(reboot).cl", 'it\'s "it".cl', "-n.cl"):
        files.write(f"kernels/{name}", name.encode())
    store = push(files)
    for name in ("a b.cl", "$(reboot).cl", 'it\'s "it".cl', "-n.cl"):
        found = phone.root.locate(f"{HOME}/{store.tree}/kernels/{name}")
        assert found.is_symlink()
    listed = find_phone().shell(f"cd {HOME}/{store.tree}/kernels && cat ./*")
    assert "$(reboot).cl" in listed and "a b.cl" in listed


def test_a_layout_of_another_version(phone: Device, files: Files) -> None:
    find_phone().shell(f"mkdir {HOME} && echo 99 > {HOME}/layout")
    with pytest.raises(PocketError, match="another version") as error:
        push(files)
    assert "'99'" in error.value.because and "phone clean --all" in error.value.hint


PUSH = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pushes import Files, push
files = object.__new__(Files)
files.folder = Path(sys.argv[2])
print(push(files).transfer.pushed_bytes)
"""


def pushing(files: Files) -> subprocess.Popen[str]:
    """Another process that pushes these."""
    command = [sys.executable, "-c", PUSH, str(Path(__file__).parent), str(files.folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def blobs_are_whole() -> bool:
    found = find_phone().shell(f"cd {HOME}/blobs && sha256sum *").split()
    return found[0::2] == found[1::2]


@pytest.mark.slow
def test_two_pushes_at_once_wait_for_each_other(phone: Device, files: Files) -> None:
    phone.faults.bytes_per_second = 4 * MiB
    started = [pushing(files) for _ in range(2)]
    said = [int(child.communicate(timeout=60)[0]) for child in started]
    assert [child.returncode for child in started] == [0, 0]
    assert files.bytes() in said and blobs_are_whole()


def test_pushes_that_are_killed_leave_nothing_half(
    phone: Device, files: Files, tmp_path: Path
) -> None:
    """Six at once, of two plans that share their weights; four are killed."""
    phone.faults.bytes_per_second = 8 * MiB
    other = Files(tmp_path / "other")
    other.write("weights.0.bin", (files.folder / "weights.0.bin").read_bytes())
    started = [pushing(each) for each in (files, other) * 3]
    for child in random.sample(started, 4):
        time.sleep(random.uniform(0.2, 1.5))
        child.kill()
    for child in started:
        child.communicate(timeout=60)
        assert child.returncode in (0, -9)
    phone.faults.bytes_per_second = None
    for each in (files, other):
        tree = push(each).tree
        for item in each.items():
            told = find_phone().shell(f"sha256sum < {HOME}/{tree}/{item.path}")
            assert told.startswith(item.sha256)
    assert blobs_are_whole() and find_phone().shell(f"ls {HOME}/incoming") == ""


# --- others on the phone -------------------------------------------------------------------------


def modes(phone: Device) -> str:
    """The folder's, and that of each folder in it."""
    folders = "blobs incoming plans bin cache sessions"
    return " ".join(find_phone().shell(f"cd {HOME} && stat -c %a . {folders}").split())


@pytest.mark.parametrize("umask", ["000", "777"])
def test_the_folder_is_its_owners_only(phone: Device, files: Files, umask: str) -> None:
    """adb's shell has the umask 0 on some phones."""
    shell = type(phone.root).argv
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(phone.root), "argv", lambda self, words: shell(self, f"umask {umask}\n{words}")
        )
        push(files)
    assert modes(phone) == " ".join(["700"] * 7)


@pytest.mark.parametrize("mode", ["777", "755"])
def test_what_others_could_write_to_is_checked_again(
    phone: Device, files: Files, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """adbd lets all write to the files that it makes: only contents with the right hash stay."""
    tree = push(files).tree
    weights = next(item for item in files.items() if item.path == "weights.0.bin")
    evil = f"cd {HOME} && chmod {mode} . && printf x | dd of=blobs/{weights.sha256} conv=notrunc"
    find_phone().shell(f"{evil} 2>&1; mkdir -p cache bin/evil; echo x > cache/x.bin")
    received(phone)
    capsys.readouterr()
    assert push(files).tree == tree and received(phone) == weights.bytes
    assert modes(phone) == " ".join(["700"] * 7)
    assert find_phone().shell(f"cd {HOME} && ls cache bin").split() == ["bin:", "cache:"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: others could write to {HOME} on ") and "checked again" in line
    push(files)
    assert received(phone) == 0 and capsys.readouterr().err == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
@pytest.mark.parametrize("how", ["folder", "link"])
def test_a_folder_of_another_user_is_not_used(phone: Device, files: Files, how: str) -> None:
    data = phone.root.locate(HOME).parent
    if how == "folder":
        (data / "pocketcl").mkdir()
        os.chown(data / "pocketcl", 65534, 65534)
    else:
        (data / "other").mkdir()
        (data / "pocketcl").symlink_to("other")
    with pytest.raises(PocketError, match="can't be used") as error:
        push(files)
    assert "owns it" in error.value.because and f"rm -rf {HOME}" in error.value.hint
    assert received(phone) == 0 and not list((data / "pocketcl").iterdir())
