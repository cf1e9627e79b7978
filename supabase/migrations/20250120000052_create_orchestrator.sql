-- The orchestrator: people talk to it by message_orchestrator; it makes agents, commands them, and hears what came of it.
-- A turn of the orchestrator is a task (orchestrate), a command to one of its agents is one (command_agent); so leases, retries,
-- pauses, budgets, the trace and events are the queue's. What a turn does by its tools goes through call_orchestrator, by its lease.
-- Lock order: tasks, then conversations, then instances, then orchestrators. What workers' transactions find locked they leave in
-- private.orchestrator_work for the reaper; people's transactions hold tasks before they wait for anything here.
-- Over 400 lines, because talking, commanding, what comes of it, and the limits on it are one subject.

insert into public.task_methods (name, description) values
('orchestrate', 'One turn of an organization''s orchestrator. Made by message_orchestrator, not inserted.'),
('command_agent', 'One command to an agent of the orchestrator. Made by message_orchestrator and by turns, not inserted.');

-- Tables -------------------------------------------------------------------------------------------------------------

create table private.orchestrator_conversations (
  orchestrator_agent_id uuid not null references public.orchestrator_agents (id) on delete cascade,
  user_id uuid not null references public.users (id) on delete cascade,
  conversation_id uuid not null references public.agent_conversations (id) on delete cascade,
  primary key (orchestrator_agent_id, user_id)
);
-- Foreign keys.
create index orchestrator_conversations_user_idx on private.orchestrator_conversations (user_id);
create index orchestrator_conversations_conversation_idx on private.orchestrator_conversations (conversation_id);
comment on table private.orchestrator_conversations is 'In which conversation a person talks to the orchestrator.';

create table private.orchestrator_tasks (
  id bigint generated always as identity primary key,
  -- Deferred: the row stands before its task, which is refused without it.
  task_id uuid not null unique references public.tasks (id) on delete cascade deferrable initially deferred,
  orchestrator_agent_id uuid not null references public.orchestrator_agents (id) on delete cascade,
  agent_instance_id uuid references public.agent_instances (id) on delete cascade,
  conversation_id uuid references public.agent_conversations (id) on delete set null,
  message_id uuid,
  turn_task_id uuid,
  is_awaited boolean not null default false,
  task_slug text not null,
  has_ended boolean not null default false,
  is_told boolean not null default false,
  says_done boolean not null default false,
  entries integer not null default 0,
  log_run uuid,
  log_number integer not null default 0,
  transcript jsonb,
  constraint only_commands_are_awaited check (not is_awaited or (agent_instance_id is not null and turn_task_id is not null))
);
-- What an orchestrator, an instance has to do, and did last (foreign keys).
create index orchestrator_tasks_live_idx on private.orchestrator_tasks (orchestrator_agent_id, agent_instance_id) where not has_ended;
create index orchestrator_tasks_orchestrator_idx on private.orchestrator_tasks (orchestrator_agent_id, id desc);
create index orchestrator_tasks_instance_idx on private.orchestrator_tasks (agent_instance_id, id desc) where agent_instance_id is not null;
-- Foreign key.
create index orchestrator_tasks_conversation_idx on private.orchestrator_tasks (conversation_id) where conversation_id is not null;
comment on table private.orchestrator_tasks is
  'Turns of orchestrators (agent_instance_id null) and commands to their agents: whose, from which turn, what was said so far.';
comment on column private.orchestrator_tasks.message_id is 'The message that the task answers.';
comment on column private.orchestrator_tasks.turn_task_id is 'The turn that gave the command, or of a turn the command whose end began it; null when a person did.';
comment on column private.orchestrator_tasks.is_told is 'Whether what came of the command stands in the conversation.';
comment on column private.orchestrator_tasks.transcript is 'What the model was told and said so far, {messages, used}: an attempt after a lost one goes on there. Kept until the task ends.';
comment on column private.orchestrator_tasks.log_number is 'The last entry that the run log_run wrote, by its own count, so that a repeated call writes nothing twice.';

create table private.orchestrator_tool_calls (
  turn_task_id uuid not null references private.orchestrator_tasks (task_id) on delete cascade,
  call_id text not null,
  name text not null,
  result jsonb not null,
  primary key (turn_task_id, call_id),
  constraint call_id_is_short check (length(call_id) between 1 and 255)
);
comment on table private.orchestrator_tool_calls is 'What tools of turns did, by the model''s id of the call: said again, they answer the same and act once.';

create table private.orchestrator_costs (
  id bigint generated always as identity primary key,
  orchestrator_agent_id uuid not null,
  agent_instance_id uuid,
  input_tokens bigint not null,
  output_tokens bigint not null,
  cost numeric not null
);
-- What is to be added to one of them.
create index orchestrator_costs_owner_idx on private.orchestrator_costs (orchestrator_agent_id, agent_instance_id);
comment on table private.orchestrator_costs is 'What is in the ledger and not yet in the counters of orchestrators and instances, since their row was locked.';

create table private.orchestrator_work (
  id bigint generated always as identity primary key,
  task_id uuid not null,
  failures integer not null default 0
);
comment on table private.orchestrator_work is 'Turns and commands whose orchestrator, instance or conversation was locked when they changed. Read and emptied by the reaper.';
comment on column private.orchestrator_work.failures is 'How often settling it has failed; after ten times it is left.';

create table private.agent_sessions (
  agent_instance_id uuid primary key references public.agent_instances (id) on delete cascade,
  summary text not null
);
comment on table private.agent_sessions is 'What is left of the oldest commands of an instance, after its session was compacted.';

create table private.agent_session_entries (
  id bigint generated always as identity primary key,
  agent_instance_id uuid not null references public.agent_instances (id) on delete cascade,
  prompt text not null,
  response text not null,
  messages jsonb,
  bytes integer not null
);
-- A session in order (foreign key).
create index agent_session_entries_instance_idx on private.agent_session_entries (agent_instance_id, id);
comment on table private.agent_session_entries is 'The sessions of instances: each command with the messages of its model; messages is null where they were too many.';

revoke all on private.orchestrator_conversations, private.orchestrator_tasks, private.orchestrator_tool_calls, private.orchestrator_costs,
  private.orchestrator_work, private.agent_sessions, private.agent_session_entries from anon, authenticated, service_role;

-- Words --------------------------------------------------------------------------------------------------------------

create function private.first_sentence(content text) returns text
language sql immutable set search_path = ''
as $$
  select case
    when s.said ~ '^.{49,99}?[.!?](\s|$)' then substring(s.said from '^(.{49,99}?[.!?])(?:\s|$)')
    when length(s.said) <= 100 then s.said
    else coalesce(substring(left(s.said, 100) from '^(.{49,98}\S)\s'), left(s.said, 99)) || '…'
  end
  from (select btrim(regexp_replace(left(content, 1000), '\s+', ' ', 'g')) as said) s;
$$;
comment on function private.first_sentence(text) is 'A summary by rule: the first sentences of a text that together have 50 to 100 characters, else its beginning up to a word.';
revoke execute on function private.first_sentence(text) from public;

create function private.task_slug(prompt text, task_id uuid) returns text
language sql immutable set search_path = ''
as $$
  select btrim(left(btrim(regexp_replace(lower(left(prompt, 200)), '[^a-z0-9]+', '-', 'g'), '-'), 50), '-') || '-' || right(task_id::text, 8);
$$;
comment on function private.task_slug(text, uuid) is 'What prompts and agent_logs call a task: the first 50 characters of its prompt in kebab-case, and the end of its id.';
revoke execute on function private.task_slug(text, uuid) from public;

create function private.setting_of(orchestrator public.orchestrator_agents, name text) returns numeric
language sql immutable set search_path = ''
as $$
  select coalesce((orchestrator.settings ->> name)::numeric, case name when 'max_instances' then 20 when 'max_self_turns' then 10 when 'max_tool_calls' then 50 end);
$$;
comment on function private.setting_of(public.orchestrator_agents, text) is 'A limit of an orchestrator: as configured, else max_instances 20, max_self_turns 10, max_tool_calls 50, and no max_cost.';
revoke execute on function private.setting_of(public.orchestrator_agents, text) from public;

-- Tasks --------------------------------------------------------------------------------------------------------------

create function private.refuse_loose_orchestration() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if not exists (select from private.orchestrator_tasks o where o.task_id = new.id) then
    raise exception using errcode = '22023', message = 'method_needs_function',
      detail = format('Tasks of the method %s are not inserted.', new.method), hint = 'Call message_orchestrator.';
  end if;
  return new;
end;
$$;
comment on function private.refuse_loose_orchestration() is 'Before insert: a turn or a command is made by our functions, which have said whose it is.';
revoke execute on function private.refuse_loose_orchestration() from public;

create trigger refuse_loose_orchestration before insert on public.tasks
for each row when (new.method in ('orchestrate', 'command_agent')) execute function private.refuse_loose_orchestration();

create function private.start_turn(orchestrator public.orchestrator_agents, entry private.orchestrator_tasks, user_id uuid, prompt text, idempotency_key text)
returns public.tasks
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task public.tasks;
begin
  insert into private.orchestrator_tasks (task_id, orchestrator_agent_id, conversation_id, message_id, turn_task_id, task_slug)
  values (entry.task_id, orchestrator.id, entry.conversation_id, entry.message_id, entry.turn_task_id, private.task_slug(prompt, entry.task_id));
  insert into public.tasks (
    id, organization_slug, user_id, agent_conversation_id, agent_slug, method, prompt, concurrency_key, timeout_seconds, parent_task_id, idempotency_key
  )
  values (
    entry.task_id, orchestrator.organization_slug, start_turn.user_id, entry.conversation_id, orchestrator.agent_slug, 'orchestrate', start_turn.prompt,
    'orchestrator:' || orchestrator.id, 600, entry.turn_task_id, start_turn.idempotency_key
  )
  returning * into v_task;
  return v_task;
end;
$$;
comment on function private.start_turn(public.orchestrator_agents, private.orchestrator_tasks, uuid, text, text) is
  'Inserts a turn, whose id, conversation, message and count entry says. Raises what an insert into tasks does.';
revoke execute on function private.start_turn(public.orchestrator_agents, private.orchestrator_tasks, uuid, text, text) from public;

create function private.start_command(
  orchestrator public.orchestrator_agents, instance public.agent_instances, entry private.orchestrator_tasks, user_id uuid, prompt text, author text,
  idempotency_key text, priority integer
) returns public.tasks
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_slug constant text := private.task_slug(prompt, entry.task_id);
  v_task public.tasks;
begin
  if instance.archived or orchestrator.archived then
    raise exception using errcode = 'PT409', message = 'agent_instance_archived',
      detail = format('Agent "%s" is archived.', instance.name), hint = 'Have the orchestrator create a new one; the name is free again.';
  end if;
  insert into private.orchestrator_tasks (task_id, orchestrator_agent_id, agent_instance_id, conversation_id, message_id, turn_task_id, is_awaited, task_slug)
  values (
    entry.task_id, orchestrator.id, instance.id, entry.conversation_id, entry.message_id, entry.turn_task_id, coalesce(entry.is_awaited, false), v_slug
  );
  insert into public.tasks (
    id, organization_slug, user_id, agent_slug, method, prompt, concurrency_key, timeout_seconds, parent_task_id, idempotency_key, priority, metadata
  )
  values (
    entry.task_id, orchestrator.organization_slug, start_command.user_id, coalesce(instance.agent_slug, orchestrator.agent_slug), 'command_agent',
    start_command.prompt, 'agent_instance:' || instance.id, 600, entry.turn_task_id, start_command.idempotency_key, start_command.priority,
    jsonb_build_object('agent_instance', instance.name)
  )
  returning * into v_task;
  insert into public.prompts (orchestrator_agent_id, agent_id, task_id, task_slug, author, prompt_text, summary, session_id)
  values (orchestrator.id, instance.id, v_task.id, v_slug, author, start_command.prompt, private.first_sentence(start_command.prompt), instance.session_id);
  return v_task;
end;
$$;
comment on function private.start_command(public.orchestrator_agents, public.agent_instances, private.orchestrator_tasks, uuid, text, text, text, integer) is
  'Inserts a command and its prompt. PT409 agent_instance_archived, and what an insert into tasks raises.';
revoke execute on function private.start_command(public.orchestrator_agents, public.agent_instances, private.orchestrator_tasks, uuid, text, text, text, integer) from public;

-- What becomes of tasks ------------------------------------------------------------------------------------------------

