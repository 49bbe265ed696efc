#!/usr/bin/env bash
# The node beside Redis with its append-only file synced always, in turn, in one run: SET and GET of 256 B values under
# random keys. Called by `scripts/bench peers node [--rounds N] [--pairs N] [--keys N] [--record FILE]`.
#
# First table: medians of N rounds (5 by default) in requests per second, and the CPU time of the server for one request.
# Second table: sealed beside nil in N pairs (15 by default), one right after the other, with the interval that holds the
# median with at least 95 % (order statistics). Clients and servers share the machine's cores, so read the ratios.
# SEALKV is the binary.
set -euo pipefail
rounds=5
pairs=15
keys=100000
record=
while [ $# -gt 0 ]; do
    case "$1" in
    --rounds) rounds=$2 ;;
    --pairs) pairs=$2 ;;
    --keys) keys=$2 ;;
    --record) record=$(realpath -m "$2") ;;
    *) printf 'unknown option %s\n' "$1" >&2 && exit 2 ;;
    esac
    shift 2
done
# Fewer than six pairs have no interval that holds the median with 95 %.
[ "$pairs" = 0 ] || [ "$pairs" -ge 6 ] || { printf -- '--pairs %s: expected 0, or at least 6\n' "$pairs" >&2 && exit 2; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/sealkv-peers.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT

servers=(sealed nil redis)
port=17000
# is_taken PORT: whether somebody listens there.
is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
while is_taken $port || is_taken $((port + 1)) || is_taken $((port + 2)); do
    port=$((port + 10))
    [ $port -lt 18000 ] || { printf 'no three free ports from 17000 to 18000\n' >&2 && exit 1; }
done
"$SEALKV" keygen "$work/kek" >/dev/null
# A node refuses variables of its prefix that are no settings.
node=(env -u SEALKV_COMMIT "$SEALKV" serve --admin-listen 127.0.0.1:0)
"${node[@]}" --data-dir "$work/sealed" --kek-file "$work/kek" --listen 127.0.0.1:$port >"$work/sealed.log" 2>&1 &
pids=($!)
"${node[@]}" --data-dir "$work/nil" --encryption off --listen 127.0.0.1:$((port + 1)) >"$work/nil.log" 2>&1 &
pids+=($!)
mkdir "$work/redis"
redis-server --port $((port + 2)) --dir "$work/redis" --appendonly yes --appendfsync always --save "" >"$work/redis.log" &
pids+=($!)
for server in 0 1 2; do
    up=
    for _ in $(seq 300); do
        redis-cli -p $((port + server)) ping 2>/dev/null | grep -q PONG && up=1 && break
        sleep 0.1
    done
    [ -n "$up" ] || { cat "$work/${servers[server]}.log" >&2 && exit 1; }
done

# CPU time that a process has used, in ticks of 10 ms.
ticks() { awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
# SERVER TEST CLIENTS PIPELINE REQUESTS: requests per second and CPU microseconds of the server per request, of one run.
one() {
    local before after rate
    before=$(ticks "${pids[$1]}")
    rate=$(redis-benchmark -p $((port + $1)) -t "$2" -c "$3" -P "$4" -n "$5" -d 256 -r "$keys" --csv | awk -F'","|"' 'END { print $3 }')
    after=$(ticks "${pids[$1]}")
    awk -v r="$rate" -v t=$((after - before)) -v n="$5" 'BEGIN { print r, t * 10000 / n }'
}
# FILE COLUMN: the median.
median() { sort -g -k"$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }

# Every key is there before anything is measured.
for server in 0 1 2; do
    redis-benchmark -p $((port + server)) -t set -c 50 -P 64 -n $((keys * 3)) -d 256 -r "$keys" -q >/dev/null
done

shapes=("50 16 400000" "256 16 400000" "50 1 60000")
for shape in "${shapes[@]}"; do
    read -r clients pipeline requests <<<"$shape"
    for round in $(seq "$rounds"); do
        for test in set get; do
            for turn in 0 1 2; do
                server=$(((turn + round) % 3))
                one $server $test "$clients" "$pipeline" "$requests" >>"$work/$clients-$pipeline-$test-$server"
            done
        done
    done
done

rows=
printf '%-4s %-10s %10s %10s %10s %11s %13s %24s\n' test shape "${servers[@]}" sealed/nil sealed/redis 'CPU us/request s n r'
for shape in "${shapes[@]}"; do
    read -r clients pipeline _ <<<"$shape"
    for test in set get; do
        values=()
        cpu=()
        for server in 0 1 2; do
            file="$work/$clients-$pipeline-$test-$server"
            values+=("$(median "$file" 1)")
            cpu+=("$(median "$file" 2)")
            samples=$(awk '{ printf "%s%s", (NR > 1 ? "," : ""), $1 }' "$file")
            rows+="${rows:+,}{\"impl\":\"${servers[server]}\",\"op\":\"$test\",\"clients\":$clients,\"pipeline\":$pipeline,"
            rows+="\"value_bytes\":256,\"keys\":$keys,\"requests_per_second\":${values[server]},"
            rows+="\"cpu_micros_per_request\":${cpu[server]},\"samples\":[$samples]}"
        done
        awk -v t=$test -v c="c$clients P$pipeline" -v s="${values[0]}" -v n="${values[1]}" -v r="${values[2]}" \
            -v cs="${cpu[0]}" -v cn="${cpu[1]}" -v cr="${cpu[2]}" \
            'BEGIN { printf "%-4s %-10s %10.0f %10.0f %10.0f %11.2f %13.2f %8.2f %7.2f %7.2f\n", t, c, s, n, r, s / n, s / r, cs, cn, cr }'
    done
done

# The median of the ratios of pairs, and the order statistics around it that hold it with at least 95 %.
ratios=
for test in set get; do
    [ "$pairs" -gt 0 ] || break
    for pair in $(seq "$pairs"); do
        # Which one begins changes from pair to pair.
        for server in $((pair % 2)) $(((pair + 1) % 2)); do
            one "$server" $test 50 16 200000 >"$work/pair-$server"
        done
        paste -d' ' "$work/pair-0" "$work/pair-1" | awk '{ print $1 / $3 }' >>"$work/pairs-$test"
    done
    line=$(sort -g "$work/pairs-$test" | awk '{ v[NR] = $1 } END {
        n = NR; p = exp(-n * log(2)); sum = 0; low = 0
        for (k = 0; sum + p <= 0.025; k++) { sum += p; p *= (n - k) / (k + 1); low = k + 1 }
        print v[int((n + 1) / 2)], v[low], v[n + 1 - low] }')
    read -r middle lower upper <<<"$line"
    printf '%s c50 P16 sealed/nil of %s pairs: median %.3f, interval %.3f to %.3f\n' $test "$pairs" "$middle" "$lower" "$upper"
    ratios+="${ratios:+,}{\"op\":\"$test\",\"pairs\":$pairs,\"median\":$middle,\"lower\":$lower,\"upper\":$upper}"
done
if [ -n "$record" ]; then
    cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
    printf '{"bench":"peers node","commit":"%s","date":"%s","cpu":"%s","cores":%s,"rounds":%s,"rows":[%s],"sealed_by_nil":[%s]}\n' \
        "$SEALKV_COMMIT" "$(date -u +%F)" "$cpu" "$(nproc)" "$rounds" "$rows" "$ratios" >"$record"
fi
