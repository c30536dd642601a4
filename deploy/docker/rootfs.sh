#!/bin/sh
# Writes the files of the image: rootfs.sh BINARY ROOT. Needs Debian, and root for the owners of folders.
set -eu
umask 022
binary=$1 root=$2
install -D -m 0755 "$binary" "$root/usr/local/bin/mlsdm"

# The base image has no C library: it gets the four files that the binary links. Their packages are
# listed where scanners of images look for packages of Debian.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
  case $library in
    */ld-linux*) target=$library ;; # the binary names its path
    *) target=/usr${library#/usr} ;;
  esac
  install -D -m 0755 "$library" "$root$target"
done
install -d "$root/var/lib/dpkg/status.d"
for package in libc6 libgcc-s1; do
  dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$package"
  install -D -m 0644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done

# OpenShift runs containers as an arbitrary user of group 0
for folder in /var/lib/mlsdm /var/log/mlsdm; do
  install -d -o 65532 -g 0 -m 0770 "$root$folder"
done
# the same files make the same image
find "$root" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
