// Writes to three nodes by ioredis as its users do it with several addresses, kills the one that leads, goes on, and finds at each
// of the others what was acknowledged. Usage: three_nodes.js PORT:PID PORT:PID PORT:PID
const Redis = require('ioredis');

const nodes = process.argv.slice(2).map((word) => word.split(':').map(Number));
const cluster = new Redis.Cluster(
  nodes.map(([port]) => ({ host: '127.0.0.1', port })),
  { clusterRetryStrategy: () => 100, redisOptions: { maxRetriesPerRequest: 0, commandTimeout: 10000 } },
);
// Without a listener each lost connection is a stack trace.
cluster.on('error', () => {});

const told = [];
async function write(count) {
  const deadline = Date.now() + 30000;
  for (let written = 0, number = told.length; written < count; number++) {
    if (Date.now() > deadline) throw new Error(`only ${written} of ${count} writes within 30 s`);
    try {
      const [[, set], [, read]] = await cluster.pipeline().set(`io{x}${number}`, `v${number}`).get(`io{x}${number}`).exec();
      if (set !== 'OK') continue;
      if (read !== `v${number}`) throw new RangeError(`read ${read} behind a write of v${number}`);
      told.push(number);
      written++;
    } catch (error) {
      if (error instanceof RangeError) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

async function leader() {
  const one = new Redis(nodes[0][0], '127.0.0.1');
  const slots = await one.cluster('SLOTS');
  one.disconnect();
  return slots[0][2][1];
}

(async () => {
  await write(300);
  const port = await leader();
  const [, pid] = nodes.find(([other]) => other === port);
  process.kill(pid, 'SIGKILL');
  await write(300);
  for (const [other] of nodes.filter(([other]) => other !== port)) {
    const one = new Redis(other, '127.0.0.1');
    const found = await one.mget(told.map((number) => `io{x}${number}`));
    found.forEach((value, at) => {
      if (value !== `v${told[at]}`) throw new Error(`lost at ${other}: ${told[at]}`);
    });
    one.disconnect();
  }
  cluster.disconnect();
  console.log(`ioredis with three nodes, ${told.length} writes`);
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
