// ioredis through a proxy: node ioredis.mjs HOST PORT [PACKAGE], where PACKAGE is the name it is installed under.

import { createRequire } from 'node:module';
import { BIG, GROUPS, expect, pause, refused, run, within } from './report.mjs';

const [host, port, name = 'ioredis'] = process.argv.slice(2);
const { Redis } = await import(name);
const { version } = createRequire(import.meta.url)(`${name}/package.json`);

const values = (replies) => replies.map(([error, value]) => { if (error) throw error; return value; });

async function handshake({ client, connect }) {
  expect(await client.ping(), 'PONG', 'PING');
  const named = await connect({ connectionName: 'named' });
  expect(await named.client('GETNAME'), 'named', 'CLIENT GETNAME');
  expect((await named.client('INFO')).includes(' name=named '), true, 'name in CLIENT INFO');
}

async function plain_commands({ client }) {
  expect(await client.set('plain:a', '1'), 'OK', 'SET');
  const bytes = Buffer.from('\x00\r\n$-1\r\n\xff', 'latin1');
  await client.set('plain:b', bytes);
  expect(Buffer.compare(await client.getBuffer('plain:b'), bytes), 0, 'GET of bytes');
  expect([await client.get('plain:a'), await client.get('plain:missing')], ['1', null], 'GET');
  expect([await client.incr('plain:n'), await client.incrby('plain:n', 41)], [1, 42], 'INCR, INCRBY');
  expect(await client.hset('plain:h', { f: '1', g: '2' }), 2, 'HSET');
  expect(await client.hgetall('plain:h'), { f: '1', g: '2' }, 'HGETALL');
  expect(await client.zadd('plain:z', 1.5, 'm'), 1, 'ZADD');
  expect(Number(await client.zscore('plain:z', 'm')), 1.5, 'ZSCORE');
}

async function pipelines({ client }) {
  const pipe = client.pipeline();
  for (let n = 0; n < 500; n += 1) pipe.incr('pipe:n');
  expect(values(await pipe.exec()), Array.from({ length: 500 }, (_, n) => n + 1), '500 INCR');
  const loose = await Promise.all(Array.from({ length: 500 }, () => client.incr('pipe:m')));
  expect(loose, Array.from({ length: 500 }, (_, n) => n + 1), '500 INCR in one turn');
}

const session = (to, user) =>
  to.setex(`rt:${user}:t`, 60, 'v').sadd(`sess:${user}`, 't').expire(`sess:${user}`, 60).smembers(`sess:${user}`);

async function groups_in_pipelines({ client }) {
  for (let n = 0; n < GROUPS; n += 1) {
    expect(values(await session(client.pipeline(), `p${n}`).exec()), ['OK', 1, 1, ['t']], 'replies of a group');
    const [value, ttl] = [await client.get(`rt:p${n}:t`), await client.ttl(`sess:p${n}`)];
    expect([value, ttl > 30 && ttl <= 60], ['v', true], 'what a group left');
  }
  const all = await Promise.all(Array.from({ length: GROUPS }, (_, n) => session(client.pipeline(), `q${n}`).exec()));
  expect(all.map(values), Array(GROUPS).fill(['OK', 1, 1, ['t']]), 'replies of groups in one turn');
  return 2 * GROUPS;
}

async function groups_in_autopipelines({ connect }) {
  const own = await connect({ enableAutoPipelining: true });
  for (let n = 0; n < GROUPS; n += 1) {
    const replies = await Promise.all([
      own.setex(`rt:a${n}:t`, 60, 'v'),
      own.sadd(`sess:a${n}`, 't'),
      own.expire(`sess:a${n}`, 60),
      own.smembers(`sess:a${n}`),
    ]);
    expect(replies, ['OK', 1, 1, ['t']], 'replies of a group');
  }
  return GROUPS;
}

async function transaction({ client }) {
  const replies = await client.multi().set('tx:a', '1').incr('tx:a').lrange('tx:none', 0, -1).exec();
  expect(values(replies), ['OK', 2, []], 'EXEC');
  expect(values(await session(client.multi(), 'tx').exec()), ['OK', 1, 1, ['t']], 'EXEC of a group');
  const unbundled = client.multi({ pipeline: false });
  expect(await unbundled, 'OK', 'MULTI');
  expect(await client.set('tx:b', '1'), 'QUEUED', 'SET after MULTI');
  expect(await client.exec(), [[null, 'OK']], 'EXEC of its own');
}

async function watch({ client, connect }) {
  const own = await connect();
  await own.watch('watched');
  await client.set('watched', 'other');
  expect(await own.multi().set('watched', 'mine').exec(), null, 'EXEC after a change');
  await own.watch('watched');
  expect(await own.multi().set('watched', 'mine').exec(), [[null, 'OK']], 'EXEC without a change');
}