create function private.status_of_owner(orchestrator_agent_id uuid, agent_instance_id uuid, metadata jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_live record;
  v_last record;
begin
  select bool_or(t.status in ('pending', 'in_progress')) as works, bool_or(t.status = 'paused') as waits,
    bool_or(exists (select from public.input_requests r where r.task_id = t.id and r.status = 'pending')) as asks
  into v_live
  from private.orchestrator_tasks o
  join public.tasks t on t.id = o.task_id
  where o.orchestrator_agent_id = status_of_owner.orchestrator_agent_id and o.agent_instance_id is not distinct from status_of_owner.agent_instance_id
    and not o.has_ended;
  metadata := metadata - array['waiting'];
  if v_live.works then
    return jsonb_build_object('status', 'executing', 'metadata', metadata - 'blocked');
  elsif v_live.waits then
    return jsonb_build_object(
      'status', 'waiting',
      'metadata', (metadata - 'blocked') || jsonb_build_object('waiting', jsonb_build_object('for', case when v_live.asks then 'person' else 'agents' end))
    );
  elsif metadata #>> '{blocked,reason}' = 'too_many_self_turns' then
    return jsonb_build_object('status', 'blocked', 'metadata', metadata);
  end if;
  select t.id, t.status, t.error_code, t.error_message, o.says_done into v_last
  from private.orchestrator_tasks o
  join public.tasks t on t.id = o.task_id
  where o.orchestrator_agent_id = status_of_owner.orchestrator_agent_id and o.agent_instance_id is not distinct from status_of_owner.agent_instance_id
  order by o.id desc
  limit 1;
  if v_last.status in ('failed', 'timeout', 'rejected') then
    return jsonb_build_object('status', 'blocked', 'metadata', metadata || jsonb_build_object('blocked', jsonb_build_object(
      'reason', v_last.error_code, 'detail', left(v_last.error_message, 1000), 'task_id', v_last.id
    )));
  end if;
  return jsonb_build_object('status', case when v_last.says_done and v_last.status = 'completed' then 'complete' else 'idle' end, 'metadata', metadata - 'blocked');
end;
$$;
comment on function private.status_of_owner(uuid, uuid, jsonb) is
  'What an orchestrator (instance null) or an instance is doing, {status, metadata}: executing while a task of its is to run or runs, waiting while one is paused, blocked after a failure or a limit, else complete or idle.';
revoke execute on function private.status_of_owner(uuid, uuid, jsonb) from public;

create function private.added(counter bigint, more numeric) returns bigint
language sql immutable set search_path = ''
as $$
  select least(counter + more, 9223372036854775807)::bigint;
$$;
comment on function private.added(bigint, numeric) is 'A counter with more, which stays at the highest number: providers may say what they like.';
revoke execute on function private.added(bigint, numeric) from public;

create function private.refresh_owner(orchestrator_agent_id uuid, agent_instance_id uuid) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_costs record;
  v_state jsonb;
begin
  with folded as (
    delete from private.orchestrator_costs c
    where c.orchestrator_agent_id = refresh_owner.orchestrator_agent_id and c.agent_instance_id is not distinct from refresh_owner.agent_instance_id
    returning c.input_tokens, c.output_tokens, c.cost
  )
  select coalesce(sum(f.input_tokens), 0) as input_tokens, coalesce(sum(f.output_tokens), 0) as output_tokens, coalesce(sum(f.cost), 0) as cost
  into v_costs
  from folded f;
  if agent_instance_id is null then
    select private.status_of_owner(o.id, null, o.metadata) into v_state from public.orchestrator_agents o where o.id = refresh_owner.orchestrator_agent_id;
    update public.orchestrator_agents o
    set status = case when o.archived then o.status else v_state ->> 'status' end, metadata = v_state -> 'metadata',
      input_tokens = private.added(o.input_tokens, v_costs.input_tokens), output_tokens = private.added(o.output_tokens, v_costs.output_tokens),
      total_cost = least(o.total_cost + v_costs.cost, 99999999)
    where o.id = refresh_owner.orchestrator_agent_id;
  else
    select private.status_of_owner(refresh_owner.orchestrator_agent_id, i.id, i.metadata) into v_state
    from public.agent_instances i where i.id = refresh_owner.agent_instance_id;
    update public.agent_instances i
    set status = case when i.archived then i.status else v_state ->> 'status' end, metadata = v_state -> 'metadata',
      session_id = coalesce(i.session_id, gen_random_uuid()::text), input_tokens = private.added(i.input_tokens, v_costs.input_tokens),
      output_tokens = private.added(i.output_tokens, v_costs.output_tokens), total_cost = least(i.total_cost + v_costs.cost, 99999999)
    where i.id = refresh_owner.agent_instance_id;
  end if;
end;
$$;
comment on function private.refresh_owner(uuid, uuid) is
  'Adds what was used to the counters of an orchestrator (instance null) or an instance, and writes its status. Called with its row locked.';
revoke execute on function private.refresh_owner(uuid, uuid) from public;

create function private.hold_owner(orchestrator_agent_id uuid, agent_instance_id uuid) returns boolean
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_orchestrator public.orchestrator_agents;
  v_instance public.agent_instances;
begin
  -- With what its row names: a row that is changed twice in a transaction has its foreign keys checked, which waits.
  if agent_instance_id is null then
    select o.* into v_orchestrator from public.orchestrator_agents o where o.id = hold_owner.orchestrator_agent_id for no key update skip locked;
    perform from public.organizations o where o.slug = v_orchestrator.organization_slug for key share skip locked;
    if not found then
      return false;
    end if;
  else
    select i.* into v_instance from public.agent_instances i where i.id = hold_owner.agent_instance_id for no key update skip locked;
    perform from public.orchestrator_agents o where o.id = v_instance.orchestrator_agent_id for key share skip locked;
    if not found then
      return false;
    end if;
    if v_instance.created_by is not null then
      perform from public.users u where u.id = v_instance.created_by for key share skip locked;
      if not found then
        return false;
      end if;
    end if;
  end if;
  if coalesce(v_orchestrator.agent_slug, v_instance.agent_slug) is not null then
    perform from public.agents a where a.slug = coalesce(v_orchestrator.agent_slug, v_instance.agent_slug) for key share skip locked;
    return found;
  end if;
  return true;
end;
$$;
comment on function private.hold_owner(uuid, uuid) is
  'Locks the row of an orchestrator (instance null) or an instance, and what it names; false when somebody else holds one of them.';
revoke execute on function private.hold_owner(uuid, uuid) from public;

create function private.self_turns(entry private.orchestrator_tasks) returns bigint
language sql stable security definer set search_path = '' set enable_nestloop = on
as $$
  -- In all, not one after another: several agents may wake it at once, and each time again.
  select count(*)
  from private.orchestrator_tasks s
  where s.orchestrator_agent_id = entry.orchestrator_agent_id and s.agent_instance_id is null and s.turn_task_id is not null
    and s.conversation_id is not distinct from entry.conversation_id
    and s.id > coalesce((
      select p.id from private.orchestrator_tasks p
      where p.orchestrator_agent_id = entry.orchestrator_agent_id and p.agent_instance_id is null and p.turn_task_id is null
        and p.conversation_id is not distinct from entry.conversation_id
      order by p.id desc
      limit 1
    ), 0);
$$;
comment on function private.self_turns(private.orchestrator_tasks) is 'How many turns agents have begun since a person last spoke to the orchestrator in this conversation.';
revoke execute on function private.self_turns(private.orchestrator_tasks) from public;

create function private.wake_orchestrator(entry private.orchestrator_tasks, task public.tasks, message_id uuid, said text) returns boolean
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_orchestrator public.orchestrator_agents;
  v_next private.orchestrator_tasks;
  v_turns bigint;
  v_token text;
  v_detail text;
begin
  select o.* into v_orchestrator from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id for no key update skip locked;
  if not found or v_orchestrator.archived then
    return found;
  end if;
  begin
    v_turns := private.self_turns(entry);
    if v_turns >= private.setting_of(v_orchestrator, 'max_self_turns') then
      raise exception using errcode = 'PT429', message = 'too_many_self_turns',
        detail = format('The orchestrator has begun %s turns since the person spoke to it.', v_turns),
        hint = 'Send it a message: it goes on from there. settings.max_self_turns says how many there may be.';
    end if;
    v_next.task_id := gen_random_uuid();
    v_next.conversation_id := entry.conversation_id;
    v_next.message_id := wake_orchestrator.message_id;
    v_next.turn_task_id := task.id;
    perform private.start_turn(v_orchestrator, v_next, task.user_id, said, null);
    perform private.refresh_owner(v_orchestrator.id, null);
  exception
    when data_exception or integrity_constraint_violation or insufficient_privilege or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT413' or sqlstate 'PT429' then
      get stacked diagnostics v_token = message_text, v_detail = pg_exception_detail;
      update public.orchestrator_agents o
      set status = 'blocked', metadata = (o.metadata - 'waiting') || jsonb_build_object('blocked', jsonb_build_object(
        'reason', case when v_token ~ '^[a-z][a-z0-9_]{0,62}$' then v_token else 'turn_refused' end,
        'detail', case when v_token ~ '^[a-z][a-z0-9_]{0,62}$' then v_detail end, 'task_id', task.id
      ))
      where o.id = v_orchestrator.id;
  end;
  return true;
end;
$$;
comment on function private.wake_orchestrator(private.orchestrator_tasks, public.tasks, uuid, text) is
  'After a command that a turn did not wait for: the orchestrator''s next turn, or why there is none in its metadata. False when its row is locked.';
revoke execute on function private.wake_orchestrator(private.orchestrator_tasks, public.tasks, uuid, text) from public;

create function private.tell_answer(entry private.orchestrator_tasks, task public.tasks) returns boolean
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_instance public.agent_instances;
  v_said text := case task.status
    when 'completed' then left(task.response, 100000)
    when 'cancelled' then 'It was interrupted.'
    else format('It ended as %s: %s: %s', task.status, task.error_code, left(task.error_message, 2000))
  end;
  v_wakes boolean;
  v_message_id uuid;
begin
  -- What is written names these rows; what somebody is just changing is not waited for.
  perform from public.agent_conversations c where c.id = entry.conversation_id for no key update skip locked;
  if not found then
    return not exists (select from public.agent_conversations c where c.id = entry.conversation_id);
  end if;
  perform from public.organizations o where o.slug = task.organization_slug for key share skip locked;
  if not found then
    return false;
  end if;
  perform from public.users u where u.id = task.user_id for key share skip locked;
  if not found then
    return false;
  end if;
  perform from public.agents a
  where a.slug = (select o.agent_slug from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id) for key share skip locked;
  if not found and exists (select from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id and o.agent_slug is not null) then
    return false;
  end if;
  select i.* into v_instance from public.agent_instances i where i.id = entry.agent_instance_id;
  select entry.turn_task_id is not null and not entry.is_awaited and task.status <> 'cancelled' and not o.archived
    and coalesce(o.settings ->> 'wake', 'true') = 'true'
  into v_wakes
  from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id;
  if v_wakes then
    -- Held, so that whoever takes this person out of the organization right now finds the turn that is begun for them.
    perform from public.organization_members m where m.organization_slug = task.organization_slug and m.user_id = task.user_id for key share skip locked;
    if not found and exists (select from public.organization_members m where m.organization_slug = task.organization_slug and m.user_id = task.user_id) then
      return false;
    end if;
    v_wakes := exists (
      select from private.active_members m
      where m.organization_slug = task.organization_slug and m.user_id = task.user_id and private.role_rank(m.role) >= private.role_rank('member')
    );
  end if;
  if v_wakes then
    -- Before anything is written, so that it may all be left for later.
    perform from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id for no key update skip locked;
    if not found then
      return false;
    end if;
  end if;
  insert into public.messages (conversation_id, sender_type, receiver_type, agent_instance_id, content, summary, task_id, metadata)
  values (
    entry.conversation_id, 'agent', case when entry.turn_task_id is null then 'user' else 'orchestrator' end, entry.agent_instance_id, v_said,
    private.first_sentence(v_said), task.id, jsonb_build_object('agent', v_instance.name, 'status', task.status, 'awaited', entry.is_awaited)
  )
  returning id into v_message_id;
  return not v_wakes or private.wake_orchestrator(
    entry, task, v_message_id, format(
      e'Your agent "%s" has ended the command that you did not wait for (task %s, %s). It says:\n\n%s', v_instance.name, task.id, task.status, left(v_said, 20000)
    )
  );
end;
$$;
comment on function private.tell_answer(private.orchestrator_tasks, public.tasks) is
  'Writes what came of a command into the conversation, to whoever gave it, and wakes an orchestrator that does not wait. False, and nothing written, when a row that it needs is locked.';
revoke execute on function private.tell_answer(private.orchestrator_tasks, public.tasks) from public;

create function private.settle_orchestrator_task(task_id uuid) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_entry private.orchestrator_tasks;
  v_task public.tasks;
  v_is_settled boolean;
begin
  select o.* into v_entry from private.orchestrator_tasks o where o.task_id = settle_orchestrator_task.task_id;
  if not found then
    return;
  end if;
  v_is_settled := private.hold_owner(v_entry.orchestrator_agent_id, v_entry.agent_instance_id);
  if v_is_settled then
    perform private.refresh_owner(v_entry.orchestrator_agent_id, v_entry.agent_instance_id);
    select t.* into v_task from public.tasks t where t.id = v_entry.task_id;
    if v_entry.agent_instance_id is not null and v_task.completed_at is not null and not v_entry.is_told then
      v_is_settled := private.tell_answer(v_entry, v_task);
      update private.orchestrator_tasks o set is_told = v_is_settled where o.id = v_entry.id and v_is_settled;
    end if;
  end if;
  if not v_is_settled then
    insert into private.orchestrator_work (task_id) values (v_entry.task_id);
  end if;
end;
$$;
comment on function private.settle_orchestrator_task(uuid) is
  'After a turn or a command has changed its status: counters and status of whose it is, and what is to be told of it. Waits for nobody: what it cannot do now it leaves to the reaper.';
revoke execute on function private.settle_orchestrator_task(uuid) from public;

create function private.settle_forgotten_orchestrators() returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_work record;
begin
  for v_work in
    with taken as (
      delete from private.orchestrator_work w
      where w.id in (select x.id from private.orchestrator_work x order by x.id limit 200 for update skip locked)
      returning w.task_id, w.failures
    )
    select t.task_id, max(t.failures) as failures from taken t group by t.task_id
  loop
    begin
      perform private.settle_orchestrator_task(v_work.task_id);
    exception
      -- One that cannot be settled keeps neither the others nor the rest of the housekeeping.
      when others then
        raise warning 'task % was not settled for its orchestrator: %', v_work.task_id, sqlerrm;
        insert into private.orchestrator_work (task_id, failures) select v_work.task_id, v_work.failures + 1 where v_work.failures < 9;
    end;
  end loop;
end;
$$;
comment on function private.settle_forgotten_orchestrators() is 'What turns and commands could not settle when they changed, at most 200 a call. Called by the reaper.';
revoke execute on function private.settle_forgotten_orchestrators() from public;
grant execute on function private.settle_forgotten_orchestrators() to service_role;

-- Sessions -----------------------------------------------------------------------------------------------------------

create function private.add_agent_logs(entry private.orchestrator_tasks, logs jsonb) returns integer
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_written integer;
begin
  insert into public.agent_logs (
    agent_id, orchestrator_agent_id, task_id, session_id, task_slug, entry_index, event_category, event_type, content, payload, summary
  )
  select entry.agent_instance_id, case when entry.agent_instance_id is null then entry.orchestrator_agent_id end, entry.task_id,
    coalesce((select i.session_id from public.agent_instances i where i.id = entry.agent_instance_id), (
      select o.session_id from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id and entry.agent_instance_id is null
    )),
    entry.task_slug, entry.entries + l.place::integer, l.event_category, left(l.event_type, 100), left(l.content, 32000),
    case when octet_length(l.payload::text) > 262144 then '{"cut": true}' else coalesce(nullif(l.payload, 'null'), '{}') end, private.first_sentence(l.content)
  from rows from (jsonb_to_recordset(logs) as (event_category text, event_type text, content text, payload jsonb))
    with ordinality l (event_category, event_type, content, payload, place)
  order by l.place;
  get diagnostics v_written = row_count;
  update private.orchestrator_tasks o set entries = o.entries + v_written where o.id = entry.id;
  return v_written;
end;
$$;
comment on function private.add_agent_logs(private.orchestrator_tasks, jsonb) is
  'Appends entries [{event_category, event_type, content?, payload?}] to the log of a task, numbered on. Called with its row of orchestrator_tasks locked.';
revoke execute on function private.add_agent_logs(private.orchestrator_tasks, jsonb) from public;

create function private.compact_session(entry private.orchestrator_tasks) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_old record;
begin
  select array_agg(s.id) as ids, count(*) as entries, sum(s.bytes) as bytes,
    string_agg(format('- %s -> %s', left(s.prompt, 300), left(s.response, 300)), e'\n' order by s.id) as told
  into v_old
  from (
    select e.*, sum(e.bytes) over newest as bytes_from, row_number() over newest as place, sum(e.bytes) over () as total
    from private.agent_session_entries e
    where e.agent_instance_id = entry.agent_instance_id
    window newest as (order by e.id desc)
  ) s
  where s.total > 200000 and s.bytes_from > 100000 and s.place > 1;
  if v_old.ids is null then
    return;
  end if;
  perform private.add_agent_logs(entry, jsonb_build_array(jsonb_build_object(
    'event_category', 'hook', 'event_type', 'PreCompact', 'content', format('The session forgets the messages of its %s oldest commands.', v_old.entries),
    'payload', jsonb_build_object('entries', v_old.entries, 'bytes', v_old.bytes)
  )));
  insert into private.agent_sessions as s (agent_instance_id, summary)
  values (entry.agent_instance_id, right(v_old.told, 16000))
  on conflict on constraint agent_sessions_pkey do update set summary = right(concat(s.summary, e'\n', excluded.summary), 16000);
  delete from private.agent_session_entries e where e.id = any (v_old.ids);
end;
$$;
comment on function private.compact_session(private.orchestrator_tasks) is
  'Once the session of an instance has more than 200,000 bytes, keeps of its oldest commands a line each; the newest 100,000 bytes stay as they are.';
revoke execute on function private.compact_session(private.orchestrator_tasks) from public;

create function private.keep_session(entry private.orchestrator_tasks, task public.tasks) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_messages jsonb := nullif(entry.transcript -> 'messages', 'null');
begin
  -- One that is just being deleted is not waited for.
  perform from public.agent_instances i where i.id = entry.agent_instance_id for key share skip locked;
  if not found then
    return;
  end if;
  if octet_length(v_messages::text) > 100000 then
    v_messages := null;
  end if;
  insert into private.agent_session_entries (agent_instance_id, prompt, response, messages, bytes)
  values (
    entry.agent_instance_id, left(task.prompt, 50000), left(task.response, 50000), v_messages,
    coalesce(octet_length(v_messages::text), least(length(task.prompt), 50000) + least(length(task.response), 50000))
  );
  perform private.compact_session(entry);
end;
$$;
comment on function private.keep_session(private.orchestrator_tasks, public.tasks) is
  'Adds a command that is complete to the session of its instance: its model''s messages, or prompt and answer alone when these are too many.';
revoke execute on function private.keep_session(private.orchestrator_tasks, public.tasks) from public;

create function private.follow_orchestrator_task() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_entry private.orchestrator_tasks;
begin
  update private.orchestrator_tasks o set has_ended = new.completed_at is not null, is_told = o.is_told and new.completed_at is not null
  where o.task_id = new.id
  returning o.* into v_entry;
  if not found then
    return null;
  end if;
  if old.status = 'in_progress' then
    -- All that a run used is in the ledger before it ends; it ends once.
    insert into private.orchestrator_costs (orchestrator_agent_id, agent_instance_id, input_tokens, output_tokens, cost)
    select v_entry.orchestrator_agent_id, v_entry.agent_instance_id, private.added(0, sum(u.input_tokens)), private.added(0, sum(u.output_tokens)),
      coalesce(sum(u.cost), 0)
    from public.usage_events u
    where u.run_id = old.lease_token
    having count(*) > 0;
  end if;
  if new.completed_at is not null then
    update private.orchestrator_tasks o set transcript = null where o.id = v_entry.id and o.transcript is not null;
  end if;
  begin
    if new.status = 'completed' and v_entry.agent_instance_id is not null then
      perform private.keep_session(v_entry, new);
    end if;
    perform private.settle_orchestrator_task(new.id);
  exception
    -- What came of a task is not lost because of what hangs on it.
    when others then
      raise warning 'task % was not settled for its orchestrator: %', new.id, sqlerrm;
      insert into private.orchestrator_work (task_id) values (new.id);
  end;
  return null;
end;
$$;
comment on function private.follow_orchestrator_task() is 'After a turn or a command has changed its status: its session, and private.settle_orchestrator_task.';
revoke execute on function private.follow_orchestrator_task() from public;

create trigger follow_orchestrator_task after update on public.tasks
for each row when (new.method in ('orchestrate', 'command_agent') and new.status <> old.status) execute function private.follow_orchestrator_task();

-- For people: talking ----------------------------------------------------------------------------------------------------

create function private.default_agent_of(orchestrator public.orchestrator_agents) returns text
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_slug constant text := 'orchestrator-' || left(regexp_replace(orchestrator.organization_slug, '[^a-z0-9_-]', '-', 'g'), 36) || '-' || right(gen_random_uuid()::text, 6);
begin
  -- Named before it is there: private.check_agent_organizations lets a member make this one agent.
  update public.orchestrator_agents o set agent_slug = v_slug where o.id = orchestrator.id;
  insert into public.agents (slug, organization_slug, name, description, agent_type, department, io_schema, capabilities, context, llm_config)
  values (
    v_slug, array[orchestrator.organization_slug], 'Orchestrator', 'Talks with people, and creates, commands and watches agents for them.', 'context',
    'orchestration', '{}', array['orchestration'],
    'You are the orchestrator of this organization: you find out what a person wants, let agents do the work, and say what came of it.',
    -- On what the organization works with already; its keys are for that.
    coalesce((
      select jsonb_build_object('provider', a.llm_config -> 'provider', 'model', a.llm_config -> 'model')
      from public.agents a
      where a.organization_slug @> array[orchestrator.organization_slug] and a.agent_type = 'context' and a.status = 'active'
      order by a.created_at, a.slug
      limit 1
    ), '{"provider": "anthropic", "model": "claude-sonnet-4-5"}') || '{"tools": {"ask_person": {}}}'
  );
  return v_slug;
end;
$$;
comment on function private.default_agent_of(public.orchestrator_agents) is
  'Makes the agent that an orchestrator runs on when none is configured, on the provider and model of the organization''s first context agent. PT429 over_limit (max_agents).';
revoke execute on function private.default_agent_of(public.orchestrator_agents) from public;

create function private.live_orchestrator(organization_slug text) returns public.orchestrator_agents
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_orchestrator public.orchestrator_agents;
begin
  select o.* into v_orchestrator from public.orchestrator_agents o where o.organization_slug = live_orchestrator.organization_slug and not o.archived;
  if not found then
    -- Of two at once the second waits, and finds the first one's.
    -- Its session_id, which is unique, never changes: that would wait for everybody who names the row.
    insert into public.orchestrator_agents (organization_slug, session_id, agent_slug)
    select live_orchestrator.organization_slug, gen_random_uuid()::text, (
      -- What the one before ran on.
      select o.agent_slug from public.orchestrator_agents o
      join public.agents a on a.slug = o.agent_slug and a.status = 'active' and a.organization_slug @> array[live_orchestrator.organization_slug]
      where o.organization_slug = live_orchestrator.organization_slug
      order by o.created_at desc
      limit 1
    )
    on conflict do nothing;
    select o.* into v_orchestrator from public.orchestrator_agents o where o.organization_slug = live_orchestrator.organization_slug and not o.archived;
  end if;
  if v_orchestrator.agent_slug is null then
    select o.* into v_orchestrator from public.orchestrator_agents o where o.organization_slug = live_orchestrator.organization_slug and not o.archived for no key update;
    if v_orchestrator.agent_slug is null then
      v_orchestrator.agent_slug := private.default_agent_of(v_orchestrator);
    end if;
  end if;
  return v_orchestrator;
end;
$$;
comment on function private.live_orchestrator(text) is 'The live orchestrator of an organization, made if there is none, with an agent to run on. PT429 over_limit (max_agents).';
revoke execute on function private.live_orchestrator(text) from public;

create function private.orchestrator_conversation(orchestrator public.orchestrator_agents, user_id uuid) returns uuid
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  select c.id into v_id
  from private.orchestrator_conversations k
  join public.agent_conversations c on c.id = k.conversation_id and c.status = 'active'
  where k.orchestrator_agent_id = orchestrator.id and k.user_id = orchestrator_conversation.user_id;
  if not found then
    -- One person's messages at once are in one conversation.
    perform pg_catalog.pg_advisory_xact_lock(hashtextextended(orchestrator.id::text || orchestrator_conversation.user_id::text, 52));
    select c.id into v_id
    from private.orchestrator_conversations k
    join public.agent_conversations c on c.id = k.conversation_id and c.status = 'active'
    where k.orchestrator_agent_id = orchestrator.id and k.user_id = orchestrator_conversation.user_id;
  end if;
  if v_id is null then
    insert into public.agent_conversations (organization_slug, user_id, agent_slug, agent_name, agent_type, title)
    values (orchestrator.organization_slug, orchestrator_conversation.user_id, orchestrator.agent_slug, 'Orchestrator', 'context', 'Orchestrator')
    returning id into v_id;
    insert into private.orchestrator_conversations as k (orchestrator_agent_id, user_id, conversation_id)
    values (orchestrator.id, orchestrator_conversation.user_id, v_id)
    on conflict on constraint orchestrator_conversations_pkey do update set conversation_id = excluded.conversation_id;
  end if;
  return v_id;
end;
$$;
comment on function private.orchestrator_conversation(public.orchestrator_agents, uuid) is
  'The conversation of a person with the orchestrator: a new one when there is none that is active. PT429 over_limit (max_conversations).';
revoke execute on function private.orchestrator_conversation(public.orchestrator_agents, uuid) from public;

create function private.told_of_message(task_id uuid) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'orchestrator_agent_id', o.orchestrator_agent_id, 'agent_instance_id', o.agent_instance_id, 'conversation_id', o.conversation_id,
    'message_id', o.message_id, 'task_id', o.task_id, 'task_slug', o.task_slug
  )
  from private.orchestrator_tasks o
  where o.task_id = told_of_message.task_id;
