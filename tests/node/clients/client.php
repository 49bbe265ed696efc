<?php
// phpredis against a node at the port in the first argument. Ends with an error at the first difference.
function same($expected, $found, string $what): void {
    if ($expected !== $found) {
        throw new Exception($what . ": expected " . var_export($expected, true) . ", found " . var_export($found, true));
    }
}

function connect(): Redis {
    global $argv;
    $redis = new Redis();
    $redis->connect("127.0.0.1", (int) $argv[1]);
    return $redis;
}

$one = connect();
$two = connect();
$one->flushDb();

$bytes = implode("", array_map("chr", range(0, 255)));
same(true, $one->set("bytes", $bytes), "SET");
same($bytes, $one->get("bytes"), "GET of every byte");
same(false, $one->get("absent"), "GET of nothing");
same(false, $one->set("bytes", "x", ["nx"]), "SET NX");
same([1, 2, 12], [$one->incr("n"), $one->incr("n"), $one->incrBy("n", 10)], "INCR");
same(true, $one->mset(["a" => "1", "b" => "2"]), "MSET");
same(["1", "2", false], $one->mget(["a", "b", "absent"]), "MGET");

$one->set("soon", "x", ["px" => 1000]);
same(true, $one->pttl("soon") > 0 && $one->pttl("soon") <= 1000, "PTTL");
$one->expire("a", 100);
same([100, true, -1], [$one->ttl("a"), $one->persist("a"), $one->ttl("a")], "PERSIST");
usleep(1100000);
same(false, $one->get("soon"), "GET behind the time");

$pipeline = $one->pipeline();
$expected = [];
for ($i = 0; $i < 200; $i++) {
    $pipeline->set("p$i", (string) $i)->get("p$i");
    array_push($expected, true, (string) $i);
}
same($expected, $pipeline->exec(), "a pipeline");

$one->watch("a");
same([2, "2"], $one->multi()->incr("a")->get("b")->exec(), "a transaction");
$one->watch("a");
$two->set("a", "of another");
same(false, $one->multi()->set("a", "lost")->exec(), "a transaction whose key was changed");
same("of another", $one->get("a"), "what the other wrote");

$found = [];
$cursor = null;
$one->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
while ($keys = $one->scan($cursor, "p*", 50)) {
    $found = array_merge($found, $keys);
}
same(200, count(array_unique($found)), "SCAN");
echo "phpredis ", phpversion("redis"), "\n";
