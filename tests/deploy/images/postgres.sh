#!/usr/bin/env bash
# The entry point of the stand-in of the image `postgres`: the same variables, folder and user.
set -euo pipefail
for name in POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB; do
  file=${name}_FILE
  if [ -n "${!file:-}" ]; then
    export "$name=$(<"${!file}")"
  fi
  unset "$file"
done
: "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=${POSTGRES_USER:-postgres}}"
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:?}") --no-sync \
    --encoding=UTF8 --no-locale ${POSTGRES_INITDB_ARGS:-}
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  export PGPASSWORD=$POSTGRES_PASSWORD
  # as the real one does: while the database is created, it listens on the socket only
  pg_ctl -w -o "-c listen_addresses='' -c unix_socket_directories=/var/run/postgresql" start
  [ "$POSTGRES_DB" = postgres ] ||
    createdb --host=/var/run/postgresql --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl -w -m fast stop
fi
unset POSTGRES_PASSWORD PGPASSWORD
exec "$@" -c listen_addresses=* -c unix_socket_directories=/var/run/postgresql
