// The dashboard as it opens, in each state that it can be in.

import assert from "node:assert/strict";
import { complaints, forgive, page, pictures, rows, says, send, tabbed, text, token, url } from "./browser.mjs";

export async function empty() {
  await page.goto(url);
  await says("#state", /^ready$/);
  await says("#kinds-note", /^No violations in the last hour\.$/);
  await says("#groups-note", /No groups are declared/);
  await says("#rules-note", /No rules are in force/);
  await says("#live-note", /None yet\./);
  await says("#upstream", /^connected$/);
  await says("#breaker", /^closed$/);
  await says("#rate", /^[\d.,]+$/);
  await says("#chart-rate figcaption", /Requests per second.*this minute/);
  await says("#chart-upstream figcaption", /connected throughout|down for/);
  for (const hidden of ["#groups li", "#rules", "#kinds", "#login", "#mode", "#group"]) assert.equal(await page.locator(hidden).first().isVisible(), false, hidden);
  await pictures("empty");
  assert.deepEqual(await tabbed(), ["a.skip", "select#kind", "button#hold"]);
}

export async function busy() {
  await page.goto(url);
  await says("#rest-errors", /^0$/);
  await page.locator("#list li").first().waitFor();
  const kinds = (await rows("#kinds")).map(row => row.split(/\s/)[0]);
  for (const kind of ["aborted", "split", "partial_failure", "ttl_missing", "guard", "expectation"]) assert.ok(kinds.includes(kind), `${kind} in ${kinds}`);
  // What people look at says how often a group was refused, and how often a reply was not as expected.
  await says("#groups li:has(a[data-name=pair]) .counts", /1 refused/);
  await says("#groups li:has(a[data-name=login]) .counts", /22 matched\s*21 applied\s*1 torn\s*2 not as expected\s*1 held\s*1 split/);
  const rules = new Map((await rows("#rules")).map(row => [row.split(/\s/)[0], row]));
  assert.match(rules.get("login"), /group\s+transaction\s+enforce\s+22 matched\s+4/);
  assert.match(rules.get("counters"), /ttl\s+flag\s+enforce\s+\d+ lifetimes checked\s+1/);
  assert.match(rules.get("no-keys"), /guard\s+flag\s+enforce\s+1\s+1\s+1/);
  await says("#compressed-rules tbody tr:first-child", /^pages\s*\d+ %\s*\d+ %\s*21 KB\s*0\s*0$/);
  assert.match(rules.get("watched"), /expect\s+flag\s+observe\s+0\s+0\s+0/);
  const before = await page.locator("#list li").count();
  await send("KEYS live:*");
  await page.waitForFunction(n => document.querySelectorAll("#list li").length > n, before);
  await says("#list li:first-child", /guard/);
  await says("#chart-violations .value", /^\d+$/);

  // Each kind explains itself, and where a setting would help shows it.
  for (const item of await page.locator("#list li").all()) {
    await item.locator("summary").click();
    const kind = await item.locator(".kind").innerText();
    assert.ok((await item.locator("details > div > p").allInnerTexts()).every(paragraph => paragraph.length > 10), kind);
    await item.locator("summary").click();
  }
  await advises(/^.*partial_failure.*WRONGTYPE/s, /another type.*before anything is applied:/s, /atomic = "guarded"/);
  await advises(/^.*aborted.*NOPERM/s, /ACL SETUSER/, null);
  await advises(/^.*split/s, /came over another connection.*wait longer for the rest:$/s, /^\[pipeline\]\nhold_ms = /);
  const first = page.locator("#list li", { hasText: "split" }).first();
  await first.locator("summary").click();
  await page.waitForTimeout(2500);
  assert.equal(await first.locator("details").getAttribute("open"), "", "an explanation stays open while the page goes on");
  await pictures("busy");
  await first.locator("summary").click();

  const reached = await tabbed();
  assert.deepEqual(reached.slice(0, 9), ["a.skip", "a", "a", "a", "a", "a", "a", "select#kind", "button#hold"], "groups and their rules, then the list");
  assert.equal(reached.slice(9).filter(name => name === "summary").length, reached.length - 9);
  await page.locator("summary").first().focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#list li").first().locator("details").getAttribute("open"), "", "Enter opens it");
  await page.locator("a.skip").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => location.hash), "#live");

  await page.locator("#kind").selectOption("split");
  await page.waitForFunction(() => [...document.querySelectorAll("#list .kind")].every(kind => kind.textContent === "split"));
  await page.locator("#kind").selectOption("");
  await page.locator("#hold").click();
  const held = await page.locator("#list li").count();
  await send("KEYS held:*");
  await says("#live-note", /1 newer is not shown\./);
  assert.equal(await page.locator("#list li").count(), held);

  // From here on the browser complains about requests that fail, as it should.
  const fine = complaints.splice(0);
  await page.route("**", route => route.abort());
  await says("#alarm", /respguard does not answer/);
  await says("#state", /no answer/);
  await pictures("gone");
  complaints.splice(0, complaints.length, ...fine);
}

// The violation that looks so is advised so, with such lines of configuration or with none.
async function advises(violation, advice, config) {
  const item = page.locator("#list li", { hasText: violation }).first();
  await item.locator("summary").click();
  assert.match((await item.locator("details > div > p").allInnerTexts()).at(-1), advice);
  if (config) assert.match(await item.locator("pre").innerText(), config);
  else assert.equal(await item.locator("pre").count(), 0);
  await item.locator("summary").click();
}

