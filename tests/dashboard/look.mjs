// Looks at the dashboard in a real Chromium: look.mjs URL STATE FOLDER PORT TOKEN. What is wrong is thrown; screenshots stay in
// FOLDER.

import assert from "node:assert/strict";
import { browser, complaints, folder, page, state, strangers, url } from "./browser.mjs";
import * as groups from "./groups.mjs";
import * as overview from "./overview.mjs";

try {
  const looks = { ...overview, ...groups }[state];
  await looks();
  assert.deepEqual(complaints, [], "the console is silent");
  assert.deepEqual(strangers, [], `nothing is asked of anybody but ${url}`);
  console.log(`${state}: good`);
} catch (failure) {
  await page.screenshot({ path: `${folder}/${state}-failed.png`, fullPage: true }).catch(() => {});
  throw failure;
} finally {
  await browser.close();
}
