// Whoever has a subscription may have every app, and nobody else any.
import { Decision } from "../../javascript/index.js";

export function entitle(request) {
  const subscribed = request.grants.includes("sub:plus");
  return request.apps.map(() =>
    subscribed
      ? { decision: Decision.Allow, reason: "has a subscription" }
      : { decision: Decision.Deny, reason: "needs a subscription" },
  );
}