$$;
comment on function private.told_of_message(uuid) is 'What message_orchestrator returns for a task that a message became.';
revoke execute on function private.told_of_message(uuid) from public;

create function private.take_message(organization_slug text, message text, agent_instance_id uuid, user_id uuid, idempotency_key text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_orchestrator public.orchestrator_agents := private.live_orchestrator(organization_slug);
  v_instance public.agent_instances;
  v_entry private.orchestrator_tasks;
  v_task public.tasks;
begin
  if take_message.agent_instance_id is not null then
    select i.* into v_instance from public.agent_instances i
    where i.id = take_message.agent_instance_id
      and i.orchestrator_agent_id in (select o.id from public.orchestrator_agents o where o.organization_slug = take_message.organization_slug);
    if not found then
      raise exception using errcode = 'PT404', message = 'agent_instance_not_found',
        detail = format('The orchestrator of organization "%s" has no agent %s.', organization_slug, take_message.agent_instance_id), hint = 'List agent_instances.';
    end if;
  end if;
  -- Turns come one after another: nobody's messages alone are the queue.
  if (
    select count(*)
    from private.orchestrator_tasks o
    join public.tasks t on t.id = o.task_id
    where o.orchestrator_agent_id = v_orchestrator.id and not o.has_ended and o.turn_task_id is null and t.user_id = take_message.user_id
  ) >= 100 then
    raise exception using errcode = 'PT429', message = 'over_limit',
      detail = 'You have 100 messages that the orchestrator and its agents have not dealt with yet.', hint = 'Wait for their answers, or interrupt them (interrupt_orchestrator, interrupt_agent_instance).';
  end if;
  v_entry.task_id := gen_random_uuid();
  v_entry.message_id := gen_random_uuid();
  v_entry.conversation_id := private.orchestrator_conversation(v_orchestrator, take_message.user_id);
  if v_instance.id is null then
    v_task := private.start_turn(v_orchestrator, v_entry, take_message.user_id, message, take_message.idempotency_key);
    insert into public.prompts (orchestrator_agent_id, task_id, task_slug, author, prompt_text, summary, session_id)
    values (v_orchestrator.id, v_task.id, private.task_slug(message, v_task.id), 'engineer', message, private.first_sentence(message), v_orchestrator.session_id);
  else
    v_task := private.start_command(v_orchestrator, v_instance, v_entry, take_message.user_id, message, 'engineer', take_message.idempotency_key, 100);
  end if;
  insert into public.messages (id, conversation_id, sender_type, receiver_type, sender_user_id, agent_instance_id, content, summary, task_id)
  values (
    v_entry.message_id, v_entry.conversation_id, 'user', case when v_instance.id is null then 'orchestrator' else 'agent' end, take_message.user_id,
    v_instance.id, message, private.first_sentence(message), v_task.id
  );
  if v_instance.id is null then
    update public.orchestrator_agents o set metadata = o.metadata - 'blocked' where o.id = v_orchestrator.id;
    perform private.refresh_owner(v_orchestrator.id, null);
  else
    perform from public.agent_instances i where i.id = v_instance.id for no key update;
    perform private.refresh_owner(v_orchestrator.id, v_instance.id);
  end if;
  return private.told_of_message(v_task.id);
end;
$$;
comment on function private.take_message(text, text, uuid, uuid, text) is 'Writes a message and the task, prompt and conversation that go with it; see message_orchestrator.';
revoke execute on function private.take_message(text, text, uuid, uuid, text) from public;

create function private.message_orchestrator(organization_slug text, message text, agent_instance_id uuid, idempotency_key text, user_id uuid) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_user_id constant uuid := coalesce(message_orchestrator.user_id, (select auth.uid()));
  v_key constant text := 'orchestrator:' || v_user_id || ':' || message_orchestrator.idempotency_key;
  v_known uuid;
begin
  perform private.require_own_user_id(v_user_id);
  organization_slug := private.my_organization_or_default(organization_slug);
  perform private.require_person(organization_slug, v_user_id);
  if length(message_orchestrator.idempotency_key) not between 1 and 200 then
    perform private.refuse_value('names_and_keys_are_short_and_not_blank', 'tasks');
  end if;
  if btrim(coalesce(message, ''), e' \t\r\n') = '' then
    raise exception using errcode = '22023', message = 'prompt_empty', detail = 'A message needs words.', hint = 'Send what the orchestrator should do in "message".';
  end if;
  if message_orchestrator.idempotency_key is not null then
    -- The same message at once: the second waits, and finds the first one's.
    perform pg_catalog.pg_advisory_xact_lock(hashtextextended(organization_slug || v_key, 52));
    select t.id into v_known from public.tasks t where t.organization_slug = message_orchestrator.organization_slug and t.idempotency_key = v_key and t.user_id = v_user_id;
  end if;
  return coalesce(
    private.told_of_message(v_known),
    private.take_message(organization_slug, message, agent_instance_id, v_user_id, v_key)
  );
end;
$$;
comment on function private.message_orchestrator(text, text, uuid, text, uuid) is 'Body of public.message_orchestrator.';
revoke execute on function private.message_orchestrator(text, text, uuid, text, uuid) from public;
grant execute on function private.message_orchestrator(text, text, uuid, text, uuid) to authenticated, service_role;

create function public.message_orchestrator(
  organization_slug text, message text, agent_instance_id uuid default null, idempotency_key text default null, user_id uuid default null
) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.message_orchestrator(organization_slug, message, agent_instance_id, idempotency_key, user_id);
$$;
comment on function public.message_orchestrator(text, text, uuid, text, uuid) is
  'Says something to the organization''s orchestrator, which is made by the first message, or to one of its agents: {orchestrator_agent_id, agent_instance_id, conversation_id, message_id, task_id, task_slug}. Follow task_events of task_id; answers stand in messages. The same idempotency_key again: the same answer. Members for themselves; servers say user_id. Errors: as for an insert into tasks, PT429 over_limit with 100 messages of one person that are not dealt with, PT404 agent_instance_not_found, PT409 agent_instance_archived.';
revoke execute on function public.message_orchestrator(text, text, uuid, text, uuid) from public, anon, authenticated;
grant execute on function public.message_orchestrator(text, text, uuid, text, uuid) to authenticated, service_role;

create function private.require_person(organization_slug text, user_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_role text;
begin
  select m.role into v_role from private.active_members m
  where m.organization_slug = require_person.organization_slug and m.user_id = require_person.user_id and private.role_rank(m.role) >= private.role_rank('member');
  if not found then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = format('This is done for a person with the role member or higher in organization "%s".', organization_slug),
      hint = 'Check the slug and the user; a server says user_id.';
  end if;
  return v_role;
end;
$$;
comment on function private.require_person(text, uuid) is
  'The role, member or higher, of the person for whom something is done at this moment; 42501 not_allowed for anybody else, whoever calls.';
revoke execute on function private.require_person(text, uuid) from public;

-- For people: steering -------------------------------------------------------------------------------------------------

create function private.my_orchestrator(organization_slug text, minimum_role text) returns public.orchestrator_agents
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_orchestrator public.orchestrator_agents;
begin
  perform private.require_role(my_orchestrator.organization_slug, minimum_role);
  select o.* into v_orchestrator from public.orchestrator_agents o where o.organization_slug = my_orchestrator.organization_slug and not o.archived;
  if not found then
    raise exception using errcode = 'PT404', message = 'orchestrator_not_found',
      detail = format('Organization "%s" has no live orchestrator.', organization_slug), hint = 'The first message makes one (message_orchestrator).';
  end if;
  return v_orchestrator;
end;
$$;
comment on function private.my_orchestrator(text, text) is 'The live orchestrator of an organization in which the caller has this role. 42501 not_allowed, PT404 orchestrator_not_found.';
revoke execute on function private.my_orchestrator(text, text) from public;

create function private.my_instance(agent_instance_id uuid) returns public.agent_instances
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_instance public.agent_instances;
begin
  select i.* into v_instance
  from public.agent_instances i
  join public.orchestrator_agents o on o.id = i.orchestrator_agent_id
  where i.id = my_instance.agent_instance_id and (not private.is_client() or o.organization_slug in (select private.my_organizations('member')));
  if not found then
    raise exception using errcode = 'PT404', message = 'agent_instance_not_found',
      detail = format('You see no agent %s.', my_instance.agent_instance_id), hint = 'List agent_instances.';
  end if;
  return v_instance;
end;
$$;
comment on function private.my_instance(uuid) is 'An instance that the caller sees; PT404 agent_instance_not_found.';
revoke execute on function private.my_instance(uuid) from public;

create function private.cancel_orchestration(orchestrator_agent_id uuid, agent_instance_id uuid, with_instances boolean, user_id uuid, waits boolean) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_tasks constant uuid[] := array(
    select x.id
    from public.tasks x
    where x.id in (
      select o.task_id from private.orchestrator_tasks o
      where o.orchestrator_agent_id = cancel_orchestration.orchestrator_agent_id and not o.has_ended
        and (with_instances or o.agent_instance_id is not distinct from cancel_orchestration.agent_instance_id)
    ) and x.completed_at is null and (cancel_orchestration.user_id is null or x.user_id = cancel_orchestration.user_id)
  );
  v_cancelled integer;
begin
  if waits then
    perform from public.tasks t where t.id = any (v_tasks) order by t.id for update;
  end if;
  update public.tasks t set status = 'cancelled'
  where t.id in (select x.id from public.tasks x where x.id = any (v_tasks) order by x.id for update skip locked) and t.completed_at is null;
  get diagnostics v_cancelled = row_count;
  return v_cancelled;
end;
$$;
comment on function private.cancel_orchestration(uuid, uuid, boolean, uuid, boolean) is
  'Cancels what an orchestrator or one of its instances has to do, of one user or, with null, of all; returns how much that was. Locks tasks in the order of their ids; a turn, which is held itself, does not wait for those that are held.';
revoke execute on function private.cancel_orchestration(uuid, uuid, boolean, uuid, boolean) from public;

create function private.whose_tasks(organization_slug text) returns uuid
language sql stable security definer set search_path = ''
as $$
  select case
    when private.is_client() and whose_tasks.organization_slug not in (select private.my_organizations('admin')) then (select auth.uid())
  end;
$$;
comment on function private.whose_tasks(text) is 'Whose tasks the caller may cancel: their own, or with null everybody''s, as admins and servers.';
revoke execute on function private.whose_tasks(text) from public;

create function private.interrupt_orchestrator(organization_slug text) returns public.orchestrator_agents
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_orchestrator public.orchestrator_agents := private.my_orchestrator(organization_slug, 'member');
begin
  perform private.cancel_orchestration(v_orchestrator.id, null, false, private.whose_tasks(organization_slug), true);
  perform from public.orchestrator_agents o where o.id = v_orchestrator.id for no key update;
  perform private.refresh_owner(v_orchestrator.id, null);
  select o.* into v_orchestrator from public.orchestrator_agents o where o.id = v_orchestrator.id;
  return v_orchestrator;
end;
$$;
comment on function private.interrupt_orchestrator(text) is 'Body of public.interrupt_orchestrator.';
revoke execute on function private.interrupt_orchestrator(text) from public;
grant execute on function private.interrupt_orchestrator(text) to authenticated, service_role;

create function public.interrupt_orchestrator(organization_slug text) returns public.orchestrator_agents
language sql volatile security invoker set search_path = ''
as $$
  select * from private.interrupt_orchestrator(organization_slug);
$$;
comment on function public.interrupt_orchestrator(text) is
  'Cancels the caller''s turns of the orchestrator, with the commands that they wait for; admins everybody''s. Commands that no turn waits for go on. Errors: 42501 not_allowed, PT404 orchestrator_not_found.';
revoke execute on function public.interrupt_orchestrator(text) from public, anon, authenticated;
grant execute on function public.interrupt_orchestrator(text) to authenticated, service_role;

create function private.interrupt_instance(instance public.agent_instances, user_id uuid, waits boolean) returns public.agent_instances
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.cancel_orchestration(instance.orchestrator_agent_id, instance.id, false, interrupt_instance.user_id, waits);
  perform from public.agent_instances i where i.id = instance.id for no key update;
  perform private.refresh_owner(instance.orchestrator_agent_id, instance.id);
  select i.* into instance from public.agent_instances i where i.id = instance.id;
  return instance;
end;
$$;
comment on function private.interrupt_instance(public.agent_instances, uuid, boolean) is 'Cancels what an instance has to do, of one user or of all (null); returns its row.';
revoke execute on function private.interrupt_instance(public.agent_instances, uuid, boolean) from public;

create function private.interrupt_agent_instance(agent_instance_id uuid) returns public.agent_instances
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_instance constant public.agent_instances := private.my_instance(agent_instance_id);
begin
  return private.interrupt_instance(v_instance, private.whose_tasks((
    select o.organization_slug from public.orchestrator_agents o where o.id = v_instance.orchestrator_agent_id
  )), true);
end;
$$;
comment on function private.interrupt_agent_instance(uuid) is 'Body of public.interrupt_agent_instance.';
revoke execute on function private.interrupt_agent_instance(uuid) from public;
grant execute on function private.interrupt_agent_instance(uuid) to authenticated, service_role;

create function public.interrupt_agent_instance(agent_instance_id uuid) returns public.agent_instances
language sql volatile security invoker set search_path = ''
as $$
  select * from private.interrupt_agent_instance(agent_instance_id);
$$;
comment on function public.interrupt_agent_instance(uuid) is
  'Cancels the commands that the caller, or the orchestrator for them, has given an agent; admins everybody''s. Its session stays. Errors: PT404 agent_instance_not_found.';
revoke execute on function public.interrupt_agent_instance(uuid) from public, anon, authenticated;
grant execute on function public.interrupt_agent_instance(uuid) to authenticated, service_role;

create function private.archive_instance(instance public.agent_instances, user_id uuid, role text, waits boolean) returns public.agent_instances
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if instance.created_by is distinct from archive_instance.user_id and private.role_rank(role) < private.role_rank('developer') then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = format('Agent "%s" was made for somebody else.', instance.name), hint = 'Ask them, or a developer of the organization.';
  end if;
  perform private.cancel_orchestration(instance.orchestrator_agent_id, instance.id, false, null, waits);
  perform from public.agent_instances i where i.id = instance.id for no key update;
  perform private.refresh_owner(instance.orchestrator_agent_id, instance.id);
  update public.agent_instances i set archived = true, status = case when i.status = 'blocked' then i.status else 'complete' end
  where i.id = instance.id and not i.archived;
  select i.* into instance from public.agent_instances i where i.id = instance.id;
  return instance;
end;
$$;
comment on function private.archive_instance(public.agent_instances, uuid, text, boolean) is
  'Cancels what an instance has to do, and archives it, for a user with this role. Again: the same row. 42501 not_allowed.';
revoke execute on function private.archive_instance(public.agent_instances, uuid, text, boolean) from public;

create function private.archive_agent_instance(agent_instance_id uuid) returns public.agent_instances
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_instance constant public.agent_instances := private.my_instance(agent_instance_id);
  v_role constant text := coalesce((
    select m.role from public.organization_members m
    where m.user_id = (select auth.uid())
      and m.organization_slug = (select o.organization_slug from public.orchestrator_agents o where o.id = v_instance.orchestrator_agent_id)
  ), 'member');
begin
  return private.archive_instance(v_instance, (select auth.uid()), case when private.is_client() then v_role else 'owner' end, true);
end;
$$;
comment on function private.archive_agent_instance(uuid) is 'Body of public.archive_agent_instance.';
revoke execute on function private.archive_agent_instance(uuid) from public;
grant execute on function private.archive_agent_instance(uuid) to authenticated, service_role;

create function public.archive_agent_instance(agent_instance_id uuid) returns public.agent_instances
language sql volatile security invoker set search_path = ''
as $$
  select * from private.archive_agent_instance(agent_instance_id);
$$;
comment on function public.archive_agent_instance(uuid) is
  'Ends an agent of the orchestrator: its commands are cancelled, its name is free, its logs stay. For whom it was made, and developers. Errors: PT404 agent_instance_not_found, 42501 not_allowed.';
revoke execute on function public.archive_agent_instance(uuid) from public, anon, authenticated;
grant execute on function public.archive_agent_instance(uuid) to authenticated, service_role;

create function private.archive_orchestrator(organization_slug text) returns public.orchestrator_agents
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_orchestrator public.orchestrator_agents := private.my_orchestrator(organization_slug, 'admin');
begin
  perform private.cancel_orchestration(v_orchestrator.id, null, true, null, true);
  perform from public.agent_instances i where i.orchestrator_agent_id = v_orchestrator.id order by i.id for no key update;
  perform private.refresh_owner(v_orchestrator.id, i.id) from public.agent_instances i where i.orchestrator_agent_id = v_orchestrator.id and not i.archived;
  update public.agent_instances i set archived = true, status = case when i.status = 'blocked' then i.status else 'complete' end
  where i.orchestrator_agent_id = v_orchestrator.id and not i.archived;
  perform from public.orchestrator_agents o where o.id = v_orchestrator.id for no key update;
  perform private.refresh_owner(v_orchestrator.id, null);
  update public.orchestrator_agents o set archived = true, status = case when o.status = 'blocked' then o.status else 'complete' end
  where o.id = v_orchestrator.id
  returning o.* into v_orchestrator;
  return v_orchestrator;
end;
$$;
comment on function private.archive_orchestrator(text) is 'Body of public.archive_orchestrator.';
revoke execute on function private.archive_orchestrator(text) from public;
grant execute on function private.archive_orchestrator(text) to authenticated, service_role;

create function public.archive_orchestrator(organization_slug text) returns public.orchestrator_agents
language sql volatile security invoker set search_path = ''
as $$
  select * from private.archive_orchestrator(organization_slug);
$$;
comment on function public.archive_orchestrator(text) is
  'Ends the organization''s orchestrator and its agents; what they have to do is cancelled, what was said stays, and the next message makes a new one. For admins. Errors: 42501 not_allowed, PT404 orchestrator_not_found.';
revoke execute on function public.archive_orchestrator(text) from public, anon, authenticated;
grant execute on function public.archive_orchestrator(text) to authenticated, service_role;

create function private.check_orchestrator_settings(settings jsonb) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_problem text := case
    when jsonb_typeof(settings) <> 'object' then 'they are no object'
    when settings - array['wake', 'max_instances', 'max_self_turns', 'max_tool_calls', 'max_cost'] <> '{}' then 'they have unknown keys'
    when coalesce(jsonb_typeof(settings -> 'wake'), 'boolean') <> 'boolean' then 'wake is not true or false'
    when settings ? 'max_instances' and not private.number_is(settings -> 'max_instances', 0, 1000) then 'max_instances is not between 0 and 1000'
    when settings ? 'max_self_turns' and not private.number_is(settings -> 'max_self_turns', 0, 1000) then 'max_self_turns is not between 0 and 1000'
    when settings ? 'max_tool_calls' and not private.number_is(settings -> 'max_tool_calls', 1, 1000) then 'max_tool_calls is not between 1 and 1000'
    when settings ? 'max_cost' and case when jsonb_typeof(settings -> 'max_cost') = 'number' then (settings ->> 'max_cost')::numeric > 0 end is not true
      then 'max_cost is no number above 0'
  end;
begin
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'orchestrator_settings_invalid',
      detail = format('The settings cannot be used: %s.', v_problem),
      hint = 'Send {wake?, max_instances?, max_self_turns?, max_tool_calls?, max_cost?}; a key that is left out has its default.';
  end if;
end;
$$;
comment on function private.check_orchestrator_settings(jsonb) is 'Raises 22023 orchestrator_settings_invalid, with what is wrong.';
revoke execute on function private.check_orchestrator_settings(jsonb) from public;

create function private.configure_orchestrator(organization_slug text, system_prompt text, agent_slug text, settings jsonb) returns public.orchestrator_agents
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_orchestrator public.orchestrator_agents;
  v_agent public.agents;
begin
  perform private.require_role(configure_orchestrator.organization_slug, 'admin');
  if configure_orchestrator.settings is not null then
    perform private.check_orchestrator_settings(configure_orchestrator.settings);
  end if;
  if octet_length(configure_orchestrator.system_prompt) > 262144 then
    perform private.refuse_value('system_prompt_is_not_huge', 'orchestrator_agents');
  end if;
  if configure_orchestrator.agent_slug is not null then
    v_agent := private.usable_agent(configure_orchestrator.agent_slug, configure_orchestrator.organization_slug, null);
    if v_agent.agent_type <> 'context' then
      raise exception using errcode = '22023', message = 'orchestrator_settings_invalid',
        detail = format('Agent "%s" is of the type %s.', v_agent.slug, v_agent.agent_type), hint = 'An orchestrator runs on a context agent.';
    end if;
  end if;
  v_orchestrator := private.live_orchestrator(organization_slug);
  update public.orchestrator_agents o
  set system_prompt = coalesce(configure_orchestrator.system_prompt, o.system_prompt), agent_slug = coalesce(v_agent.slug, o.agent_slug),
    settings = coalesce(configure_orchestrator.settings, o.settings)
  where o.id = v_orchestrator.id
  returning o.* into v_orchestrator;
  return v_orchestrator;
end;
$$;
comment on function private.configure_orchestrator(text, text, text, jsonb) is 'Body of public.configure_orchestrator.';
revoke execute on function private.configure_orchestrator(text, text, text, jsonb) from public;
grant execute on function private.configure_orchestrator(text, text, text, jsonb) to authenticated, service_role;

create function public.configure_orchestrator(organization_slug text, system_prompt text default null, agent_slug text default null, settings jsonb default null)
returns public.orchestrator_agents
language sql volatile security invoker set search_path = ''
as $$
  select * from private.configure_orchestrator(organization_slug, system_prompt, agent_slug, settings);
$$;
comment on function public.configure_orchestrator(text, text, text, jsonb) is
  'Sets what the orchestrator is told, on which context agent of the organization it runs, and its limits {wake?, max_instances?, max_self_turns?, max_tool_calls?, max_cost?}; null leaves a thing as it is. For admins; makes the orchestrator if there is none. Errors: 42501 not_allowed, 22023 orchestrator_settings_invalid, PT404 agent_not_found, PT409 agent_inactive.';
revoke execute on function public.configure_orchestrator(text, text, text, jsonb) from public, anon, authenticated;
grant execute on function public.configure_orchestrator(text, text, text, jsonb) to authenticated, service_role;

-- Tools of turns -----------------------------------------------------------------------------------------------------------
-- Each acts for the person whose message the turn answers, in that organization, and returns what the model is told.

create function private.orchestrator_of(entry private.orchestrator_tasks) returns public.orchestrator_agents
language sql stable security definer set search_path = ''
as $$
  select o.* from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id;
$$;
comment on function private.orchestrator_of(private.orchestrator_tasks) is 'The orchestrator of a turn or a command.';
revoke execute on function private.orchestrator_of(private.orchestrator_tasks) from public;

create function private.instance_by_name(entry private.orchestrator_tasks, name text) returns public.agent_instances
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_instance public.agent_instances;
begin
  select i.* into v_instance from public.agent_instances i
  where i.orchestrator_agent_id = entry.orchestrator_agent_id and i.name = instance_by_name.name and not i.archived;
  if not found then
    raise exception using errcode = 'PT404', message = 'agent_instance_not_found',
      detail = format('There is no agent "%s".', left(coalesce(name, ''), 255)), hint = coalesce('There are: ' || (
        select string_agg(i.name, ', ' order by i.name) from public.agent_instances i where i.orchestrator_agent_id = entry.orchestrator_agent_id and not i.archived
      ) || '.', 'There are none: create one (create_agent).');
  end if;
  return v_instance;
end;
$$;
comment on function private.instance_by_name(private.orchestrator_tasks, text) is 'The unarchived agent of this name; PT404 agent_instance_not_found, whose hint names those there are.';
revoke execute on function private.instance_by_name(private.orchestrator_tasks, text) from public;

create function private.tool_list_agents(entry private.orchestrator_tasks, task public.tasks) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'agents', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', i.name, 'status', i.status, 'agent_slug', i.agent_slug, 'model', i.model, 'total_cost', i.total_cost, 'blocked', i.metadata -> 'blocked'
      ) order by i.name), '[]')
      from public.agent_instances i where i.orchestrator_agent_id = entry.orchestrator_agent_id and not i.archived
    ),
    'catalogue', (
      select coalesce(jsonb_agg(jsonb_build_object('agent_slug', a.slug, 'name', a.name, 'description', left(a.description, 500)) order by a.slug), '[]')
      from (
        select * from public.agents x
        where x.status = 'active' and (x.organization_slug @> array[task.organization_slug] or x.owner_user_id = task.user_id)
          and x.slug is distinct from (private.orchestrator_of(entry)).agent_slug
        order by x.slug
        limit 50
      ) a
    )
  );
