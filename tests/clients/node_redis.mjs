// node-redis through a proxy: node node_redis.mjs HOST PORT.

import { createRequire } from 'node:module';
import { createClient, RESP_TYPES, WatchError } from 'redis';
import { BIG, GROUPS, expect, pause, refused, run, within } from './report.mjs';

const { version } = createRequire(import.meta.url)('redis/package.json');
const [host, port] = process.argv.slice(2);

async function handshake({ client, connect }) {
  expect(await client.ping(), 'PONG', 'PING');
  const named = await connect({ name: 'named' });
  expect(await named.clientGetName(), 'named', 'CLIENT GETNAME');
  expect((await named.clientInfo()).name, 'named', 'name in CLIENT INFO');
}

async function plain_commands({ client }) {
  expect(await client.set('plain:a', '1'), 'OK', 'SET');
  const bytes = Buffer.from('\x00\r\n$-1\r\n\xff', 'latin1');
  await client.set('plain:b', bytes);
  const raw = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  expect(Buffer.compare(await raw.get('plain:b'), bytes), 0, 'GET of bytes');
  expect([await client.get('plain:a'), await client.get('plain:missing')], ['1', null], 'GET');
  expect([await client.incr('plain:n'), await client.incrBy('plain:n', 41)], [1, 42], 'INCR, INCRBY');
  expect(await client.hSet('plain:h', { f: '1', g: '2' }), 2, 'HSET');
  expect(await client.hGetAll('plain:h'), { f: '1', g: '2' }, 'HGETALL');
  expect(await client.zAdd('plain:z', { score: 1.5, value: 'm' }), 1, 'ZADD');
  expect(await client.zScore('plain:z', 'm'), 1.5, 'ZSCORE');
  const keys = [];
  for await (const batch of client.scanIterator({ MATCH: 'plain:*' })) keys.push(...[batch].flat());
  expect(keys.sort(), ['plain:a', 'plain:b', 'plain:h', 'plain:n', 'plain:z'], 'SCAN');
}

async function pipelines({ client }) {
  const replies = await Promise.all(Array.from({ length: 500 }, () => client.incr('pipe:n')));
  expect(replies, Array.from({ length: 500 }, (_, n) => n + 1), '500 INCR in one turn');
}

const session = (to, user) =>
  to.setEx(`rt:${user}:t`, 60, 'v').sAdd(`sess:${user}`, 't').expire(`sess:${user}`, 60).sMembers(`sess:${user}`);

async function groups_in_pipelines({ client }) {
  for (let n = 0; n < GROUPS; n += 1) {
    expect(await session(client.multi(), `p${n}`).execAsPipeline(), ['OK', 1, 1, ['t']], 'replies of a group');
    const [value, ttl] = [await client.get(`rt:p${n}:t`), await client.ttl(`sess:p${n}`)];
    expect([value, ttl > 30 && ttl <= 60], ['v', true], 'what a group left');
  }
  return GROUPS;
}

async function groups_in_promise_all({ client }) {
  const one = (user) => Promise.all([
    client.setEx(`rt:${user}:t`, 60, 'v'),
    client.sAdd(`sess:${user}`, 't'),
    client.expire(`sess:${user}`, 60),
    client.sMembers(`sess:${user}`),
  ]);
  for (let n = 0; n < GROUPS; n += 1) expect(await one(`a${n}`), ['OK', 1, 1, ['t']], 'replies of a group');
  const all = await Promise.all(Array.from({ length: GROUPS }, (_, n) => one(`b${n}`)));
  expect(all, Array(GROUPS).fill(['OK', 1, 1, ['t']]), 'replies of groups in one turn');
  return 2 * GROUPS;
}

async function transaction({ client }) {
  expect(await client.multi().set('tx:a', '1').incr('tx:a').lRange('tx:none', 0, -1).exec(), ['OK', 2, []], 'EXEC');
  expect(await session(client.multi(), 'tx').exec(), ['OK', 1, 1, ['t']], 'EXEC of a group');
}

async function watch({ client, connect }) {
  const own = await connect();
  await own.watch('watched');
  await client.set('watched', 'other');
  const error = await refused(own.multi().set('watched', 'mine').exec(), 'EXEC after a change');
  expect(error instanceof WatchError, true, `WatchError, not ${error}`);
  await own.watch('watched');
  expect(await own.multi().set('watched', 'mine').exec(), ['OK'], 'EXEC without a change');
}

