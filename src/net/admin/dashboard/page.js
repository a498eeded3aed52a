// The dashboard: asks the endpoints of this listener every two seconds, and listens for violations. Everything that is
// shown is set as text, never as markup.

const EVERY_MS = 2000, WINDOW_MS = 10000, HISTORY_MS = 120000, HOUR_MS = 3600000, ANSWER_MS = 6000;
// As many violations as the process keeps.
const KEPT_MAX = 1000, SHOWN_MAX = 200;

const at = id => document.getElementById(id);
const element = (name, text, kind) => Object.assign(document.createElement(name), { textContent: text ?? "", className: kind ?? "" });
const say = (id, text, kind) => {
  const place = at(id);
  // The same text is not set again: screen readers would read it again.
  if (place.textContent !== text) place.textContent = text;
  if (kind !== undefined) place.className = kind;
};
const wait = ms => new Promise(done => setTimeout(done, ms));

let token = null;
// The server's clock minus this machine's.
let skew = 0;
const now = () => Date.now() + skew;

async function ask(path, headers, signal) {
  const answer = await fetch(path, { cache: "no-store", headers, signal });
  const date = Date.parse(answer.headers.get("date"));
  if (Math.abs(date - now()) > 1500) skew = date - Date.now();
  return answer;
}

const clock = ms => new Date(ms).toLocaleTimeString([], { hour12: false });
const count = n => n.toLocaleString("en");

function ago(ms) {
  const s = Math.max(0, Math.round((now() - ms) / 1000));
  return s < 60 ? `${s} s ago` : s < 3600 ? `${Math.floor(s / 60)} min ago` : s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
}

