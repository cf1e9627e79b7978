-- Tasks: the one durable queue. A member inserts a row; a worker claims it, and its functions (claim_tasks, complete_tasks, …)
-- move it on. The moves, and what each implies for lease, times and progress, stand in one trigger here: private.guard_task.
-- Over 400 lines, because the table, what may enter it, the state machine and its two member functions are one subject.
-- Lock order everywhere: task, then what hangs on it, conversations last and in the order of their ids.

create table public.task_methods (
  name text primary key,
  description text not null,
  needs_agent boolean not null default true,
  is_internal boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint name_is_snake_case check (name ~ '^[a-z][a-z0-9_]{0,62}$')
);
create trigger set_updated_at before update on public.task_methods
for each row execute function public.set_updated_at();

comment on table public.task_methods is 'What a task may ask for; each name has a handler in a worker. Operators add rows for handlers of their own.';
comment on column public.task_methods.is_internal is
  'True: only the database makes such tasks, by its triggers and functions. They are hidden from clients, and free of limits and budgets.';

alter table public.task_methods enable row level security;
revoke all on public.task_methods from anon, authenticated, service_role;
grant select on public.task_methods to authenticated;
grant select, insert, update, delete on public.task_methods to service_role;
create policy "Everybody signed in reads methods" on public.task_methods for select to authenticated using (true);

insert into public.task_methods (name, description) values
('process', 'Run the agent on the prompt and keep the result as a version of a deliverable.'),
('converse', 'Run the agent on the prompt and answer in the conversation; no deliverable.');

-- Table --------------------------------------------------------------------------------------------------------------

create table public.tasks (
  -- What changes while it runs stands first: reading a column passes over those before it.
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
  status text not null default 'pending',
  attempt integer not null default 0,
  max_attempts integer not null default 3,
  progress integer not null default 0,
  progress_message text,
  error_code text,
  worker_id text,
  lease_token uuid,
  lease_expires_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  paused_at timestamptz,
  timeout_seconds integer not null default 300,
  method text not null,
  agent_slug text references public.agents (slug) on delete set null,
  concurrency_key text,
  concurrency_limit integer not null default 1,
  priority integer not null default 100,
  scheduled_at timestamptz not null default now(),
  agent_conversation_id uuid references public.agent_conversations (id) on delete set null,
  agent_name text,
  prompt text not null,
  params jsonb not null default '{}',
  response text,
  response_metadata jsonb not null default '{}',
  evaluation jsonb not null default '{}',
  llm_metadata jsonb not null default '{}',
  error_message text,
  error_data jsonb,
  metadata jsonb not null default '{}',
  deliverable_type text not null default 'text',
  deliverable_metadata jsonb not null default '{}',
  backoff interval not null default '5 seconds',
  idempotency_key text,
  parent_task_id uuid references public.tasks (id) on delete set null,
  project_step_id uuid,
  execution_id uuid,
  trace_context text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('pending', 'in_progress', 'paused', 'completed', 'failed', 'cancelled', 'timeout', 'rejected')),
  constraint response_metadata_is_an_object check (jsonb_typeof(response_metadata) = 'object'),
  constraint llm_metadata_is_an_object check (jsonb_typeof(llm_metadata) = 'object'),
  constraint progress_is_a_percentage check (progress between 0 and 100),
  constraint timeout_is_between_a_second_and_a_day check (timeout_seconds between 1 and 86400),
  constraint concurrency_limit_is_small check (concurrency_limit between 1 and 1000),
  constraint max_attempts_is_small check (max_attempts between 1 and 1000),
  constraint scheduled_at_is_finite check (isfinite(scheduled_at)),
  constraint attempt_is_within_max_attempts check (attempt between 0 and max_attempts),
  constraint pending_tasks_have_an_attempt_left check (status <> 'pending' or attempt < max_attempts),
  constraint backoff_is_at_most_an_hour check (backoff between interval '0' and interval '1 hour'),
  constraint lease_matches_in_progress check (
    (status = 'in_progress') = (lease_token is not null) and (lease_token is null) = (lease_expires_at is null)
    and (status <> 'in_progress' or (worker_id is not null and started_at is not null))
  ),
  constraint completed_at_matches_final_status
    check ((completed_at is not null) = (status in ('completed', 'failed', 'cancelled', 'timeout', 'rejected'))),
  constraint completed_means_whole check (status <> 'completed' or progress = 100),
  constraint failures_have_an_error_code check (status not in ('failed', 'timeout', 'rejected') or error_code is not null),
  constraint error_code_is_snake_case check (error_code ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint trace_context_is_a_traceparent check (trace_context ~ '^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$')
) with (fillfactor = 40);
-- Room in the page for the row of a claim and of an end: all that stands on a page is often claimed in one transaction.

