// Asks the endpoints of this listener, with the token once there is one.

export const ANSWER_MS = 6000;

// In this page's memory only.
let token = null;
// The server's clock minus this machine's.
let skew = 0;

export const now = () => Date.now() + skew;
export const hasToken = () => token !== null;
export const useToken = given => { token = given; };

export function ago(ms) {
  const s = Math.max(0, Math.round((now() - ms) / 1000));
  return s < 60 ? `${s} s ago` : s < 3600 ? `${Math.floor(s / 60)} min ago` : s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
}

// An answer to all; `guarded` what wants the token.
export async function ask(path, signal = AbortSignal.timeout(ANSWER_MS)) {
  return answered(await fetch(path, { cache: "no-store", signal }));
}

export async function askGuarded(path, signal = AbortSignal.timeout(ANSWER_MS)) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  return answered(await fetch(path, { cache: "no-store", headers, signal }));
}

function answered(answer) {
  const date = Date.parse(answer.headers.get("date"));
  if (Math.abs(date - now()) > 1500) skew = date - Date.now();
  return answer;
}
