// Looks at the dashboard in a real Chromium: look.mjs URL STATE FOLDER [PORT] [TOKEN]. What is wrong is thrown; screenshots stay
// in FOLDER.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { chromium } from "playwright-core";

const [url, state, folder, port, token] = process.argv.slice(2);
const origin = new URL(url).origin;
const PATIENCE_MS = 20000;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium" });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
page.setDefaultTimeout(PATIENCE_MS);

const complaints = [], strangers = [];
page.on("console", message => { if (["error", "warning"].includes(message.type())) complaints.push(message.text()); });
page.on("pageerror", error => complaints.push(String(error)));
page.on("request", request => {
  const asked = new URL(request.url());
  if (asked.origin !== origin && asked.protocol !== "data:") strangers.push(request.url());
});

const text = selector => page.locator(selector).innerText();
const rows = selector => page.locator(`${selector} tbody tr`).allInnerTexts();

// Waits until the element's text fits.
async function says(selector, pattern) {
  const found = page.locator(selector).filter({ hasText: pattern });
  await found.waitFor({ state: "visible" }).catch(async () => {
    assert.fail(`${selector} does not say ${pattern}, but ${JSON.stringify(await text(selector).catch(String))}`);
  });
}

// The page in both colours, and on a narrow screen.
async function pictures(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const [what, contrast] of await page.evaluate(contrasts)) assert.ok(contrast >= 4.5, `${name}, ${colorScheme}: ${what} has contrast ${contrast}`);
    await page.screenshot({ path: `${folder}/${name}-${colorScheme}.png`, fullPage: true });
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 800 });
  const [needed, there] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  await page.screenshot({ path: `${folder}/${name}-narrow.png`, fullPage: true });
  assert.ok(needed <= there, `${name}: ${needed} pixels wide on a screen of ${there}`);
  await page.setViewportSize({ width: 1280, height: 900 });
}

