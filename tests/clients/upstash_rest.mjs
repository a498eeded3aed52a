// @upstash/redis, @upstash/ratelimit and @vercel/kv through the REST front: node upstash_redis.mjs HOST PORT TOKEN [plain].

import { readFileSync } from 'node:fs';
import { Ratelimit } from '@upstash/ratelimit';
import { Redis } from '@upstash/redis';
import { createClient } from '@vercel/kv';
import { BIG, GROUPS, expect, refused, run, within } from './report.mjs';

const [host, port, token, encoding] = process.argv.slice(2);
const { version } = JSON.parse(readFileSync('node_modules/@upstash/redis/package.json', 'utf8'));
const settings = { url: `http://${host}:${port}`, token, responseEncoding: encoding === 'plain' ? false : 'base64' };
const redis = new Redis({ ...settings, enableAutoPipelining: false });

async function typed_calls() {
  expect(await redis.ping(), 'PONG', 'PING');
  expect(await redis.set('plain:a', { deep: [1, 'ü', null] }), 'OK', 'SET of an object');
  expect(await redis.get('plain:a'), { deep: [1, 'ü', null] }, 'GET of an object');
  expect([await redis.set('plain:ok', 'OK'), await redis.get('plain:ok')], ['OK', 'OK'], 'OK as a value');
  expect(await redis.get('plain:missing'), null, 'GET of nothing');
  expect(await redis.set('plain:t', 'v', { ex: 100 }), 'OK', 'SET EX');
  const ttl = await redis.ttl('plain:t');
  expect(ttl > 50 && ttl <= 100, true, 'TTL');
  expect([await redis.incr('plain:n'), await redis.incrby('plain:n', 41)], [1, 42], 'INCR, INCRBY');
  expect(await redis.hset('plain:h', { f: '1', g: 'two' }), 2, 'HSET');
  expect(await redis.hgetall('plain:h'), { f: 1, g: 'two' }, 'HGETALL');
  expect(await redis.zadd('plain:z', { score: 1.5, member: 'm' }, { score: 3, member: 'n' }), 2, 'ZADD');
  expect(await redis.zrange('plain:z', 0, -1, { withScores: true }), ['m', 1.5, 'n', 3], 'ZRANGE');
  expect(await redis.lpush('plain:l', 'a', 'b'), 2, 'LPUSH');
  expect(await redis.lrange('plain:l', 0, -1), ['b', 'a'], 'LRANGE');
  expect(await redis.mget('plain:n', 'plain:missing'), [42, null], 'MGET');
  expect(await redis.exec(['set', 'plain:e', 1e21]), 'OK', 'exec');
  expect(await redis.exec(['client', 'setinfo', 'LIB-NAME', 'x']), 'OK', 'CLIENT SETINFO');
}

async function errors_are_thrown() {
  await redis.set('error:s', 'v');
  const error = await refused(redis.lpush('error:s', 'x'), 'LPUSH on a string');
  expect(error.message.startsWith('WRONGTYPE '), true, `WRONGTYPE in ${error}`);
  const wrong = new Redis({ ...settings, token: 'wrong', retry: false });
  expect((await refused(wrong.get('k'), 'a wrong token')).message.includes('WRONGPASS'), true, 'WRONGPASS');
}

async function scan_walks_all_keys() {
  const all = redis.pipeline();
  for (let n = 0; n < 300; n += 1) all.set(`scan:${n}`, n);
  await all.exec();
  const seen = new Set();
  let cursor = '0';
  do {
    const [next, keys] = await redis.scan(cursor, { match: 'scan:*', count: 50 });
    expect(typeof next, 'string', 'a cursor');
    keys.forEach((key) => seen.add(key));
    cursor = next;
  } while (cursor !== '0');
  expect(seen.size, 300, 'keys seen');
}

const session = (to, user) =>
  to.setex(`rt:${user}:t`, 60, 'v').sadd(`sess:${user}`, 't').expire(`sess:${user}`, 60).smembers(`sess:${user}`);

async function groups_in_pipelines() {
  for (let n = 0; n < GROUPS; n += 1) {
    expect(await session(redis.pipeline(), `p${n}`).exec(), ['OK', 1, 1, ['t']], 'replies of a group');
  }
  const all = await Promise.all(Array.from({ length: GROUPS }, (_, n) => session(redis.pipeline(), `q${n}`).exec()));
  expect(all, Array(GROUPS).fill(['OK', 1, 1, ['t']]), 'replies of groups side by side');
  return 2 * GROUPS;
}

async function groups_in_autopipelines() {
  const own = new Redis({ ...settings, enableAutoPipelining: true });
  for (let n = 0; n < GROUPS; n += 1) {
    const replies = await Promise.all([
      own.setex(`rt:a${n}:t`, 60, 'v'),
      own.sadd(`sess:a${n}`, 't'),
      own.expire(`sess:a${n}`, 60),
    ]);
    expect(replies, ['OK', 1, 1], 'replies of a group');
  }
  return GROUPS;
}

