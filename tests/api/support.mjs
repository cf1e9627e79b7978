// What the tests of a frontend need around it: sign-ups, agents, a worker, an endpoint for api agents to call.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PASSWORD = "correct horse battery staple";

function variable(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run ./scripts/test, or eval "$(./scripts/stack env)"`);
  return value;
}

// A client as a browser has it; `realtime` is only for Node before 22, which has no WebSocket of its own.
export function newClient(key = variable("SUPABASE_ANON_KEY")) {
  return createClient(variable("SUPABASE_URL"), key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket },
  });
}

// The client of the operator, who sees everything: for checking what users may not see, and for playing a worker.
export function operator() {
  return newClient(variable("SUPABASE_SERVICE_ROLE_KEY"));
}

export function unique(prefix) {
  return `${prefix}-${randomBytes(6).toString("hex")}`;
}

// {client, id, email}: a new user, signed in.
export async function signUp() {
  const client = newClient();
  const email = `${unique("user")}@example.com`;
  const { user } = value(await client.auth.signUp({ email, password: PASSWORD }));
  return { client, id: user.id, email };
}

// The same user on a fresh page: nothing of the old client is left.
export async function signInAgain({ email }) {
  const client = newClient();
  value(await client.auth.signInWithPassword({ email, password: PASSWORD }));
  return client;
}

// What a call answered; fails with its error if it has one.
export function value({ data, error }) {
  assert.equal(error, null, JSON.stringify(error));
  return data;
}

export async function createOrganization(user, slug) {
  return value(await user.client.rpc("create_organization", { slug, name: `The ${slug} company` }));
}

export async function join(owner, user, organizationSlug, role = "member") {
  const invitation = { organization_slug: organizationSlug, email: user.email, role };
  const { token } = value(await owner.client.rpc("create_invitation", invitation));
  return value(await user.client.rpc("accept_invitation", { token }));
}

const ANY_AGENT = {
  description: "For a test.",
  department: "marketing",
  capabilities: [],
  io_schema: {},
  context: "Be brief.",
};

export async function addContextAgent(user, organizationSlug) {
  const row = { agent_type: "context", llm_config: { provider: "anthropic", model: "claude-3-5-sonnet-20241022" } };
  return addAgent(user, organizationSlug, row);
}

export async function addApiAgent(user, organizationSlug, url) {
  return addAgent(user, organizationSlug, { agent_type: "api", endpoint: { url, method: "POST", timeout: 30 } });
}

async function addAgent(user, organizationSlug, row) {
  const slug = unique("agent");
  const agent = { ...ANY_AGENT, ...row, slug, name: `Agent ${slug}`, organization_slug: [organizationSlug] };
  return value(await user.client.from("agents").insert(agent).select().single());
}

export async function until(what, condition, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const result = await condition();
    if (result) return result;
    assert.ok(Date.now() < deadline, `waited ${seconds} s for ${what}`);
    await sleep(50);
  }
}

const FINAL = ["completed", "failed", "cancelled", "timeout", "rejected"];

export async function finished(client, taskId) {
  return until(`task ${taskId} to finish`, async () => {
    const task = value(await client.from("tasks").select().eq("id", taskId).single());
    return FINAL.includes(task.status) && task;
  });
}

export async function taskEventsAfter(client, taskId, sequence) {
  return value(
    await client.from("task_events").select().eq("task_id", taskId).gt("sequence", sequence).order("sequence"),
  );
}

// An offline worker for these organizations, whose model takes so many seconds. Returns a function that stops it and checks that it left in order.
export async function startWorker(organizationSlugs, seconds = 1) {
  const scope = organizationSlugs.flatMap((slug) => ["--organization", slug]);
  const python = process.env.PYTHON ?? `${ROOT}/.venv/bin/python`;
  const worker = spawn(python, ["-m", "workers", "run", "--offline", "--poll-interval", "0.2", ...scope], {
    cwd: ROOT,
    env: {
      ...process.env,
      LLM_OFFLINE_DELAY: String(seconds),
      LOG_FORMAT: "json",
      ORCHESTRATOR_ALLOW_PRIVATE_HOSTS: "1",
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  worker.stderr.setEncoding("utf8").on("data", (text) => (log += text));
  const exited = once(worker, "exit");
  await until("the worker to start", () => {
    assert.equal(worker.exitCode, null, log);
    return log.includes('"started"');
  });
  return async () => {
    worker.kill("SIGTERM");
    const [code] = await exited;
    assert.equal(code, 0, log);
  };
}

// An HTTP endpoint for api agents. `answer(body)` gives the text, at once or later; `requests` holds what was asked.
export async function startEndpoint(answer) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const chunks = await request.toArray();
    const body = JSON.parse(Buffer.concat(chunks).toString());
    requests.push(body);
    const content = await answer(body, requests.length);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ content }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = () => new Promise((resolve) => server.close(resolve) && server.closeAllConnections());
  return { url: `http://127.0.0.1:${server.address().port}/`, requests, stop };
}