-- No index names a column that changes while a task runs, so that its updates stay within their page (HOT) and write to no index.
-- What is asked by state is answered by private.live_tasks.

do $$
begin
  -- Keys in the order of time keep inserts together in the indexes; Postgres has them from 18 on.
  if to_regprocedure('pg_catalog.uuidv7()') is not null then
    execute 'alter table public.tasks alter column id set default uuidv7()';
  end if;
end
$$;

-- A user's newest tasks, all or of one state.
create index tasks_user_recent_idx on public.tasks (user_id, created_at desc);
-- An organization's newest tasks, as its admins list them.
create index tasks_organization_recent_idx on public.tasks (organization_slug, created_at desc);
-- The tasks of a conversation.
create index tasks_conversation_idx on public.tasks (agent_conversation_id, created_at) where agent_conversation_id is not null;
-- Activity of an agent (foreign key).
create index tasks_agent_idx on public.tasks (agent_slug, created_at desc);
-- Children of a task (foreign key).
create index tasks_parent_idx on public.tasks (parent_task_id) where parent_task_id is not null;
-- One task per key: insert with ?on_conflict=organization_slug,idempotency_key and Prefer: resolution=ignore-duplicates.
create unique index tasks_idempotency_idx on public.tasks (organization_slug, idempotency_key);

-- Triggers: what comes in ----------------------------------------------------------------------------------------------

create function private.check_task_input(task public.tasks) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if task.prompt is null or btrim(task.prompt, e' \t\r\n') = '' then
    raise exception using errcode = '22023', message = 'prompt_empty',
      detail = 'A task needs a prompt.', hint = 'Send what the agent should do in "prompt".';
  end if;
  if octet_length(task.prompt) > 1048576 then
    raise exception using errcode = 'PT413', message = 'prompt_too_large',
      detail = format('The prompt has %s bytes; at most 1048576 are allowed.', octet_length(task.prompt)),
      hint = 'Shorten it, or put the material where the agent can fetch it and send a reference.';
  end if;
  if jsonb_typeof(task.params) is distinct from 'object' then
    raise exception using errcode = '22023', message = 'params_not_an_object',
      detail = format('params is %s.', coalesce(jsonb_typeof(task.params), 'null')), hint = 'Send a JSON object, e.g. {"topic": "tide pools"}.';
  end if;
  if octet_length(task.params::text) > 1048576 then
    raise exception using errcode = 'PT413', message = 'params_too_large',
      detail = format('params has %s bytes; at most 1048576 are allowed.', octet_length(task.params::text)), hint = 'Send references instead of contents.';
  end if;
end;
$$;
comment on function private.check_task_input(public.tasks) is 'Refuses an empty or huge prompt and params that are no object or huge, with 22023 or PT413.';
revoke execute on function private.check_task_input(public.tasks) from public;
grant execute on function private.check_task_input(public.tasks) to authenticated, service_role;

create function private.method_is_internal(method text) returns boolean
language plpgsql stable security invoker set search_path = ''
as $$
begin
  return exists (select from public.task_methods m where m.name = method_is_internal.method and m.is_internal);
end;
$$;
comment on function private.method_is_internal(text) is 'Whether only the database makes tasks of this method.';
revoke execute on function private.method_is_internal(text) from public;
grant execute on function private.method_is_internal(text) to authenticated, service_role;

