// The whole story as a frontend tells it, with a real worker: plan, approve, run, answer, deliver; and a stored workflow.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import {
  addContextAgent,
  createOrganization,
  finished,
  join,
  signInAgain,
  signUp,
  startWorker,
  taskEventsAfter,
  unique,
  until,
  value,
} from "./support.mjs";

const slugs = [unique("story"), unique("story"), unique("story")];
let stopWorker;

before(async () => (stopWorker = await startWorker(slugs, 0.4)));
after(async () => stopWorker());

const byId = (steps) => Object.fromEntries(steps.map((step) => [step.step_id ?? step.id, step]));

async function overview(client, project) {
  return value(await client.rpc("project_overview", { project_id: project.id }));
}

// Waits until the project has the status; fails at once when it ends otherwise.
async function becomes(client, project, status) {
  return until(`the project to become ${status}`, async () => {
    const now = value(await client.from("projects").select().eq("id", project.id).single());
    assert.ok(
      now.status === status || !["failed", "cancelled"].includes(now.status),
      JSON.stringify(now.error_details),
    );
    return now.status === status && now;
  });
}

// The open question of a step, as this client sees it.
async function question(client, project, step) {
  const asked = async () => byId((await overview(client, project)).steps)[step].questions[0];
  return until(`a question of ${step}`, asked);
}

async function answer(client, { id }, response) {
  return client.rpc("respond_to_input_request", { input_request_id: id, response });
}

async function deliverablesOf(client, steps) {
  return value(
    await client
      .from("deliverables")
      .select("id, title, type, conversation_id, project_step_id, deliverable_versions(version_number, content)")
      .in(
        "project_step_id",
        steps.map((step) => step.id),
      )
      .order("version_number", { referencedTable: "deliverable_versions" }),
  );
}

