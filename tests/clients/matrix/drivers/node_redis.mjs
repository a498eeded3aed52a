// node-redis: node node_redis.mjs PACKAGE, the name that a version is installed under.

import { createRequire } from 'node:module';
import { Group, SECONDS, outcome, play, serve } from './player.mjs';

const require = createRequire(`${process.cwd()}/`);
const name = process.argv[2];
const { createClient } = require(name);
const { version } = require(`${name}/package.json`);

async function connect(port, more = {}) {
  const client = createClient({ socket: { host: '127.0.0.1', port }, ...more });
  // A lost connection is told here too; what a call gives is what counts.
  client.on('error', () => {});
  return client.connect();
}

const close = (client) => (client.destroy ? client.destroy() : client.disconnect());

const note = (to, group) => to.setEx(group.key, SECONDS, group.value)
  .sAdd(group.sessions, group.token).expire(group.sessions, SECONDS).sMembers(group.sessions);

const pipeline = (client, group) => note(client.multi(), group).execAsPipeline();

const loose = (client, group) => Promise.all([
  client.setEx(group.key, SECONDS, group.value),
  client.sAdd(group.sessions, group.token),
  client.expire(group.sessions, SECONDS),
  client.sMembers(group.sessions),
]);

const sequential = async (client, group) => [
  await client.setEx(group.key, SECONDS, group.value),
  await client.sAdd(group.sessions, group.token),
  await client.expire(group.sessions, SECONDS),
  await client.sMembers(group.sessions),
];

const style = (send) => async (job) => {
  const client = await connect(job.port);
  try {
    return await play(job, (group) => send(client, group));
  } finally {
    close(client);
  }
};

async function handshake(port) {
  const client = await connect(port, { name: 'named' });
  const said = await outcome(async () => [await client.ping(), await client.sendCommand(['CLIENT', 'GETNAME'])]);
  close(client);
  return said;
}

async function errorInAGroup(port) {
  const client = await connect(port);
  const group = new Group({ name: 'bad', bytes: 1 }, 0);
  await client.set(group.sessions, 'text');
  const said = [
    await outcome(() => pipeline(client, group)),
    await outcome(() => loose(client, group)),
    await outcome(() => note(client.multi(), group).exec()),
  ];
  close(client);
  return said;
}

async function killedConnection(port) {
  const [client, other] = [await connect(port), await connect(port)];
  await client.del('killed');
  const id = await client.sendCommand(['CLIENT', 'ID']);
  const lost = new Promise((resolve) => { client.once('reconnecting', resolve); });
  const ready = new Promise((resolve) => { client.once('ready', resolve); });
  await other.sendCommand(['CLIENT', 'KILL', 'ID', String(id)]);
  await lost;
  await ready;
  const said = [await outcome(() => client.incr('killed')), await outcome(() => other.get('killed'))];
  close(client);
  close(other);
  return said;
}

serve(
  version,
  {
    pipeline: style(pipeline),
    pipelines: style(pipeline),
    loose: style(loose),
    'loose-many': style(loose),
    sequential: style(sequential),
  },
  { handshake, 'error in a group': errorInAGroup, 'killed connection': killedConnection },
);
