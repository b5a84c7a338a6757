// Reads recorded requests as JSON on stdin, and has the public packages read each as a stranger's receiver would.
//
// In: [{"headers": {…}, "body": "…", "secrets": ["whsec_…", …]}, …]. Out: for each what was read of the event, or
// {"error": "…"}; every secret must verify it by itself.

import { text } from "node:stream/consumers";
import { CloudEvent, HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

function read({ headers, body, secrets }) {
  for (const secret of secrets) new Webhook(secret).verify(body, headers);
  const lenient = HTTP.toEvent({ headers, body });
  if (Array.isArray(lenient)) throw new Error("a batch, not an event");
  const event = new CloudEvent(lenient.toJSON(), true); // true: strict, each attribute is checked
  event.validate();
  const { specversion, id, type, source, subject, time, datacontenttype, data } = event;
  return { specversion, id, type, source, subject, time, datacontenttype, data };
}

const recorded = JSON.parse(await text(process.stdin));
const results = recorded.map((request) => {
  try {
    return read(request);
  } catch (error) {
    return { error: String(error) + JSON.stringify(error.errors ?? "") };
  }
});
process.stdout.write(JSON.stringify(results));
