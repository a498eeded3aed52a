// ioredis loses the reply to a group and sends it again by itself: once.mjs HOST PORT PORT-OF-THE-SERVER.

import { createRequire } from 'node:module';
import { Redis } from 'ioredis';
import { expect, pause, run } from './report.mjs';

const [host, port, server] = process.argv.slice(2);
const { version } = createRequire(import.meta.url)('ioredis/package.json');

async function lost_reply({ client, direct }) {
  const pay = (id) => client.pipeline().incrby('balance:{a}', 5).rpush('log:{a}', id).exec();
  expect(await pay('first'), [[null, 5], [null, 1]], 'a reply that comes');
  await direct.set('ready', 1);
  while (!(await direct.exists('armed'))) await pause(5);
  expect(await pay('second'), [[null, 10], [null, 2]], 'what was answered the first time');
  expect([await direct.get('balance:{a}'), await direct.lrange('log:{a}', 0, -1)], ['10', ['first', 'second']], 'what was applied');
  return 2;
}

let failed = 0;
for (const protocol of [2, 3]) {
  const direct = new Redis({ host, port: Number(server) });
  await direct.flushall();
  // As they are by default, but for a pause that is short.
  const client = new Redis({ host, port: Number(port), protocol, retryStrategy: () => 20 });
  client.on('error', (error) => console.error(`ioredis: ${error}`));
  failed += await run(`ioredis ${version}`, protocol, [lost_reply], { client, direct });
  for (const one of [client, direct]) one.disconnect();
}
process.exit(failed ? 1 : 0);
