// npm install standardwebhooks
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET); // whsec_...

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString("utf8"); // raw, before any JSON parser
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch {
    response.writeHead(401).end();
    return;
  }
  const isVerification = event.type === "webhook.verification";
  const answer = isVerification ? { challenge: event.data.challenge } : {};
  if (!isVerification) console.log(request.headers["webhook-id"], event.type, event.data);
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
}).listen(9000);
