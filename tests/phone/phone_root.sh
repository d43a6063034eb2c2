# phone_root.sh ROOT SOURCE QEMU [PATH FOLDER]…: lives as long as its standard input, and with it a
# private mount namespace (of a private user namespace) in which ROOT looks like a phone's root.
#
# SOURCE gives programs and libraries: / (this machine's own) or an arm64 root, which QEMU runs.
# Each FOLDER is shown at the device's PATH. Nothing outside the namespace changes.
set -e
root=$1 source=${2%/} qemu=$3
shift 3

if [ -n "$qemu" ]; then
  # A user namespace has a binfmt_misc of its own since Linux 6.7. F: opened now, not in the root.
  mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  printf '%s' ":phone-arm64:M::$magic:$mask:$qemu:F" >/proc/sys/fs/binfmt_misc/register
fi

for name in bin sbin lib lib32 lib64 libx32 usr etc; do
  if [ -L "$source/$name" ]; then
    ln -sfn "$(readlink "$source/$name")" "$root/$name"
  elif [ -d "$source/$name" ]; then
    mkdir -p "$root/$name"
    mount --rbind "$source/$name" "$root/$name"
  fi
done
for name in proc dev sys/devices; do
  mkdir -p "$root/$name"
  mount --rbind "/$name" "$root/$name"
done
while [ $# -gt 0 ]; do
  mkdir -p "$root$1"
  mount --bind "$2" "$root$1"
  shift 2
done

# The last process has its root there: others enter through it. Its word shows that programs run.
exec chroot "$root" /system/bin/sh -c 'echo ready; read line || true'