async function pubsub({ client, connect }) {
  const subscriber = await connect();
  const got = [];
  let came;
  const heard = (count) => new Promise((resolve) => { came = () => got.length >= count && resolve(); came(); });
  const listen = (text, channel) => { got.push([channel, text]); came?.(); };
  await subscriber.subscribe('news', listen);
  await subscriber.pSubscribe('pat.*', listen);
  expect(await client.publish('news', 'hello'), 1, 'PUBLISH');
  expect(await client.publish('pat.x', 'p'), 1, 'PUBLISH to a pattern');
  await within(5000, heard(2), 'messages');
  expect(got, [['news', 'hello'], ['pat.x', 'p']], 'messages');
  await subscriber.unsubscribe('news');
  await subscriber.pUnsubscribe('pat.*');
  expect(await client.publish('news', 'nobody'), 0, 'PUBLISH to nobody');
  // In RESP2 node-redis goes on to give buffers, with a bare Redis too.
  expect(String(await subscriber.get('plain:a')), '1', 'GET after UNSUBSCRIBE');
}

async function blocking_pop({ client, connect }) {
  const own = await connect();
  const popping = own.blPop('queue', 5);
  await pause(200);
  await client.rPush('queue', 'job');
  expect(await popping, { key: 'queue', element: 'job' }, 'BLPOP');
  expect(await own.blPop('queue', 0.2), null, 'BLPOP of nothing');
  expect(await own.ping(), 'PONG', 'PING after it');
}

async function error_inside_a_pipeline({ client }) {
  await client.set('text', 'x');
  const all = await Promise.allSettled([client.set('before', '1'), client.sAdd('text', 'm'), client.get('before')]);
  expect(all.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled'], 'outcomes');
  expect(all[1].reason.message.startsWith('WRONGTYPE '), true, `WRONGTYPE in ${all[1].reason}`);
  const error = await refused(client.multi().set('before', '2').sAdd('text', 'm').execAsPipeline(), 'execAsPipeline');
  expect(error.message.includes('WRONGTYPE'), true, `WRONGTYPE in ${error}`);
}

async function select({ client, connect }) {
  const other = await connect({ database: 1 });
  await client.set('where', 'zero');
  await other.set('where', 'one');
  expect([await client.get('where'), await other.get('where')], ['zero', 'one'], 'two databases');
  await other.select(2);
  expect(await other.get('where'), null, 'GET after SELECT');
}

async function large_values({ client }) {
  const value = 'x'.repeat(BIG);
  expect(await client.set('big', value), 'OK', 'SET of 1 MB');
  expect((await client.get('big')) === value, true, 'GET of 1 MB is what was set');
  const many = Array.from({ length: 1000 }, (_, n) => client.set(`kb:${n}`, value.slice(0, 1000)));
  expect(await Promise.all(many), Array(1000).fill('OK'), '1000 values of 1 KB in one turn');
}

async function scripts({ client }) {
  expect(await client.eval('return {KEYS[1], ARGV[1]}', { keys: ['k'], arguments: ['a'] }), ['k', 'a'], 'EVAL');
  const error = await refused(client.evalSha('f'.repeat(40)), 'EVALSHA of nothing');
  expect(error.message.startsWith('NOSCRIPT'), true, `NOSCRIPT in ${error}`);
  const sha = await client.scriptLoad("return redis.call('INCRBY', KEYS[1], ARGV[1])");
  expect(await client.evalSha(sha, { keys: ['script:n'], arguments: ['4'] }), 4, 'EVALSHA');
}

const CHECKS = [
  handshake, plain_commands, pipelines, groups_in_pipelines, groups_in_promise_all, transaction, watch, pubsub,
  blocking_pop, error_inside_a_pipeline, select, large_values, scripts,
];

let failed = 0;
for (const protocol of [2, 3]) {
  const open = [];
  const connect = async (more = {}) => {
    const client = createClient({ socket: { host, port: Number(port), reconnectStrategy: false }, RESP: protocol, ...more });
    client.on('error', (error) => console.error(`node-redis: ${error}`));
    open.push(client);
    return within(10_000, client.connect(), 'connecting');
  };
  const client = await connect();
  await client.flushAll();
  failed += await run(`node-redis ${version}`, protocol, CHECKS, { client, connect });
  for (const one of open) one.destroy();
}
process.exit(failed ? 1 : 0);
