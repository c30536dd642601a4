#!/bin/sh
# Checks a running server: smoke.sh URL KEY_FILE. It is healthy, accepts a step, rejects one with a low
# moral score, and refuses a caller without a key. Each run adds two steps to the default engine.
set -eu
url=${1:-http://127.0.0.1:8000} key_file=${2:-deploy/secrets/api_key}
attempts=60

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

# The key is read from standard input, so that it is in no list of processes.
step() {
  printf 'header = "X-API-Key: %s"\n' "$(cat "$key_file")" |
    curl --config - --silent --show-error --max-time 60 --header 'Content-Type: application/json' \
      --data "{\"prompt\": \"Hello\", \"moral_value\": $1}" "$url/generate"
}

until curl --silent --fail --max-time 5 --output /dev/null "$url/health/ready"; do
  attempts=$((attempts - 1))
  [ "$attempts" -gt 0 ] || fail "$url/health/ready did not answer with status 200 within a minute"
  sleep 1
done
curl --silent --fail --max-time 5 "$url/health" | grep -q '"status":"healthy"' || fail "$url/health"
step 0.8 | grep -q '"accepted":true' || fail "a step with a moral value of 0.8 was not accepted"
step 0.1 | grep -q '"accepted":false' || fail "a step with a moral value of 0.1 was not rejected"
status=$(curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' \
  --header 'Content-Type: application/json' --data '{"prompt": "Hello"}' "$url/generate")
[ "$status" = 401 ] || fail "a caller without a key got status $status"
echo "passed: $url is healthy, accepts, rejects and asks for a key"