create function private.check_method(method text) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if not exists (select from public.task_methods m where m.name = check_method.method and not m.is_internal) then
    raise exception using errcode = '22023', message = 'unknown_method',
      detail = format('"%s" is not a method.', coalesce(check_method.method, '')),
      hint = 'Use one of: ' || (select string_agg(m.name, ', ' order by m.name) from public.task_methods m where not m.is_internal) || '.';
  end if;
end;
$$;
comment on function private.check_method(text) is 'Refuses a method that task_methods does not have, or that is the database''s own, with 22023 unknown_method.';
revoke execute on function private.check_method(text) from public;
grant execute on function private.check_method(text) to authenticated, service_role;

create table private.spent_budgets (
  organization_slug text primary key references public.organizations (slug) on delete cascade,
  until timestamptz not null
);
comment on table private.spent_budgets is 'Organizations of which nothing is claimed and no task is taken in, until the month ends.';
revoke all on private.spent_budgets from anon, authenticated, service_role;
grant select, insert, delete on private.spent_budgets to service_role;
grant select on private.spent_budgets to authenticated; -- for private.check_budget; the schema is not exposed

create function private.check_budget(organization_slug text) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_until timestamptz;
begin
  select s.until into v_until from private.spent_budgets s
  where s.organization_slug = check_budget.organization_slug and s.until > private.clock();
  if found then
    raise exception using errcode = 'PT429', message = 'budget_spent',
      detail = format('Organization "%s" has spent what it may this month; the next begins at %s.', organization_slug, to_char(v_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
      hint = format('Wait until %s, or have an admin raise settings.limits.max_monthly_cost (set_organization_limits).', to_char(v_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
  end if;
end;
$$;
comment on function private.check_budget(text) is 'Raises PT429 budget_spent while the budget of the organization is spent. Called before a task is inserted, once for the rows of a statement that are alike.';
revoke execute on function private.check_budget(text) from public;
grant execute on function private.check_budget(text) to authenticated, service_role;

create function private.trace_context_below(parent_task_id uuid) returns text
language sql stable security invoker set search_path = ''
as $$
  -- A run's span is named by the end of its id, a trace that nobody named by its first task: workers say the same.
  select '00-' || coalesce(substr(t.trace_context, 4, 32), replace(t.id::text, '-', '')) || '-' || right(replace(coalesce(t.lease_token, t.id)::text, '-', ''), 16)
    || '-' || coalesce(right(t.trace_context, 2), '01')
  from public.tasks t
  where t.id = trace_context_below.parent_task_id;
$$;
comment on function private.trace_context_below(uuid) is
  'The W3C traceparent of a task below another: the same trace, below the span of the run that goes on there. Null when the caller does not see the task.';
revoke execute on function private.trace_context_below(uuid) from public;
grant execute on function private.trace_context_below(uuid) to authenticated, service_role;

create function private.prepare_task() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_method public.task_methods;
  v_conversation public.agent_conversations;
  v_agent public.agents;
  v_alone constant boolean := new.agent_conversation_id is null and new.parent_task_id is null and not new.deliverable_metadata ? 'deliverable_id';
  v_asked text;
  v_prepared text;
begin
  -- Made by the engine of projects (private.start_steps), which has looked at all of it, in the middle of whoever's statement.
  if new.project_step_id is not null then
    if current_user::regrole = (select c.relowner from pg_catalog.pg_class c where c.oid = tg_relid) then
      return new;
    end if;
  end if;
  -- Rows of one statement that ask for the same are looked up once: the last answer is kept until the statement ends.
  if v_alone then
    v_asked := row(
      statement_timestamp(), current_setting('role', true), current_setting('request.jwt.claims', true),
      new.user_id, new.organization_slug, new.agent_slug, new.agent_name, new.method
    )::text;
    if v_asked = current_setting('orchestrator.prepared_for', true) then
      if btrim(new.prompt, e' \t\r\n') = '' or octet_length(new.prompt) > 1048576 or new.params <> '{}' then
        perform private.check_task_input(new);
      end if;
      v_prepared := current_setting('orchestrator.prepared_task');
      new.organization_slug := split_part(v_prepared, chr(30), 1);
      new.agent_slug := nullif(split_part(v_prepared, chr(30), 2), '');
      new.agent_name := nullif(split_part(v_prepared, chr(30), 3), '');
      return new;
    end if;
  end if;
  -- Made in one of our functions, in the middle of somebody else's statement; as a caller everybody is told that there is no such method.
  select m.* into v_method from public.task_methods m where m.name = new.method;
  if v_method.is_internal or new.method = 'sync_repository' then
    if current_user::regrole = (select c.relowner from pg_catalog.pg_class c where c.oid = tg_relid) then
      return new;
    end if;
  end if;
  perform private.require_own_user_id(new.user_id);
  perform private.check_task_input(new);
  if v_method.is_internal is distinct from false then
    perform private.check_method(new.method);
  end if;
  if new.agent_conversation_id is not null then
    select c.* into v_conversation from public.agent_conversations c where c.id = new.agent_conversation_id;
    if not found or v_conversation.organization_slug <> coalesce(new.organization_slug, v_conversation.organization_slug)
      -- An admin reads the conversations of others, but does not speak in them.
      or private.is_client() and v_conversation.user_id <> new.user_id and v_conversation.id not in (select private.my_shared_conversations()) then
      raise exception using errcode = 'PT404', message = 'conversation_not_found',
        detail = format('You have no conversation %s in this organization.', new.agent_conversation_id),
        hint = 'Create one in agent_conversations, or leave agent_conversation_id out.';
    end if;
    if v_conversation.status <> 'active' then
      raise exception using errcode = 'PT409', message = 'conversation_not_active',
        detail = format('Conversation %s is %s.', v_conversation.id, v_conversation.status), hint = 'Set its status to active, or begin another.';
    end if;
  end if;
  new.organization_slug := private.my_organization_or_default(coalesce(new.organization_slug, v_conversation.organization_slug));
  perform private.check_budget(new.organization_slug);
  if new.parent_task_id is not null and not exists (
    select from public.tasks p where p.id = new.parent_task_id and p.organization_slug = new.organization_slug
  ) then
    raise exception using errcode = 'PT404', message = 'parent_task_not_found',
      detail = format('You have no task %s in organization "%s".', new.parent_task_id, new.organization_slug), hint = 'Leave parent_task_id out, or correct it.';
  end if;
  if new.parent_task_id is not null and new.trace_context is null then
    new.trace_context := private.trace_context_below(new.parent_task_id);
  end if;
  if new.deliverable_metadata ->> 'deliverable_id' is not null and not exists (
    select from public.deliverables d
    where d.id = private.uuid_or_null(new.deliverable_metadata ->> 'deliverable_id') and d.user_id = new.user_id and d.organization_slug = new.organization_slug
  ) then
    raise exception using errcode = 'PT404', message = 'deliverable_not_found',
      detail = format('You have no deliverable "%s" in organization "%s".', new.deliverable_metadata ->> 'deliverable_id', new.organization_slug),
      hint = 'Leave deliverable_metadata.deliverable_id out for a new deliverable.';
  end if;
  new.agent_slug := coalesce(new.agent_slug, v_conversation.agent_slug, private.agent_by_name(new.agent_name, new.organization_slug, new.user_id));
  if new.agent_slug is null and v_method.needs_agent then
    raise exception using errcode = '22023', message = 'agent_missing',
      detail = format('Method "%s" needs an agent, and neither the task nor its conversation names one.', new.method),
      hint = 'Send agent_slug, e.g. "blog-post-writer" (agent_name is looked up too).';
  end if;
  if new.agent_slug is not null then
    v_agent := private.usable_agent(new.agent_slug, new.organization_slug, new.user_id);
    new.agent_name := v_agent.name;
  end if;
  if v_alone then
    perform set_config('orchestrator.prepared_for', v_asked, true),
      set_config('orchestrator.prepared_task', concat_ws(chr(30), new.organization_slug, coalesce(new.agent_slug, ''), coalesce(new.agent_name, '')), true);
  end if;
  return new;
end;
$$;
comment on function private.prepare_task() is
  'Before insert: fills organization, agent and agent_name, and refuses what the caller may not use. Runs as the caller, so that RLS decides what exists.';
revoke execute on function private.prepare_task() from public;

create trigger prepare_task before insert on public.tasks
for each row execute function private.prepare_task();

-- Triggers: the state machine ------------------------------------------------------------------------------------------

create function private.guard_task() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if new.status = old.status then
    if old.completed_at is null then
      if new.progress < old.progress and new.attempt = old.attempt then
        new.progress := old.progress; -- progress does not fall within an attempt; a late report is not an error
      end if;
    elsif (new.response, new.response_metadata, new.llm_metadata, new.error_code, new.error_message, new.error_data, new.progress, new.attempt,
        new.started_at, new.completed_at, new.worker_id)
      is distinct from (old.response, old.response_metadata, old.llm_metadata, old.error_code, old.error_message, old.error_data, old.progress, old.attempt,
        old.started_at, old.completed_at, old.worker_id) then
      raise exception using errcode = 'PT409', message = 'task_finished',
        detail = format('Task %s is %s; its result does not change.', old.id, old.status), hint = 'Use retry_task, or insert a new task.';
    end if;
    return new;
  end if;
  if not (case old.status
    when 'pending' then new.status in ('in_progress', 'cancelled')
    when 'in_progress' then new.status in ('completed', 'failed', 'timeout', 'cancelled', 'rejected', 'paused', 'pending')
    when 'paused' then new.status in ('pending', 'cancelled', 'timeout')
    when 'failed' then new.status = 'pending'
    when 'timeout' then new.status = 'pending'
    when 'cancelled' then new.status = 'pending'
    else false -- completed and rejected are final
  end) then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Task %s is %s and cannot become %s.', old.id, old.status, new.status),
      hint = 'Read the task again; a finished one goes on only by retry_task, and completed and rejected never.';
  end if;
  -- What a state implies follows from it, whoever writes.
  if new.status = 'in_progress' then
    new.progress := 0;
    return new;
  end if;
  new.lease_token := null;
  new.lease_expires_at := null;
  new.completed_at := null;
  case new.status
    when 'pending' then
      new.progress := 0;
      if old.status = 'paused' then
        new.attempt := old.attempt - 1; -- going on after a pause is the same attempt
      end if;
    when 'paused' then
      new.paused_at := private.clock();
    else
      new.completed_at := private.clock();
      if new.status = 'completed' then
        new.progress := 100;
      end if;
  end case;
  return new;
end;
$$;
comment on function private.guard_task() is
  'The state machine of tasks, for every writer: legal moves, what each state implies (lease, completed_at, progress), and nothing finished changes.';
revoke execute on function private.guard_task() from public;

create function private.refuse_row() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  raise exception using errcode = '23514', message = 'value_refused', table = tg_table_name, constraint = tg_name,
    detail = format('A value breaks the rule "%s" of %s.', replace(tg_name, '_', ' '), tg_table_name), hint = 'Correct it and send it again.';
end;
$$;
comment on function private.refuse_row() is 'Before insert and update: refuses the row, as a check constraint of the trigger''s name would.';
revoke execute on function private.refuse_row() from public;

create function private.begin_in_first_state() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  raise exception using errcode = 'PT409', message = 'illegal_move',
    detail = format('A row of %s cannot begin as %s.', tg_table_name, to_jsonb(new) ->> 'status'), hint = 'Leave status out.';
end;
$$;
comment on function private.begin_in_first_state() is 'Before insert, on tables with a state machine: refuses a row that would begin in a later state.';
revoke execute on function private.begin_in_first_state() from public;

create trigger begin_in_first_state before insert on public.tasks
for each row when (new.status <> 'pending') execute function private.begin_in_first_state();

create function private.refuse_new_input() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if (new.id, new.organization_slug, new.user_id, new.method, new.prompt, new.params, new.created_at)
    is distinct from (old.id, old.organization_slug, old.user_id, old.method, old.prompt, old.params, old.created_at) then
    raise exception using errcode = 'PT409', message = 'task_input_is_fixed',
      detail = format('id, organization, user, method, prompt and params of task %s do not change.', old.id),
      hint = 'Cancel it and insert a new task.';
  end if;
  return new;
end;
$$;
comment on function private.refuse_new_input() is 'What was asked of a task never changes. Fires only when a statement names these columns, so that heartbeats do not read a large prompt.';
revoke execute on function private.refuse_new_input() from public;

create trigger refuse_new_input before update of id, organization_slug, user_id, method, prompt, params, created_at on public.tasks
for each row execute function private.refuse_new_input();
-- The tasks of project steps are checked where they are made (private.render_step).
create trigger check_new_json before insert on public.tasks
for each row
when (new.project_step_id is null and (new.params <> '{}' or new.metadata <> '{}' or new.evaluation <> '{}' or new.deliverable_metadata <> '{}'))
execute function private.check_json('params', 'metadata', 'evaluation', 'deliverable_metadata');
create trigger check_json before update of params, metadata, evaluation, deliverable_metadata on public.tasks
for each row
when (new.params <> '{}' or new.metadata <> '{}' or new.evaluation <> '{}' or new.deliverable_metadata <> '{}')
execute function private.check_json('params', 'metadata', 'evaluation', 'deliverable_metadata');
-- What is not large or changes with every claim is a check constraint; these rules are looked at only when their columns are written,
-- since a check is computed again for each new version of a row, and these would read all of its JSON.
create trigger metadata_is_a_small_object before insert or update of metadata on public.tasks
for each row when ((jsonb_typeof(new.metadata) = 'object' and octet_length(new.metadata::text) <= 262144) is false)
execute function private.refuse_row();
create trigger evaluation_is_a_small_object before insert or update of evaluation on public.tasks
for each row when ((jsonb_typeof(new.evaluation) = 'object' and octet_length(new.evaluation::text) <= 262144) is false)
execute function private.refuse_row();
create trigger deliverable_metadata_is_a_small_object before insert or update of deliverable_metadata on public.tasks
for each row when ((jsonb_typeof(new.deliverable_metadata) = 'object' and octet_length(new.deliverable_metadata::text) <= 262144) is false)
execute function private.refuse_row();
create trigger names_and_keys_are_short_and_not_blank before insert or update of agent_name, deliverable_type, idempotency_key, concurrency_key on public.tasks
for each row when ((
  length(new.agent_name) <= 255 and btrim(new.deliverable_type) <> '' and length(new.deliverable_type) <= 100
  and length(new.idempotency_key) <= 255 and btrim(new.idempotency_key) <> '' and length(new.concurrency_key) <= 255 and btrim(new.concurrency_key) <> ''
) is false)
execute function private.refuse_row();

-- Not for the moves of every task and for heartbeats, where the writer has set already what follows from them.
create trigger guard_task before update on public.tasks
for each row when (not (
  old.status = 'pending' and new.status = 'in_progress' and new.progress = 0
  or old.status = 'in_progress' and new.status = 'in_progress' and new.progress >= old.progress
  or old.status = 'in_progress' and new.status = 'completed' and new.progress = 100
  and new.completed_at is not null and new.lease_token is null and new.lease_expires_at is null
))
execute function private.guard_task();
-- Claims, heartbeats and completions set it themselves.
create trigger set_updated_at before update on public.tasks
for each row when (new.updated_at = old.updated_at) execute function public.set_updated_at();

comment on table public.tasks is 'The durable queue: everything a worker does is a task. Insert one with method, agent_slug and prompt, then follow task_events.';
comment on column public.tasks.trace_context is 'W3C traceparent of the trace that the task belongs to, given by the client or inherited from parent_task_id. Null: the task begins a trace of its own, whose id is the task''s.';
comment on column public.tasks.method is 'Names the worker''s handler; one of task_methods, checked on insert (a foreign key would cost the hot table an index).';
comment on column public.tasks.params is 'Structured input, checked with the prompt against the agent''s io_schema.input when the task runs.';
comment on column public.tasks.response_metadata is 'Written on completion; deliverable {id, version_number} where one was written.';
comment on column public.tasks.llm_metadata is '{provider, model, offline?, usage {input_tokens, output_tokens, cached_tokens, total_tokens, cost}, …}; cost in US dollars, null when the price is unknown.';
comment on column public.tasks.evaluation is 'The user''s own rating of the result; the only thing with metadata that a client changes.';
comment on column public.tasks.error_code is 'Stable token of the last failure, also while the task waits for its next attempt.';
comment on column public.tasks.started_at is 'When the current or last attempt began.';
comment on column public.tasks.paused_at is 'When it last paused to wait for a person; null when it never did.';
comment on column public.tasks.timeout_seconds is 'Time for one attempt.';
comment on column public.tasks.priority is 'Lower first, within the organization.';
comment on column public.tasks.scheduled_at is 'Not claimed before this time.';
comment on column public.tasks.attempt is 'Number of the current attempt, from 1; a task that was given back does not use one up.';
comment on column public.tasks.backoff is 'Wait before the second attempt; doubles with each further one, at most an hour.';
comment on column public.tasks.idempotency_key is 'Unique per organization: a repeated insert with the same key is refused (409) or ignored.';
comment on column public.tasks.concurrency_key is 'Of the tasks of an organization with the same key at most concurrency_limit run at once, in order of insertion.';
comment on column public.tasks.concurrency_limit is 'With 1, a task that failed keeps its place before the others of its key while it waits for its next attempt.';
comment on column public.tasks.worker_id is 'Who has, or last had, the task.';
comment on column public.tasks.lease_token is 'Fencing token of the current attempt: a write by a worker that does not name it changes nothing.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.tasks enable row level security;
revoke all on public.tasks from anon, authenticated, service_role;
grant select on public.tasks to authenticated;
grant insert (
  id, organization_slug, user_id, agent_conversation_id, agent_slug, agent_name, method, prompt, params, timeout_seconds, metadata,
  deliverable_type, deliverable_metadata, priority, scheduled_at, max_attempts, backoff, idempotency_key, concurrency_key, concurrency_limit, parent_task_id, trace_context
) on public.tasks to authenticated;
grant update (metadata, evaluation) on public.tasks to authenticated;
grant select, insert, update, delete on public.tasks to service_role;

create policy "Users, participants and admins read tasks" on public.tasks
for select to authenticated
using (
  (
    organization_slug = any (array(select private.my_organizations('viewer')))
    and (user_id = (select auth.uid()) or agent_conversation_id = any (array(select private.my_shared_conversations())))
    or organization_slug = any (array(select private.my_organizations('admin')))
  )
  -- Written so that the planner, who cannot know what the list holds, does not take the rows that are left for few.
  and case when method = any (array(select m.name from public.task_methods m where m.is_internal)) then false else true end
);

create policy "Members add tasks" on public.tasks
for insert to authenticated
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));

create policy "Users rate and annotate their own tasks" on public.tasks
for update to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))))
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));

