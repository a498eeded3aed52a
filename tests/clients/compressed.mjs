// node-redis and ioredis store 10 MB of JSON that a rule compresses, and read it back; the decoder of docs/compression.md reads
// what is stored: compressed.mjs HOST PORT PORT-OF-THE-SERVER DOCUMENT CLIENT.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import zlib from 'node:zlib';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { expect, run } from './report.mjs';

const [host, port, server, path, name] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const { version } = require(`${name}/package.json`);

// Node.js has zstd from 22.15 on; before, a package takes its place.
const withZstd = { zstdDecompressSync: (data) => Buffer.from(require('fzstd').decompress(data)), ...zlib };
const source = /```text\n(const zlib = .*?)```/s.exec(readFileSync(path, 'utf8'))[1];
const decompress = new Function('require', `${source}; return decompress;`)((wanted) => (wanted === 'node:zlib' ? withZstd : require(wanted)));

const items = Array.from({ length: 160_000 }, (_, number) => ({ id: number, user: `u${(number * 7919) % 100_003}`, tags: ['new', 'sale'] }));
const text = JSON.stringify(items);

async function large_values({ client, direct }) {
  expect(text.length > 8_000_000, true, '8 MB and more');
  expect(await client.set('page:1', text), 'OK', 'stored');
  expect((await client.get('page:1')) === text, true, 'as it was');
  const stored = await direct.getBuffer('page:1');
  expect(stored.length < text.length / 2, true, 'stored compressed');
  expect(decompress(stored).toString() === text, true, "by the document's decoder");
  const [again, other] = await Promise.all([client.get('page:1'), client.get('other')]);
  expect([again === text, other], [true, null], 'two at once');
  await client.del('page:1:h');
  await client.hset('page:1:h', 'body', text);
  expect((await client.hget('page:1:h', 'body')) === text, true, 'a field');
  const headed = Buffer.concat([Buffer.from('\xffRGCOMP\xfe', 'latin1'), Buffer.from('more')]);
  await direct.set('page:2', headed);
  await client.set('page:3', headed);
  expect([decompress(await direct.getBuffer('page:3')).equals(headed), decompress(Buffer.from('plain')).toString()], [true, 'plain'], 'what begins so');
}

async function connected(protocol) {
  if (name === 'ioredis') {
    const client = new Redis({ host, port: Number(port), protocol });
    return { client, close: () => client.disconnect() };
  }
  const client = createClient({ socket: { host, port: Number(port) }, RESP: protocol });
  await client.connect();
  const words = { get: (key) => client.get(key), set: (key, value) => client.set(key, value), del: (key) => client.del(key) };
  return { client: { ...words, hset: (...all) => client.hSet(...all), hget: (...all) => client.hGet(...all) }, close: () => client.destroy() };
}

let failed = 0;
for (const protocol of [2, 3]) {
  const direct = new Redis({ host, port: Number(server) });
  await direct.flushall();
  const { client, close } = await connected(protocol);
  failed += await run(`${name} ${version}`, protocol, [large_values], { client, direct });
  close();
  direct.disconnect();
}
process.exit(failed ? 1 : 0);