// Three primaries, of which one is gone, and one has something to do.
export async function cluster() {
  await page.goto(url);
  await says("#nodes-served", /^5,46\d slots are served by no node\.$/);
  await says("#nodes-note", /^3 primaries, 0 replicas; epoch \d+; unchanged for/);
  const is = pattern => says("#node-rows tbody", pattern);
  await is(/127\.0\.0\.1:\d+\s*answers\s*5,46\d\s*[1-9][\d,]*\s*[\d.]+ (µs|ms)\s*[1-9]/);
  await is(/127\.0\.0\.1:\d+\s*silent\s*5,46\d\s*0\.0\s*–\s*\d/);
  assert.equal((await rows("#node-rows")).length, 3);
  await pictures("cluster");
}

export async function down() {
  await page.goto(url);
  await says("#state", /^not ready: /);
  await says("#upstream", /^down$/);
  await says("#server-note", /respguard cannot reach 127\.0\.0\.1:\d+/);
  await says("#breaker", /closed|open/);
  await says("#chart-upstream figcaption", /down for \d+ (s|min)\b.*; last at/);
  await pictures("down");
}

// The server stands still, the breaker has opened, and an operator has switched the rules off.
export async function degraded() {
  await page.goto(url);
  await says("#breaker", /^(half )?open$/);
  await says("#server-note", /answered with an error at once|lets a few requests through/);
  await says("#mode", /Rules only observe.*An operator has switched the mode/);
  await says("#rules tbody tr:first-child", /observe/);
  await says("#groups li:has(a[data-name=login]) .name", /observes/);
  await says("#chart-upstream figcaption", /breaker not closed for/);
  await pictures("degraded");
}

// An hour of a busy process, as /history would tell it: nobody waits an hour for a test.
export async function hour() {
  const minute = 60000, now = Date.now(), last = Math.floor(now / minute) * minute;
  const at = i => last - (59 - i) * minute;
  const wave = i => 1 + Math.sin(i / 7) * 0.5;
  const seconds = i => i === 59 ? 20 : 60;
  const minutes = Array.from({ length: 60 }, (_, i) => ({
    at_ms: at(i), seconds: seconds(i), requests: i === 31 ? 0 : Math.round(wave(i) * 1200 * seconds(i)), p50_us: i === 31 ? null : Math.round(180 * wave(i)),
    p99_us: i === 31 ? null : i > 40 && i < 45 ? 48000 : Math.round(1900 * wave(i)), seconds_down: i === 31 ? 60 : i === 32 ? 14 : 0, seconds_breaker_open: i === 33 ? 30 : 0,
  }));
  const told = (kind, rule, counts) => ({ kind, rule, count: counts.reduce((all, [, n]) => all + n, 0), last_ms: counts.at(-1)[0] + 1000, minutes: counts });
  const history = { now_ms: now, minutes_max: 60, minutes, violations: [
    told("split", "login", Array.from({ length: 20 }, (_, i) => [at(20 + 2 * i), 3 + i % 5])),
    told("unknown_outcome", "login", [[at(31), 240], [at(32), 60]]),
    told("ttl_missing", "counters", [[at(58), 2]]),
  ] };
  await page.route("**/history", route => route.fulfill({ json: history }));
  await page.goto(url);
  await says("#chart-rate figcaption", /Requests per second\s*[\d,.]+\s*this minute/);
  await says("#chart-latency figcaption", /p50 [\d.]+ (µs|ms).*p99 [\d.]+ ms/s);
  await says("#chart-upstream figcaption", /down for 1 min, breaker not closed for 30 s; last at \d\d:\d\d/);
  const kinds = await rows("#kinds");
  assert.deepEqual(kinds.map(row => row.split(/\s+/).slice(0, 2).join(" ")), ["unknown_outcome 300", "split 100", "ttl_missing 2"]);
  // The minute that is pointed at says its values.
  const box = await page.locator("#chart-rate .plot").boundingBox();
  await page.mouse.move(box.x + box.width * 31.5 / 60, box.y + box.height / 2);
  await says("#chart-rate figcaption", /Requests per second\s*0\.0\s*\d\d:\d\d/);
  await pictures("hour");
}

export async function asks() {
  await page.goto(url);
  await says("#login-note", /want the token/);
  assert.equal(await page.locator("#list li").count(), 0);
  assert.ok((await page.locator("#groups li").count()) > 0, "groups show no keys and want no token");
  assert.ok((await rows("#kinds")).length > 0, "nor do counts");
  await pictures("token");
  assert.deepEqual((await tabbed()).slice(-4), ["input#token", "button", "select#kind", "button#hold"]);
  await page.goto(`${url}#group=login`);
  await says("#group-rule", /Rules are shown to those who have given the token/);
  await page.goto(`${url}#`);
  await page.locator("#token").fill("wrong");
  await page.keyboard.press("Enter");
  await says("#login-note", /not the one/);
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
  await page.locator("#list li").first().waitFor();
  assert.equal(await page.locator("#login").isVisible(), false);
  await page.locator("#groups a", { hasText: "login" }).click();
  await says("#group-rule", /name = "login"/);
  assert.ok(!(await page.content()).includes(token), "the token is not in the page");
  assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ""]);
  // The browser tells of each answer 401 by itself.
  forgive(complaint => complaint.includes("401"));
  assert.match(await text("#group-name"), /login/);
}
