// ioredis: node ioredis.mjs PACKAGE, the name that a version is installed under.

import { createRequire } from 'node:module';
import { Group, KILLED_MILLISECONDS, SECONDS, outcome, pause, play, serve } from './player.mjs';

const require = createRequire(`${process.cwd()}/`);
const name = process.argv[2];
const { Redis } = require(name);
const { version } = require(`${name}/package.json`);

async function connect(port, more = {}) {
  const client = new Redis({ host: '127.0.0.1', port, lazyConnect: true, ...more });
  // A lost connection is told here too; what a call gives is what counts.
  client.on('error', () => {});
  await client.connect();
  return client;
}

const note = (to, group) => to.setex(group.key, SECONDS, group.value)
  .sadd(group.sessions, group.token).expire(group.sessions, SECONDS).smembers(group.sessions);

const pipeline = async (client, group) => (await note(client.pipeline(), group).exec()).map(([error, value]) => error ?? value);

const loose = (client, group) => Promise.all([
  client.setex(group.key, SECONDS, group.value),
  client.sadd(group.sessions, group.token),
  client.expire(group.sessions, SECONDS),
  client.smembers(group.sessions),
]);

const sequential = async (client, group) => [
  await client.setex(group.key, SECONDS, group.value),
  await client.sadd(group.sessions, group.token),
  await client.expire(group.sessions, SECONDS),
  await client.smembers(group.sessions),
];

const style = (send, more) => async (job) => {
  const client = await connect(job.port, more);
  try {
    return await play(job, (group) => send(client, group));
  } finally {
    client.disconnect();
  }
};

async function handshake(port) {
  const client = await connect(port, { connectionName: 'named' });
  const said = await outcome(async () => [await client.ping(), await client.client('GETNAME')]);
  client.disconnect();
  return said;
}

async function errorInAGroup(port) {
  const client = await connect(port);
  const group = new Group({ name: 'bad', bytes: 1 }, 0);
  await client.set(group.sessions, 'text');
  const said = [
    await outcome(async () => (await pipeline(client, group)).map(String)),
    await outcome(() => loose(client, group)),
    await outcome(async () => (await note(client.multi(), group).exec()).map(String)),
  ];
  client.disconnect();
  return said;
}

async function killedConnection(port) {
  const [client, other] = [await connect(port), await connect(port)];
  await client.del('killed');
  await other.client('KILL', 'ID', await client.client('ID'));
  await pause(KILLED_MILLISECONDS);
  const said = [await outcome(() => client.incr('killed')), await outcome(() => other.get('killed'))];
  client.disconnect();
  other.disconnect();
  return said;
}

serve(
  version,
  {
    pipeline: style(pipeline),
    pipelines: style(pipeline),
    loose: style(loose),
    'loose-many': style(loose),
    auto: style(loose, { enableAutoPipelining: true }),
    sequential: style(sequential),
  },
  { handshake, 'error in a group': errorInAGroup, 'killed connection': killedConnection },
);
