// A frontend as its users write it: the real supabase-js against the real PostgREST, Auth and a worker.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import {
  addApiAgent,
  addContextAgent,
  createOrganization,
  finished,
  join,
  signInAgain,
  signUp,
  startEndpoint,
  startWorker,
  taskEventsAfter,
  unique,
  until,
  value,
} from "./support.mjs";

// One worker serves them all (starting one takes seconds); each test makes an organization of its own.
const slugs = Array.from({ length: 7 }, () => unique("frontend"));
const spare = [...slugs];
let stopWorker;

before(async () => (stopWorker = await startWorker(slugs)));
after(async () => stopWorker());

// A new user who owns a new organization that the worker serves.
async function newTenant() {
  const owner = await signUp();
  const slug = spare.pop();
  await createOrganization(owner, slug);
  return { owner, slug };
}

async function insertTask(client, row) {
  return value(
    await client
      .from("tasks")
      .insert({ method: "process", ...row })
      .select()
      .single(),
  );
}

describe("joining", () => {
  it("a user founds an organization, another joins it by invitation, and both work in it", async () => {
    const { owner, slug } = await newTenant();
    const agent = await addContextAgent(owner, slug);
    const guest = await signUp();
    assert.deepEqual(value(await guest.client.from("organizations").select()), []);

    const membership = await join(owner, guest, slug);
    assert.equal(membership.role, "member");

    const members = value(await guest.client.from("organization_members").select("user_id, role").order("role"));
    const expected = [
      { user_id: guest.id, role: "member" },
      { user_id: owner.id, role: "owner" },
    ];
    assert.deepEqual(members, expected);
    // organization_slug may be left out: the first organization joined is the current one.
    const task = await insertTask(guest.client, { agent_slug: agent.slug, prompt: "Write a post about limpets" });
    assert.equal(task.organization_slug, slug);
    assert.equal(task.user_id, guest.id);
    assert.equal((await finished(guest.client, task.id)).status, "completed");
  });

  it("an invitation is for one address, and a member cannot invite", async () => {
    const owner = await signUp();
    const slug = unique("frontend");
    await createOrganization(owner, slug);
    const [guest, thief] = [await signUp(), await signUp()];
    const invitation = { organization_slug: slug, email: guest.email };
    const { token } = value(await owner.client.rpc("create_invitation", invitation));

    const stolen = await thief.client.rpc("accept_invitation", { token });
    assert.equal(stolen.status, 404);
    assert.equal(stolen.error.message, "invitation_not_found");

    value(await guest.client.rpc("accept_invitation", { token }));
    const refused = await guest.client.rpc("create_invitation", { organization_slug: slug, email: thief.email });
    assert.equal(refused.status, 403);
    assert.equal(refused.error.message, "not_allowed");
  });
});

describe("following a task", () => {
  it("a client that lost its connection goes on from the last sequence and misses nothing", async () => {
    const { owner, slug } = await newTenant();
    const agent = await addContextAgent(owner, slug);
    const task = await insertTask(owner.client, { agent_slug: agent.slug, prompt: "Write a post about tide pools" });

    const seen = [];
    const follow = async (client) => {
      seen.push(...(await taskEventsAfter(client, task.id, seen.at(-1)?.sequence ?? 0)));
      return seen;
    };
    await until("the first streamed text", async () => (await follow(owner.client)).some((e) => e.type === "partial"));
    const before = seen.length;
    const client = await signInAgain(owner); // the old page is gone, with all it held but the last sequence
    await until("the end", async () => (await follow(client)).some((e) => e.data.to === "completed"));

    assert.ok(seen.length > before);
    const sequences = seen.map((event) => event.sequence);
    assert.deepEqual(
      sequences,
      sequences.map((_, index) => index + 1),
    );
    assert.deepEqual(seen, await taskEventsAfter(client, task.id, 0));
    const done = await finished(client, task.id);
    const streamed = seen.filter((event) => event.type === "partial" && event.attempt === done.attempt);
    assert.equal(streamed.map((event) => event.data.text).join(""), done.response);
    const progress = seen.filter((event) => event.type === "progress").map((event) => event.data.progress);
    assert.ok(progress.length > 0);
    assert.deepEqual(
      progress,
      progress.toSorted((a, b) => a - b),
    );
    assert.equal(done.progress, 100);
    assert.equal(done.llm_metadata.offline, true);
  });
});