$$;
comment on function private.tool_list_agents(private.orchestrator_tasks, public.tasks) is 'The orchestrator''s agents, and those from which it can make some: {agents, catalogue}.';
revoke execute on function private.tool_list_agents(private.orchestrator_tasks, public.tasks) from public;

create function private.tool_create_agent(entry private.orchestrator_tasks, task public.tasks, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_orchestrator public.orchestrator_agents;
  v_agent public.agents;
  v_most numeric;
  v_name constant text := btrim(arguments ->> 'name');
  v_model constant text := nullif(btrim(left(arguments ->> 'model', 200)), '');
begin
  -- One creates at a time, so that the limit holds.
  select o.* into v_orchestrator from public.orchestrator_agents o where o.id = entry.orchestrator_agent_id for no key update;
  v_most := private.setting_of(v_orchestrator, 'max_instances');
  if v_name is null or v_name !~ '^[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}$' then
    raise exception using errcode = '22023', message = 'agent_name_invalid',
      detail = 'An agent needs a name of letters, digits, spaces, dots, - and _, at most 63.', hint = 'Send a short name such as "writer".';
  end if;
  if exists (select from public.agent_instances i where i.orchestrator_agent_id = v_orchestrator.id and i.name = v_name and not i.archived) then
    raise exception using errcode = 'PT409', message = 'agent_instance_exists',
      detail = format('There is an agent "%s" already.', v_name), hint = 'Command that one, or choose another name.';
  end if;
  if (select count(*) from public.agent_instances i where i.orchestrator_agent_id = v_orchestrator.id and not i.archived) >= v_most then
    raise exception using errcode = 'PT429', message = 'over_limit',
      detail = format('The orchestrator has %s agents, as many as it may (max_instances).', v_most), hint = 'Archive one that has done its work.';
  end if;
  v_agent := private.usable_agent(coalesce(arguments ->> 'agent_slug', v_orchestrator.agent_slug), task.organization_slug, task.user_id);
  -- Which models are paid for is for developers to say, as in agents.
  if v_model <> v_agent.llm_config ->> 'model' and private.role_rank(private.require_person(task.organization_slug, task.user_id)) < private.role_rank('developer')
    and not exists (
      select from public.agents a
      where a.organization_slug @> array[task.organization_slug] and a.status = 'active'
        and a.llm_config ->> 'model' = v_model and a.llm_config ->> 'provider' = v_agent.llm_config ->> 'provider'
    ) then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = format('The person you work for is no developer, and no agent of the organization has the model "%s".', v_model),
      hint = 'Leave model out, or name one of an agent in the catalogue.';
  end if;
  insert into public.agent_instances (orchestrator_agent_id, agent_slug, created_by, name, model, system_prompt)
  values (
    v_orchestrator.id, arguments ->> 'agent_slug', task.user_id, v_name,
    coalesce(v_model, v_agent.llm_config ->> 'model', v_agent.agent_type), left(arguments ->> 'system_prompt', 20000)
  );
  return jsonb_build_object('created', v_name, 'note', 'Command it to let it do something.');
end;
$$;
comment on function private.tool_create_agent(private.orchestrator_tasks, public.tasks, jsonb) is
  'Makes an instance {name, agent_slug?, model?, system_prompt?}. 22023 agent_name_invalid, PT409 agent_instance_exists, PT429 over_limit, PT404 agent_not_found, PT409 agent_inactive, 42501 not_allowed for another model.';
revoke execute on function private.tool_create_agent(private.orchestrator_tasks, public.tasks, jsonb) from public;

create function private.command_by_name(entry private.orchestrator_tasks, task public.tasks, name text, prompt text, awaited boolean) returns uuid
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_instance constant public.agent_instances := private.instance_by_name(entry, name);
  v_next private.orchestrator_tasks;
  v_task public.tasks;
begin
  if btrim(coalesce(prompt, ''), e' \t\r\n') = '' then
    raise exception using errcode = '22023', message = 'prompt_empty', detail = 'A command needs a prompt.', hint = 'Send what the agent should do.';
  end if;
  v_next.task_id := gen_random_uuid();
  v_next.conversation_id := entry.conversation_id;
  v_next.message_id := gen_random_uuid();
  v_next.turn_task_id := entry.task_id;
  v_next.is_awaited := awaited;
  v_task := private.start_command(private.orchestrator_of(entry), v_instance, v_next, task.user_id, prompt, 'orchestrator_agent', null, task.priority);
  if entry.conversation_id is not null then
    insert into public.messages (id, conversation_id, sender_type, receiver_type, agent_instance_id, content, summary, task_id, metadata)
    values (
      v_next.message_id, entry.conversation_id, 'orchestrator', 'agent', v_instance.id, prompt, private.first_sentence(prompt), v_task.id,
      jsonb_build_object('agent', v_instance.name)
    );
  end if;
  -- Its status follows at once, or within a second where its row is held.
  perform private.settle_orchestrator_task(v_task.id);
  return v_task.id;
end;
$$;
comment on function private.command_by_name(private.orchestrator_tasks, public.tasks, text, text, boolean) is
  'Gives an agent of the orchestrator a command from a turn; the task. PT404 agent_instance_not_found, 22023 prompt_empty, and what an insert into tasks raises.';
revoke execute on function private.command_by_name(private.orchestrator_tasks, public.tasks, text, text, boolean) from public;

create function private.start_awaited_command(task public.tasks, call jsonb) returns uuid
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_entry private.orchestrator_tasks;
begin
  select o.* into v_entry from private.orchestrator_tasks o where o.task_id = task.id and o.agent_instance_id is null;
  if not found then
    raise exception using errcode = '22023', message = 'agent_calls_invalid',
      detail = 'Only a turn of an orchestrator calls an agent_instance.', hint = 'Send agent_slug alone.';
  end if;
  perform private.require_person(task.organization_slug, task.user_id);
  return private.command_by_name(v_entry, task, call ->> 'agent_instance', call ->> 'prompt', true);
end;
$$;
comment on function private.start_awaited_command(public.tasks, jsonb) is
  'The task of a call {agent_instance, prompt} with which a turn pauses until the command is over. Called by private.start_agent_call.';
revoke execute on function private.start_awaited_command(public.tasks, jsonb) from public;
grant execute on function private.start_awaited_command(public.tasks, jsonb) to service_role;

create function private.tool_delegate_task(task public.tasks, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  insert into public.tasks (organization_slug, user_id, agent_slug, method, prompt, parent_task_id, priority, metadata)
  values (
    task.organization_slug, task.user_id, arguments ->> 'agent_slug', 'converse', arguments ->> 'prompt', task.id, task.priority,
    '{"asked_by": "orchestrator_agent"}'
  )
  returning id into v_id;
  return jsonb_build_object('task_id', v_id, 'note', 'It runs by itself; check_tasks says what became of it.');
end;
$$;
comment on function private.tool_delegate_task(public.tasks, jsonb) is 'Lets an agent {agent_slug, prompt} do a task that nobody waits for. Raises what an insert into tasks does.';
revoke execute on function private.tool_delegate_task(public.tasks, jsonb) from public;

create function private.tool_plan_project(entry private.orchestrator_tasks, task public.tasks, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_id uuid;
begin
  insert into public.tasks (organization_slug, user_id, agent_conversation_id, agent_slug, method, prompt, params, parent_task_id, metadata)
  values (
    task.organization_slug, task.user_id, entry.conversation_id, coalesce(arguments ->> 'agent_slug', task.agent_slug), 'plan_project', arguments ->> 'prompt',
    jsonb_strip_nulls(jsonb_build_object('max_steps', arguments -> 'max_steps', 'name', arguments -> 'name')), task.id, '{"asked_by": "orchestrator_agent"}'
  )
  returning id into v_id;
  return jsonb_build_object(
    'task_id', v_id, 'project_id', (select p.id from public.projects p where p.planning_task_id = v_id),
    'note', 'It is being planned; then it waits for the person to approve the plan.'
  );
end;
$$;
comment on function private.tool_plan_project(private.orchestrator_tasks, public.tasks, jsonb) is 'Has a project planned {prompt, name?, max_steps?, agent_slug?} in the person''s conversation. Raises what an insert into tasks does.';
revoke execute on function private.tool_plan_project(private.orchestrator_tasks, public.tasks, jsonb) from public;

create function private.tool_check_agent(entry private.orchestrator_tasks, name text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_instance constant public.agent_instances := private.instance_by_name(entry, name);
begin
  return jsonb_build_object(
    'name', v_instance.name, 'status', v_instance.status, 'blocked', v_instance.metadata -> 'blocked', 'waiting', v_instance.metadata -> 'waiting',
    'input_tokens', v_instance.input_tokens, 'output_tokens', v_instance.output_tokens, 'total_cost', v_instance.total_cost,
    'last_task', (
      select jsonb_build_object(
        'task_id', t.id, 'task_slug', o.task_slug, 'status', t.status, 'progress', t.progress, 'prompt', left(t.prompt, 500),
        'response', left(t.response, 4000), 'error_code', t.error_code
      )
      from private.orchestrator_tasks o join public.tasks t on t.id = o.task_id
      where o.agent_instance_id = v_instance.id order by o.id desc limit 1
    ),
    'log', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'task_slug', l.task_slug, 'entry_index', l.entry_index, 'event_type', l.event_type, 'summary', l.summary
      ) order by l.timestamp, l.entry_index), '[]')
      from (select * from public.agent_logs x where x.agent_id = v_instance.id order by x.timestamp desc, x.entry_index desc limit 10) l
    )
  );
