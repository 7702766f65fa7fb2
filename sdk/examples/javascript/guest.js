// Each device gets the newest version that is rolled out to it.
import { Choice, rolledOut } from "../../javascript/index.js";

export function selectVersion(request) {
  return request.apps.map((app) => pick(request.bucketKey, app.candidates));
}

function pick(key, candidates) {
  const choice = candidates.findIndex((c) => rolledOut(key, c));
  return choice < 0 ? { choice: Choice.Hold, reason: "not open yet" } : { choice, reason: "open" };
}
