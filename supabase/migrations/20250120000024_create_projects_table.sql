-- Projects: a plan of steps with dependencies. One DAG engine; workflows run on it too. The plan is checked when it is written.
-- Over 400 lines, because what a plan may say is checked here, rule by rule.

create table public.projects (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid not null default auth.uid() references public.users (id) on delete cascade,
  conversation_id uuid not null references public.agent_conversations (id) on delete cascade,
  name text,
  description text,
  plan_json jsonb,
  plan_version integer not null default 0,
  status text not null default 'planning',
  current_step_id text,
  error_details jsonb,
  metadata jsonb not null default '{}',
  parent_project_id uuid references public.projects (id) on delete set null,
  project_step_id uuid,
  planning_task_id uuid,
  execution_id uuid,
  hierarchy_level integer not null default 0,
  subproject_count integer not null default 0,
  total_steps integer not null default 0,
  completed_steps integer not null default 0,
  finished_steps integer not null default 0,
  failed_steps integer not null default 0,
  progress integer not null generated always as (case when total_steps > 0 then round(100.0 * finished_steps / total_steps)::integer else 0 end) stored,
  started_at timestamptz,
  completed_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('planning', 'awaiting_approval', 'running', 'paused', 'completed', 'failed', 'cancelled')),
  constraint name_is_short check (length(name) <= 500),
  constraint metadata_is_a_small_object check (jsonb_typeof(metadata) = 'object' and pg_column_size(metadata) <= 262144),
  constraint plan_json_is_an_object check (jsonb_typeof(plan_json) = 'object' and pg_column_size(plan_json) <= 4194304),
  constraint hierarchy_is_at_most_five_deep check (hierarchy_level between 0 and 5),
  constraint completed_at_matches_final_status check ((completed_at is not null) = (status in ('completed', 'failed', 'cancelled')))
) with (fillfactor = 80);

-- A user's newest projects (policies, foreign key).
create index projects_user_recent_idx on public.projects (user_id, created_at desc);
-- An organization's newest projects (policies, foreign key).
create index projects_organization_recent_idx on public.projects (organization_slug, created_at desc);
-- Projects of a conversation (policies, foreign key).
create index projects_conversation_idx on public.projects (conversation_id);
-- Subprojects (foreign key).
create index projects_parent_idx on public.projects (parent_project_id) where parent_project_id is not null;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger check_json before insert or update of plan_json, metadata on public.projects
for each row execute function private.check_json('plan_json', 'metadata');
create trigger set_updated_at before update on public.projects
for each row execute function public.set_updated_at();

create function private.guard_project() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_moves constant text[] := case old.status
    when 'planning' then array['awaiting_approval', 'running', 'failed', 'cancelled']
    when 'awaiting_approval' then array['planning', 'running', 'cancelled']
    when 'running' then array['paused', 'completed', 'failed', 'cancelled']
    when 'paused' then array['running', 'completed', 'failed', 'cancelled'] -- what runs on when it is paused may end it
    -- One that failed before it had a plan may still get one.
    when 'failed' then array['running', 'cancelled'] || case when old.started_at is null then array['planning', 'awaiting_approval'] else '{}' end
    else array[]::text[] -- completed and cancelled are final
  end;
begin
  if new.status is distinct from old.status and new.status <> all (v_moves) then
    raise exception using errcode = 'PT409', message = 'illegal_move',
      detail = format('Project %s is %s and cannot become %s.', old.id, old.status, new.status), hint = 'Read the project again.';
  end if;
  if new.status is distinct from old.status then
    new.completed_at := case when new.status in ('completed', 'failed', 'cancelled') then private.clock() end;
    new.started_at := case when new.status = 'running' then coalesce(old.started_at, private.clock()) else old.started_at end;
    if new.status = 'running' then
      new.error_details := null;
    end if;
  end if;
  return new;
end;
$$;
comment on function private.guard_project() is 'The state machine of projects, for every writer; keeps started_at and completed_at, and forgets the error of what goes on.';
revoke execute on function private.guard_project() from public;