end;
$$;
comment on function private.tool_check_agent(private.orchestrator_tasks, text) is 'What an agent is doing, its last command, and the last ten entries of its log. PT404 agent_instance_not_found.';
revoke execute on function private.tool_check_agent(private.orchestrator_tasks, text) from public;

create function private.tool_read_agent_logs(entry private.orchestrator_tasks, arguments jsonb) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_instance constant public.agent_instances := private.instance_by_name(entry, arguments ->> 'name');
  v_task_slug constant text := coalesce(arguments ->> 'task_slug', (
    select o.task_slug from private.orchestrator_tasks o where o.agent_instance_id = v_instance.id order by o.id desc limit 1
  ));
begin
  return jsonb_build_object('task_slug', v_task_slug, 'entries', (
    select coalesce(jsonb_agg(jsonb_build_object(
      'entry_index', l.entry_index, 'event_category', l.event_category, 'event_type', l.event_type, 'content', left(l.content, 500)
    ) order by l.entry_index), '[]')
    from (
      select * from public.agent_logs x
      where x.agent_id = v_instance.id and x.task_slug = v_task_slug
        and x.entry_index > coalesce(case when jsonb_typeof(arguments -> 'after') = 'number' then (arguments ->> 'after')::numeric end, 0)
      order by x.entry_index
      limit 50
    ) l
  ));
