// node-redis and ioredis against a node at the port in the first argument; the second one says which. Ends with an error at the
// first difference.
const assert = require("node:assert").strict;
const [port, kind] = [Number(process.argv[2]), process.argv[3]];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const numbers = [...Array(200).keys()];
const bytes = Buffer.from([...Array(256).keys()]);

async function nodeRedis() {
  const redis = require("redis");
  const one = redis.createClient({ socket: { port } });
  const two = one.duplicate();
  await Promise.all([one.connect(), two.connect()]);
  await one.flushDb();
  assert.equal(await one.set("bytes", bytes), "OK");
  assert.deepEqual(await one.get(redis.commandOptions({ returnBuffers: true }), "bytes"), bytes);
  assert.equal(await one.get("absent"), null);
  assert.equal(await one.set("bytes", "x", { NX: true }), null);
  assert.deepEqual([await one.incr("n"), await one.incr("n"), await one.incrBy("n", 10)], [1, 2, 12]);
  await one.mSet(["a", "1", "b", "2"]);
  assert.deepEqual(await one.mGet(["a", "b", "absent"]), ["1", "2", null]);
  await one.set("soon", "x", { PX: 1000 });
  await one.expire("a", 100);
  assert.deepEqual([await one.ttl("a"), await one.persist("a"), await one.ttl("a")], [100, true, -1]);
  await pause(1100);
  assert.equal(await one.get("soon"), null);
  // Commands of one turn of the loop go out as one pipeline.
  const replies = await Promise.all(numbers.flatMap((i) => [one.set(`p${i}`, String(i)), one.get(`p${i}`)]));
  assert.deepEqual(replies, numbers.flatMap((i) => ["OK", String(i)]));
  await one.watch("a");
  assert.deepEqual(await one.multi().incr("a").get("b").exec(), [2, "2"]);
  await one.watch("a");
  await two.set("a", "of another");
  await assert.rejects(one.multi().set("a", "lost").exec(), redis.WatchError);
  assert.equal(await one.get("a"), "of another");
  const found = new Set();
  for await (const key of one.scanIterator({ MATCH: "p*", COUNT: 50 })) found.add(key);
  assert.equal(found.size, 200);
  await Promise.all([one.quit(), two.quit()]);
}

async function ioredis() {
  const Redis = require("ioredis");
  const [one, two] = [new Redis(port), new Redis(port)];
  await one.flushdb();
  assert.equal(await one.set("bytes", bytes), "OK");
  assert.deepEqual(await one.getBuffer("bytes"), bytes);
  assert.equal(await one.get("absent"), null);
  assert.equal(await one.set("bytes", "x", "NX"), null);
  assert.deepEqual([await one.incr("n"), await one.incr("n"), await one.incrby("n", 10)], [1, 2, 12]);
  await one.mset("a", "1", "b", "2");
  assert.deepEqual(await one.mget("a", "b", "absent"), ["1", "2", null]);
  await one.set("soon", "x", "PX", 1000);
  await one.expire("a", 100);
  assert.deepEqual([await one.ttl("a"), await one.persist("a"), await one.ttl("a")], [100, 1, -1]);
  await pause(1100);
  assert.equal(await one.get("soon"), null);
  const pipeline = one.pipeline();
  numbers.forEach((i) => pipeline.set(`p${i}`, i).get(`p${i}`));
  assert.deepEqual(await pipeline.exec(), numbers.flatMap((i) => [[null, "OK"], [null, String(i)]]));
  await one.watch("a");
  assert.deepEqual(await one.multi().incr("a").get("b").exec(), [[null, 2], [null, "2"]]);
  await one.watch("a");
  await two.set("a", "of another");
  assert.equal(await one.multi().set("a", "lost").exec(), null);
  assert.equal(await one.get("a"), "of another");
  const found = new Set();
  for await (const keys of one.scanStream({ match: "p*", count: 50 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 200);
  await Promise.all([one.quit(), two.quit()]);
}

// Sessions of Express, through ioredis.
async function connectRedis() {
  const session = require("express-session");
  const Store = require("connect-redis")(session);
  const client = new (require("ioredis"))(port);
  const store = new Store({ client, ttl: 100 });
  const call = (name, ...args) =>
    new Promise((done, failed) => store[name](...args, (error, value) => (error ? failed(error) : done(value))));
  const value = { cookie: { maxAge: 60000 }, user: "ann" };
  await call("set", "s1", value);
  assert.equal((await call("get", "s1")).user, "ann");
  await call("touch", "s1", value);
  assert.equal(await call("length"), 1);
  assert.deepEqual(await call("ids"), ["s1"]);
  await call("destroy", "s1");
  assert.equal(await call("get", "s1"), undefined);
  await client.quit();
}

const kinds = { "node-redis": nodeRedis, ioredis, "connect-redis": connectRedis };
kinds[kind]().then(
  () => console.log(kind),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
