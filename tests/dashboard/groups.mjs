// One group by itself, and many of them.

import assert from "node:assert/strict";
import { page, pictures, says, send, tabbed, text, url } from "./browser.mjs";

export async function group() {
  await page.goto(url);
  await page.locator("#list li").first().waitFor();
  await page.locator("#groups a", { hasText: "login" }).click();
  await says("#group-name", /^login$/);
  assert.equal(await page.locator("#overview").isVisible(), false);
  await says("#group-state", /^transaction, enforced$/);
  await says("#group-rule", /^\[\[group\]\]\nname = "login"\ncommands = \[\n  "SETEX rt:\{user\}:\{token\} \* \*",\n  \{ match = "SADD sess:\{user\} \{token\}", expect = "= 1" \},\n  "EXPIRE/);
  await says("#group-outcomes", /applied\s*21\s*all members were applied/);
  await says("#group-outcomes", /torn\s*1.*expectation\s*2/s);
  await says("#group-hour", /partial_failure\s*1/);
  await says("#group-holds-note", /1 beginning waited for the rest; 1 went out without it/);
  await says("#group-advice", /partial_failure WRONGTYPE/);
  await says("#group-list li:first-child", /./);
  await pictures("group");
  assert.deepEqual((await tabbed()).slice(0, 3), ["a.skip", "a", "pre#group-rule"]);

  // Beginnings of which none is completed: waiting longer is not the cure.
  for (const user of ["a", "b"]) await send(`SETEX rt:${user}:t 60 v`);
  await says("#group-holds-note", /3 beginnings waited for the rest; 3 went out without it/);
  await page.waitForFunction(() => /came over another connection, or not at all: of 3 beginnings/.test(document.querySelector("#group-advice").textContent));
  const advice = await page.locator("#group-advice li", { hasText: "split" }).allInnerTexts();
  assert.ok(advice.every(one => !one.includes("hold_ms = ")), "no larger hold_ms is advised");

  await page.locator("#group a", { hasText: "Back to all" }).click();
  assert.equal(await page.locator("#overview").isVisible(), true);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "login", "the keyboard is where it was");
  await page.goBack();
  await says("#group-name", /^login$/);
  await page.goto(`${url}#group=nobody`);
  await says("#group-state", /There is no group of this name/);
}

export async function fifty() {
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll("#groups a").length === 50);
  assert.match(await text("#groups li:first-child"), /^group-17/, "trouble comes first");
  await says("#groups li.unseen", /^47 never seen:\s*group-1\s*group-2\s*group-4/);
  assert.equal(await page.locator("#rules tbody tr").count(), 15);
  assert.match(await text("#rules tbody tr:first-child"), /^group-17/);
  await pictures("fifty");
  await page.locator("#rules-all").click();
  assert.equal(await page.locator("#rules tbody tr").count(), 50);
  await page.locator("#groups-text").fill("group-4");
  await page.waitForFunction(() => document.querySelectorAll("#groups a").length === 11);
  await page.locator("#groups-text").fill("");
  await page.locator("#groups a", { hasText: "group-31" }).click();
  await says("#group-outcomes-note", /has not been seen yet/);
  await says("#group-rule", /name = "group-31"/);
}
