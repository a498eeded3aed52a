// node-redis' createCluster through a proxy before a cluster: node node_redis_cluster.mjs HOST PORT.

import { createRequire } from 'node:module';
import { createCluster } from 'redis';
import { GROUPS, expect, run, within } from './report.mjs';

const { version } = createRequire(import.meta.url)('redis/package.json');
const [host, port] = process.argv.slice(2);

const numbers = (count) => Array.from({ length: count }, (_, n) => n);

async function one_node({ client }) {
  expect(client.masters.length, 1, 'the primaries that it knows');
}

async function plain_commands({ client }) {
  for (const n of numbers(100)) expect(await client.set(`plain:${n}`, String(n)), 'OK', 'SET');
  const got = await Promise.all(numbers(100).map((n) => client.get(`plain:${n}`)));
  expect(got, numbers(100).map(String), 'GET');
  expect(await client.hSet('plain:h', { f: '1', g: '2' }), 2, 'HSET');
  expect(await client.hGetAll('plain:h'), { f: '1', g: '2' }, 'HGETALL');
}

async function groups({ client }) {
  for (const n of numbers(GROUPS)) {
    const replies = await Promise.all([
      client.setEx(`rt:{u${n}}:t`, 60, 'v'), client.sAdd(`sess:{u${n}}`, 't'), client.expire(`sess:{u${n}}`, 60),
    ]);
    expect(replies, ['OK', 1, 1], 'replies of a group');
  }
  return GROUPS;
}

async function transaction({ client }) {
  expect(await client.multi().incr('{t}a').incr('{t}b').exec(), [1, 1], 'MULTI .. EXEC');
}

async function pubsub({ client }) {
  const message = new Promise((resolve) => { client.subscribe('news', (text) => resolve(text)).then(() => client.publish('news', 'hello')); });
  expect(await within(5000, message, 'a message'), 'hello', 'a message');
  await client.unsubscribe('news');
}

let failed = 0;
for (const protocol of [2, 3]) {
  const client = createCluster({ rootNodes: [{ url: `redis://${host}:${port}` }], defaults: { RESP: protocol, socket: { reconnectStrategy: false } }, RESP: protocol });
  client.on('error', (error) => console.error(`node-redis: ${error}`));
  await within(10_000, client.connect(), 'connecting');
  await Promise.all(client.masters.map(async (node) => (await client.nodeClient(node)).flushAll()));
  failed += await run(`node-redis ${version} createCluster`, protocol, [one_node, plain_commands, groups, transaction, pubsub], { client });
  await within(10_000, client.close(), 'closing');
}
process.exit(failed ? 1 : 0);
