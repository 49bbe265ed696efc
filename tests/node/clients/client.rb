# redis-rb against a node at the port in the first argument. Ends with an error at the first difference.
require "redis"

def same(expected, found, what)
  raise "#{what}: expected #{expected.inspect}, found #{found.inspect}" unless expected == found
end

one = Redis.new(port: ARGV.fetch(0).to_i)
two = Redis.new(port: ARGV.fetch(0).to_i)
one.flushdb

bytes = (0..255).to_a.pack("C*")
same "OK", one.set("bytes", bytes), "SET"
same bytes, one.get("bytes").b, "GET of every byte"
same nil, one.get("absent"), "GET of nothing"
same false, one.set("bytes", "x", nx: true), "SET NX"
same [1, 2, 12], [one.incr("n"), one.incr("n"), one.incrby("n", 10)], "INCR"
same "OK", one.mset("a", "1", "b", "2"), "MSET"
same ["1", "2", nil], one.mget("a", "b", "absent"), "MGET"

one.set("soon", "x", px: 1000)
same true, one.pttl("soon").between?(1, 1000), "PTTL"
one.expire("a", 100)
same [100, true, -1], [one.ttl("a"), one.persist("a"), one.ttl("a")], "PERSIST"
sleep 1.1
same nil, one.get("soon"), "GET behind the time"

replies = one.pipelined { |pipeline| 200.times { |i| pipeline.set("p#{i}", i); pipeline.get("p#{i}") } }
same (0...200).flat_map { |i| ["OK", i.to_s] }, replies, "a pipeline"

won = one.watch("a") { one.multi { |transaction| transaction.incr("a"); transaction.get("b") } }
same [2, "2"], won, "a transaction"
lost = one.watch("a") do
  two.set("a", "of another")
  one.multi { |transaction| transaction.set("a", "lost") }
end
same nil, lost, "a transaction whose key was changed"
same "of another", one.get("a"), "what the other wrote"

found = one.scan_each(match: "p*", count: 50).to_a.uniq
same (0...200).map { |i| "p#{i}" }.sort, found.sort, "SCAN"
puts "redis-rb #{Redis::VERSION}"
