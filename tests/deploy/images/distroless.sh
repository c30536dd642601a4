#!/usr/bin/env bash
# Leaves of a root what the base image of the server has: certificates, time zones and the user nonroot;
# no shell, no C library.
set -euo pipefail
cd "$1"
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
rm -rf var/lib/{apt,dpkg} var/cache etc/{apt,update-motd.d} usr/lib/ssl boot media {usr/,}{bin,sbin}/* \
  usr/share/{man,info,locale,lintian,debconf,perl5,bug,bash-completion,gcc,ca-certificates} \
  usr/lib/*-linux-gnu lib/* lib64 \
  usr/share/zoneinfo/{right,posix}
find usr/share/doc -type f ! -name copyright -delete
printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin \
  nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >etc/passwd
printf '%s\n' root:x:0: nobody:x:65534: nonroot:x:65532: >etc/group
echo 'hosts: files dns' >etc/nsswitch.conf
install -d -o 65532 -g 65532 home/nonroot
