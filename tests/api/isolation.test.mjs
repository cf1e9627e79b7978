// Nothing of a user is read, counted or changed by a user of another organization, nor by a colleague, through any table
// or function. Each attack is first made by the owner, for whom it works: otherwise it would prove nothing.
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { addContextAgent, createOrganization, join, operator, signUp, unique, value } from "./support.mjs";

const SECRET = unique("secret"); // stands in every text of the victim's
const server = operator();
let ann, bob, eve, world;

// One row in every table, all of them Ann's. The operator plays the worker.
async function furnish(owner, colleague) {
  const slug = unique("victim");
  await createOrganization(owner, slug);
  await join(owner, colleague, slug);
  const agent = await addContextAgent(owner, slug);
  value(await owner.client.from("agents").update({ context: SECRET }).eq("slug", agent.slug));
  const started = { organization_slug: slug, agent_slug: agent.slug, title: SECRET };
  const conversation = value(await owner.client.from("agent_conversations").insert(started).select().single());
  const participant = { conversation_id: conversation.id, agent_slug: agent.slug };
  value(await owner.client.from("conversation_participants").insert(participant));
  const asked = { method: "process", agent_conversation_id: conversation.id, prompt: SECRET };
  const task = value(await owner.client.from("tasks").insert(asked).select().single());
  await complete(slug);
  const deliverable = value(await owner.client.from("deliverables").select().eq("task_id", task.id).single());
  const guest = { organization_slug: slug, email: `${unique("guest")}@example.com` };
  const invitation = value(await owner.client.rpc("create_invitation", guest));
  return { slug, agent, conversation, task, deliverable, invitation };
}

async function complete(slug) {
  const worker = { worker_id: unique("worker") };
  const [claimed] = value(await server.rpc("claim_tasks", { ...worker, organizations: [slug] }));
  const item = {
    task_id: claimed.task.id,
    attempt: claimed.attempt,
    lease_token: claimed.lease_token,
    response: SECRET,
    deliverable: { title: SECRET, type: "text", format: "text", content: SECRET },
    messages: [{ content: SECRET }],
    usage: [{ provider: "anthropic", model: "m", input_tokens: 1, output_tokens: 1, cost: 0.01 }],
  };
  const outcomes = value(await server.rpc("complete_tasks", { ...worker, items: [item] }));
  assert.equal(outcomes[0].outcome, "ok");
}

before(async () => {
  [ann, bob, eve] = [await signUp(), await signUp(), await signUp()];
  world = await furnish(ann, bob);
  await createOrganization(eve, unique("rival"));
});

// table -> which rows are Ann's, what of them is read, and what a client may change at all (null: nothing).
function targets() {
  const { slug, agent, conversation, task, deliverable } = world;
  const target = (key, id, change, columns = "*") => ({ key, id, change, columns });
  return {
    organizations: target("slug", slug, { name: "Eve's" }),
    organization_members: target("organization_slug", slug, null),
    organization_invitations: target("organization_slug", slug, null, "id, email"),
    users: target("id", ann.id, { display_name: "Eve" }),
    agents: target("slug", agent.slug, { context: "Eve's" }),
    agent_conversations: target("id", conversation.id, { title: "Eve's" }),
    conversation_participants: target("conversation_id", conversation.id, null),
    messages: target("conversation_id", conversation.id, null),
    tasks: target("id", task.id, { metadata: { eve: true } }),
    task_events: target("task_id", task.id, null),
    deliverables: target("id", deliverable.id, { title: "Eve's" }),
    deliverable_versions: target("deliverable_id", deliverable.id, null),
    runs: target("task_id", task.id, null),
    usage_events: target("task_id", task.id, null),
  };
}

// What a colleague may read of it: the organization's, not Ann's.
const SHARED = ["organizations", "organization_members", "agents"];
const DELETABLE = [
  "organizations",
  "organization_invitations",
  "agents",
  "agent_conversations",
  "conversation_participants",
  "deliverables",
];

function refused(answer, status, message) {
  assert.equal(answer.status, status, JSON.stringify(answer));
  if (message) assert.equal(answer.error.message, message);
  withoutSecret(answer);
}

function withoutSecret(answer) {
  assert.ok(!JSON.stringify(answer).includes(SECRET), JSON.stringify(answer));
}

// Everything of Ann's as the operator sees it, to compare before and after.
async function snapshot() {
  const rows = {};
  for (const [table, { key, id }] of Object.entries(targets())) {
    rows[table] = value(await server.from(table).select().eq(key, id))
      .map((row) => JSON.stringify(row))
      .toSorted();
  }
  return rows;
}

