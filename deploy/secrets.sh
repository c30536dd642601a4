#!/bin/sh
# Makes the passwords and keys of deploy/compose.yaml in deploy/secrets, or in the given folder. A file
# that exists is never changed. A value may be given by a variable of the name in the second column.
#
# POSTGRES_PASSWORD is a part of a URL, so it has only letters, digits and . _ ~ -
#
# The folder is only for its owner. The files in it are readable by all, because Compose mounts them as
# they are, and the server, PostgreSQL and Grafana run as different users.
set -eu
folder=${1:-$(dirname "$0")/secrets}
case ${POSTGRES_PASSWORD:-} in
  *[!A-Za-z0-9._~-]*)
    echo "POSTGRES_PASSWORD may have only letters, digits and . _ ~ -" >&2
    exit 2
    ;;
esac
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

# random LENGTH: so many random bytes in hexadecimal
random() {
  od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

# keep NAME VALUE PURPOSE
keep() {
  file=$folder/$1
  if [ -e "$file" ]; then
    echo "kept $file"
    return
  fi
  printf '%s' "$2" >"$file.new"
  chmod 444 "$file.new"
  mv "$file.new" "$file"
  echo "made $file: $3"
}

# a new password would not be that of an existing database
keep postgres_password "${POSTGRES_PASSWORD:-$(random 24)}" "the password of the database"
keep database_url "postgres://mlsdm:$(cat "$folder/postgres_password")@postgres:5432/mlsdm" \
  "the database of the server"
keep content_key "${MLSDM_CONTENT_KEY:-$(random 32)}" \
  "encrypts the keys of all contents: store a copy elsewhere, without it they are lost"
keep api_key "${API_KEY:-$(random 32)}" "the API key of applications"
keep admin_api_key "${ADMIN_API_KEY:-$(random 32)}" "the API key with the role admin"
keep grafana_password "${GRAFANA_PASSWORD:-$(random 16)}" "the password of the user admin of Grafana"
