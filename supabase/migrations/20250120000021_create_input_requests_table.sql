-- Questions to people: an agent or a project step asks, the task pauses and holds no worker, one answer resumes it.

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
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint request_type_is_known check (request_type in ('approval', 'input', 'choice')),
  constraint status_is_known check (status in ('pending', 'answered', 'expired', 'cancelled')),
  constraint answered_means_response check ((status = 'answered') = (response is not null) and (status = 'answered') = (responded_at is not null)),
  constraint required_role_is_known check (required_role in ('member', 'developer', 'admin', 'owner')),
  constraint prompt_is_not_blank check (btrim(prompt) <> '' and octet_length(prompt) <= 262144),
  constraint schema_is_one_that_answers_are_checked_with check (private.answer_schema_is_valid(schema) and pg_column_size(schema) <= 262144),
  constraint response_is_not_huge check (pg_column_size(response) <= 1048576),
  constraint metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
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

create trigger check_json before update of response on public.input_requests
for each row execute function private.check_json('response');
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

create function private.close_questions() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.input_requests r set status = 'cancelled'
  from new_rows n
  join old_rows o on o.id = n.id and o.status = 'paused' and n.status in ('cancelled', 'timeout')
  where r.task_id = n.id and r.status = 'pending';
  return null;
end;
$$;
comment on function private.close_questions() is 'After paused tasks are cancelled: their open questions are too.';
revoke execute on function private.close_questions() from public;

create trigger close_questions after update on public.tasks
referencing old table as old_rows new table as new_rows
for each statement execute function private.close_questions();

comment on table public.input_requests is 'Questions of agents and steps to people, and their answers. Answered once, through respond_to_input_request.';
comment on column public.input_requests.schema is 'JSON Schema that the answer must fit; see private.json_matches for what it may say.';
comment on column public.input_requests.step_id is 'The run_steps row that asked.';
comment on column public.input_requests.required_role is 'Who may answer besides the task''s user: this role or higher. With developer or higher the user needs it too.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.input_requests enable row level security;
revoke all on public.input_requests from anon, authenticated, service_role;
grant select on public.input_requests to authenticated;
grant select, insert, update, delete on public.input_requests to service_role;

create policy "Whoever reads the task or has the role reads the question" on public.input_requests
for select to authenticated
using (
  exists (select from public.tasks t where t.id = task_id)
  or (required_role = 'developer' and organization_slug = any (array(select private.my_organizations('developer'))))
  or organization_slug = any (array(select private.my_organizations('admin')))
);

-- Functions ----------------------------------------------------------------------------------------------------------

create function private.respond_to_input_request(input_request_id uuid, response jsonb) returns public.input_requests
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_task public.tasks;
  v_request public.input_requests;
begin
  if pg_column_size(respond_to_input_request.response) > 1048576 then
    perform private.refuse_value('response_is_not_huge', 'input_requests');
  end if;
  -- Lock order: task, then its question.
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
  select r.* into v_request
  from public.input_requests r
  where r.id = input_request_id
    and (
      not private.is_client()
      or r.organization_slug in (select private.my_organizations(r.required_role))
      and (v_task.user_id = (select auth.uid()) or r.required_role <> 'member' or r.organization_slug in (select private.my_organizations('admin')))
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
  return v_request;
end;
$$;
comment on function private.respond_to_input_request(uuid, jsonb) is 'Body of public.respond_to_input_request. Locks the task, then the question.';
revoke execute on function private.respond_to_input_request(uuid, jsonb) from public;
grant execute on function private.respond_to_input_request(uuid, jsonb) to authenticated, service_role;

create function public.respond_to_input_request(input_request_id uuid, response jsonb) returns public.input_requests
language sql volatile security invoker set search_path = ''
as $$
  select * from private.respond_to_input_request(input_request_id, response);
$$;
comment on function public.respond_to_input_request(uuid, jsonb) is
  'Answers a question once, and resumes the task that waits for it. The task''s user answers, or whoever has required_role. The same answer again: the same row. Errors: PT404 input_request_not_found, PT409 input_request_closed, 22023 response_does_not_fit.';
revoke execute on function public.respond_to_input_request(uuid, jsonb) from public, anon, authenticated;
grant execute on function public.respond_to_input_request(uuid, jsonb) to authenticated, service_role;
