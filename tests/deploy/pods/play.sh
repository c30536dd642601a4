#!/usr/bin/env bash
# Plays objects of Kubernetes with podman 5 of Debian 13, on an older Debian: play.sh ROOT WORK KIND [OPTION...]
# ROOT is a root file system, made if it is missing; images and containers are stored in it. WORK is a folder with
# the objects (play.yaml) and the image (image.tar). A Job (KIND) runs to its end first. Prints what `podman inspect` says about the containers, and
# removes everything when standard input ends.
set -euo pipefail
root=$1 work=$2 kind=$3
shift 3

make_root() {
  local release mirror proxy options=()
  # shellcheck source=/dev/null
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    sed -n "s/ $release main\$//p" | head -n 1)
  for scheme in http https; do
    proxy=$(apt-config dump --format '%v%n' "Acquire::$scheme::Proxy")
    if [ -n "$proxy" ]; then
      options+=(--aptopt="Acquire::$scheme::Proxy \"$proxy\"")
    fi
  done
  rm -rf "$root.new"
  mmdebstrap --quiet --variant=minbase "${options[@]}" \
    --include=podman,catatonit,runc,netavark,aardvark-dns,iptables,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    trixie "$root.new" "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main"
  mkdir -p "$root.new/etc/containers"
  cat >"$root.new/etc/containers/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=8192:8192"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
firewall_driver = "iptables"
CONF
  mv "$root.new" "$root"
}

[ -d "$root" ] || make_root

# runs in ROOT
PLAY=$(
  cat <<'SH'
remove() {
  podman pod rm --all --force --time 1
  podman volume rm --all --force
  podman secret rm --all
} >/dev/null 2>&1
trap remove EXIT
remove
podman load --quiet --input /work/image.tar >&2
podman network exists mlsdm-pods ||
  podman network create --subnet 10.89.201.0/24 --interface-name mlsdmpods0 mlsdm-pods >&2
podman kube play --network mlsdm-pods "$@" /work/play.yaml >&2
container=$(podman ps --all --quiet --filter label=version)
[ "$KIND" != Job ] || podman wait "$container" >&2
podman inspect "$container" >/work/containers.json
echo playing
# until the test has seen enough
cat >/dev/null
podman logs "$container" >&2
SH
)
export PLAY
# a mount namespace of its own, in which all commands run: its mounts end with it
export ROOT=$root WORK=$work KIND=$kind
# shellcheck disable=SC2016
exec unshare --mount bash -euc '
  mount --make-rprivate /
  mount --bind "$ROOT" "$ROOT"
  for folder in proc dev sys; do mount --rbind "/$folder" "$ROOT/$folder"; done
  mkdir -p "$ROOT/work"
  mount --bind "$WORK" "$ROOT/work"
  mount -t tmpfs tmpfs "$ROOT/run"
  mkdir -p "$ROOT/run/lock"
  cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
  exec chroot "$ROOT" env -i "KIND=$KIND" HOME=/root PODMAN_IGNORE_CGROUPSV1_WARNING=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -euc "$PLAY" play "$@"
' play "$@"