end;
$$;
comment on function private.tool_read_agent_logs(private.orchestrator_tasks, jsonb) is
  'The log of an agent''s last command, or of task_slug, after an entry: {name, task_slug?, after?}, at most 50 entries. PT404 agent_instance_not_found.';
revoke execute on function private.tool_read_agent_logs(private.orchestrator_tasks, jsonb) from public;

create function private.tool_check_tasks(entry private.orchestrator_tasks, task public.tasks) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object('tasks', coalesce(jsonb_agg(jsonb_build_object(
    'task_id', w.id, 'method', w.method, 'agent', coalesce(w.metadata ->> 'agent_instance', w.agent_slug), 'status', w.status, 'progress', w.progress,
    'prompt', left(w.prompt, 200), 'response', left(w.response, 2000), 'error_code', w.error_code
  ) order by w.created_at desc), '[]'))
  from (
    select t.*
    from (
      select o.task_id from private.orchestrator_tasks o
      where o.orchestrator_agent_id = entry.orchestrator_agent_id and o.agent_instance_id is null order by o.id desc limit 50
    ) turns
    join public.tasks t on t.parent_task_id = turns.task_id and t.user_id = task.user_id and t.method <> 'orchestrate'
    order by t.created_at desc
    limit 20
  ) w;
$$;
comment on function private.tool_check_tasks(private.orchestrator_tasks, public.tasks) is 'What the person''s last turns gave others to do, the newest 20.';
revoke execute on function private.tool_check_tasks(private.orchestrator_tasks, public.tasks) from public;