describe("a deliverable", () => {
  it("is read with its versions, edited into a new one, and rolled back", async () => {
    const { owner, slug } = await newTenant();
    const agent = await addContextAgent(owner, slug);
    const task = await insertTask(owner.client, { agent_slug: agent.slug, prompt: "Write a post about tide pools" });
    const { response } = await finished(owner.client, task.id);
    const read = async () =>
      value(
        await owner.client
          .from("deliverables")
          .select("id, title, deliverable_versions(version_number, content, created_by_type, is_current_version)")
          .eq("task_id", task.id)
          .order("version_number", { referencedTable: "deliverable_versions" })
          .single(),
      );

    const { id, title, deliverable_versions: first } = await read();
    assert.notEqual(title, "");
    const original = { version_number: 1, content: response, created_by_type: "ai_response", is_current_version: true };
    assert.deepEqual(first, [original]);

    const content = `${response}\nEdited by hand.`;
    value(await owner.client.rpc("create_deliverable_version", { deliverable_id: id, content }));
    const edit = { version_number: 2, content, created_by_type: "manual_edit", is_current_version: true };
    assert.deepEqual((await read()).deliverable_versions, [{ ...original, is_current_version: false }, edit]);

    value(await owner.client.rpc("set_current_deliverable_version", { deliverable_id: id, version_number: 1 }));
    assert.deepEqual((await read()).deliverable_versions, [original, { ...edit, is_current_version: false }]);
  });
});

describe("a conversation", () => {
  it("keeps both sides in messages, and hands the agent what was said before", async () => {
    const { owner, slug } = await newTenant();
    const endpoint = await startEndpoint(({ prompt }) => `You said: ${prompt}`);
    try {
      const agent = await addApiAgent(owner, slug, endpoint.url);
      const begun = await owner.client.from("agent_conversations").insert({ agent_slug: agent.slug }).select().single();
      const conversation = value(begun);
      for (const prompt of ["Hello", "What is a limpet?"]) {
        const row = { method: "converse", agent_conversation_id: conversation.id, prompt };
        const { status, agent_slug: slugOfTask } = await finished(
          owner.client,
          (await insertTask(owner.client, row)).id,
        );
        assert.equal(status, "completed");
        assert.equal(slugOfTask, agent.slug);
      }

      const messages = value(
        await owner.client
          .from("messages")
          .select("sender_type, content")
          .eq("conversation_id", conversation.id)
          .order("created_at"),
      );
      assert.deepEqual(
        messages.map(({ sender_type: sender, content }) => `${sender}: ${content}`),
        ["user: Hello", "agent: You said: Hello", "user: What is a limpet?", "agent: You said: What is a limpet?"],
      );
      assert.deepEqual(endpoint.requests[0].history, []);
      const before = [
        { role: "user", content: "Hello" },
        { role: "assistant", content: "You said: Hello" },
      ];
      assert.deepEqual(endpoint.requests[1].history, before);
      assert.deepEqual(value(await owner.client.from("deliverables").select().eq("user_id", owner.id)), []);
    } finally {
      await endpoint.stop();
    }
  });
});

describe("cancelling and retrying", () => {
  it("what a cancelled attempt still writes is refused, and a retry runs the task again", async () => {
    const { owner, slug } = await newTenant();
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const endpoint = await startEndpoint((_, count) => (count === 1 ? held.then(() => "too late") : "in time"));
    try {
      const agent = await addApiAgent(owner, slug, endpoint.url);
      const task = await insertTask(owner.client, { agent_slug: agent.slug, prompt: "Take your time" });
      await until("the endpoint to be called", () => endpoint.requests.length === 1);

      const cancelled = value(await owner.client.rpc("cancel_task", { task_id: task.id }));
      assert.equal(cancelled.status, "cancelled");
      release();
      const retried = value(await owner.client.rpc("retry_task", { task_id: task.id }));
      assert.equal(retried.status, "pending");

      const done = await finished(owner.client, task.id);
      assert.deepEqual([done.status, done.attempt, done.response], ["completed", 2, "in time"]);
      const versions = value(await owner.client.from("deliverable_versions").select("content").eq("task_id", task.id));
      assert.deepEqual(versions, [{ content: "in time" }]);
      const moves = (await taskEventsAfter(owner.client, task.id, 0)).filter((event) => event.type === "status");
      assert.deepEqual(
        moves.map((event) => event.data.to),
        ["pending", "in_progress", "cancelled", "pending", "in_progress", "completed"],
      );
      const runs = value(await owner.client.from("runs").select("status").eq("task_id", task.id).order("attempt"));
      assert.deepEqual(runs, [{ status: "cancelled" }, { status: "completed" }]);
    } finally {
      release();
      await endpoint.stop();
    }
  });
});