function span(s) {
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

function seconds(s) {
  const [n, unit] = s < 0.001 ? [s * 1e6, "µs"] : s < 1 ? [s * 1e3, "ms"] : [s, "s"];
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${unit}`;
}

// ---- throughput and latency

function readMetrics(text) {
  const sample = { at: performance.now(), commands: 0, buckets: [], rest: null };
  const rest = { requests: 0, errors: 0, bounds: new Map() };
  for (const line of text.split("\n")) {
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (line.startsWith("respguard_commands_total")) sample.commands += value;
    const bound = /^respguard_request_seconds_bucket\{le="([^"]+)"\}/.exec(line);
    if (bound) sample.buckets.push([bound[1] === "+Inf" ? Infinity : Number(bound[1]), value]);
    if (line.startsWith("respguard_rest_requests_total{")) {
      rest.requests += value;
      if (!/code="2/.test(line)) rest.errors += value;
      sample.rest = rest;
    }
    const restBound = /^respguard_rest_request_seconds_bucket\{.*le="([^"]+)"/.exec(line);
    if (restBound) {
      const key = restBound[1] === "+Inf" ? Infinity : Number(restBound[1]);
      rest.bounds.set(key, (rest.bounds.get(key) ?? 0) + value);
    }
  }
  // Those of all endpoints together.
  rest.buckets = [...rest.bounds].sort(([one], [other]) => one - other);
  return sample;
}

// The time within which so large a part of the replies came, taken to be spread evenly between two bounds.
function quantile(part, before, after) {
  const counts = after.buckets.map(([bound, n], i) => [bound, n - (before.buckets[i]?.[1] ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return "no requests";
  let [low, below] = [0, 0];
  for (const [bound, n] of counts) {
    if (n >= all * part) return bound === Infinity ? `over ${seconds(low)}` : seconds(low + (bound - low) * (all * part - below) / (n - below));
    [low, below] = [bound, n];
  }
  return "–";
}

let samples = [];

function showMetrics(text) {
  const sample = readMetrics(text);
  // A process that has started again counts from 0.
  if (samples.length && sample.commands < samples.at(-1).commands) samples = [];
  samples = samples.filter(old => sample.at - old.at < HISTORY_MS);
  samples.push(sample);
  const before = samples.find(old => sample.at - old.at <= WINDOW_MS);
  if (before === sample) return;
  const rate = (sample.commands - before.commands) / (sample.at - before.at) * 1000;
  say("rate", rate < 10 ? rate.toFixed(1) : count(Math.round(rate)));
  say("median", quantile(0.5, before, sample));
  say("tail", quantile(0.99, before, sample));
  showRest(before, sample);
  const rates = samples.slice(1).map((one, i) => (one.commands - samples[i].commands) / (one.at - samples[i].at));
  const top = Math.max(...rates, 1e-9);
  const points = rates.map((rate, i) => `${120 - (rates.length - 1 - i) * 2},${23 - 22 * rate / top}`);
  at("line").firstElementChild.setAttribute("points", points.join(" "));
}

function showRest(before, sample) {
  at("rest").hidden = sample.rest === null;
  if (sample.rest === null || before.rest === null) return;
  const rate = (sample.rest.requests - before.rest.requests) / (sample.at - before.at) * 1000;
  say("rest-rate", rate < 10 ? rate.toFixed(1) : count(Math.round(rate)));
  say("rest-tail", quantile(0.99, before.rest, sample.rest));
  say("rest-errors", count(sample.rest.errors), sample.rest.errors ? "warn" : "");
}

// ---- the server

const BREAKER = {
  closed: ["closed", "good", ""],
  open: ["open", "bad", "Requests are answered with an error at once instead of each waiting for its timeout. "],
  half_open: ["half open", "warn", "The breaker asks the server for a sign of life. "],
};

// Of a cluster, which primaries do not answer.
function ofNodes(cluster) {
  const silent = (cluster?.nodes ?? []).filter((node) => !node.available).map((node) => `${node.address} (${node.slots} slots)`);
  if (!cluster?.slots_unserved && !silent.length) return "";
  return `${cluster.slots_unserved} slots of the cluster are served by no node that answers. ${silent.length ? `Silent: ${silent.join(", ")}. ` : ""}`;
}

function showStatus(status) {
  const { upstream } = status;
  say("state", status.ready ? "ready" : `not ready: ${status.reasons.join(", ")}`, status.ready ? "pill good" : "pill bad");
  say("about", `version ${status.version}, up ${span(status.uptime_seconds)}, ${status.workers} ${status.workers === 1 ? "worker" : "workers"}`);
  say("clients", count(status.clients));
  say("address", `Upstream ${upstream.address}`);
  say("upstream", upstream.available ? "up" : "down", upstream.available ? "good" : "bad");
  const [word, kind, note] = BREAKER[status.breaker] ?? ["off", "", ""];
  say("breaker", word, kind);
  const connections = Object.entries(upstream.connections).filter(([, n]) => n > 0).map(([state, n]) => `${n} ${state}`);
  say("connections", connections.join(", ") || "none");
  const lost = upstream.available ? "" : `respguard cannot reach ${upstream.address}. Clients keep their connections and are told that their commands were not sent. `
    + "See whether the server runs, and whether [upstream] address is right; respguard connects again by itself.";
  const nodes = ofNodes(upstream.cluster);
  say("server-note", note + lost + nodes);
  at("server-note").hidden = !(note + lost + nodes);
}

const COLUMNS = ["matched", "applied", "torn", "failed", "aborted", "refused", "unguarded", "unwrapped", "unknown", "committed", "rolled_back", "duplicate", "observed", "held", "split"];
const BAD = new Set(["torn", "failed", "unguarded", "unwrapped", "unknown", "split"]);

// Shown even while they are all zero.
const ALWAYS = new Set(["matched", "applied", "torn", "aborted", "held", "split"]);

function showGroups(groups) {
  // What has nothing in it to scroll to is no stop for the keyboard either.
  at("groups").hidden = at("groups-wide").hidden = groups.length === 0;
  const leftOut = new Set(COLUMNS.filter(column => !ALWAYS.has(column) && groups.every(group => group[column] === 0)));
  [...at("groups").tHead.rows[0].cells].slice(1, 1 + COLUMNS.length).forEach((head, i) => { head.hidden = leftOut.has(COLUMNS[i]); });
  const since = leftOut.size ? "Since the start. Outcomes that have not occurred are hidden." : "Since the start.";
  say("groups-note", groups.length ? since : "No groups are declared: no pipeline is protected. docs/rules.md says how to write one.");
  at("groups").tBodies[0].replaceChildren(...groups.map(group => {
    const row = element("tr");
    const name = element("th", group.in_force ? group.name : `${group.name} (no longer in force)`);
    name.scope = "row";
    const cells = COLUMNS.filter(column => !leftOut.has(column)).map(column => element("td", count(group[column]), group[column] === 0 ? "number none" : BAD.has(column) ? "number some" : "number"));
    const gap = group.hold_gap.median_us;
    const median = element("td", gap === null ? "–" : `${gap / 1000} ms`, "number");
    row.append(name, ...cells, median, element("td", group.last_seen_ms === null ? "never" : ago(group.last_seen_ms)));
    return row;
  }));
}

// ---- violations

// Newest first.
let violations = [], total = 0, incomplete = false, isHeld = false;

function keep(news) {
  violations = [...news, ...violations].slice(0, KEPT_MAX);
  total = Math.max(total, ...news.map(one => one.sequence));
}

function showHour() {
  const recent = violations.filter(one => one.at_ms > now() - HOUR_MS);
  const kinds = Map.groupBy ? Map.groupBy(recent, one => one.kind) : recent.reduce((map, one) => map.set(one.kind, [...(map.get(one.kind) ?? []), one]), new Map());
  const rows = [...kinds].sort((a, b) => b[1].length - a[1].length);
  at("hour").hidden = rows.length === 0;
  const cut = incomplete && recent.length === violations.length;
  say("hour-note", !isListening() ? "Not known: see below." : rows.length === 0 ? "None." : cut ? `At least: only the last ${count(KEPT_MAX)} are kept, and there were more.` : "");
  at("hour").tBodies[0].replaceChildren(...rows.map(([kind, list]) => {
    const row = element("tr");
    const rules = [...new Set(list.map(one => one.rule ?? "no rule"))];
    const name = element("th", kind);
    name.scope = "row";
    row.append(name, element("td", count(list.length), "number"), element("td", rules.slice(0, 5).join(", ") + (rules.length > 5 ? " .." : "")), element("td", ago(list[0].at_ms)));
    return row;
  }));
}

function item(one) {
  const about = KINDS[one.kind] ?? { what: () => "This page does not know the kind; docs/violations.md does.", todo: () => "" };
  const line = element("li"), details = element("details"), summary = element("summary"), more = element("div");
  line.dataset.sequence = one.sequence;
  const time = element("time", clock(one.at_ms));
  time.dateTime = one.at;
  summary.append(time, element("span", one.kind, "kind"), element("span", one.rule ?? ""), element("code", one.commands.join(" ")));
  if (one.error) summary.append(element("span", one.error, "bad"));
  const where = [
    one.place && `It was command ${one.place} of ${one.commands.length}${one.commands.includes("...") ? " or more" : ""}.`,
    one.reason && `Why: ${one.reason}.`, one.key_pattern && `Keys like ${one.key_pattern}.`, `Client ${one.client}.`,
  ];
  more.append(element("p", about.what(one)), element("p", where.filter(Boolean).join(" "), "quiet"), element("p", about.todo(one)));
  const config = about.config?.(one);
  if (config) more.append(element("pre", config));
  details.append(summary, more);
  line.append(details);
  return line;
}

function showList() {
  const list = at("list"), kind = at("kind").value;
  const wanted = violations.filter(one => !kind || one.kind === kind);
  if (!isHeld) {
    const shown = wanted.slice(0, SHOWN_MAX);
    const old = new Map([...list.children].map(line => [Number(line.dataset.sequence), line]));
    // What stays is not moved, so that it keeps the focus and stays open.
    const kept = new Set(shown.map(one => one.sequence));
    for (const [sequence, line] of old) if (!kept.has(sequence)) line.remove();
    let place = list.firstElementChild;
    for (const one of shown) {
      if (place && Number(place.dataset.sequence) === one.sequence) place = place.nextElementSibling;
      else list.insertBefore(old.get(one.sequence) ?? item(one), place);
    }
  }
  const newer = wanted.filter(one => one.sequence > heldAt).length;
  const waiting = isHeld ? `${count(newer)} newer ${newer === 1 ? "is" : "are"} not shown. ` : "";
  const cut = wanted.length > SHOWN_MAX ? `The newest ${SHOWN_MAX} of ${count(wanted.length)}.` : "";
  say("live-note", { waiting: "", asked: "Waiting for the token.", off: "", lost: "The stream was lost; trying again." }[listening] ?? (waiting + (wanted.length ? cut : "None yet.")));
}

function showViolations() {
  showHour();
  showList();
}

// "waiting" | "live" | "asked" (for the token) | "off" (refused) | "lost"
let listening = "waiting", heldAt = 0;
const isListening = () => listening === "live";

function listen(state) {
  listening = state;
  at("login").hidden = state !== "asked";
  showViolations();
}

// Empties the list: what is in it is from a process that has ended, or for eyes that have shown a token.
function forget() {
  [violations, total, incomplete, heldAt] = [[], 0, false, 0];
  at("list").replaceChildren();
}

async function refused(answer) {
  forget();
  if (answer.status === 401) {
    if (token !== null) say("login-note", "That token is not the one of [admin] token_env. It is kept in this page's memory only.");
    token = null;
    listen("asked");
    await new Promise(done => { given = done; });
    return;
  }
  const { error } = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  listen("off");
  say("live-note", `Violations are not shown: ${error}.`);
  await wait(15000);
}

let given = () => {};

// Shows what is kept, then what comes, until the stream ends.
async function follow() {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const kept = await ask(`/violations?limit=${KEPT_MAX}&since=${Math.round(now() - HOUR_MS)}`, headers, AbortSignal.timeout(ANSWER_MS));
  if (!kept.ok) return refused(kept);
  const body = await kept.json();
  // Numbers that went back are those of another process.
  if (body.total < total) forget();
  keep(body.violations.filter(one => one.sequence > total));
  total = body.total;
  incomplete ||= body.lost > 0;
  const end = new AbortController();
  // A sign of life comes every ten seconds.
  let watch = setTimeout(() => end.abort(), 25000);
  const stream = await ask(`/violations/stream?after=${total}`, headers, end.signal);
  if (!stream.ok) return clearTimeout(watch), refused(stream);
  listen("live");
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let text = "";;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => end.abort(), 25000);
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
    if (/^event: lost$/m.test(event)) incomplete = true;
  }
  if (!news.length) return;
  if (violations.length + news.length > KEPT_MAX) incomplete = true;
  keep(news);
  showSoon();
}

// At most four times a second, however many come.
let planned = false;
function showSoon() {
  if (planned) return;
  planned = true;
  setTimeout(() => { planned = false; showViolations(); }, 250);
}

async function followForEver() {
  for (;;) {
    try {
      await follow();
      if (isListening()) listen("lost");
    } catch {
      listen("lost");
    }
    await wait(1000);
  }
}

// ---- the page

let lastAnswer = Date.now();

async function refresh() {
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    const [status, groups, metrics] = await Promise.all(["/status", "/groups", "/metrics"].map(path => ask(path, {}, signal)));
    showStatus(await status.json());
    showGroups((await groups.json()).groups);
    showMetrics(await metrics.text());
    lastAnswer = Date.now();
    at("alarm").hidden = true;
  } catch {
    say("alarm", `respguard does not answer. What is shown is of ${clock(lastAnswer)}.`);
    at("alarm").hidden = false;
    say("state", "no answer", "pill bad");
  }
  showHour();
}

async function refreshForEver() {
  for (;;) {
    if (!document.hidden) await refresh();
    await wait(EVERY_MS);
  }
}

for (const kind of Object.keys(KINDS)) at("kind").append(element("option", kind));
at("kind").addEventListener("change", () => { at("list").replaceChildren(); const was = isHeld; isHeld = false; showList(); isHeld = was; });
at("hold").addEventListener("click", () => {
  isHeld = !isHeld;
  heldAt = total;
  at("hold").setAttribute("aria-pressed", String(isHeld));
  showList();
});
at("login").addEventListener("submit", event => {
  event.preventDefault();
  token = at("token").value;
  at("token").value = "";
  at("login").hidden = true;
  given();
});
refreshForEver();
followForEver();