create function private.tool_report_cost(entry private.orchestrator_tasks) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'orchestrator', jsonb_build_object('input_tokens', o.input_tokens, 'output_tokens', o.output_tokens, 'total_cost', o.total_cost),
    'agents', coalesce((
      select jsonb_agg(jsonb_build_object(
        'name', i.name, 'archived', i.archived, 'input_tokens', i.input_tokens, 'output_tokens', i.output_tokens, 'total_cost', i.total_cost
      ) order by i.total_cost desc)
      from (select * from public.agent_instances x where x.orchestrator_agent_id = o.id order by x.total_cost desc limit 100) i
    ), '[]'),
    'total_cost', o.total_cost + coalesce((select sum(i.total_cost) from public.agent_instances i where i.orchestrator_agent_id = o.id), 0), 'currency', 'US dollars'
  )
  from public.orchestrator_agents o
  where o.id = entry.orchestrator_agent_id;
$$;
comment on function private.tool_report_cost(private.orchestrator_tasks) is 'Tokens and cost of the orchestrator and its agents.';
revoke execute on function private.tool_report_cost(private.orchestrator_tasks) from public;

create function private.tool_read_system_logs(task public.tasks, role text, arguments jsonb) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
begin
  if private.role_rank(role) < private.role_rank('admin') then
    raise exception using errcode = '42501', message = 'not_allowed',
      detail = 'The person you work for is no admin, and only admins read the system log.', hint = 'Say so, and go on without it.';
  end if;
  return jsonb_build_object('entries', (
    select coalesce(jsonb_agg(jsonb_build_object('timestamp', l.timestamp, 'level', l.level, 'message', left(l.message, 500)) order by l.timestamp desc), '[]')
    from (
      select * from public.system_logs x
      where x.organization_slug = task.organization_slug and (arguments ->> 'level' is null or x.level = upper(arguments ->> 'level'))
      order by x.timestamp desc
      limit 20
    ) l
  ));
end;
$$;
comment on function private.tool_read_system_logs(public.tasks, text, jsonb) is 'The organization''s last 20 entries {level?} of system_logs, for admins. 42501 not_allowed.';
revoke execute on function private.tool_read_system_logs(public.tasks, text, jsonb) from public;

create function private.run_tool(entry private.orchestrator_tasks, task public.tasks, role text, name text, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_named constant boolean := name in ('interrupt_agent', 'archive_agent');
  v_instance public.agent_instances;
begin
  if v_named then
    v_instance := private.instance_by_name(entry, arguments ->> 'name');
  end if;
  case name
    when 'list_agents' then return private.tool_list_agents(entry, task);
    when 'create_agent' then return private.tool_create_agent(entry, task, arguments);
    when 'command_agent' then
      return jsonb_build_object(
        'task_id', private.command_by_name(entry, task, arguments ->> 'name', arguments ->> 'prompt', false),
        'note', 'It works by itself. Its answer comes to you as a message when it has ended; you need not wait or ask.'
      );
    when 'check_agent_status' then return private.tool_check_agent(entry, arguments ->> 'name');
    when 'interrupt_agent' then
      v_instance := private.interrupt_instance(v_instance, case when private.role_rank(role) < private.role_rank('admin') then task.user_id end, false);
      return jsonb_build_object('name', v_instance.name, 'status', v_instance.status);
    when 'archive_agent' then
      v_instance := private.archive_instance(v_instance, task.user_id, role, false);
      return jsonb_build_object('archived', v_instance.name, 'total_cost', v_instance.total_cost);
    when 'delegate_task' then return private.tool_delegate_task(task, arguments);
    when 'check_tasks' then return private.tool_check_tasks(entry, task);
    when 'read_agent_logs' then return private.tool_read_agent_logs(entry, arguments);
    when 'read_system_logs' then return private.tool_read_system_logs(task, role, arguments);
    when 'plan_project' then return private.tool_plan_project(entry, task, arguments);
    when 'report_cost' then return private.tool_report_cost(entry);
    when 'finish_job' then
      update private.orchestrator_tasks o set says_done = true where o.id = entry.id;
      return '{"noted": true}';
    else
      raise exception using errcode = '22023', message = 'tool_unknown', detail = format('There is no tool "%s".', left(name, 100)), hint = 'Use those you were given.';
  end case;
end;
$$;
comment on function private.run_tool(private.orchestrator_tasks, public.tasks, text, text, jsonb) is 'Does what a tool of a turn does, for a person with this role. Raises the refusals of each, and 22023 tool_unknown.';
revoke execute on function private.run_tool(private.orchestrator_tasks, public.tasks, text, text, jsonb) from public;

create function private.call_tool(entry private.orchestrator_tasks, task public.tasks, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_call_id constant text := arguments ->> 'call_id';
  v_name constant text := arguments ->> 'name';
  v_result jsonb;
  v_token text;
  v_detail text;
  v_hint text;
begin
  if entry.agent_instance_id is not null or length(coalesce(v_call_id, '')) not between 1 and 255 or jsonb_typeof(arguments -> 'arguments') is distinct from 'object' then
    raise exception using errcode = '22023', message = 'tool_unknown',
      detail = 'A tool is called by a turn, with call_id, name and arguments.', hint = 'Send {call_id, name, arguments}.';
  end if;
  select c.result into v_result from private.orchestrator_tool_calls c where c.turn_task_id = entry.task_id and c.call_id = v_call_id;
  if found then
    return v_result;
  end if;
  begin
    if (select count(*) from private.orchestrator_tool_calls c where c.turn_task_id = entry.task_id) >= private.setting_of(private.orchestrator_of(entry), 'max_tool_calls') then
      raise exception using errcode = 'PT429', message = 'too_many_calls',
        detail = format('The turn has made %s calls of tools.', private.setting_of(private.orchestrator_of(entry), 'max_tool_calls')), hint = 'Say what came of it so far.';
    end if;
    v_result := private.run_tool(entry, task, private.require_person(task.organization_slug, task.user_id), v_name, arguments -> 'arguments');
  exception
    -- What the person would be refused as well; the model hears of it.
    when data_exception or integrity_constraint_violation or insufficient_privilege or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT413' or sqlstate 'PT429' then
      get stacked diagnostics v_token = message_text, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
      v_result := jsonb_build_object('error', case
        when v_token ~ '^[a-z][a-z0-9_]{0,62}$' then jsonb_build_object('code', v_token, 'message', v_detail, 'hint', v_hint)
        else '{"code": "call_refused", "message": "The arguments break a rule."}'::jsonb
      end);
  end;
  insert into private.orchestrator_tool_calls (turn_task_id, call_id, name, result) values (entry.task_id, v_call_id, left(coalesce(v_name, ''), 100), v_result);
  return v_result;
end;
$$;
comment on function private.call_tool(private.orchestrator_tasks, public.tasks, jsonb) is
  'Calls a tool {call_id, name, arguments} of a turn, once for each call_id; a refusal is the result {error {code, message, hint}}.';
revoke execute on function private.call_tool(private.orchestrator_tasks, public.tasks, jsonb) from public;

-- For workers ----------------------------------------------------------------------------------------------------------------

create function private.orchestrator_history(entry private.orchestrator_tasks) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object('role', h.role, 'content', h.content) order by h.created_at, h.id), '[]')
  from (
    select m.id, m.created_at, case when m.sender_type = 'orchestrator' then 'assistant' else 'user' end as role,
      case when m.sender_type = 'agent' then format('[agent %s] ', m.metadata ->> 'agent') else '' end || left(m.content, 20000) as content,
      sum(least(octet_length(m.content), 20000)) over (order by m.created_at desc, m.id desc) as bytes
    from (
      select x.* from public.messages x
      where x.conversation_id = entry.conversation_id
        and x.created_at < coalesce((select n.created_at from public.messages n where n.id = entry.message_id), 'infinity')
        and (
          x.sender_type = 'user' and x.receiver_type = 'orchestrator' or x.sender_type = 'orchestrator' and x.receiver_type = 'user'
          or x.sender_type = 'agent' and x.receiver_type = 'orchestrator' and x.metadata ->> 'awaited' = 'false'
        )
      order by x.created_at desc, x.id desc
      limit 40
    ) m
  ) h
  where h.bytes <= 131072;
$$;
comment on function private.orchestrator_history(private.orchestrator_tasks) is
  'What was said between a person and the orchestrator, and to it by its agents, before the message that a turn answers: at most 40 messages and 128 KiB.';
revoke execute on function private.orchestrator_history(private.orchestrator_tasks) from public;

create function private.begin_orchestration(entry private.orchestrator_tasks) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'orchestrator', jsonb_build_object(
      'id', o.id, 'system_prompt', o.system_prompt, 'archived', o.archived, 'max_tool_calls', private.setting_of(o, 'max_tool_calls'),
      'max_cost', private.setting_of(o, 'max_cost')
    ),
    'instance', (
      select jsonb_build_object('id', i.id, 'name', i.name, 'agent_slug', i.agent_slug, 'model', i.model, 'system_prompt', i.system_prompt, 'archived', i.archived)
      from public.agent_instances i where i.id = entry.agent_instance_id
    ),
    'session', jsonb_build_object(
      'summary', (select s.summary from private.agent_sessions s where s.agent_instance_id = entry.agent_instance_id),
      'entries', (
        select coalesce(jsonb_agg(jsonb_build_object('prompt', e.prompt, 'response', e.response, 'messages', e.messages) order by e.id), '[]')
        from private.agent_session_entries e where e.agent_instance_id = entry.agent_instance_id
      )
    ),
    'history', case when entry.agent_instance_id is null then private.orchestrator_history(entry) else '[]' end,
    'transcript', entry.transcript, 'entries', entry.entries,
    'billed', (
      select jsonb_build_object(
        'input_tokens', coalesce(sum(u.input_tokens), 0), 'output_tokens', coalesce(sum(u.output_tokens), 0), 'cached_tokens', coalesce(sum(u.cached_tokens), 0)
      )
      from public.usage_events u where u.task_id = entry.task_id
    )
  )
  from public.orchestrator_agents o
  where o.id = entry.orchestrator_agent_id;
$$;
comment on function private.begin_orchestration(private.orchestrator_tasks) is 'What a worker needs to begin a turn or a command, or to go on with it; see call_orchestrator.';
revoke execute on function private.begin_orchestration(private.orchestrator_tasks) from public;