create function private.cancel_tasks_of_member() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.tasks t set status = 'cancelled'
  where t.id in (
    select x.id from public.tasks x
    where x.id in (
      select l.task_id from private.live_tasks l
      where l.user_id = old.user_id and l.organization_slug = old.organization_slug and not private.method_is_internal(l.method)
    )
    order by x.id
    for update
  ) and t.status in ('pending', 'in_progress', 'paused');
  return null;
end;
$$;
comment on function private.cancel_tasks_of_member() is 'After a membership ends: what the member had in the queue is cancelled.';
revoke execute on function private.cancel_tasks_of_member() from public;

create trigger cancel_tasks_of_member after delete on public.organization_members
for each row execute function private.cancel_tasks_of_member();

-- Functions of members -------------------------------------------------------------------------------------------------

create function private.lock_own_task(task_id uuid) returns public.tasks
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task public.tasks;
begin
  select t.* into v_task
  from public.tasks t
  where t.id = lock_own_task.task_id
    and (
      not private.is_client()
      or t.user_id = (select auth.uid()) and t.organization_slug in (select private.my_organizations('member'))
      -- The database's own tasks run for somebody who is perhaps no admin any more.
      and not private.method_is_internal(t.method)
      or t.organization_slug in (select private.my_organizations('admin'))
    )
  for update of t;
  if not found then
    raise exception using errcode = 'PT404', message = 'task_not_found',
      detail = format('You have no task %s.', task_id), hint = 'Check the id; only a task''s user and the organization''s admins act on it.';
  end if;
  return v_task;