async function an_error_inside_a_group() {
  await redis.set('sess:wrong', 'a string');
  const replies = await session(redis.pipeline(), 'wrong').exec({ keepErrors: true });
  expect(replies.length, 4, 'replies');
  expect(replies[1].error.startsWith('WRONGTYPE '), true, `WRONGTYPE in ${replies[1].error}`);
  expect(replies[0].result ?? replies[0].error, 'OK', 'the first reply');
  const thrown = await refused(session(redis.pipeline(), 'wrong').exec(), 'a pipeline with an error');
  expect(thrown.message.includes('WRONGTYPE'), true, `WRONGTYPE in ${thrown}`);
}

async function transactions() {
  expect(await redis.multi().set('multi:a', 1).incr('multi:a').get('multi:a').exec(), ['OK', 2, 2], 'MULTI');
  const thrown = await refused(redis.multi().set('multi:a', 9).exec().then(() => redis.multi().set('multi:b', 1)
    .hset('multi:b', {}).exec()), 'a transaction that is discarded');
  expect(/EXECABORT|wrong number/.test(thrown.message), true, `EXECABORT in ${thrown}`);
  expect(await redis.get('multi:b'), null, 'nothing of it');
}

async function scripts() {
  expect(await redis.eval('return {KEYS[1], ARGV[1]}', ['k'], ['a']), ['k', 'a'], 'EVAL');
  const script = redis.createScript("return redis.call('INCRBY', KEYS[1], ARGV[1])");
  expect([await script.exec(['script:n'], ['4']), await script.exec(['script:n'], ['5'])], [4, 9], 'a script');
}

async function large_values() {
  const value = 'x'.repeat(3 * BIG);
  expect([await redis.set('large', value), await redis.get('large')], ['OK', value], 'a large value');
}

async function subscriptions() {
  const messages = [];
  const patterns = [];
  const subscriber = redis.subscribe('chat');
  const listener = redis.psubscribe('ch*');
  // Both listen before either is waited for: the second may be answered first.
  const subscribed = new Promise((done) => subscriber.on('subscribe', done));
  const listens = new Promise((done) => listener.on('psubscribe', done));
  await within(5000, subscribed, 'subscribing');
  await within(5000, listens, 'subscribing to a pattern');
  const all = new Promise((done) => {
    const look = () => messages.length === 3 && patterns.length === 3 && done();
    subscriber.on('message', ({ message }) => { messages.push(message); look(); });
    listener.on('pmessage', ({ message }) => { patterns.push(message); look(); });
  });
  for (const message of ['1', '{"a":2}', '[3]']) expect(await redis.publish('chat', message), 2, 'PUBLISH');
  await within(5000, all, 'three messages');
  expect(messages, [1, { a: 2 }, [3]], 'messages');
  expect(patterns, [1, { a: 2 }, [3]], 'messages to the pattern');
  await subscriber.unsubscribe();
  await listener.unsubscribe();
}

// Each of them allows five, whatever it counts by, and then refuses.
async function rate_limits() {
  const limiters = {
    fixed: Ratelimit.fixedWindow(5, '60 s'),
    sliding: Ratelimit.slidingWindow(5, '60 s'),
    bucket: Ratelimit.tokenBucket(5, '60 s', 5),
  };
  for (const [name, limiter] of Object.entries(limiters)) {
    const ratelimit = new Ratelimit({ redis, limiter, prefix: `limit:${name}`, ephemeralCache: false, analytics: false });
    const answers = [];
    // A window that ends in between begins anew.
    if (name === 'fixed' && Date.now() % 60_000 > 55_000) await new Promise((done) => setTimeout(done, 5500));
    for (let n = 0; n < 7; n += 1) answers.push(await ratelimit.limit('someone'));
    expect(answers.map(({ success }) => success), [true, true, true, true, true, false, false], `${name}: whether allowed`);
    expect(answers.slice(0, 5).map(({ remaining }) => remaining), [4, 3, 2, 1, 0], `${name}: how many remain`);
    expect((await ratelimit.limit('another')).success, true, `${name}: another one`);
  }
}

async function vercel_kv() {
  const kv = createClient({ url: settings.url, token });
  expect([await kv.set('kv:a', { b: 1 }), await kv.get('kv:a')], ['OK', { b: 1 }], 'SET, GET');
  expect(await kv.hset('kv:h', { f: 1 }), 1, 'HSET');
  expect(await kv.multi().set('kv:m', 1).incr('kv:m').exec(), ['OK', 2], 'MULTI');
  const seen = [];
  for await (const key of kv.scanIterator({ match: 'kv:*' })) seen.push(key);
  expect(seen.sort(), ['kv:a', 'kv:h', 'kv:m'], 'scanIterator');
}

const CHECKS = [
  typed_calls, errors_are_thrown, scan_walks_all_keys, groups_in_pipelines, groups_in_autopipelines, an_error_inside_a_group,
  transactions, scripts, large_values, subscriptions, rate_limits, vercel_kv,
];

await redis.flushall();
process.exit(await run(`@upstash/redis ${version}`, settings.responseEncoding || 'plain', CHECKS, {}) ? 1 : 0);