describe("from a wish to a deliverable", { concurrency: true }, () => {
  it("a project is planned by an agent, approved with an edit, run in parallel, answered by people, and delivered", async () => {
    const [slug] = slugs;
    const owner = await signUp();
    await createOrganization(owner, slug);
    const [boss, writer] = [await addContextAgent(owner, slug), await addContextAgent(owner, slug)];
    const [user, editor] = [await signUp(), await signUp()];
    await join(owner, user, slug);
    await join(owner, editor, slug, "developer");
    const client = await signInAgain(user);

    // Plan.
    const row = { organization_slug: slug, agent_slug: boss.slug };
    const conversation = value(await client.from("agent_conversations").insert(row).select().single());
    const prompt = "A guide to tides, moons and boats for sailors";
    const request = { conversation_id: conversation.id, agent_slug: boss.slug, prompt };
    const project = value(await client.rpc("plan_project", request));
    assert.equal(project.status, "planning");
    const planned = await becomes(client, project, "awaiting_approval");
    const before = await overview(client, project);
    assert.deepEqual(
      before.steps.map((step) => [step.step_id, step.status]),
      planned.plan_json.steps.map((step) => [step.id, "pending"]),
    );
    const steps = byId(planned.plan_json.steps);
    assert.deepEqual(Object.keys(steps), ["research", "part-1", "part-2", "part-3", "write", "approve"]);
    assert.deepEqual(new Set(planned.plan_json.steps.flatMap((s) => s.agent ?? [])), new Set([boss.slug, writer.slug]));
    assert.equal(steps.write.deliverable, "text");

    // Approve, with a question to the editors that the text waits for.
    const audience = { id: "audience", type: "human_input", prompt: "For whom?", required_role: "developer" };
    steps.write.dependencies.push("audience");
    steps.write.prompt += "\n\nFor: {{ steps.audience.result }}";
    const plan_json = { steps: [audience, ...Object.values(steps)] };
    const colleague = await editor.client.rpc("approve_plan", { project_id: project.id });
    assert.deepEqual([colleague.status, colleague.error.message], [404, "project_not_found"]);
    const wrong = { steps: [...plan_json.steps, { id: "more", agent: "nobody" }] };
    const refused = await client.rpc("approve_plan", { project_id: project.id, plan_json: wrong });
    assert.deepEqual([refused.status, refused.error.message], [404, "agent_not_found"]);
    const approve = { project_id: project.id, plan_version: planned.plan_version, plan_json };
    assert.equal(value(await client.rpc("approve_plan", approve)).status, "running");

    // Answer: a colleague with the role; the project's user has not got it.
    const asked = await question(editor.client, project, "audience");
    assert.deepEqual([asked.prompt, asked.required_role], ["For whom?", "developer"]);
    const denied = await answer(client, asked, "Me");
    assert.deepEqual([denied.status, denied.error.message], [404, "input_request_not_found"]);
    value(await answer(editor.client, asked, "Children of eight"));

    // The text waits for its approval, which changes it.
    const check = await question(client, project, "approve");
    const seen = byId((await overview(client, project)).steps);
    const [written] = seen.write.tasks;
    const text = value(await client.rpc("project_step_result", { project_step_id: seen.write.id }));
    assert.equal(check.metadata.shown, text);
    assert.deepEqual([written.response, written.is_cut], [text.slice(0, 2000), true]);
    const parts = ["part-1", "part-2", "part-3"].map((id) => seen[id].tasks[0]);
    const times = (name) => parts.map((task) => Date.parse(task[name]));
    assert.ok(Math.max(...times("started_at")) < Math.min(...times("completed_at")), "the parts ran side by side");
    const edited = `${text}\n\nWith a map.`;
    value(await answer(client, check, { approved: true, edited }));
    const again = await answer(client, check, { approved: false });
    assert.deepEqual([again.status, again.error.message], [409, "input_request_closed"]);

    // Deliver.
    const done = await becomes(client, project, "completed");
    assert.deepEqual([done.progress, done.completed_steps, done.failed_steps], [100, 7, 0]);
    const last = byId((await overview(client, project)).steps);
    assert.deepEqual(new Set(Object.values(last).map((step) => step.status)), new Set(["completed"]));
    const result = value(await client.rpc("project_step_result", { project_step_id: last.approve.id }));
    assert.deepEqual(result, { approved: true, value: edited });
    const { prompt: told } = value(await client.from("tasks").select("prompt").eq("id", written.id).single());
    assert.match(told, /For: Children of eight$/);

    const [made, ...others] = await deliverablesOf(client, Object.values(last));
    assert.deepEqual(others, []);
    assert.deepEqual([made.type, made.conversation_id], ["text", conversation.id]);
    assert.deepEqual(made.deliverable_versions, [{ version_number: 1, content: text }]);
    assert.deepEqual(
      last.write.deliverables.map(({ id, title }) => ({ id, title })),
      [{ id: made.id, title: made.title }],
    );
    const version = { deliverable_id: made.id, content: result.value };
    assert.equal(value(await client.rpc("create_deliverable_version", version)).version_number, 2);
    const progress = value(await client.from("project_progress").select().eq("id", project.id).single());
    assert.deepEqual([progress.deliverable_count, progress.progress], [1, 100]);
    const drawing = value(await client.rpc("project_diagram", { project_id: project.id }));
    assert.equal(drawing.match(/:::completed/g).length, 7);
  });

  it("a stored workflow is drawn, started with an input, and ends as a deliverable", async () => {
    const slug = slugs[1];
    const owner = await signUp();
    await createOrganization(owner, slug);
    const agent = await addContextAgent(owner, slug);
    const workflow_data = {
      nodes: [
        { id: "start", type: "start" },
        { id: "facts", agent: agent.slug, prompt: "Facts about {{ input.topic }}." },
        { id: "check", type: "human_approval", prompt: "Go on?", shows: "facts" },
        {
          id: "post",
          agent: agent.slug,
          prompt: "A post of: {{ steps.check.result.value }}",
          deliverable: "blog-post",
        },
        { id: "end", type: "end" },
      ],
      edges: [
        { source: "start", target: "facts" },
        { source: "facts", target: "check" },
        { source: "check", target: "post" },
        { source: "post", target: "end" },
      ],
    };
    const row = {
      organization_slug: slug,
      agent_slug: agent.slug,
      name: "Publish",
      workflow_type: "visual",
      framework: "langgraph",
    };
    const stored = value(
      await owner.client
        .from("workflows")
        .insert({ ...row, workflow_data })
        .select()
        .single(),
    );
    const user = await signUp();
    await join(owner, user, slug);
    const drawing = value(await user.client.rpc("workflow_diagram", { workflow_id: stored.id }));
    assert.match(drawing, /^flowchart TD\n {2}s1\(\["start"\]\)/);

    const start = { name: "Publish", organization_slug: slug, input: { topic: "limpets" } };
    const execution = value(await user.client.rpc("start_workflow", start));
    const project = value(await user.client.from("projects").select().eq("execution_id", execution.id).single());
    const check = await question(user.client, project, "check");
    assert.match(check.metadata.shown, /limpets/i);
    value(await answer(user.client, check, { approved: true, edited: "Limpets have teeth." }));

    await becomes(user.client, project, "completed");
    const done = value(await user.client.from("workflow_executions").select().eq("id", execution.id).single());
    assert.equal(done.status, "completed");
    const { steps } = await overview(user.client, project);
    const [made] = await deliverablesOf(user.client, steps);
    assert.deepEqual([made.type, made.project_step_id], ["blog-post", byId(steps).post.id]);
    assert.deepEqual(made.deliverable_versions, [{ version_number: 1, content: done.execution_data.output }]);
    assert.match(done.execution_data.output, /teeth/i);
  });

  it("the orchestrator is talked to, lets an agent work, is watched and steered, as docs/orchestrator.md says", async () => {
    const organization_slug = slugs[2];
    const owner = await signUp();
    await createOrganization(owner, organization_slug);
    const user = await signUp();
    await join(owner, user, organization_slug);
    const { client } = user;

    const message = { organization_slug, message: "Write about tide pools", idempotency_key: unique("key") };
    const sent = value(await client.rpc("message_orchestrator", message));
    assert.deepEqual(value(await client.rpc("message_orchestrator", message)), sent);
    const turn = await finished(client, sent.task_id);
    assert.equal(turn.status, "completed", turn.error_message);
    const events = await taskEventsAfter(client, sent.task_id, 0);
    const tools = events.filter((event) => event.type === "tool").map((event) => event.data.tool);
    assert.deepEqual(tools, ["create_agent", "call_agent"]);
    const words = events.filter((event) => event.type === "partial").map((event) => event.data.text);
    assert.equal(words.join(""), turn.response);

    const chat = value(
      await client.from("messages").select().eq("conversation_id", sent.conversation_id).order("created_at"),
    );
    const said = chat.map((one) => [one.sender_type, one.receiver_type, one.content]);
    const work = said[2][2];
    assert.deepEqual(said, [
      ["user", "orchestrator", "Write about tide pools"],
      ["orchestrator", "agent", "Write about tide pools"],
      ["agent", "orchestrator", work],
      ["orchestrator", "user", turn.response],
    ]);
    const [agent] = value(
      await client.from("agent_instances").select().eq("orchestrator_agent_id", sent.orchestrator_agent_id),
    );
    assert.deepEqual([agent.name, agent.status, agent.archived], ["writer", "idle", false]);
    const log = async (after) =>
      value(
        await client
          .from("agent_logs")
          .select("entry_index, event_category, event_type, summary")
          .eq("task_id", sent.task_id)
          .gt("entry_index", after)
          .order("entry_index"),
      );
    const entries = await log(0);
    assert.deepEqual(
      entries.map((entry) => entry.entry_index),
      entries.map((_, index) => index + 1),
    );
    assert.deepEqual(await log(entries.length - 1), entries.slice(-1));
    assert.equal(entries.at(-1).event_type, "Stop");
    const prompts = value(
      await client.from("prompts").select("author").eq("orchestrator_agent_id", agent.orchestrator_agent_id),
    );
    assert.deepEqual(prompts.map((prompt) => prompt.author).sort(), ["engineer", "orchestrator_agent"]);

    const direct = value(
      await client.rpc("message_orchestrator", { ...message, idempotency_key: null, agent_instance_id: agent.id }),
    );
    assert.equal((await finished(client, direct.task_id)).method, "command_agent");
    const stranger = await signUp();
    for (const [name, given] of [
      ["message_orchestrator", { organization_slug, message: "Hello" }],
      ["interrupt_agent_instance", { agent_instance_id: agent.id }],
      ["archive_agent_instance", { agent_instance_id: agent.id }],
      ["configure_orchestrator", { organization_slug }],
    ]) {
      const { status } = await stranger.client.rpc(name, given);
      assert.ok([403, 404].includes(status), `${name} answered ${status}`);
    }
    const archived = value(await client.rpc("archive_agent_instance", { agent_instance_id: agent.id }));
    assert.equal(archived.status, "complete");
    const late = await client.rpc("message_orchestrator", {
      ...message,
      idempotency_key: null,
      agent_instance_id: agent.id,
    });
    assert.deepEqual([late.status, late.error.message], [409, "agent_instance_archived"]);
  });
});