// The contrast of each visible text to what lies behind it (WCAG 2: 4.5 is wanted), worst first.
function contrasts() {
  const light = colour => {
    const [r, g, b] = colour.match(/[\d.]+/g).map(n => Number(n) / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" && element.parentElement ? behind(element.parentElement) : colour;
  };
  const seen = [...document.querySelectorAll("body *")].filter(one => one.checkVisibility() && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  const found = seen.map(one => {
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
    return [`${one.tagName} ${one.id || one.className} "${one.textContent.slice(0, 30)}"`, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
  return found.sort((a, b) => a[1] - b[1]);
}

// Everything that Tab reaches, in its order, as `tag#id`.
async function tabbed() {
  const reached = [];
  await page.locator("body").evaluate(body => { body.tabIndex = -1; body.focus(); body.removeAttribute("tabindex"); });
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    const one = await page.evaluate(() => {
      const at = document.activeElement;
      if (at === document.body) return null;
      const style = getComputedStyle(at);
      return { name: `${at.tagName.toLowerCase()}${at.id ? `#${at.id}` : at.className ? `.${at.className}` : ""}`, outline: style.outlineStyle };
    });
    if (one === null) break;
    assert.notEqual(one.outline, "none", `nobody sees that ${one.name} has the focus`);
    reached.push(one.name);
  }
  return reached;
}

// Sends commands of one pipeline through the proxy, and waits for as many replies.
function send(...commands) {
  return new Promise((done, fail) => {
    const socket = connect(Number(port), "127.0.0.1", () => socket.write(`${commands.join("\r\n")}\r\n`));
    let replies = "";
    socket.on("error", fail);
    socket.on("data", data => {
      replies += data;
      if (replies.split("\r\n").length > commands.length) done(socket.end());
    });
  });
}

const STATES = {
  async empty() {
    await says("#state", /^ready$/);
    await says("#hour-note", /^None\.$/);
    await says("#groups-note", /No groups are declared/);
    await says("#live-note", /None yet\./);
    await says("#upstream", /^up$/);
    await says("#breaker", /^closed$/);
    await says("#rate", /^[\d.,]+$/);
    assert.equal(await page.locator("#groups").isVisible(), false);
    assert.equal(await page.locator("#login").isVisible(), false);
    await pictures("empty");
    assert.deepEqual(await tabbed(), ["a.skip", "select#kind", "button#hold"]);
  },

  async busy() {
    await says("#rest-errors", /^0$/);
    await page.locator("#list li").first().waitFor();
    const kinds = (await rows("#hour")).map(row => row.split(/\s/)[0]);
    for (const kind of ["aborted", "split", "partial_failure", "ttl_missing", "guard"]) assert.ok(kinds.includes(kind), `${kind} in ${kinds}`);
    const groups = await rows("#groups");
    assert.ok(groups.some(row => /^login\s/.test(row)) && groups.some(row => /^blob\s/.test(row)), groups.join("\n"));
    const heads = await page.locator("#groups thead th:visible").allInnerTexts();
    assert.deepEqual(heads, ["Group", "matched", "applied", "torn", "aborted", "held", "split", "gap", "Last seen"]);
    const [needed, there] = await page.locator("#groups-wide").evaluate(region => [region.scrollWidth, region.clientWidth]);
    assert.ok(needed <= there, "the whole table of groups is to be seen");
    const before = await page.locator("#list li").count();
    await send("KEYS live:*");
    await page.waitForFunction(n => document.querySelectorAll("#list li").length > n, before);
    await says("#list li:first-child", /guard/);

    // Each kind explains itself, and where a setting would help shows it.
    for (const item of await page.locator("#list li").all()) {
      await item.locator("summary").click();
      const kind = await item.locator(".kind").innerText();
      assert.ok((await item.locator("details > div > p").allInnerTexts()).every(paragraph => paragraph.length > 10), kind);
      await item.locator("summary").click();
    }
    const first = page.locator("#list li", { hasText: "split" }).first();
    await first.locator("summary").click();
    assert.match(await first.locator("pre").innerText(), /^\[pipeline\]\nhold_ms = /);
    await page.waitForTimeout(2500);
    assert.equal(await first.locator("details").getAttribute("open"), "", "an explanation stays open while the page goes on");
    await pictures("busy");
    await first.locator("summary").click();

    const reached = await tabbed();
    assert.deepEqual(reached.slice(0, 4), ["a.skip", "div#groups-wide", "select#kind", "button#hold"]);
    assert.equal(reached.slice(4).filter(name => name === "summary").length, reached.length - 4);
    assert.ok(reached.length > 6, reached.join(" "));
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
  },

  async down() {
    await says("#state", /^not ready: /);
    await says("#upstream", /^down$/);
    await says("#server-note", /respguard cannot reach 127\.0\.0\.1:\d+/);
    await says("#breaker", /closed|open/);
    await pictures("down");
  },

  async token() {
    await says("#login-note", /want the token/);
    await says("#hour-note", /Not known/);
    assert.equal(await page.locator("#list li").count(), 0);
    assert.ok((await rows("#groups")).length > 0, "groups show no keys and want no token");
    await pictures("token");
    assert.deepEqual(await tabbed(), ["a.skip", "div#groups-wide", "input#token", "button", "select#kind", "button#hold"]);
    await page.locator("#token").fill("wrong");
    await page.keyboard.press("Enter");
    await says("#login-note", /not the one/);
    await page.locator("#token").fill(token);
    await page.keyboard.press("Enter");
    await page.locator("#list li").first().waitFor();
    assert.equal(await page.locator("#login").isVisible(), false);
    assert.ok(!(await page.content()).includes(token), "the token is not in the page");
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, ""]);
    // The browser tells of each answer 401 by itself.
    const others = complaints.filter(complaint => !complaint.includes("401"));
    complaints.splice(0, complaints.length, ...others);
  },
};

try {
  await page.goto(url);
  await STATES[state]();
  assert.deepEqual(complaints, [], "the console is silent");
  assert.deepEqual(strangers, [], "nothing is asked of anybody else");
  console.log(`${state}: good`);
} catch (failure) {
  await page.screenshot({ path: `${folder}/${state}-failed.png`, fullPage: true }).catch(() => {});
  throw failure;
} finally {
  await browser.close();
}