end;
$$;
comment on function private.lock_own_task(uuid) is 'Locks and returns a task the caller may act on (own, or admin of its organization); PT404 task_not_found otherwise.';
revoke execute on function private.lock_own_task(uuid) from public;

create function private.cancel_task(task_id uuid) returns public.tasks
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task public.tasks := private.lock_own_task(task_id);
begin
  if v_task.status in ('completed', 'failed', 'timeout', 'rejected') then
    raise exception using errcode = 'PT409', message = 'task_finished',
      detail = format('Task %s is %s.', v_task.id, v_task.status), hint = 'It is over: there is nothing to cancel.';
  end if;
  if v_task.status <> 'cancelled' then
    update public.tasks t set status = 'cancelled' where t.id = v_task.id returning t.* into v_task;
  end if;
  return v_task;
end;
$$;
comment on function private.cancel_task(uuid) is 'Body of public.cancel_task.';
revoke execute on function private.cancel_task(uuid) from public;
grant execute on function private.cancel_task(uuid) to authenticated, service_role;

create function public.cancel_task(task_id uuid) returns public.tasks
language sql volatile security invoker set search_path = ''
as $$
  select * from private.cancel_task(task_id);
$$;
comment on function public.cancel_task(uuid) is
  'Cancels a pending, running or paused task at once; what its worker writes afterwards is refused. Called again: the same row. Errors: PT404 task_not_found, PT409 task_finished.';
