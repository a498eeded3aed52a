// One JSON line for each check: its name, protocol, outcome, and how many whole groups it sent.

import { isDeepStrictEqual, inspect } from 'node:util';

export const GROUPS = 25;
export const BIG = 1 << 20;

export class Mismatch extends Error {}

export function expect(actual, expected, what) {
  if (!isDeepStrictEqual(plain(actual), plain(expected))) {
    throw new Mismatch(`${what}: expected ${brief(expected)}, got ${brief(actual)}`);
  }
}

// The error that `promise` ends with.
export async function refused(promise, what) {
  const value = await promise.then((value) => ({ value }), (error) => error);
  if (!(value instanceof Error)) throw new Mismatch(`${what}: expected an error, got ${brief(value.value)}`);
  return value;
}

// A client of node-redis that is destroyed rejects what it asks on its own account, and nobody takes that.
// What a check asks is awaited by the check.
process.on('unhandledRejection', (error) => {
  if (error?.constructor?.name !== 'DisconnectsClientError') throw error;
});

// What `promise` gives, unless it takes longer.
export function within(milliseconds, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Mismatch(`${what}: nothing in ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Runs `checks`, functions of `context` that give the number of groups they sent; gives how many failed.
export async function run(client, protocol, checks, context) {
  let failed = 0;
  for (const check of checks) {
    const line = { client, check: check.name, protocol };
    try {
      const groups = await within(30_000, check(context), check.name);
      console.log(JSON.stringify({ ...line, ok: true, groups: groups ?? 0 }));
    } catch (error) {
      failed += 1;
      const reason = error instanceof Mismatch ? error.message : inspect(error);
      console.log(JSON.stringify({ ...line, ok: false, groups: 0, reason }));
    }
  }
  return failed;
}

// Objects without a prototype and with one are the same here.
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value && Object.getPrototypeOf(value) === null) return { ...value };
  return value;
}

function brief(value) {
  const text = inspect(value, { breakLength: Infinity });
  return text.length <= 200 ? text : `${text.slice(0, 200)}... (${text.length} characters)`;
}
