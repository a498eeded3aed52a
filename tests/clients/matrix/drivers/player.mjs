// Plays groups of four commands in a client's style, as asked on standard input, and times each.

import { createInterface } from 'node:readline';

export const SECONDS = 60;
// In which a connection that was killed is certainly closed.
export const KILLED_MILLISECONDS = 200;
export const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// One group of the rule `refresh-token`: keys of its own, and what Redis must answer to a new one.
export class Group {
  constructor(job, n) {
    this.token = `t${n}`;
    this.value = 'v'.repeat(job.bytes);
    this.key = `rt:${job.name}-${n}:${this.token}`;
    this.sessions = `sess:${job.name}-${n}`;
  }

  check(replies) {
    const [ok, added, expires, members] = replies;
    const right = ok === 'OK' && added === 1 && Number(expires) === 1 && [...members].join() === this.token;
    if (!right) throw new Error(`wrong replies: ${JSON.stringify(replies)}`);
  }
}

// Each of the job's callers sends its groups one after the other by `send`; gives how long each took.
export async function play(job, send) {
  const tookUs = [];
  const caller = async (first) => {
    for (let n = first; n < job.groups; n += job.callers) {
      const group = new Group(job, n);
      const start = performance.now();
      const replies = await send(group);
      tookUs.push(Math.round((performance.now() - start) * 1000));
      group.check(replies);
    }
  };
  await Promise.all(Array.from({ length: job.callers }, (_, first) => caller(first)));
  return tookUs;
}

// What a call gave or raised, as text.
export async function outcome(call) {
  try {
    return JSON.stringify(await call());
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

// Answers each job, a line of JSON, with a line: `styles` play groups, `checks` tell what the client shows its user.
export async function serve(version, styles, checks) {
  const say = (answer) => console.log(JSON.stringify(answer));
  say({ version, styles: Object.keys(styles) });
  for await (const line of createInterface({ input: process.stdin })) {
    const job = JSON.parse(line);
    try {
      if (job.style === 'checks') {
        const said = {};
        for (const [name, check] of Object.entries(checks)) said[name] = await check(job.port);
        say({ said });
      } else {
        say({ took_us: await styles[job.style](job) });
      }
    } catch (error) {
      say({ failed: error.stack });
    }
  }
  process.exit(0);
}