async function pubsub({ client, connect }) {
  const subscriber = await connect();
  const got = [];
  subscriber.on('message', (channel, text) => got.push([channel, text]));
  subscriber.on('pmessage', (pattern, channel, text) => got.push([pattern, channel, text]));
  expect(await subscriber.subscribe('news'), 1, 'SUBSCRIBE');
  expect(await subscriber.psubscribe('pat.*'), 2, 'PSUBSCRIBE');
  expect(await client.publish('news', 'hello'), 1, 'PUBLISH');
  expect(await client.publish('pat.x', 'p'), 1, 'PUBLISH to a pattern');
  await within(5000, (async () => { while (got.length < 2) await pause(5); })(), 'messages');
  expect(got, [['news', 'hello'], ['pat.*', 'pat.x', 'p']], 'messages');
  expect([await subscriber.unsubscribe('news'), await subscriber.punsubscribe('pat.*')], [1, 0], 'goodbyes');
  expect(await client.publish('news', 'nobody'), 0, 'PUBLISH to nobody');
  expect(await subscriber.get('plain:a'), '1', 'GET after UNSUBSCRIBE');
}

async function blocking_pop({ client, connect }) {
  const own = await connect();
  const popping = own.blpop('queue', 5);
  await pause(200);
  await client.rpush('queue', 'job');
  expect(await popping, ['queue', 'job'], 'BLPOP');
  expect(await own.blpop('queue', 0.2), null, 'BLPOP of nothing');
  expect(await own.ping(), 'PONG', 'PING after it');
}

async function error_inside_a_pipeline({ client }) {
  await client.set('text', 'x');
  const replies = await client.pipeline().set('before', '1').sadd('text', 'm').get('before').exec();
  expect([replies[0], replies[2]], [[null, 'OK'], [null, '1']], 'the good replies');
  expect(replies[1][0]?.message.startsWith('WRONGTYPE '), true, `WRONGTYPE in ${replies[1][0]}`);
}

async function error_inside_a_group({ client }) {
  await client.set('sess:bad', 'a string', 'EX', 60);
  const replies = await client.pipeline().setex('rt:bad:t', 60, 'v').sadd('sess:bad', 't').expire('sess:bad', 60).exec();
  expect([replies[0], replies[2]], [[null, 'OK'], [null, 1]], 'the members that did not fail');
  expect(replies[1][0]?.message.startsWith('WRONGTYPE '), true, `WRONGTYPE in ${replies[1][0]}`);
}

async function select({ client, connect }) {
  const other = await connect({ db: 1 });
  await client.set('where', 'zero');
  await other.set('where', 'one');
  expect([await client.get('where'), await other.get('where')], ['zero', 'one'], 'two databases');
  expect(await other.select(2), 'OK', 'SELECT');
  expect(await other.get('where'), null, 'GET after SELECT');
}

async function large_values({ client }) {
  const value = 'x'.repeat(BIG);
  expect(await client.set('big', value), 'OK', 'SET of 1 MB');
  expect((await client.get('big')) === value, true, 'GET of 1 MB is what was set');
  const pipe = client.pipeline();
  for (let n = 0; n < 1000; n += 1) pipe.set(`kb:${n}`, value.slice(0, 1000));
  expect(values(await pipe.exec()), Array(1000).fill('OK'), '1000 values of 1 KB');
}

async function scripts({ client }) {
  expect(await client.eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'a'), ['k', 'a'], 'EVAL');
  const error = await refused(client.evalsha('f'.repeat(40), 0), 'EVALSHA of nothing');
  expect(error.message.startsWith('NOSCRIPT'), true, `NOSCRIPT in ${error}`);
  client.defineCommand('add', { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
  expect([await client.add('script:n', 4), await client.add('script:n', 5)], [4, 9], 'a defined command');
}

const CHECKS = [
  handshake, plain_commands, pipelines, groups_in_pipelines, groups_in_autopipelines, transaction, watch, pubsub,
  blocking_pop, error_inside_a_pipeline, error_inside_a_group, select, large_values, scripts,
];

let failed = 0;
for (const protocol of version.startsWith('5.') ? [2] : [2, 3]) {
  const open = [];
  const connect = async (more = {}) => {
    const client = new Redis({ host, port: Number(port), lazyConnect: true, retryStrategy: null, protocol, ...more });
    client.on('error', (error) => console.error(`ioredis: ${error}`));
    open.push(client);
    await within(10_000, client.connect(), 'connecting');
    return client;
  };
  const client = await connect();
  await client.flushall();
  failed += await run(`ioredis ${version}`, protocol, CHECKS, { client, connect });
  for (const one of open) one.disconnect();
}
process.exit(failed ? 1 : 0);