revoke execute on function public.cancel_task(uuid) from public, anon, authenticated;
grant execute on function public.cancel_task(uuid) to authenticated, service_role;

create function private.retry_task(task_id uuid) returns public.tasks
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task public.tasks := private.lock_own_task(task_id);
begin
  if v_task.status = 'pending' then
    return v_task;
  end if;
  if v_task.project_step_id is not null then
    raise exception using errcode = 'PT409', message = 'task_of_a_step',
      detail = format('Task %s is %s and belongs to step %s of a project, which may have gone on.', v_task.id, v_task.status, v_task.project_step_id),
      hint = format('Call retry_project_step with project_step_id %s: the step gets a new task.', v_task.project_step_id);
  end if;
  if v_task.status not in ('failed', 'timeout', 'cancelled') then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Task %s is %s and cannot be retried.', v_task.id, v_task.status),
      hint = 'Only failed, timed-out and cancelled tasks are retried; cancel a running one first, or insert a new task.';
  end if;
  if v_task.attempt >= 1000 then
    raise exception using errcode = 'PT409', message = 'attempts_used_up',
      detail = format('Task %s was tried %s times.', v_task.id, v_task.attempt), hint = 'Insert a new task.';
  end if;
  update public.tasks t
  set status = 'pending', scheduled_at = private.clock(), max_attempts = greatest(t.max_attempts, t.attempt + 1),
    error_code = null, error_message = null, error_data = null, progress_message = null
  where t.id = v_task.id
  returning t.* into v_task;
  return v_task;
end;
$$;
comment on function private.retry_task(uuid) is 'Body of public.retry_task.';
revoke execute on function private.retry_task(uuid) from public;
grant execute on function private.retry_task(uuid) to authenticated, service_role;

create function public.retry_task(task_id uuid) returns public.tasks
language sql volatile security invoker set search_path = ''
as $$
  select * from private.retry_task(task_id);
$$;
comment on function public.retry_task(uuid) is
  'Puts a failed, timed-out or cancelled task back into the queue for at least one more attempt. Called again while it waits: the same row. Errors: PT404 task_not_found, PT409 illegal_move when running, completed or rejected, PT409 attempts_used_up after a thousand.';
revoke execute on function public.retry_task(uuid) from public, anon, authenticated;
grant execute on function public.retry_task(uuid) to authenticated, service_role;