create trigger begin_in_first_state before insert on public.projects
for each row when (new.status not in ('planning', 'awaiting_approval', 'running')) execute function private.begin_in_first_state();
create trigger guard_project before update of status on public.projects
for each row execute function private.guard_project();

create function private.template_expressions(source text) returns setof text
language sql immutable set search_path = ''
as $$
  select btrim(split_part(part, '}}', 1), e' \t\r\n') from unnest((string_to_array(source, '{{'))[2:]) part;
$$;
comment on function private.template_expressions(text) is 'What stands between {{ and }} in a text, in order.';
revoke execute on function private.template_expressions(text) from public;
grant execute on function private.template_expressions(text) to authenticated, service_role;

create function private.plan_steps(plan jsonb) returns table (place integer, id text, type text, step jsonb, expressions text[], refs text[])
language sql immutable set search_path = ''
as $$
  with s as materialized (
    -- A key that is null is one that is not there: models that must fill in every key say it so.
    select x.place::integer, case
        when jsonb_typeof(x.step) <> 'object' then x.step
        when x.step @? '$.* ? (@ == null)' then (select jsonb_object_agg(k.key, k.value) filter (where k.value <> 'null') from jsonb_each(x.step) k)
        else x.step
      end as step
    from jsonb_array_elements(plan -> 'steps') with ordinality as x (step, place)
  ),
  t as materialized (
    select s.*, case when concat(s.step ->> 'prompt', s.step ->> 'params', s.step ->> 'over', s.step ->> 'shows') like '%{{%' then array(
        select e.text from unnest(array[s.step ->> 'prompt', s.step ->> 'params', s.step ->> 'over', s.step ->> 'shows']) u (source) cross join lateral private.template_expressions(u.source) e (text)
      ) else '{}' end as expressions
    from s
  )
  select t.place, t.step ->> 'id', coalesce(t.step ->> 'type', 'agent'), t.step, t.expressions,
    case when t.expressions = '{}' and not t.step ?| array['over', 'shows', 'condition', 'transform'] then '{}' else array(
      select split_part(e.text, '.', 2) from unnest(t.expressions) e (text) where e.text like 'steps.%'
      union
      select x.source from unnest(array[t.step ->> 'over', t.step ->> 'shows']) x (source) where x.source not like '%{{%'
      union
      select coalesce(m.found[1], m.found[2], m.found[3])
      from regexp_matches(concat_ws(e'\n', t.step ->> 'condition', t.step ->> 'transform'), '\.steps(?:\.([A-Za-z_][A-Za-z0-9_]*)|\.?\["([^"\\]+)"\]|\."([^"\\]+)")', 'g') m (found)
    ) end
  from t;
$$;
comment on function private.plan_steps(jsonb) is
  'The steps of a plan, without keys that are null, with what stands in their templates and the ids of the steps whose results they name (in templates, in over and shows, and as .steps.ID or .steps["ID"] in jq programs).';
revoke execute on function private.plan_steps(jsonb) from public;
grant execute on function private.plan_steps(jsonb) to authenticated, service_role;