describe("sending a task again", () => {
  it("an upsert with the same idempotency_key makes one task", async () => {
    const { owner, slug } = await newTenant();
    const agent = await addContextAgent(owner, slug);
    const row = {
      organization_slug: slug,
      method: "process",
      agent_slug: agent.slug,
      prompt: "Write a post about tide pools",
      idempotency_key: unique("key"),
    };
    const send = () =>
      owner.client
        .from("tasks")
        .upsert(row, { onConflict: "organization_slug,idempotency_key", ignoreDuplicates: true })
        .select("id");

    const [{ id }] = value(await send());
    assert.deepEqual(value(await send()), []); // it exists: read it by its key
    const found = await owner.client.from("tasks").select("id").eq("idempotency_key", row.idempotency_key);
    assert.deepEqual(value(found), [{ id }]);

    const inserted = await owner.client.from("tasks").insert(row);
    assert.equal(inserted.status, 409);
    assert.equal(inserted.error.code, "23505");
    assert.equal((await finished(owner.client, id)).attempt, 1);
  });
});

describe("workflows", () => {
  // Asks a person, then an agent.
  function workflow(slug, agent) {
    return {
      organization_slug: slug,
      agent_slug: agent.slug,
      name: "Publish",
      workflow_type: "visual",
      framework: "langgraph",
      workflow_data: {
        nodes: [
          { id: "start", type: "start", position: { x: 0, y: 0 } },
          { id: "ask", type: "human_approval", data: { label: "Ask", prompt: "A post about {{ input.topic }}?" } },
          { id: "post", type: "agent", data: { agent: agent.slug, prompt: "Write a post about {{ input.topic }}" } },
        ],
        edges: [
          { id: "e1", source: "start", target: "ask" },
          { id: "e2", source: "ask", target: "post" },
        ],
      },
    };
  }

  it("a member starts one, pauses it, answers its question and reads what came of it; a stranger sees none of it", async () => {
    const { owner, slug } = await newTenant();
    const agent = await addContextAgent(owner, slug);
    const stored = value(await owner.client.from("workflows").insert(workflow(slug, agent)).select().single());
    const member = await signUp();
    await join(owner, member, slug);

    const input = { topic: "tide pools" };
    const start = { name: "Publish", organization_slug: slug, input, timeout_seconds: 600 };
    const execution = value(await member.client.rpc("start_workflow", start));
    assert.deepEqual([execution.status, execution.workflow_id], ["running", stored.id]);
    const me = { execution_id: execution.id };
    assert.equal(value(await member.client.rpc("pause_execution", me)).status, "paused");
    assert.equal(value(await member.client.rpc("resume_execution", me)).status, "running");

    const stranger = await signUp();
    for (const name of ["pause_execution", "resume_execution", "cancel_execution", "retry_execution"]) {
      const { error, status } = await stranger.client.rpc(name, me);
      assert.deepEqual([status, error.message], [404, "execution_not_found"]);
    }
    const unknown = await stranger.client.rpc("start_workflow", { workflow_id: stored.id });
    assert.deepEqual([unknown.status, unknown.error.message], [404, "workflow_not_found"]);
    assert.deepEqual(value(await stranger.client.from("workflow_executions").select()), []);

    const question = value(await member.client.from("input_requests").select("id, prompt").single());
    assert.equal(question.prompt, "A post about tide pools?");
    const answer = { input_request_id: question.id, response: { approved: true } };
    value(await member.client.rpc("respond_to_input_request", answer));

    const read = () =>
      member.client.from("workflow_executions").select("*, projects(status)").eq("id", execution.id).single();
    await until("the execution to end", async () => value(await read()).completed_at);
    const done = value(await read());
    assert.deepEqual([done.status, done.projects], ["completed", [{ status: "completed" }]]);
    assert.match(done.execution_data.output, /tide pools/);
    assert.deepEqual(done.execution_data.input, input);
    assert.ok(done.resource_usage.tokens > 0);
    const late = await member.client.rpc("cancel_execution", me);
    assert.deepEqual([late.status, late.error.message], [409, "illegal_move"]);
  });

  it("what could not run is refused with the node that is wrong, and a viewer starts nothing", async () => {
    const owner = await signUp();
    const slug = unique("flows");
    await createOrganization(owner, slug);
    const agent = await addContextAgent(owner, slug);
    const row = workflow(slug, agent);
    const bad = structuredClone(row);
    bad.workflow_data.edges.push({ source: "post", target: "ask" });
    const refused = await owner.client.from("workflows").insert(bad);
    assert.deepEqual([refused.status, refused.error.message], [400, "workflow_invalid"]);
    assert.match(refused.error.details, /ask, post/);

    const stored = value(await owner.client.from("workflows").insert(row).select().single());
    const viewer = await signUp();
    await join(owner, viewer, slug, "viewer");
    const started = await viewer.client.from("workflow_executions").insert({ workflow_id: stored.id });
    assert.deepEqual([started.status, started.error.message], [403, "not_allowed"]);
  });
});