create function private.keep_transcript(entry private.orchestrator_tasks, transcript jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if jsonb_typeof(transcript -> 'messages') is distinct from 'array' or octet_length(transcript::text) > 8388608 then
    raise exception using errcode = 'PT413', message = 'transcript_too_large',
      detail = 'A transcript is {messages, used} of at most 8388608 bytes.', hint = 'End the attempt.';
  end if;
  update private.orchestrator_tasks o set transcript = keep_transcript.transcript where o.id = entry.id;
  return 'true';
end;
$$;
comment on function private.keep_transcript(private.orchestrator_tasks, jsonb) is 'Keeps what was said so far, for the next attempt or the session. PT413 transcript_too_large.';
revoke execute on function private.keep_transcript(private.orchestrator_tasks, jsonb) from public;

create function private.take_agent_logs(entry private.orchestrator_tasks, run_id uuid, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_number constant integer := (arguments ->> 'number')::integer;
  v_known constant integer := case when entry.log_run = take_agent_logs.run_id then entry.log_number else 0 end;
  v_new jsonb;
begin
  if jsonb_typeof(arguments -> 'entries') is distinct from 'array' or jsonb_array_length(arguments -> 'entries') > 500 or v_number is null then
    raise exception using errcode = '22023', message = 'log_entries_invalid',
      detail = 'There are no entries, or more than 500.', hint = 'Send {number, entries: [{event_category, event_type, content?, payload?}]}.';
  end if;
  select jsonb_agg(e.entry order by e.place) into v_new
  from jsonb_array_elements(arguments -> 'entries') with ordinality e (entry, place)
  where v_number + e.place - 1 > v_known;
  if v_new is not null and entry.entries < 20000 then
    perform private.add_agent_logs(entry, v_new);
    update private.orchestrator_tasks o
    set log_run = take_agent_logs.run_id, log_number = v_number + jsonb_array_length(arguments -> 'entries') - 1
    where o.id = entry.id;
  end if;
  return 'true';
end;
$$;
comment on function private.take_agent_logs(private.orchestrator_tasks, uuid, jsonb) is
  'Appends to the log of a task; number is that of the first entry in this run, from 1, so that what was sent before is left out. 22023 log_entries_invalid.';
revoke execute on function private.take_agent_logs(private.orchestrator_tasks, uuid, jsonb) from public;

create function private.call_orchestrator(task_id uuid, attempt integer, lease_token uuid, action text, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task constant public.tasks := private.hold_leased_task(call_orchestrator.task_id, call_orchestrator.attempt, call_orchestrator.lease_token);
  v_entry private.orchestrator_tasks;
begin
  select o.* into v_entry from private.orchestrator_tasks o where o.task_id = v_task.id for no key update;
  if v_entry.id is not null then
    case action
      when 'begin' then return private.begin_orchestration(v_entry);
      when 'save' then return private.keep_transcript(v_entry, arguments);
      when 'log' then return private.take_agent_logs(v_entry, v_task.lease_token, arguments);
      when 'tool' then return private.call_tool(v_entry, v_task, arguments);
      else null;
    end case;
  end if;
  raise exception using errcode = '22023', message = 'orchestrator_action_unknown',
    detail = format('Task %s is no turn or command, or "%s" is no action.', v_task.id, left(action, 100)), hint = 'Use begin, save, log or tool.';
end;
$$;
comment on function private.call_orchestrator(uuid, integer, uuid, text, jsonb) is 'Body of public.call_orchestrator.';
revoke execute on function private.call_orchestrator(uuid, integer, uuid, text, jsonb) from public;
grant execute on function private.call_orchestrator(uuid, integer, uuid, text, jsonb) to service_role;

create function public.call_orchestrator(task_id uuid, attempt integer, lease_token uuid, action text, arguments jsonb default '{}') returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.call_orchestrator(task_id, attempt, lease_token, action, arguments);
$$;
comment on function public.call_orchestrator(uuid, integer, uuid, text, jsonb) is
  'For the worker that holds a task of the method orchestrate or command_agent. action begin: {orchestrator, instance, session, history, transcript, billed, entries}; save {messages, used}: keeps the transcript; log {number, entries}: appends to agent_logs; tool {call_id, name, arguments}: what a tool of a turn answers, once for each call_id. Errors: PT409 lease_lost, 22023 orchestrator_action_unknown, tool_unknown, log_entries_invalid, PT413 transcript_too_large.';
revoke execute on function public.call_orchestrator(uuid, integer, uuid, text, jsonb) from public, anon, authenticated;
grant execute on function public.call_orchestrator(uuid, integer, uuid, text, jsonb) to service_role;

create function private.scoped_call_orchestrator(task_id uuid, attempt integer, lease_token uuid, action text, arguments jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return private.call_orchestrator(private.scoped_task(v_scope, task_id), attempt, lease_token, action, arguments);
end;
$$;
comment on function private.scoped_call_orchestrator(uuid, integer, uuid, text, jsonb) is 'Body of public.scoped_call_orchestrator.';
revoke execute on function private.scoped_call_orchestrator(uuid, integer, uuid, text, jsonb) from public;
grant execute on function private.scoped_call_orchestrator(uuid, integer, uuid, text, jsonb) to organization_worker;

create function public.scoped_call_orchestrator(task_id uuid, attempt integer, lease_token uuid, action text, arguments jsonb default '{}') returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_call_orchestrator(task_id, attempt, lease_token, action, arguments);
$$;
comment on function public.scoped_call_orchestrator(uuid, integer, uuid, text, jsonb) is
  'As call_orchestrator, for an organization''s own worker. Errors: PT401 worker_token_refused, PT409 lease_lost, also for tasks of others.';
revoke execute on function public.scoped_call_orchestrator(uuid, integer, uuid, text, jsonb) from public, anon, authenticated;
grant execute on function public.scoped_call_orchestrator(uuid, integer, uuid, text, jsonb) to organization_worker;

-- The system log -------------------------------------------------------------------------------------------------------------

create function private.write_system_logs(entries jsonb, organization_slug text) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_written integer;
begin
  if jsonb_typeof(entries) is distinct from 'array' or jsonb_array_length(entries) > 1000 then
    raise exception using errcode = '22023', message = 'log_entries_invalid',
      detail = 'There is no list of entries, or it has more than 1000.', hint = 'Send [{level, message, organization_slug?, file_path?, metadata?, timestamp?}].';
  end if;
  insert into public.system_logs (organization_slug, file_path, level, message, summary, metadata, timestamp)
  select coalesce(write_system_logs.organization_slug, o.slug), left(e.file_path, 1000),
    case when e.level in ('DEBUG', 'INFO', 'WARNING', 'ERROR') then e.level else 'ERROR' end, left(coalesce(e.message, ''), 10000),
    private.first_sentence(e.message),
    case when jsonb_typeof(e.metadata) = 'object' and octet_length(e.metadata::text) <= 65536 then e.metadata else '{}' end,
    least(coalesce(e.timestamp, clock_timestamp()), clock_timestamp())
  from jsonb_to_recordset(entries) e (level text, message text, organization_slug text, file_path text, metadata jsonb, timestamp timestamptz)
  left join public.organizations o on o.slug = e.organization_slug;
  get diagnostics v_written = row_count;
  return v_written;
end;
$$;
comment on function private.write_system_logs(jsonb, text) is 'Appends to system_logs, all of it for one organization where one is given; returns how many. 22023 log_entries_invalid.';
revoke execute on function private.write_system_logs(jsonb, text) from public;
grant execute on function private.write_system_logs(jsonb, text) to service_role;

create function public.write_system_logs(entries jsonb) returns integer
language sql volatile security invoker set search_path = ''
as $$
  select private.write_system_logs(entries, null);
$$;
comment on function public.write_system_logs(jsonb) is
  'For workers: appends entries [{level, message, organization_slug?, file_path?, metadata?, timestamp?}], at most 1000, to system_logs; one whose organization is unknown is the platform''s. Returns how many. Errors: 22023 log_entries_invalid.';
revoke execute on function public.write_system_logs(jsonb) from public, anon, authenticated;
grant execute on function public.write_system_logs(jsonb) to service_role;

create function private.scoped_write_system_logs(entries jsonb) returns integer
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_scope constant text := private.worker_scope();
begin
  return private.write_system_logs(entries, v_scope);
end;
$$;
comment on function private.scoped_write_system_logs(jsonb) is 'Body of public.scoped_write_system_logs.';
revoke execute on function private.scoped_write_system_logs(jsonb) from public;
grant execute on function private.scoped_write_system_logs(jsonb) to organization_worker;

create function public.scoped_write_system_logs(entries jsonb) returns integer
language sql volatile security invoker set search_path = ''
as $$
  select private.scoped_write_system_logs(entries);
$$;
comment on function public.scoped_write_system_logs(jsonb) is 'As write_system_logs, for an organization''s own worker: all of it is its organization''s. Errors: PT401 worker_token_refused, 22023 log_entries_invalid.';
revoke execute on function public.scoped_write_system_logs(jsonb) from public, anon, authenticated;
grant execute on function public.scoped_write_system_logs(jsonb) to organization_worker;

-- Live updates -----------------------------------------------------------------------------------------------------------------
-- orchestrator:<id>, which every member of its organization may join, hears of the orchestrator and its agents. What is said to and by
-- the orchestrator itself goes to whoever may read the task. As in migration 34: ids and states, no bodies.

create function private.broadcast_orchestrator_agents() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('orchestrator_agents', tg_op, array_agg('orchestrator:' || n.id order by n.id), array_agg(jsonb_build_object(
    'id', n.id, 'organization_slug', n.organization_slug, 'status', n.status, 'archived', n.archived, 'input_tokens', n.input_tokens,
    'output_tokens', n.output_tokens, 'total_cost', n.total_cost, 'updated_at', n.updated_at
  ) order by n.id))
  from new_rows n
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'orchestrator_agents were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_orchestrator_agents() is 'After inserts and updates: tells whoever has joined the orchestrator''s topic.';
revoke execute on function private.broadcast_orchestrator_agents() from public;

create function private.broadcast_agent_instances() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('agent_instances', tg_op, array_agg('orchestrator:' || n.orchestrator_agent_id order by n.id), array_agg(jsonb_build_object(
    'id', n.id, 'orchestrator_agent_id', n.orchestrator_agent_id, 'name', n.name, 'agent_slug', n.agent_slug, 'status', n.status, 'archived', n.archived,
    'input_tokens', n.input_tokens, 'output_tokens', n.output_tokens, 'total_cost', n.total_cost, 'updated_at', n.updated_at
  ) order by n.id))
  from new_rows n
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'agent_instances were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_agent_instances() is 'After inserts and updates: tells whoever has joined the orchestrator''s topic.';
revoke execute on function private.broadcast_agent_instances() from public;

create function private.broadcast_prompts() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('prompts', tg_op, array_agg(r.topic), array_agg(r.record))
  from (
    select s.topic, jsonb_build_object(
      'id', n.id, 'orchestrator_agent_id', n.orchestrator_agent_id, 'agent_id', n.agent_id, 'task_id', n.task_id, 'task_slug', n.task_slug,
      'author', n.author, 'timestamp', n.timestamp
    ) as record
    from new_rows n
    cross join lateral (
      select 'orchestrator:' || n.orchestrator_agent_id as topic where n.agent_id is not null
      union all
      select t.topic from private.task_topics(array[n.task_id]) t where n.agent_id is null
    ) s
    order by n.timestamp, n.id
  ) r
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'prompts were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_prompts() is 'After inserts: tells of prompts to agents on the orchestrator''s topic, of those to the orchestrator itself whoever may read the task.';
revoke execute on function private.broadcast_prompts() from public;

create function private.broadcast_agent_logs() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform private.broadcast('agent_logs', tg_op, array_agg(r.topic), array_agg(r.record))
  from (
    select s.topic, jsonb_build_object(
      'id', n.id, 'agent_id', n.agent_id, 'orchestrator_agent_id', n.orchestrator_agent_id, 'task_id', n.task_id, 'task_slug', n.task_slug,
      'entry_index', n.entry_index, 'event_category', n.event_category, 'event_type', n.event_type, 'timestamp', n.timestamp
    ) as record
    from new_rows n
    cross join lateral (
      select 'orchestrator:' || i.orchestrator_agent_id as topic from public.agent_instances i where i.id = n.agent_id
      union all
      select t.topic from private.task_topics(array[n.task_id]) t where n.agent_id is null
    ) s
    order by n.task_id, n.entry_index
  ) r
  having count(*) > 0;
  return null;
exception
  when others then
    raise warning 'agent_logs were not broadcast: %', sqlerrm;
    return null;
end;
$$;
comment on function private.broadcast_agent_logs() is 'After inserts: tells of entries of agents on the orchestrator''s topic, of the orchestrator''s own whoever may read the task. Contents are read from the table.';
revoke execute on function private.broadcast_agent_logs() from public;

select private.enable_realtime();
