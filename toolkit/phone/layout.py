"""The files of PocketCL on a phone, and the shell scripts that maintain them.

    /data/local/tmp/pocketcl/
      layout              the version of this list
      blobs/SHA256        contents, each stored once and shared
      incoming/SHA256     contents being copied; complete ones are kept after a broken connection
      plans/TREE/…        a plan: symbolic links into blobs
      bin/TREE/…          a runner, likewise
      cache/              compiled programs; cold/… for `bench`
      sessions/PID/       working folder of a running runner

Only its owner may enter the folder: it holds programs that are run, and adbd creates files that
everybody may write to. A folder that others could enter (adb's shell has no umask) is closed to
them, and all its contents are checked again.

A blob gets its name after the phone itself has verified its SHA-256, so a name and a size prove
that it is complete; a TREE, named by the hash of its list, appears when all of its links exist.
Links are symbolic: AOSP's SELinux policy doesn't grant `link` to adb's shell (create_file_perms;
read, not tried).
"""

from dataclasses import dataclass, field

from toolkit.errors import PocketError
from toolkit.phone.adb import Phone
from toolkit.progress import note_on_stderr

HOME = "/data/local/tmp/pocketcl"
LAYOUT = 1
MiB = 2**20

# Prints the state of the folder, and removes what no running process owns. The sticky bit marks a
# folder that was closed to others and is not cleaned yet.
SURVEY = """
umask 077
cd /data/local/tmp || exit 1
[ ! -L pocketcl ] || { echo "stranger $(stat -c %u pocketcl)"; exit 0; }
[ -d pocketcl ] || mkdir pocketcl || exit 1
cd pocketcl || exit 1
owner=$(stat -c %u .)
[ "$owner" = "$(id -u)" ] || { echo "stranger $owner"; exit 0; }
[ ! -e layout ] || [ "$(cat layout)" = LAYOUT ] || { echo "layout $(cat layout)"; exit 0; }
case $(stat -c %a .) in 700 | 2700) ;; *)
  chmod 1700 . && rm -rf plans bin cache cold || exit 1
  [ ! -d blobs ] || { rm -rf incoming && mv blobs incoming; } || exit 1
  chmod 700 . && echo closed || exit 1
esac
[ -e layout ] || echo LAYOUT > layout || exit 1
echo "layout $(cat layout)"
for f in blobs incoming plans bin cache sessions; do
  mkdir -p $f && chmod 700 $f || exit 1
done
for s in sessions/*; do
  [ ! -d "$s" ] || grep -q pocketcl "/proc/${s#sessions/}/cmdline" 2>/dev/null || rm -rf "$s"
done
cd incoming
for f in *; do
  [ -f "$f" ] || continue
  sum=$(sha256sum < "$f")
  if [ "${sum%% *}" = "$f" ]; then mv "$f" "../blobs/$f"; else rm -f "$f"; fi
done
cd ..
for t in plans/* bin/*; do [ ! -d "$t" ] || echo "tree $t"; done
cd blobs && stat -c 'blob %s %n' * 2>/dev/null
echo "free $(df -k . | tail -n 1)"
""".replace("LAYOUT", str(LAYOUT))

# Moves the files $names to the blobs if their SHA-256 is their name; prints those that were moved.
ACCEPT = """
cd /data/local/tmp/pocketcl/incoming || exit 1
good=$(sha256sum $names | while read -r sum name; do
  [ "$sum" = "$name" ] && echo "$name"
done)
[ -z "$good" ] || { sync && mv $good ../blobs/ && echo $good; }
"""

# Lines of "SHA256 UP PATH" on stdin become links below $tree, which appears last.
LINK = """
cd /data/local/tmp/pocketcl || exit 1
rm -rf "$tree.new"
while read -r sha up path; do
  link="$tree.new/$path"
  mkdir -p "${link%/*}" && ln -s "${up}blobs/$sha" "$link" || exit 1
done
rm -rf "$tree" && mv "$tree.new" "$tree"
"""


@dataclass
class Survey:
    """What the phone holds: bytes of every blob, trees, free storage in bytes."""

    blobs: dict[str, int] = field(default_factory=dict)
    trees: set[str] = field(default_factory=set)
    free: int = 0


CLOSED = "it was closed to them, and its contents were checked again"


def survey(phone: Phone) -> Survey:
    """Read the state of the folder, and remove what no running process owns."""
    found, layout = Survey(), ""
    for line in phone.shell(SURVEY, timeout=600).splitlines():
        word, _, rest = line.partition(" ")
        if word == "blob":
            size, name = rest.split(" ", 1)
            found.blobs[name] = int(size)
        elif word == "tree":
            found.trees.add(rest)
        elif word == "layout":
            layout = rest
        elif word == "stranger":
            raise _owned_by_another(phone, rest)
        elif word == "closed":
            note_on_stderr(f"note: others could write to {HOME} on {phone.model}; {CLOSED}")
        elif word == "free":
            found.free = 1024 * int(rest.split()[3])  # Filesystem 1K-blocks Used Available …
    if layout != str(LAYOUT):
        because = f"its layout is {layout!r}, this PocketCL writes {LAYOUT}"
        what = f"{HOME} on {phone.model} belongs to another version"
        hint = f"run pocketcl phone clean --all --serial {phone.serial}"
        raise PocketError(what, because, hint)
    return found


def _owned_by_another(phone: Phone, owner: str) -> PocketError:
    what = f"{HOME} on {phone.model} can't be used"
    because = f"user {owner} owns it, or has put a link there, and could change programs in it"
    return PocketError(what, because, f"remove it as that user: adb shell rm -rf {HOME}")
