#!/usr/bin/env bash
# Sets a fresh Debian or Ubuntu machine up, builds Vedette, and runs an aggregator and an agent of this host on
# loopback until Ctrl-C. Everything it stores is in one folder, which `--fresh` empties first.
#
#   packaging/quickstart.sh [--fresh] [--once]      --once: print the first answers and end
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/setup.sh

fresh='' once=''
for argument in "$@"; do
    case "$argument" in
    --fresh) fresh=1 ;;
    --once) once=1 ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) printf 'error: unknown argument %s (try --help)\n' "$argument" >&2; exit 2 ;;
    esac
done

vedette_setup
vedette_say "building into $CARGO_TARGET_DIR (RocksDB alone takes some ten minutes on 2 cores, once)"
vedette_cargo build --package vedette-agent --package vedette-aggregator --bins
bin="$CARGO_TARGET_DIR/debug"

data="$vedette_cache/quickstart"
[ -z "$fresh" ] || rm -rf "$data"
mkdir -p "$data"
chmod 700 "$data"

pids=()
# shellcheck disable=SC2317  # called by the trap
end() {
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    vedette_say "ended; data and logs stay in $data"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The first free port from a wanted one on; what: -t (TCP) or -u (UDP).
free_port() {
    local port=$2
    while ss -Hln "$1" "sport = :$port" 2>/dev/null | grep -q .; do port=$((port + 1)); done
    echo "$port"
}
http="127.0.0.1:$(free_port -t 9090)"
quic="127.0.0.1:$(free_port -u 9095)"
metrics="127.0.0.1:$(free_port -t 9100)"

# Waits until an URL answers 200, or says what the program's log said last.
await() {
    local url=$1 pid=$2 log=$3
    for _ in $(seq 1 150); do
        curl -fsS -o /dev/null "$url" 2>/dev/null && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 5 "$log" >&2
    vedette_fail "no answer from $url; the whole log is $log"
}

vedette_say "starting the aggregator: http://$http, QUIC $quic"
"$bin/vedette-aggregator" --storage.path="$data/aggregator" --web.listen-address="$http" \
    --quic.listen-address="$quic" 2>"$data/aggregator.log" &
pids+=($!)
await "http://$http/-/ready" "${pids[0]}" "$data/aggregator.log"

if [ ! -e "$data/agent/identity" ]; then
    vedette_say "enrolling this host with a token that is used once"
    (umask 077 && "$bin/vedette-aggregator" --storage.path="$data/aggregator" token create >"$data/token")
    "$bin/vedette-agent" --spool.path="$data/agent" enroll --token-file="$data/token"
    rm -f "$data/token"
fi

vedette_say "starting the agent: http://$metrics/metrics, a sample a second"
"$bin/vedette-agent" --spool.path="$data/agent" --web.listen-address="$metrics" --aggregator="$quic" \
    --interval=1s 2>"$data/agent.log" &
pids+=($!)
await "http://$metrics/-/ready" "${pids[1]}" "$data/agent.log"

# The value of an instant query that gives one series, or nothing.
ask() {
    curl -fsS --data-urlencode "query=$1" "http://$http/api/v1/query" |
        sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'
}
show() {
    local answer=''
    for _ in $(seq 1 60); do
        answer=$(ask "$2")
        [ -n "$answer" ] && break
        sleep 0.5
    done
    [ -n "$answer" ] || vedette_fail "no answer to $2 after 30 s; logs: $data/aggregator.log $data/agent.log"
    printf '  %-28s %12.2f   %s\n' "$1" "$answer" "$2"
}
vedette_say "first answers"
show "series of this host" 'count({job="node"})'
show "load, 1 minute" 'node_load1'
show "memory in use, %" '100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)'
show "CPU in use, %" '100 * (1 - avg(rate(node_cpu_seconds_total{mode="idle"}[30s])))'

cat <<TXT

  Open next
    http://$http/           expression, table, graph
    http://$metrics/metrics     what the agent collects, for any Prometheus
    Grafana                         add a Prometheus data source: http://$http
    promtool                        promtool query instant http://$http 'node_load1'
  Logs and data: $data

TXT
[ -n "$once" ] && exit 0
vedette_say "running; Ctrl-C ends both"
wait -n "${pids[@]}" || true
tail -n 5 "$data/aggregator.log" "$data/agent.log" >&2
vedette_fail "one of them ended by itself; see above"
