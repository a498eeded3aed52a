// Follows the violations for ever: those that are kept, then each that comes, with the token where one is wanted.

import { ANSWER_MS, askGuarded, hasToken, now, useToken } from "./ask.js";
import { at, say, wait } from "./dom.js";
import { KEPT_MAX, forget, hintAt, keep, lastSequence } from "./violations.js";

const HOUR_MS = 3600000;
// A sign of life comes every ten seconds.
const SILENCE_MS = 25000;

const HINTS = { live: "", asked: "Waiting for the token.", lost: "The stream was lost; trying again." };

function listen(state) {
  at("login").hidden = state !== "asked";
  hintAt(HINTS[state]);
}

let given = () => {};
let whenGiven = () => {};

// Calls back each time that a token was taken.
export const onToken = call => { whenGiven = call; };

export function prepareLogin() {
  at("login").addEventListener("submit", event => {
    event.preventDefault();
    useToken(at("token").value);
    at("token").value = "";
    at("login").hidden = true;
    given();
  });
}

async function refused(answer) {
  forget();
  if (answer.status === 401) {
    if (hasToken()) say("login-note", "That token is not the one of [admin] token_env. It is kept in this page's memory only.");
    useToken(null);
    listen("asked");
    await new Promise(done => { given = done; });
    return;
  }
  const { error } = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  hintAt(`Violations are not shown: ${error}.`);
  await wait(15000);
}

// Shows what is kept, then what comes, until the stream ends.
async function follow() {
  const kept = await askGuarded(`/violations?limit=${KEPT_MAX}&since=${Math.round(now() - HOUR_MS)}`, AbortSignal.timeout(ANSWER_MS));
  if (!kept.ok) return refused(kept);
  const body = await kept.json();
  // Numbers that went back are those of another process.
  if (body.total < lastSequence()) forget();
  keep(body.violations, body.total);
  const end = new AbortController();
  let watch = setTimeout(() => end.abort(), SILENCE_MS);
  try {
    const stream = await askGuarded(`/violations/stream?after=${body.total}`, end.signal);
    if (!stream.ok) return await refused(stream);
    listen("live");
    whenGiven();
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = "";;) {
      const { value, done } = await reader.read();
      if (done) return listen("lost");
      clearTimeout(watch);
      watch = setTimeout(() => end.abort(), SILENCE_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      take(events);
    }
  } finally {
    clearTimeout(watch);
  }
}

function take(events) {
  const news = [];
  for (const event of events) {
    const data = /^data: (.*)$/m.exec(event)?.[1];
    if (/^event: violation$/m.test(event) && data) news.unshift(JSON.parse(data));
  }
  if (news.length) keep(news);
}

export async function followForEver() {
  for (;;) {
    try {
      await follow();
    } catch {
      listen("lost");
    }
    await wait(1000);
  }
}