describe("reading", () => {
  it("every table gives its owner the rows and a stranger none", async () => {
    for (const [table, { key, id, columns }] of Object.entries(targets())) {
      const read = (user) => user.client.from(table).select(columns).eq(key, id);
      assert.ok(value(await read(ann)).length > 0, table);
      assert.deepEqual(value(await read(eve)), [], table);
      assert.equal(value(await read(eve).limit(1).maybeSingle()), null, table);
      withoutSecret(await eve.client.from(table).select(columns));
    }
  });

  it("an exact count says nothing, with rows or without", async () => {
    for (const [table, { key, id }] of Object.entries(targets())) {
      for (const head of [true, false]) {
        const count = (user) => user.client.from(table).select(key, { count: "exact", head }).eq(key, id);
        assert.ok((await count(ann)).count > 0, table);
        assert.equal((await count(eve)).count, 0, table);
      }
    }
  });

  it("an `or` filter reaches nothing that a plain one does not", async () => {
    for (const [table, { key, id, columns }] of Object.entries(targets())) {
      const either = `${key}.eq.${id},${key}.not.is.null`;
      const read = async (user) => value(await user.client.from(table).select(`${key}, ${columns}`).or(either));
      assert.ok(
        (await read(ann)).some((row) => row[key] === id),
        table,
      );
      assert.ok(!(await read(eve)).some((row) => row[key] === id), table);
    }
  });

  it("embedding leads to nothing of another's, from either end", async () => {
    const { slug, task, deliverable, conversation, agent } = world;
    const paths = [
      ["organizations", "slug, tasks!inner(prompt)", "tasks.id", task.id],
      ["tasks", "prompt, organizations!inner(name)", "organizations.slug", slug],
      ["agents", "slug, tasks!inner(prompt)", "tasks.id", task.id],
      ["tasks", "prompt, agents!inner(context)", "agents.slug", agent.slug],
      ["tasks", "prompt, task_events!inner(data)", "task_events.task_id", task.id],
      ["task_events", "data, tasks!inner(prompt)", "tasks.id", task.id],
      [
        "deliverables",
        "title, deliverable_versions!inner(content)",
        "deliverable_versions.deliverable_id",
        deliverable.id,
      ],
      ["deliverable_versions", "content, deliverables!inner(title)", "deliverables.id", deliverable.id],
      ["agent_conversations", "title, messages!inner(content)", "messages.conversation_id", conversation.id],
      ["messages", "content, agent_conversations!inner(title)", "agent_conversations.id", conversation.id],
      ["runs", "id, usage_events!inner(cost)", "usage_events.task_id", task.id],
      ["usage_events", "cost, runs!inner(id)", "runs.task_id", task.id],
    ];
    for (const [table, columns, key, id] of paths) {
      const read = (user) => user.client.from(table).select(columns).eq(key, id);
      assert.ok(value(await read(ann)).length > 0, `${table}: ${columns}`);
      assert.deepEqual(value(await read(eve)), [], `${table}: ${columns}`);
      withoutSecret(await eve.client.from(table).select(columns.replace("!inner", "")));
    }
  });

  it("workers are for servers only", async () => {
    const { id } = value(await server.rpc("register_worker", { worker_id: unique("worker") }));
    assert.equal(value(await server.from("workers").select().eq("id", id)).length, 1);
    refused(await ann.client.from("workers").select(), 403);
  });
});

