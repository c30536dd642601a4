#!/usr/bin/env bash
# Writes a root file system of Debian packages as a tar: root.sh FILE VARIANT PACKAGE,... [HOOK]
# VARIANT `extract` runs no script of a package. HOOK is a shell line, in which $1 is the root.
# The packages come from the mirror that apt is configured with.
set -euo pipefail
file=$1 variant=$2 packages=$3 hook=${4:-}

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mapfile -t sources < <(grep -lEs "(^|[[:space:]])$suite([[:space:]]|\$)" \
  /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources)
if [ ${#sources[@]} -eq 0 ]; then
  echo "apt has no source for $suite" >&2
  exit 1
fi
options=()
for scheme in http https; do
  proxy=$(apt-config dump --format '%v%n' "Acquire::$scheme::Proxy")
  if [ -n "$proxy" ]; then
    options+=(--aptopt="Acquire::$scheme::Proxy \"$proxy\"")
  fi
done

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mmdebstrap --quiet --variant="$variant" --include="$packages" "${options[@]}" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  "$suite" "$root" "${sources[@]}"
rm -rf "$root"/var/{lib/apt/lists,cache/apt} "$root"/etc/{hostname,resolv.conf,hosts}
find "$root/dev" -mindepth 1 -delete
if [ -n "$hook" ]; then
  bash -euc "$hook" hook "$root"
fi
tar -C "$root" --sort=name --mtime=@0 --numeric-owner -cf "$file.new" .
mv "$file.new" "$file"
