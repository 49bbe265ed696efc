#!/usr/bin/env bash
# The node beside Redis with its append-only file synced always, in turn, in one run: SET and GET of 256 B values under
# random keys. Called by `scripts/bench peers node [--rounds N] [--record FILE]`; prints medians in requests per second.
# Clients and servers share the machine's cores, so read the ratios. SEALKV is the binary.
set -euo pipefail
rounds=3
record=
while [ $# -gt 0 ]; do
    case "$1" in
    --rounds) rounds=$2 ;;
    --record) record=$(realpath -m "$2") ;;
    *) printf 'unknown option %s\n' "$1" >&2 && exit 2 ;;
    esac
    shift 2
done
work=$(mktemp -d "${TMPDIR:-/var/tmp}/sealkv-peers.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT

servers=(sealed nil redis)
port=17000
"$SEALKV" keygen "$work/kek" >/dev/null
# A node refuses variables of its prefix that are no settings.
node=(env -u SEALKV_COMMIT "$SEALKV" serve --admin-listen 127.0.0.1:0)
"${node[@]}" --data-dir "$work/sealed" --kek-file "$work/kek" --listen 127.0.0.1:$port >"$work/sealed.log" 2>&1 &
"${node[@]}" --data-dir "$work/nil" --listen 127.0.0.1:$((port + 1)) >"$work/nil.log" 2>&1 &
mkdir "$work/redis"
redis-server --port $((port + 2)) --dir "$work/redis" --appendonly yes --appendfsync always --save "" >"$work/redis.log" &
for server in 0 1 2; do
    up=
    for _ in $(seq 300); do
        redis-cli -p $((port + server)) ping 2>/dev/null | grep -q PONG && up=1 && break
        sleep 0.1
    done
    [ -n "$up" ] || { cat "$work/${servers[server]}.log" >&2 && exit 1; }
done

# PORT TEST CLIENTS PIPELINE REQUESTS: requests per second of one run.
one() {
    redis-benchmark -p "$1" -t "$2" -c "$3" -P "$4" -n "$5" -d 256 -r 100000 --csv | awk -F'","|"' 'END { print $3 }'
}
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

shapes=("50 16 200000" "256 16 300000" "50 1 40000")
for shape in "${shapes[@]}"; do
    read -r clients pipeline requests <<<"$shape"
    for _ in $(seq "$rounds"); do
        for test in set get; do
            for server in 0 1 2; do
                one $((port + server)) $test "$clients" "$pipeline" "$requests" >>"$work/$clients-$pipeline-$test-$server"
            done
        done
    done
done

rows=
printf '%-4s %-10s %10s %10s %10s %11s %13s\n' test shape "${servers[@]}" sealed/nil sealed/redis
for shape in "${shapes[@]}"; do
    read -r clients pipeline _ <<<"$shape"
    for test in set get; do
        values=()
        for server in 0 1 2; do
            values+=("$(median "$work/$clients-$pipeline-$test-$server")")
            rows+="${rows:+,}{\"impl\":\"${servers[server]}\",\"op\":\"$test\",\"clients\":$clients,\"pipeline\":$pipeline,"
            rows+="\"value_bytes\":256,\"requests_per_second\":${values[server]}}"
        done
        awk -v t=$test -v c="c$clients P$pipeline" -v s="${values[0]}" -v n="${values[1]}" -v r="${values[2]}" \
            'BEGIN { printf "%-4s %-10s %10.0f %10.0f %10.0f %11.2f %13.2f\n", t, c, s, n, r, s / n, s / r }'
    done
done
if [ -n "$record" ]; then
    cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
    printf '{"bench":"peers node","commit":"%s","date":"%s","cpu":"%s","cores":%s,"rounds":%s,"rows":[%s]}\n' \
        "$SEALKV_COMMIT" "$(date -u +%F)" "$cpu" "$(nproc)" "$rounds" "$rows" >"$record"
fi