describe("writing", () => {
  it("a stranger's updates and deletes reach no row of any table", async () => {
    const untouched = await snapshot();
    for (const [table, { key, id, change }] of Object.entries(targets())) {
      const updated = await eve.client
        .from(table)
        .update(change ?? { [key]: id })
        .eq(key, id)
        .select(key);
      if (change) assert.deepEqual(value(updated), [], table);
      else refused(updated, 403, `permission denied for table ${table}`);
      const deleted = await eve.client.from(table).delete().eq(key, id).select(key);
      if (DELETABLE.includes(table)) assert.deepEqual(value(deleted), [], table);
      else refused(deleted, 403, `permission denied for table ${table}`);
    }
    assert.deepEqual(await snapshot(), untouched);
  });

  it("a stranger inserts nothing that names what is another's", async () => {
    const { slug, agent, conversation, task, deliverable } = world;
    const untouched = await snapshot();
    const ask = { method: "process", prompt: "Give it to me" };
    const attempts = [
      ["tasks", { ...ask, organization_slug: slug, agent_slug: agent.slug }, 403, "not_allowed"],
      ["tasks", { ...ask, agent_slug: agent.slug }, 404, "agent_not_found"],
      ["tasks", { ...ask, agent_name: agent.name }, 404, "agent_not_found"],
      ["tasks", { ...ask, agent_conversation_id: conversation.id }, 404, "conversation_not_found"],
      ["tasks", { ...ask, parent_task_id: task.id }, 404, "parent_task_not_found"],
      ["tasks", { ...ask, user_id: ann.id }, 403, "user_id_is_not_yours"],
      ["agents", { ...stolenAgent(), organization_slug: [slug] }, 403, "not_allowed"],
      ["agents", { ...stolenAgent(), organization_slug: [], owner_user_id: ann.id }, 403],
      ["agent_conversations", { organization_slug: slug, agent_slug: agent.slug }, 403, "not_allowed"],
      ["agent_conversations", { agent_slug: agent.slug }, 404, "agent_not_found"],
      [
        "conversation_participants",
        { conversation_id: conversation.id, user_id: eve.id },
        404,
        "conversation_not_found",
      ],
      ["organization_members", { organization_slug: slug, user_id: eve.id, role: "owner" }, 403],
      ["organization_invitations", { organization_slug: slug, email: eve.email }, 403],
      ["organizations", { slug: unique("org"), name: "Mine" }, 403],
      ["messages", { conversation_id: conversation.id, content: "Hello" }, 403],
      ["task_events", { task_id: task.id, sequence: 99, attempt: 1, type: "log" }, 403],
      ["deliverables", { organization_slug: slug, user_id: ann.id, title: "Eve's", type: "text" }, 403],
      ["deliverable_versions", { deliverable_id: deliverable.id, version_number: 2, content: "Eve's" }, 403],
      ["runs", { organization_slug: slug, created_by: ann.id, task_id: task.id }, 403],
      ["usage_events", { organization_slug: slug, provider: "p", model: "m" }, 403],
      ["task_methods", { name: "eve", description: "Eve's" }, 403],
    ];
    for (const [table, row, status, message] of attempts) {
      refused(await eve.client.from(table).insert(row), status, message);
    }
    assert.deepEqual(await snapshot(), untouched);
  });

  it("every function refuses a stranger who names what is another's", async () => {
    const { slug, task, deliverable, invitation } = world;
    const untouched = await snapshot();
    const member = { organization_slug: slug, user_id: bob.id };
    const attempts = [
      ["cancel_task", { task_id: task.id }, 404, "task_not_found"],
      ["retry_task", { task_id: task.id }, 404, "task_not_found"],
      [
        "create_deliverable_version",
        { deliverable_id: deliverable.id, content: "Eve's" },
        404,
        "deliverable_not_found",
      ],
      [
        "set_current_deliverable_version",
        { deliverable_id: deliverable.id, version_number: 1 },
        404,
        "deliverable_not_found",
      ],
      ["set_member_role", { ...member, role: "owner" }, 403, "not_allowed"],
      ["remove_member", member, 403, "not_allowed"],
      ["leave_organization", { organization_slug: slug }, 403, "not_allowed"],
      ["create_invitation", { organization_slug: slug, email: eve.email, role: "owner" }, 403, "not_allowed"],
      ["accept_invitation", { token: invitation.token }, 404, "invitation_not_found"],
      ["create_organization", { slug, name: "Mine now" }, 409, "slug_taken"],
      ["claim_tasks", { worker_id: "eve" }, 403],
      ["exchange_work", { worker_id: "eve", request_id: crypto.randomUUID() }, 403],
      ["complete_tasks", { worker_id: "eve", items: [] }, 403],
      ["fail_tasks", { worker_id: "eve", items: [] }, 403],
      ["heartbeat_tasks", { worker_id: "eve", items: [] }, 403],
      ["release_tasks", { worker_id: "eve", items: [] }, 403],
      ["add_task_events", { worker_id: "eve", items: [] }, 403],
      ["register_worker", { worker_id: "eve" }, 403],
      ["stop_worker", { worker_id: "eve" }, 403],
    ];
    for (const [name, parameters, status, message] of attempts) {
      refused(await eve.client.rpc(name, parameters), status, message);
    }
    assert.deepEqual(await snapshot(), untouched);
  });
});

describe("colleagues", () => {
  it("a member sees the organization and its agents, and nothing of another member's work", async () => {
    for (const [table, { key, id, columns }] of Object.entries(targets())) {
      const rows = value(await bob.client.from(table).select(columns).eq(key, id));
      assert.equal(rows.length > 0, SHARED.includes(table), table);
    }
    refused(await bob.client.rpc("cancel_task", { task_id: world.task.id }), 404, "task_not_found");
  });

  it("a participant sees the conversation until they are removed from the organization", async () => {
    const owner = await signUp();
    const guest = await signUp();
    const { slug, conversation, task } = await furnish(owner, guest);
    const participant = { conversation_id: conversation.id, user_id: guest.id };
    value(await owner.client.from("conversation_participants").insert(participant));
    const read = async () => [
      ...value(await guest.client.from("agent_conversations").select("id").eq("id", conversation.id)),
      ...value(await guest.client.from("messages").select("id").eq("conversation_id", conversation.id)),
      ...value(await guest.client.from("task_events").select("id").eq("task_id", task.id)),
    ];
    assert.ok((await read()).length > 3);
    value(await owner.client.rpc("remove_member", { organization_slug: slug, user_id: guest.id }));
    assert.deepEqual(await read(), []);
  });
});

function stolenAgent() {
  const { slug, name, description, agent_type, department, io_schema, capabilities, context, llm_config } = world.agent;
  return { slug: `${slug}-2`, name, description, agent_type, department, io_schema, capabilities, context, llm_config };
}
