// npm install && WEBHOOK_FILE=../../.hub/webhook.json npm start
// WEBHOOK_FILE is the saved answer of POST /api/webhooks, which holds the signing secret.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const port = Number(process.env.PORT ?? 9000);
const acted = new Set(); // keep these in a database with a unique key: delivery is at least once

function secret() {
  return JSON.parse(readFileSync(process.env.WEBHOOK_FILE, "utf8")).secret;
}

function answer(response, status, body) {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString("utf8"); // the signature is over these very bytes
  try {
    const claimed = JSON.parse(body);
    if (claimed.type === "webhook.verification") {
      return answer(response, 200, { challenge: claimed.data.challenge });
    }
    const event = new Webhook(secret()).verify(body, request.headers);
    const id = request.headers["webhook-id"];
    console.log(event.type, id, acted.has(id) ? "(a repeat)" : "", event.data);
    acted.add(id);
    return answer(response, 200, { status: "received" });
  } catch (error) {
    console.log("refused:", error.message);
    return answer(response, 401, { error: "not verified" });
  }
}).listen(port, "127.0.0.1", () => console.log(`Receiving on http://localhost:${port}/`));
