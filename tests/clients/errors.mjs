// What node-redis and ioredis show of the proxy's own errors: errors.mjs HOST PORT, where a server answers SET of a word with
// that error.

import Redis from 'ioredis';
import { createClient } from 'redis';
import { expect, run } from './report.mjs';

const WORDS = ['EXECABORT', 'PARTIAL', 'TIMEOUT', 'COMMITTED', 'DUPLICATE'];
const [host, port] = [process.argv[2], Number(process.argv[3])];
const isApplied = (errors) => errors.length === 0 || errors.some((text) => /^(COMMITTED|DUPLICATE) /.test(text));

async function node_redis_errors() {
  const client = createClient({ RESP: 2, socket: { host, port, reconnectStrategy: false } });
  client.on('error', () => {});
  await client.connect();
  for (const word of WORDS) {
    const results = await Promise.allSettled([client.set(word, 'x'), client.set('k', 'y')]);
    const errors = results.filter(({ status }) => status === 'rejected').map(({ reason }) => reason.message);
    expect(errors, [`${word} respguard: text`], word);
    expect(results[0].reason.constructor.name, 'SimpleError', `${word}: its class`);
    expect(isApplied(errors), ['COMMITTED', 'DUPLICATE'].includes(word), `${word}: whether it was applied`);
  }
  client.destroy();
}

async function ioredis_errors() {
  const client = new Redis(port, host, { enableReadyCheck: false, retryStrategy: () => null });
  for (const word of WORDS) {
    const results = await client.pipeline().set(word, 'x').set('k', 'y').exec();
    const errors = results.filter(([error]) => error).map(([error]) => error.message);
    expect(errors, [`${word} respguard: text`], word);
    expect([results[0][0].name, results[1]], ['ReplyError', [null, 'OK']], `${word}: its name`);
    expect(isApplied(errors), ['COMMITTED', 'DUPLICATE'].includes(word), `${word}: whether it was applied`);
  }
  client.disconnect();
}

const failed = await run('node', 2, [node_redis_errors, ioredis_errors], {});
process.exit(failed ? 1 : 0);
