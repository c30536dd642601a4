#!/usr/bin/env bash
# Writes a tar of programs of this host with their libraries: programs.sh FILE USER:ID PATH...
# A path may be SOURCE=TARGET. Folders are copied as they are.
set -euo pipefail
file=$1 user=$2
shift 2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
install -d "$root"/etc/ssl/certs "$root"/usr/bin "$root/run" "$root/var"
install -d -m 1777 "$root/tmp"
ln -s usr/bin "$root/bin"
ln -s ../run "$root/var/run"

libraries() {
  # a script has none
  { ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true; } | while read -r library; do
    [ -e "$root$library" ] ||
      install -D -m 0755 "$library" "$root$library"
  done
}

for path in "$@"; do
  source=${path%=*} target=${path#*=}
  case $target in /bin/*) target=/usr$target ;; esac
  if [ -d "$source" ]; then
    mkdir -p "$root$target"
    # bitcode and the compiler of queries need LLVM, which is as large as all the rest
    (cd "$source" && tar --exclude=bitcode --exclude='llvmjit*' -cf - .) | tar -C "$root$target" -xf -
    find "$source" -type f \( -perm -100 -o -name '*.so' \) -not -name 'llvmjit*' | while read -r program; do
      libraries "$program"
    done
  else
    install -D -m 0755 "$(readlink -f "$source")" "$root$target"
    libraries "$source"
  fi
done
printf '%s\n' root:x:0:0:root:/root:/bin/sh "${user%:*}:x:${user#*:}:${user#*:}::/tmp:/bin/sh" >"$root/etc/passwd"
printf '%s\n' root:x:0: "${user%:*}:x:${user#*:}:" >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
tar -C "$root" --sort=name --mtime=@0 --numeric-owner -cf "$file.new" .
mv "$file.new" "$file"
