-- Questions to people: an agent or a project step asks, the task pauses and holds no worker, one answer resumes it.
-- Over 400 lines, because a question, what its answer may be, the pause and how it ends are one subject.
-- Lock order: task, then its question, then its checkpoint.

create function private.json_matches(value jsonb, schema jsonb) returns boolean
language plpgsql immutable set search_path = ''
as $$
declare
  v_type constant text := jsonb_typeof(value);
  v_number constant numeric := case when jsonb_typeof(value) = 'number' then (value #>> '{}')::numeric end;
  v_text constant text := case when jsonb_typeof(value) = 'string' then value #>> '{}' end;
begin
  if schema in ('true', 'false') then
    return schema = 'true';
  end if;
  return (not schema ? 'type' or exists (
      select from jsonb_array_elements_text(case jsonb_typeof(schema -> 'type') when 'array' then schema -> 'type' else jsonb_build_array(schema -> 'type') end) t (name)
      where t.name = v_type or t.name = 'integer' and v_number = trunc(v_number)
    ))
    -- Containment is equality for scalars, and quick; lists and objects are compared whole.
    and (not schema ? 'enum' or schema -> 'enum' @> jsonb_build_array(value)
      and (v_type not in ('array', 'object') or exists (select from jsonb_array_elements(schema -> 'enum') e (item) where e.item = value)))
    and coalesce(schema -> 'const' = value, true)
    and coalesce(v_number >= (schema ->> 'minimum')::numeric, true)
    and coalesce(v_number <= (schema ->> 'maximum')::numeric, true)
    and coalesce(length(v_text) >= (schema ->> 'minLength')::integer, true)
    and coalesce(length(v_text) <= (schema ->> 'maxLength')::integer, true)
    and (v_type <> 'array' or (
      jsonb_array_length(value) between coalesce((schema ->> 'minItems')::integer, 0) and coalesce((schema ->> 'maxItems')::integer, 2147483647)
      and not exists (
        select from jsonb_array_elements(value) e (item) where schema ? 'items' and not private.json_matches(e.item, schema -> 'items')
      )
    ))
    and (v_type <> 'object' or (
      not exists (select from jsonb_array_elements_text(schema -> 'required') r (name) where not value ? r.name)
      and not exists (
        select from jsonb_each(value) e
        where not private.json_matches(e.value, coalesce(schema -> 'properties' -> e.key, schema -> 'additionalProperties', 'true'))
      )
    ));
end;
$$;
comment on function private.json_matches(jsonb, jsonb) is
  'Whether a value fits a JSON Schema made of type, enum, const, minimum, maximum, minLength, maxLength, items, minItems, maxItems, required, properties, additionalProperties; private.answer_schema_is_valid lets in no other.';
revoke execute on function private.json_matches(jsonb, jsonb) from public;
grant execute on function private.json_matches(jsonb, jsonb) to authenticated, service_role;

create function private.answer_schema_is_valid(schema jsonb, depth integer default 0) returns boolean
language plpgsql immutable set search_path = ''
as $$
begin
  if schema in ('true', 'false') then
    return true;
  end if;
  return coalesce(
    depth < 20 and jsonb_typeof(schema) = 'object'
    and not exists (
      select from jsonb_each(schema) k
      where not case
        when k.key in ('title', 'description', 'default', 'examples', 'const', '$schema') then true
        when k.key = 'type' then
          case when jsonb_typeof(k.value) = 'array' then k.value else jsonb_build_array(k.value) end
          <@ '["string", "number", "integer", "boolean", "object", "array", "null"]' and k.value <> '[]'
        when k.key = 'enum' then jsonb_typeof(k.value) = 'array'
        when k.key = 'required' then jsonb_typeof(k.value) = 'array' and not exists (
          select from jsonb_array_elements(case when jsonb_typeof(k.value) = 'array' then k.value else '[]' end) r (name) where jsonb_typeof(r.name) <> 'string'
        )
        when k.key in ('minimum', 'maximum') then jsonb_typeof(k.value) = 'number'
        when k.key in ('minLength', 'maxLength', 'minItems', 'maxItems') then k.value::text ~ '^\d{1,9}$'
        when k.key in ('items', 'additionalProperties') then private.answer_schema_is_valid(k.value, depth + 1)
        when k.key = 'properties' then jsonb_typeof(k.value) = 'object' and not exists (
          select from jsonb_each(case when jsonb_typeof(k.value) = 'object' then k.value else '{}' end) p
          where not private.answer_schema_is_valid(p.value, depth + 1)
        )
        else false
      end
    ), false);
end;
$$;
comment on function private.answer_schema_is_valid(jsonb, integer) is 'True for a schema that private.json_matches understands wholly, at most 20 levels deep.';
revoke execute on function private.answer_schema_is_valid(jsonb, integer) from public;
grant execute on function private.answer_schema_is_valid(jsonb, integer) to authenticated, service_role;

-- Table --------------------------------------------------------------------------------------------------------------

create table public.input_requests (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  task_id uuid references public.tasks (id) on delete cascade,
  run_id uuid references public.runs (id) on delete set null,
  step_id uuid,
  project_step_id uuid,
  execution_id uuid,
  request_type text not null default 'input',
  prompt text not null,
  schema jsonb not null default '{}',
  status text not null default 'pending',
  response jsonb,
  responded_by uuid references public.users (id) on delete set null,
  required_role text not null default 'member',
  requested_at timestamptz not null default now(),
  responded_at timestamptz,
  expires_at timestamptz,
  on_expiry text not null default 'fail',
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint request_type_is_known check (request_type in ('approval', 'input', 'choice')),
  constraint status_is_known check (status in ('pending', 'answered', 'expired', 'cancelled')),
  constraint answered_means_response check ((status = 'answered') = (response is not null) and (status = 'answered') = (responded_at is not null)),
  constraint required_role_is_known check (required_role in ('member', 'developer', 'admin', 'owner')),
  constraint on_expiry_is_known check (on_expiry in ('fail', 'resume', 'skip', 'approve')),
  constraint prompt_is_not_blank check (btrim(prompt, e' \t\r\n') <> '' and octet_length(prompt) <= 262144),
  constraint schema_is_one_that_answers_are_checked_with check (private.answer_schema_is_valid(schema) and pg_column_size(schema) <= 262144),
  constraint response_is_not_huge check (pg_column_size(response) <= 1048576),
  constraint metadata_is_a_small_object check (jsonb_typeof(metadata) = 'object' and pg_column_size(metadata) <= 262144)
);

create table private.task_checkpoints (
  task_id uuid primary key references public.tasks (id) on delete cascade,
  checkpoint jsonb not null,
  created_at timestamptz not null default now(),
  constraint checkpoint_is_an_object_of_at_most_a_mebibyte check (jsonb_typeof(checkpoint) = 'object' and pg_column_size(checkpoint) <= 1048576)
);

-- The question a task waits for, and only one.
create unique index input_requests_pending_idx on public.input_requests (task_id) where status = 'pending';
-- An organization's open questions (policies, foreign key).
create index input_requests_organization_idx on public.input_requests (organization_slug, status, requested_at desc);
-- All questions of a task (foreign key).
create index input_requests_task_idx on public.input_requests (task_id, requested_at);
-- Questions that expire.
create index input_requests_expiry_idx on public.input_requests (expires_at) where status = 'pending';
-- Foreign keys.
create index input_requests_run_idx on public.input_requests (run_id);
create index input_requests_responded_by_idx on public.input_requests (responded_by);

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger check_json before insert or update of schema, metadata, response on public.input_requests
for each row execute function private.check_json('schema', 'metadata', 'response');
create trigger check_json before insert or update on private.task_checkpoints
for each row execute function private.check_json('checkpoint');
create trigger set_updated_at before update on public.input_requests
for each row execute function public.set_updated_at();

create function private.guard_input_request() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_moves constant text[] := case old.status
    when 'pending' then array['answered', 'expired', 'cancelled']
    else array[]::text[] -- answered, expired and cancelled are final
  end;
begin
  if new.status is distinct from old.status and new.status <> all (v_moves)
    or old.status <> 'pending' and (new.response, new.responded_at) is distinct from (old.response, old.responded_at)
    -- Null when the account is deleted (foreign key).
    or old.status <> 'pending' and new.responded_by is not null and new.responded_by is distinct from old.responded_by then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Input request %s is %s and cannot become %s.', old.id, old.status, new.status),
      hint = 'A question is answered once.';
  end if;
  return new;
end;
$$;
comment on function private.guard_input_request() is 'The state machine of input requests, for every writer: pending -> answered | expired | cancelled, and then never again.';
revoke execute on function private.guard_input_request() from public;

create trigger guard_input_request before update on public.input_requests
for each row execute function private.guard_input_request();

create trigger begin_in_first_state before insert on public.input_requests
for each row when (new.status <> 'pending') execute function private.begin_in_first_state();

create function private.forget_pause() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.input_requests r set status = 'cancelled' where r.task_id = new.id and r.status = 'pending';
  delete from private.task_checkpoints k where k.task_id = new.id;
  return null;
end;
$$;
comment on function private.forget_pause() is 'After a task that has paused ends, by whatever hand: its open question is cancelled and its checkpoint is gone.';
revoke execute on function private.forget_pause() from public;

create trigger forget_pause after update on public.tasks
for each row when (new.paused_at is not null and new.completed_at is not null and old.completed_at is null)
execute function private.forget_pause();

comment on table public.input_requests is 'Questions of agents and steps to people, and their answers. Answered once, through respond_to_input_request.';
comment on column public.input_requests.schema is 'JSON Schema that the answer must fit; see private.json_matches for what it may say.';
comment on column public.input_requests.step_id is 'The run_steps row that asked.';
comment on column public.input_requests.execution_id is 'The workflow execution whose task or step asked; who started that reads its questions.';
comment on column public.input_requests.expires_at is 'Until when it may be answered; null for as long as the task waits.';
comment on column public.input_requests.on_expiry is
  'What becomes of the task or the project step when nobody answers in time. fail: it ends with error_code input_expired; resume (tasks): it goes on and sees the question as expired; skip, approve (steps): the step is skipped, or goes on as if approved.';
comment on column public.input_requests.required_role is 'Who may answer besides the task''s user: this role or higher. With developer or higher the user needs it too.';

comment on table private.task_checkpoints is
  'What a paused task needs in order to go on where it was, as its worker wrote it; handed out with every later attempt, gone when the task ends. Only servers see it.';

-- Protection ---------------------------------------------------------------------------------------------------------

revoke all on private.task_checkpoints from anon, authenticated, service_role;
grant select, insert, update, delete on private.task_checkpoints to service_role;
alter table public.input_requests enable row level security;
revoke all on public.input_requests from anon, authenticated, service_role;
grant select on public.input_requests to authenticated;
grant select, insert, update, delete on public.input_requests to service_role;

create function private.is_my_project_step(project_step_id uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
begin
  return exists (
    select from public.project_steps s join public.projects p on p.id = s.project_id
    where s.id = is_my_project_step.project_step_id and p.user_id = (select auth.uid())
  );
end;
$$;
comment on function private.is_my_project_step(uuid) is 'Whether a step belongs to a project of the caller.';
revoke execute on function private.is_my_project_step(uuid) from public;
grant execute on function private.is_my_project_step(uuid) to authenticated, service_role;

create policy "Whoever reads the task or has the role reads the question" on public.input_requests
for select to authenticated
using (
  exists (select from public.tasks t where t.id = task_id)
  or (task_id is null and organization_slug = any (array(select private.my_organizations('viewer'))) and private.is_my_project_step(project_step_id))
  or (required_role = 'developer' and organization_slug = any (array(select private.my_organizations('developer'))))
  or organization_slug = any (array(select private.my_organizations('admin')))
);

-- Asking -------------------------------------------------------------------------------------------------------------

create function private.check_input_request(input_request jsonb) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_problem constant text := case
    when jsonb_typeof(input_request) is distinct from 'object' then 'input_request is no object'
    when jsonb_typeof(input_request -> 'prompt') is distinct from 'string' then 'its prompt is no text'
    when btrim(input_request ->> 'prompt', e' \t\r\n') = '' then 'its prompt is blank'
    when octet_length(input_request ->> 'prompt') > 262144 then 'its prompt is over 262144 bytes'
    when coalesce(input_request ->> 'request_type', 'input') not in ('approval', 'input', 'choice') then 'its request_type is not approval, input or choice'
    when coalesce(input_request ->> 'required_role', 'member') not in ('member', 'developer', 'admin', 'owner')
      then 'its required_role is not member, developer, admin or owner'
    when coalesce(input_request ->> 'on_expiry', 'fail') not in ('fail', 'resume') then 'its on_expiry is not fail or resume'
    when not private.answer_schema_is_valid(coalesce(nullif(input_request -> 'schema', 'null'), '{}')) then 'its schema says what answers are not checked for'
    when jsonb_typeof(coalesce(nullif(input_request -> 'metadata', 'null'), '{}')) <> 'object' then 'its metadata is no object'
    when jsonb_typeof(coalesce(nullif(input_request -> 'expires_in_seconds', 'null'), '1')) <> 'number' then 'its expires_in_seconds is no number'
    when coalesce((input_request ->> 'expires_in_seconds')::numeric, 1) not between 1 and 7776000
      then 'its expires_in_seconds is not between 1 and 7776000 (90 days)'
  end;
begin
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'input_request_invalid',
      detail = format('The question cannot be asked: %s.', v_problem),
      hint = 'Send {prompt, request_type?, schema?, required_role?, expires_in_seconds?, on_expiry?, metadata?}; see private.json_matches for what a schema may say.';
  end if;
end;
$$;
comment on function private.check_input_request(jsonb) is 'Raises 22023 input_request_invalid, with what is wrong, for a question that cannot be asked.';
revoke execute on function private.check_input_request(jsonb) from public;
grant execute on function private.check_input_request(jsonb) to service_role;

create function private.keep_checkpoint(task_id uuid, checkpoint jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if jsonb_typeof(checkpoint) <> 'object' then
    raise exception using errcode = '22023', message = 'checkpoint_not_an_object',
      detail = format('The checkpoint of task %s is %s.', task_id, jsonb_typeof(checkpoint)), hint = 'Send a JSON object, or none.';
  end if;
  if pg_column_size(checkpoint) > 1048576 then
    raise exception using errcode = 'PT413', message = 'checkpoint_too_large',
      detail = format('The checkpoint of task %s has %s bytes; at most 1048576 are allowed.', task_id, pg_column_size(checkpoint)),
      hint = 'Keep references instead of contents.';
  end if;
  delete from private.task_checkpoints k where k.task_id = keep_checkpoint.task_id;
  insert into private.task_checkpoints (task_id, checkpoint)
  select keep_checkpoint.task_id, keep_checkpoint.checkpoint where keep_checkpoint.checkpoint is not null;
end;
$$;
comment on function private.keep_checkpoint(uuid, jsonb) is
  'Keeps what the last pause of a task wants kept, null for nothing. Errors: 22023 checkpoint_not_an_object, PT413 checkpoint_too_large, 22023 json_not_plain.';
revoke execute on function private.keep_checkpoint(uuid, jsonb) from public;
grant execute on function private.keep_checkpoint(uuid, jsonb) to service_role;

create function private.take_pause(task public.tasks, item jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_question constant jsonb := item -> 'input_request';
begin
  if item ? 'agent_calls' then
    perform private.take_agent_calls(task, item -> 'agent_calls');
  else
    perform private.check_input_request(v_question);
    insert into public.input_requests (
      organization_slug, task_id, run_id, project_step_id, execution_id, request_type, prompt, schema, required_role, on_expiry, metadata, requested_at,
      expires_at
    )
    values (
      task.organization_slug, task.id, task.lease_token, task.project_step_id, task.execution_id,
      coalesce(v_question ->> 'request_type', 'input'), v_question ->> 'prompt', coalesce(nullif(v_question -> 'schema', 'null'), '{}'),
      coalesce(v_question ->> 'required_role', 'member'), coalesce(v_question ->> 'on_expiry', 'fail'),
      coalesce(nullif(v_question -> 'metadata', 'null'), '{}'), private.clock(),
      private.clock() + make_interval(secs => (v_question ->> 'expires_in_seconds')::double precision)
    );
  end if;
  perform private.keep_checkpoint(task.id, nullif(item -> 'checkpoint', 'null'));
  perform private.record_usage(jsonb_build_array(item));
  update public.tasks t
  set status = 'paused', error_code = null, error_message = null, error_data = null, progress_message = null
  where t.id = task.id;
  if item ? 'agent_calls' then
    perform private.settle_calls(task.id, false); -- when every call was refused it goes on at once
  end if;
end;
$$;
comment on function private.take_pause(public.tasks, jsonb) is
  'Everything a pause consists of, or nothing: question or calls of agents, checkpoint, usage, run and task in one step. Called with the task''s row locked.';
revoke execute on function private.take_pause(public.tasks, jsonb) from public;
grant execute on function private.take_pause(public.tasks, jsonb) to service_role;

create function private.take_pauses(items jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_item jsonb;
begin
  for v_item in select e.item from jsonb_array_elements(items) e (item) loop
    perform private.take_pause(t, v_item) from public.tasks t where t.id = (v_item ->> 'task_id')::uuid;
  end loop;
end;
$$;
comment on function private.take_pauses(jsonb) is 'Pauses tasks, one after another: pauses are rare.';
revoke execute on function private.take_pauses(jsonb) from public;
grant execute on function private.take_pauses(jsonb) to service_role;

create function public.pause_task(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.take_items(worker_id, 'paused', items);
$$;
comment on function public.pause_task(text, jsonb) is
  'Asks people and lets go of tasks until they answer: items [{task_id, attempt, lease_token, input_request {prompt, request_type?, schema?, required_role?, expires_in_seconds?, on_expiry?, metadata?}, checkpoint?, usage?}], with agent_calls [{call_id, agent_slug, prompt, params?}] in place of input_request until those have answered. Returns outcomes; a repeated report answers ok and acts once.';
revoke execute on function public.pause_task(text, jsonb) from public, anon, authenticated;
grant execute on function public.pause_task(text, jsonb) to service_role;

-- Going on -----------------------------------------------------------------------------------------------------------

create function private.closed_questions(task_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', r.id, 'request_type', r.request_type, 'prompt', r.prompt, 'status', r.status, 'response', r.response,
    'responded_by', r.responded_by, 'responded_at', r.responded_at
  ) order by r.requested_at, r.id), '[]')
  from public.input_requests r
  where r.task_id = closed_questions.task_id and r.status in ('answered', 'expired');
$$;
comment on function private.closed_questions(uuid) is
  'The questions of a task that were answered or expired, oldest first, as claims give them: [{id, request_type, prompt, status, response, responded_by, responded_at}].';
revoke execute on function private.closed_questions(uuid) from public;
grant execute on function private.closed_questions(uuid) to service_role;

create function private.checkpoint_of(task_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select k.checkpoint from private.task_checkpoints k where k.task_id = checkpoint_of.task_id;
$$;
comment on function private.checkpoint_of(uuid) is 'What the last pause of a task kept; null when there is nothing.';
revoke execute on function private.checkpoint_of(uuid) from public;
grant execute on function private.checkpoint_of(uuid) to service_role;

create function private.expire_input_requests() returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off
as $$
declare
  v_due constant uuid[] := array(
    select r.id from public.input_requests r
    where r.status = 'pending' and r.expires_at <= private.clock()
    order by r.expires_at
    limit 500
  );
  v_tasks uuid[];
begin
  if v_due = '{}' then
    return;
  end if;
  perform private.expire_step_questions(v_due);
  -- Tasks before their questions; what somebody is answering or cancelling right now is left for the next call.
  v_tasks := array(
    select t.id from public.tasks t
    where t.id in (select r.task_id from public.input_requests r where r.id = any (v_due))
    for update of t skip locked
  );
  with expired as (
    update public.input_requests r
    set status = 'expired'
    where r.id in (
      select q.id from public.input_requests q
      where q.id = any (v_due) and q.status = 'pending' and q.expires_at <= private.clock() and (q.task_id is null and q.project_step_id is null or q.task_id = any (v_tasks))
      for update of q skip locked
    )
    returning r.id, r.task_id, r.on_expiry
  )
  update public.tasks t
  set status = case e.on_expiry when 'fail' then 'timeout' else 'pending' end,
    scheduled_at = case e.on_expiry when 'fail' then t.scheduled_at else private.clock() end,
    error_code = case e.on_expiry when 'fail' then 'input_expired' end,
    error_message = case e.on_expiry when 'fail' then 'Nobody answered the question in time.' end,
    error_data = case e.on_expiry when 'fail' then jsonb_build_object('input_request_id', e.id) end
  from expired e
  where t.id = e.task_id and t.status = 'paused';
end;
$$;
comment on function private.expire_input_requests() is
  'Closes questions whose time is up, at most 500 a call, and moves their tasks on as on_expiry says. Called by the reaper. Locks tasks, then their questions, and waits for nobody.';
revoke execute on function private.expire_input_requests() from public;
grant execute on function private.expire_input_requests() to service_role;

-- Answering ----------------------------------------------------------------------------------------------------------

create function private.respond_to_input_request(input_request_id uuid, response jsonb) returns public.input_requests
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task public.tasks;
  v_user_id uuid;
  v_request public.input_requests;
begin
  if pg_column_size(respond_to_input_request.response) > 1048576 then
    perform private.refuse_value('response_is_not_huge', 'input_requests');
  end if;
  -- Lock order: the answering user (as the foreign key will), task or project, then the question.
  perform from public.users u where u.id = (select auth.uid()) for key share;
  select t.* into v_task
  from public.tasks t
  join public.input_requests r on r.task_id = t.id
  where r.id = input_request_id
    and (
      not private.is_client()
      or r.organization_slug in (select private.my_organizations(r.required_role))
      and (t.user_id = (select auth.uid()) or r.required_role <> 'member' or r.organization_slug in (select private.my_organizations('admin')))
    )
  for update of t;
  v_user_id := v_task.user_id;
  if not found then
    select p.user_id into v_user_id
    from public.projects p
    join public.project_steps s on s.project_id = p.id
    join public.input_requests r on r.project_step_id = s.id and r.task_id is null
    where r.id = input_request_id
      and (
        not private.is_client()
        or r.organization_slug in (select private.my_organizations(r.required_role))
        and (p.user_id = (select auth.uid()) or r.required_role <> 'member' or r.organization_slug in (select private.my_organizations('admin')))
      )
    for no key update of p;
  end if;
  select r.* into v_request
  from public.input_requests r
  where r.id = input_request_id
    and (
      not private.is_client()
      or r.organization_slug in (select private.my_organizations(r.required_role))
      and (v_user_id = (select auth.uid()) or r.required_role <> 'member' or r.organization_slug in (select private.my_organizations('admin')))
    )
  for update of r;
  if not found then
    raise exception using errcode = 'PT404', message = 'input_request_not_found',
      detail = format('There is no question %s for you to answer.', input_request_id),
      hint = 'Check the id, and whether your role is the one it asks for (required_role).';
  end if;
  if v_request.status = 'answered' and v_request.response = respond_to_input_request.response
    and v_request.responded_by is not distinct from (select auth.uid()) then
    return v_request; -- the same answer sent twice
  end if;
  if v_request.status <> 'pending' or v_request.expires_at <= private.clock() then
    raise exception using errcode = 'PT409', message = 'input_request_closed',
      detail = format('Question %s is %s.', v_request.id, case v_request.status when 'pending' then 'expired' else v_request.status end),
      hint = 'A question is answered once, before it expires.';
  end if;
  if respond_to_input_request.response is null or not private.json_matches(respond_to_input_request.response, v_request.schema) then
    raise exception using errcode = '22023', message = 'response_does_not_fit',
      detail = format('The answer does not fit the schema of question %s.', v_request.id), hint = 'Send a JSON value that fits: ' || left(v_request.schema::text, 1000);
  end if;
  update public.input_requests r
  set status = 'answered', response = respond_to_input_request.response, responded_by = (select auth.uid()), responded_at = private.clock()
  where r.id = v_request.id
  returning r.* into v_request;
  update public.tasks t
  set status = 'pending', scheduled_at = private.clock()
  where t.id = v_task.id and t.status = 'paused';
  if v_request.task_id is null and v_request.project_step_id is not null then
    perform private.end_question(v_request);
  end if;
  return v_request;
end;
$$;
comment on function private.respond_to_input_request(uuid, jsonb) is 'Body of public.respond_to_input_request. Locks the task or the project, then the question.';
revoke execute on function private.respond_to_input_request(uuid, jsonb) from public;
grant execute on function private.respond_to_input_request(uuid, jsonb) to authenticated, service_role;

create function public.respond_to_input_request(input_request_id uuid, response jsonb) returns public.input_requests
language sql volatile security invoker set search_path = ''
as $$
  select * from private.respond_to_input_request(input_request_id, response);
$$;
comment on function public.respond_to_input_request(uuid, jsonb) is
  'Answers a question once, and resumes the task, or ends the project step, that waits for it. The user of the task or the project answers, or whoever has required_role. The same answer again: the same row. Errors: PT404 input_request_not_found, PT409 input_request_closed, 22023 response_does_not_fit.';
revoke execute on function public.respond_to_input_request(uuid, jsonb) from public, anon, authenticated;
grant execute on function public.respond_to_input_request(uuid, jsonb) to authenticated, service_role;
