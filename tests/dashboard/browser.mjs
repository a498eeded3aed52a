// A page in a real Chromium, and what the tests ask of every page.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { chromium } from "playwright-core";

export const [url, state, folder, port, token] = process.argv.slice(2);
const origin = new URL(url).origin;
const PATIENCE_MS = 30000;

export const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium" });
export const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
page.setDefaultTimeout(PATIENCE_MS);

// FILES=folder: the page is taken from there and not from the program, to try changes without a build.
if (process.env.FILES) {
  await page.route(asked => asked.pathname === "/" || asked.pathname.startsWith("/dashboard/"), route => {
    const file = new URL(route.request().url()).pathname.replace(/^\/$/, "page.html").replace("/dashboard/", "");
    return route.fulfill({ path: `${process.env.FILES}/${file}` });
  });
}

// What the browser complains of, and requests to anybody else.
export const complaints = [], strangers = [];
page.on("console", message => { if (["error", "warning"].includes(message.type())) complaints.push(message.text()); });
page.on("pageerror", error => complaints.push(String(error)));
page.on("request", request => {
  const asked = new URL(request.url());
  if (asked.origin !== origin && asked.protocol !== "data:") strangers.push(request.url());
});

// Complaints of which `is` is true are as they should be.
export function forgive(is) {
  const others = complaints.filter(complaint => !is(complaint));
  complaints.splice(0, complaints.length, ...others);
}

export const text = selector => page.locator(selector).innerText();
export const rows = selector => page.locator(`${selector} tbody tr`).allInnerTexts();

// Waits until the element's text fits.
export async function says(selector, pattern) {
  const found = page.locator(selector).filter({ hasText: pattern });
  await found.waitFor({ state: "visible" }).catch(async () => {
    assert.fail(`${selector} does not say ${pattern}, but ${JSON.stringify(await text(selector).catch(String))}`);
  });
}

// The page in both colours, and on narrow screens.
export async function pictures(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const [what, contrast] of await page.evaluate(contrasts)) assert.ok(contrast >= 4.5, `${name}, ${colorScheme}: ${what} has contrast ${contrast}`);
    await page.screenshot({ path: `${folder}/${name}-${colorScheme}.png`, fullPage: true });
  }
  await page.emulateMedia({ colorScheme: "light" });
  for (const width of [768, 360]) {
    await page.setViewportSize({ width, height: 800 });
    assert.deepEqual(await page.evaluate(cut), [], `${name}: nothing is cut on a screen of ${width}`);
  }
  await page.screenshot({ path: `${folder}/${name}-narrow.png`, fullPage: true });
  await page.setViewportSize({ width: 1280, height: 900 });
  assert.deepEqual(await page.evaluate(cut), [], `${name}: nothing is cut`);
}

// Visible elements that stand out of the window, or hold more than they show.
function cut() {
  const wide = document.documentElement.clientWidth;
  const seen = [...document.querySelectorAll("body *")].filter(one => one.checkVisibility() && !one.closest(".skip, thead, svg"));
  const named = one => `${one.tagName} ${one.id || one.className} "${one.textContent.slice(0, 40)}"`;
  const out = seen.filter(one => { const box = one.getBoundingClientRect(); return box.width > 0 && (box.right > wide + 1 || box.left < -1); });
  const hides = seen.filter(one => getComputedStyle(one).overflowX !== "visible" && one.tagName !== "INPUT" && one.scrollWidth > one.clientWidth + 1);
  return [...out, ...hides].map(named).concat(document.documentElement.scrollWidth > wide ? ["the page scrolls sideways"] : []);
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
export async function tabbed() {
  const reached = [];
  await page.locator("body").evaluate(body => { body.tabIndex = -1; body.focus(); body.removeAttribute("tabindex"); });
  for (let i = 0; i < 80; i++) {
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

// Sends commands in one go through the proxy, and waits for as many replies.
export function send(...commands) {
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

