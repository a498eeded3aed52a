// ioredis' Cluster through a proxy before a cluster: node ioredis_cluster.mjs HOST PORT.

import { createRequire } from 'node:module';
import { Cluster } from 'ioredis';
import { GROUPS, expect, run, within } from './report.mjs';

const [host, port] = process.argv.slice(2);
const { version } = createRequire(import.meta.url)('ioredis/package.json');

const values = (replies) => replies.map(([error, value]) => { if (error) throw error; return value; });
const numbers = (count) => Array.from({ length: count }, (_, n) => n);

async function one_node({ client }) {
  expect(client.nodes('master').length, 1, 'the primaries that it knows');
}

async function plain_commands({ client }) {
  for (const n of numbers(100)) expect(await client.set(`plain:${n}`, String(n)), 'OK', 'SET');
  const got = await Promise.all(numbers(100).map((n) => client.get(`plain:${n}`)));
  expect(got, numbers(100).map(String), 'GET');
  expect(await client.hset('plain:h', { f: '1', g: '2' }), 2, 'HSET');
  expect(await client.hgetall('plain:h'), { f: '1', g: '2' }, 'HGETALL');
}

async function pipelines({ client }) {
  const pipe = client.pipeline();
  for (const n of numbers(200)) pipe.incr(`pipe:{p}:${n % 10}`);
  expect(values(await pipe.exec()), numbers(200).map((n) => Math.floor(n / 10) + 1), '200 INCR on ten keys');
}

async function groups({ client }) {
  for (const n of numbers(GROUPS)) {
    const pipe = client.pipeline().setex(`rt:{u${n}}:t`, 60, 'v').sadd(`sess:{u${n}}`, 't').expire(`sess:{u${n}}`, 60);
    expect(values(await pipe.exec()), ['OK', 1, 1], 'replies of a group');
  }
  return GROUPS;
}

async function transaction({ client }) {
  expect(values(await client.multi().incr('{t}a').incr('{t}b').exec()), [1, 1], 'MULTI .. EXEC');
}

async function pubsub({ client }) {
  const message = new Promise((resolve) => client.once('message', (channel, text) => resolve([channel, text])));
  await client.subscribe('news');
  const other = await connect();
  await other.publish('news', 'hello');
  expect(await within(5000, message, 'a message'), ['news', 'hello'], 'a message');
  other.disconnect();
}

const connect = async () => {
  const client = new Cluster([{ host, port: Number(port) }], { lazyConnect: true, clusterRetryStrategy: null });
  client.on('error', (error) => console.error(`ioredis: ${error}`));
  await within(10_000, client.connect(), 'connecting');
  return client;
};

const client = await connect();
await Promise.all(client.nodes('master').map((node) => node.flushall()));
const failed = await run(`ioredis ${version} Cluster`, 2, [one_node, plain_commands, pipelines, groups, transaction, pubsub], { client });
client.disconnect();
process.exit(failed ? 1 : 0);