create function private.number_is(value jsonb, low numeric, high numeric) returns boolean
language sql immutable set search_path = ''
as $$
  select case when jsonb_typeof(value) = 'number' then (value #>> '{}')::numeric between low and high and trunc((value #>> '{}')::numeric) = (value #>> '{}')::numeric else false end;
$$;
comment on function private.number_is(jsonb, numeric, numeric) is 'Whether a value is a whole number from low to high.';
revoke execute on function private.number_is(jsonb, numeric, numeric) from public;
grant execute on function private.number_is(jsonb, numeric, numeric) to authenticated, service_role;

create function private.step_problem(type text, step jsonb, expressions text[]) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_keys constant text[] := array[
    'id', 'name', 'type', 'agent', 'prompt', 'params', 'dependencies', 'condition', 'on_failure', 'required_role', 'schema', 'shows',
    'expires_in_seconds', 'on_expiry', 'over', 'transform', 'plan', 'timeout_seconds', 'max_attempts', 'deliverable'
  ];
  v_people constant boolean := type in ('human_approval', 'human_input');
  v_key text;
  v_expression text;
begin
  select k.key into v_key from jsonb_object_keys(step) k (key) where k.key <> all (v_keys) limit 1;
  if v_key is not null then
    return format('has the unknown key "%s"', left(v_key, 100));
  end if;
  select k.key into v_key from jsonb_object_keys(step) k (key)
  where k.key in ('required_role', 'schema', 'shows', 'expires_in_seconds', 'on_expiry') and not v_people
    or k.key = 'deliverable' and type not in ('agent', 'map') or k.key = 'over' and type <> 'map' or k.key = 'transform' and type <> 'transform' or k.key = 'plan' and type <> 'subproject'
  limit 1;
  if v_key is not null then
    return format('is of the type %s, which has no "%s"', type, v_key);
  end if;
  select k.key into v_key from jsonb_each(step) k
  where k.key in ('name', 'type', 'agent', 'prompt', 'condition', 'on_failure', 'required_role', 'on_expiry', 'over', 'shows', 'transform', 'deliverable')
    and jsonb_typeof(k.value) <> 'string'
  limit 1;
  if v_key is not null then
    return format('has a "%s" that is no text', v_key);
  end if;
  foreach v_expression in array expressions loop
    if v_expression !~ '^steps\.[A-Za-z0-9][A-Za-z0-9_-]*\.result(\.[A-Za-z0-9_-]+)*$'
      and not (type = 'map' and v_expression ~ '^(item(\.[A-Za-z0-9_-]+)*|index)$') then
      return format('has the template "{{ %s }}", which is not steps.ID.result%s', left(v_expression, 100), case when type = 'map' then ', item or index' else '' end);
    end if;
  end loop;
  return case
    when length(step ->> 'name') not between 1 and 500 then 'has a name that is empty or over 500 characters'
    when type in ('agent', 'map') and step ->> 'agent' is null then 'names no agent'
    when btrim(step ->> 'prompt', e' \t\r\n') = '' then 'has a blank prompt'
    when octet_length(step ->> 'prompt') > case when v_people then 262144 else 1048576 end
      then format('has a prompt of over %s bytes', case when v_people then 262144 else 1048576 end)
    when coalesce(jsonb_typeof(step -> 'params') <> 'object', false) then 'has params that are no object'
    when octet_length(step ->> 'params') > 1048576 then 'has params of over 1048576 bytes'
    when coalesce(step ->> 'on_failure', 'stop') not in ('stop', 'continue') then format('has the on_failure "%s", which is not stop or continue', left(step ->> 'on_failure', 100))
    when length(step ->> 'condition') not between 1 and 10000 then 'has a condition that is empty or over 10000 characters'
    when type = 'transform' and coalesce(length(step ->> 'transform'), 0) not between 1 and 10000 then 'has no transform of 1 to 10000 characters (a jq program)'
    when type = 'map' and step ->> 'over' is null then 'does not say over what it goes ("over")'
    when (step ->> 'over') like '%{{%' and (step ->> 'over') !~ '^\s*\{\{[^{}]*\}\}\s*$' or length(step ->> 'over') > 1000 then 'has an "over" that is neither the id of a step nor one template'
    when (step ->> 'shows') like '%{{%' and (step ->> 'shows') !~ '^\s*\{\{[^{}]*\}\}\s*$' or length(step ->> 'shows') > 1000 then 'has a "shows" that is neither the id of a step nor one template'
    when coalesce(step ->> 'required_role', 'member') not in ('member', 'developer', 'admin', 'owner')
      then format('has the required_role "%s", which is not member, developer, admin or owner', left(step ->> 'required_role', 100))
    when coalesce(step ->> 'on_expiry', 'fail') not in ('fail', 'skip', 'approve') then format('has the on_expiry "%s", which is not fail, skip or approve', left(step ->> 'on_expiry', 100))
    when step ->> 'on_expiry' = 'approve' and type <> 'human_approval' then 'has the on_expiry "approve", but asks for no approval'
    when step ? 'expires_in_seconds' and not private.number_is(step -> 'expires_in_seconds', 1, 7776000)
      then 'has an expires_in_seconds that is not between 1 and 7776000 (90 days)'
    when step ? 'on_expiry' and not step ? 'expires_in_seconds' then 'has an on_expiry, but no expires_in_seconds'
    when step ? 'schema' and (not private.answer_schema_is_valid(step -> 'schema') or pg_column_size(step -> 'schema') > 200000) then 'has a schema that answers are not checked with'
    when type = 'human_approval' and step ? 'schema' and jsonb_typeof(step -> 'schema') <> 'object' then 'has a schema that is no object'
    when step ? 'timeout_seconds' and not private.number_is(step -> 'timeout_seconds', 1, 86400) then 'has a timeout_seconds that is not between 1 and 86400'
    when step ? 'max_attempts' and not private.number_is(step -> 'max_attempts', 1, 100) then 'has a max_attempts that is not between 1 and 100'
    when btrim(step ->> 'deliverable', e' \t\r\n') = '' or length(step ->> 'deliverable') > 100 then 'has a deliverable that is blank or over 100 characters'
    when type = 'subproject' and coalesce(jsonb_typeof(step -> 'plan') <> 'object', true) then 'has no plan'
  end;
end;
$$;
comment on function private.step_problem(text, jsonb, text[]) is 'What is wrong with a step of a plan by itself; null when nothing is.';
revoke execute on function private.step_problem(text, jsonb, text[]) from public;
grant execute on function private.step_problem(text, jsonb, text[]) to authenticated, service_role;

create function private.plan_graph_problem(plan jsonb) returns text
language plpgsql stable set search_path = '' set enable_nestloop = off
as $$
declare
  v_ids text[];
  v_waits integer[];  -- per step: dependencies that are not done
  v_first integer[];  -- per step: where its dependents begin in v_dependents
  v_dependents integer[];
  v_queue integer[];
  v_step integer;
  v_edge integer;
  v_head integer := 1;
  v_from integer[];  -- references to steps that are no direct dependencies: who refers,
  v_to integer[];    -- and to whom
  v_bits integer[];  -- per step: its bit in what is reached from it, null when nobody refers to it from afar
  v_none varbit;
  v_reached varbit[];  -- per step: the bits of the steps before it
  v_mine varbit;
  v_problem text;
begin
  with s as materialized (
    select x.place, x.id, x.refs, case when x.step ? 'dependencies' then array(select distinct d.id from jsonb_array_elements_text(x.step -> 'dependencies') d (id)) else '{}' end as dependencies
    from private.plan_steps(plan) x
  ),
  d as materialized (select s.place, s.id, x.name from s cross join lateral unnest(s.dependencies) x (name)), -- apart, so that it is hashed
  e as materialized (select p.place as before, d.place as after from d join s p on p.id = d.name),
  n as (
    select s.id, s.place, coalesce(i.count, 0)::integer as waits, coalesce(o.count, 0)::integer as dependents
    from s
    left join (select after, count(*) from e group by after) i on i.after = s.place
    left join (select before, count(*) from e group by before) o on o.before = s.place
  ),
  r as materialized (select s.place, x.name from s cross join lateral unnest(s.refs) x (name) where x.name <> all (s.dependencies)),
  far as materialized (select r.place as referrer, coalesce(p.place, 0) as target from r left join s p on p.id = r.name),
  targets as materialized (
    select f.target, row_number() over () - 1 as bit from (select distinct far.target from far) f
  )
  select array_agg(n.id order by n.place), array_agg(n.waits order by n.place),
    array_agg(n.before order by n.place), coalesce(array_agg(n.place order by n.place) filter (where n.waits = 0), '{}'),
    (select coalesce(array_agg(e.after order by e.before), '{}') from e),
    (select array_agg(far.referrer order by far.referrer, far.target) from far), (select array_agg(far.target order by far.referrer, far.target) from far),
    array_agg(t.bit::integer order by n.place),
    (
      select format('step "%s" depends on "%s", which is not in the plan', d.id, left(d.name, 100))
      from d left join s p on p.id = d.name
      where p.id is null
      order by d.place
      limit 1
    )
  into v_ids, v_waits, v_first, v_queue, v_dependents, v_from, v_to, v_bits, v_problem
  from (select n.*, (sum(n.dependents) over (order by n.place) - n.dependents)::integer + 1 as before from n) n
  left join targets t on t.target = n.place;
  if v_problem is not null then
    return v_problem;
  end if;
  v_first := v_first || cardinality(v_dependents) + 1;
  if v_from is not null then
    v_none := repeat('0', (select count(distinct t.place) from unnest(v_to) t (place))::integer)::varbit;
    v_reached := array_fill(v_none, array[cardinality(v_ids)]);
  end if;
  while v_head <= cardinality(v_queue) loop
    v_step := v_queue[v_head];
    v_head := v_head + 1;
    if v_from is not null then
      v_mine := case when v_bits[v_step] is null then v_reached[v_step] else set_bit(v_reached[v_step], v_bits[v_step], 1) end;
    end if;
    for v_edge in v_first[v_step] .. v_first[v_step + 1] - 1 loop
      if v_mine <> v_none then
        v_reached[v_dependents[v_edge]] := v_reached[v_dependents[v_edge]] | v_mine;
      end if;
      v_waits[v_dependents[v_edge]] := v_waits[v_dependents[v_edge]] - 1;
      if v_waits[v_dependents[v_edge]] = 0 then
        v_queue[cardinality(v_queue) + 1] := v_dependents[v_edge];
      end if;
    end loop;
  end loop;
  if cardinality(v_queue) < cardinality(v_ids) then
    return format('the steps %s depend on each other in a circle', (
      select string_agg(l.id, ', ' order by l.place)
      from (select v_ids[w.place] as id, w.place from unnest(v_waits) with ordinality as w (waits, place) where w.waits > 0 order by w.place limit 10) l
    ));
  end if;
  for v_edge in 1 .. coalesce(cardinality(v_from), 0) loop
    if v_to[v_edge] = 0 or get_bit(v_reached[v_from[v_edge]], v_bits[v_to[v_edge]]) = 0 then
      return format('step "%s" names the result of %s, which it does not depend on', v_ids[v_from[v_edge]],
        case when v_to[v_edge] = 0 then 'a step that is not in the plan' else format('step "%s"', v_ids[v_to[v_edge]]) end);
    end if;
  end loop;
  return null;
end;
$$;
comment on function private.plan_graph_problem(jsonb) is
  'Names a step that depends on one that is not there; up to ten steps that depend on each other in a circle, or on such steps; or a step that names the result of one that is not before it. Null when there is neither. Linear in steps and dependencies (Kahn).';
revoke execute on function private.plan_graph_problem(jsonb) from public;
grant execute on function private.plan_graph_problem(jsonb) to authenticated, service_role;

create function private.check_plan(plan jsonb, organization_slug text, user_id uuid, level integer default 0) returns integer
language plpgsql stable security invoker set search_path = '' set enable_nestloop = off
as $$
declare
  v_steps constant jsonb := plan -> 'steps';
  v_agents text[];
  v_plans jsonb[];
  v_plan jsonb;
  v_number integer := case when jsonb_typeof(v_steps) = 'array' then jsonb_array_length(v_steps) else 0 end;
  v_problem text;
begin
  if v_number not between 1 and 10000 then
    raise exception using errcode = '22023', message = 'plan_invalid',
      detail = 'plan_json.steps must be a list of 1 to 10000 steps.', hint = 'Send {"steps": [{"id": "…", "name": "…", "type": "agent", "agent": "…", "prompt": "…", "dependencies": []}]}.';
  end if;
  select min(x.problem), array_agg(distinct x.agent) filter (where x.agent is not null), array_agg(x.plan) filter (where x.type = 'subproject')
  into v_problem, v_agents, v_plans
  from (
    select s.type, s.step ->> 'agent' as agent, s.step -> 'plan' as plan, case
        when s.id is null or s.id !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$' then format('step %s has no id of letters, digits, - and _', s.place)
        when count(*) over (partition by s.id) > 1 then format('the id "%s" is there twice', s.id)
        when s.type not in ('agent', 'human_approval', 'human_input', 'subproject', 'transform', 'map') then format('step "%s" has the unknown type "%s"', s.id, left(s.type, 100))
        when coalesce(jsonb_typeof(s.step -> 'dependencies') <> 'array', false) then format('the dependencies of step "%s" are no list', s.id)
        else format('step "%s" ', s.id) || private.step_problem(s.type, s.step, s.expressions)
      end as problem
    from private.plan_steps(plan) s
  ) x;
  v_problem := coalesce(v_problem, private.plan_graph_problem(plan));
  if v_problem is null and level >= 5 and v_plans is not null then
    v_problem := 'subprojects are nested more than 5 deep';
  end if;
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'plan_invalid', detail = 'In plan_json, ' || v_problem || '.', hint = 'Correct the plan and send it again.';
  end if;
  perform private.usable_agent(a.slug, check_plan.organization_slug, check_plan.user_id) from unnest(v_agents) a (slug);
  foreach v_plan in array coalesce(v_plans, '{}') loop
    v_number := v_number + private.check_plan(v_plan, organization_slug, user_id, level + 1);
  end loop;
  if v_number > 10000 then
    raise exception using errcode = '22023', message = 'plan_invalid',
      detail = 'plan_json has more than 10000 steps with those of its subprojects.', hint = 'Plan less at once, in several projects.';
  end if;
  return v_number;
end;
$$;
comment on function private.check_plan(jsonb, text, uuid, integer) is
  'Refuses a plan that cannot be carried out: 22023 plan_invalid with the step and what is wrong with it, PT404 agent_not_found, PT409 agent_inactive. level: how many projects are above. Returns the number of steps, with those of subprojects.';
revoke execute on function private.check_plan(jsonb, text, uuid, integer) from public;
grant execute on function private.check_plan(jsonb, text, uuid, integer) to authenticated, service_role;

create function private.prepare_project() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_conversation public.agent_conversations;
  v_parent public.projects;
begin
  -- Made by private.start_subprojects, of a plan that was checked as part of a larger one, in the middle of whoever's statement.
  if tg_op = 'INSERT' and new.project_step_id is not null and current_user::regrole = (select c.relowner from pg_catalog.pg_class c where c.oid = tg_relid) then
    return new;
  end if;
  if tg_op = 'INSERT' then
    perform private.require_own_user_id(new.user_id);
    select c.* into v_conversation from public.agent_conversations c where c.id = new.conversation_id;
    if not found or v_conversation.organization_slug <> coalesce(new.organization_slug, v_conversation.organization_slug)
      -- An admin reads the conversations of others, but does not speak in them.
      or private.is_client() and v_conversation.user_id <> new.user_id and v_conversation.id not in (select private.my_shared_conversations()) then
      raise exception using errcode = 'PT404', message = 'conversation_not_found',
        detail = case when new.conversation_id is null then 'No conversation_id was given.' else format('You have no conversation %s in this organization.', new.conversation_id) end,
        hint = 'A project belongs to a conversation: insert {"organization_slug", "agent_slug"} into agent_conversations, and send its id as conversation_id.';
    end if;
    new.organization_slug := private.my_organization_or_default(v_conversation.organization_slug);
    if new.parent_project_id is not null then
      select p.* into v_parent from public.projects p where p.id = new.parent_project_id and p.organization_slug = new.organization_slug
        and (p.user_id = new.user_id or not private.is_client());
      if not found then
        raise exception using errcode = 'PT404', message = 'project_not_found',
          detail = format('You have no project %s in this organization.', new.parent_project_id), hint = 'Leave parent_project_id out, or correct it.';
      end if;
    end if;
    new.hierarchy_level := coalesce(v_parent.hierarchy_level + 1, 0);
    new.subproject_count := 0;
  elsif new.parent_project_id is null and old.parent_project_id is not null then
    new.hierarchy_level := 0; -- its parent was deleted
  elsif new.parent_project_id is not null and new.parent_project_id is distinct from old.parent_project_id then
    raise exception using errcode = 'PT409', message = 'parent_is_fixed',
      detail = format('The parent of project %s does not change, so that projects never contain themselves.', old.id), hint = 'Create a new project.';
  end if;
  if tg_op = 'INSERT' then
    new.plan_version := 0;
  elsif new.plan_json is distinct from old.plan_json and old.status not in ('planning', 'awaiting_approval') then
    raise exception using errcode = 'PT409', message = 'plan_has_started',
      detail = format('Project %s is %s; its plan does not change any more.', old.id, old.status), hint = 'Cancel it and create a new project with the new plan.';
  end if;
  if tg_op = 'INSERT' or new.plan_json is distinct from old.plan_json then
    if new.plan_json is not null then
      perform private.check_plan(new.plan_json, new.organization_slug, new.user_id, new.hierarchy_level);
      new.plan_version := new.plan_version + 1;
    end if;
  end if;
  return new;
end;
$$;
comment on function private.prepare_project() is 'Before insert and update: fills organization and level, checks conversation, parent and plan.';
revoke execute on function private.prepare_project() from public;

create trigger prepare_project before insert or update of plan_json, parent_project_id on public.projects
for each row execute function private.prepare_project();

create function private.count_subprojects() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_parent_id constant uuid := case tg_op when 'INSERT' then new.parent_project_id else old.parent_project_id end;
begin
  -- Whoever waited here counts, in the next statement, what the other wrote.
  perform from public.projects p where p.id = v_parent_id for no key update;
  update public.projects p
  set subproject_count = (select count(*) from public.projects c where c.parent_project_id = p.id)
  where p.id = v_parent_id;
  return null;
end;
$$;
comment on function private.count_subprojects() is 'Keeps subproject_count of the parent.';
revoke execute on function private.count_subprojects() from public;

create trigger count_subprojects_on_insert after insert on public.projects
for each row when (new.parent_project_id is not null) execute function private.count_subprojects();
create trigger count_subprojects_on_leaving after update of parent_project_id on public.projects
for each row when (old.parent_project_id is not null and new.parent_project_id is null) execute function private.count_subprojects();
create trigger count_subprojects_on_delete after delete on public.projects
for each row when (old.parent_project_id is not null) execute function private.count_subprojects();

create function private.renumber_subprojects() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  update public.projects c set hierarchy_level = new.hierarchy_level + 1 where c.parent_project_id = new.id;
  return null;
end;
$$;
comment on function private.renumber_subprojects() is 'Keeps hierarchy_level of the children when that of the parent changes.';
revoke execute on function private.renumber_subprojects() from public;

create trigger renumber_subprojects after update on public.projects
for each row when (old.hierarchy_level is distinct from new.hierarchy_level) execute function private.renumber_subprojects();

comment on table public.projects is 'Plans of steps that agents and people carry out. The whole organization reads them; only their user changes them.';
comment on column public.projects.plan_json is '{"steps": [{id, name, type, agent, prompt, dependencies[]}]}; checked when written.';
comment on column public.projects.plan_version is 'Rises each time the plan is written; project_plan_versions keeps the earlier ones.';
comment on column public.projects.current_step_id is 'The step that began last.';
comment on column public.projects.error_details is 'Why it failed: {step_id, task_id, error_code, error_message}; null while it goes on.';
comment on column public.projects.project_step_id is 'The step of another project that this one carries out.';
comment on column public.projects.planning_task_id is 'The task (method plan_project) that writes its plan, or wrote or refined it last. Following tasks.';
comment on column public.projects.execution_id is 'The workflow execution that this project carries out.';
comment on column public.projects.finished_steps is 'Steps that are completed or skipped, or failed and passed over as their on_failure says. This number and its neighbours are kept by triggers.';
comment on column public.projects.failed_steps is 'Steps that failed and stop the project.';
comment on column public.projects.progress is 'finished_steps in percent of total_steps.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.projects enable row level security;
revoke all on public.projects from anon, authenticated, service_role;
grant select, delete on public.projects to authenticated;
grant insert (id, organization_slug, user_id, conversation_id, name, description, plan_json, metadata, parent_project_id) on public.projects to authenticated;
grant update (name, description, plan_json, metadata) on public.projects to authenticated;
grant select, insert, update, delete on public.projects to service_role;

create policy "Members read the projects of their organizations" on public.projects
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('viewer'))));
create policy "Members add projects" on public.projects
for insert to authenticated
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
create policy "Users change their own projects" on public.projects
for update to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))))
with check (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
create policy "Users delete their own projects" on public.projects
for delete to authenticated
using (user_id = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
