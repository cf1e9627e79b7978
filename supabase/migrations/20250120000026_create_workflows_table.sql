-- Workflows of agents and their executions (document E): what may be written, and the state machine. What starts and steers
-- an execution stands in migration 44. Over 400 lines, because the format of workflow_data is one subject with its table.

create table public.workflows (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  agent_slug text not null references public.agents (slug) on delete cascade,
  name text not null,
  description text,
  workflow_data jsonb not null,
  workflow_type text not null,
  framework text not null,
  version text not null default '1.0.0',
  is_active boolean not null default true,
  created_by uuid default auth.uid() references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- The versions of a workflow.
  constraint version_is_unique_within_a_workflow unique (organization_slug, agent_slug, name, version),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint workflow_data_is_an_object check (jsonb_typeof(workflow_data) = 'object' and pg_column_size(workflow_data) <= 4194304),
  constraint workflow_type_is_known check (workflow_type in ('visual', 'code')),
  constraint framework_is_known check (framework in ('langgraph', 'agno', 'crewai', 'n8n')),
  constraint version_is_semantic check (version ~ '^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})$')
);

-- One active version of each name.
create unique index workflows_one_active_idx on public.workflows (organization_slug, agent_slug, name) where is_active;
-- Workflows of an agent (foreign key).
create index idx_workflows_agent_id on public.workflows (agent_slug);
-- Filter by framework.
create index idx_workflows_framework on public.workflows (framework);
-- Foreign key.
create index workflows_created_by_idx on public.workflows (created_by);

-- What workflow_data may say --------------------------------------------------------------------------------------------

create function private.refuse_workflow(problem text) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  raise exception using errcode = '22023', message = 'workflow_invalid', detail = format('In workflow_data, %s.', problem),
    hint = 'Correct it and insert the version again; docs/workflows.md describes the format.';
end;
$$;
comment on function private.refuse_workflow(text) is 'Raises 22023 workflow_invalid with what is wrong.';
revoke execute on function private.refuse_workflow(text) from public;
grant execute on function private.refuse_workflow(text) to authenticated, service_role;

create function private.workflow_nodes(workflow_data jsonb) returns table (id text, type text, place integer, settings jsonb)
language sql immutable security invoker set search_path = ''
as $$
  -- Editors keep the settings of a node in its data; without an editor they stand in the node itself.
  select n.node ->> 'id', coalesce(n.node ->> 'type', 'agent'), n.place::integer,
    case when jsonb_typeof(n.node -> 'data') = 'object' then n.node -> 'data' else '{}' end || n.node
  from jsonb_array_elements(workflow_nodes.workflow_data -> 'nodes') with ordinality n (node, place);
$$;
comment on function private.workflow_nodes(jsonb) is 'The nodes of a visual workflow, in their order, each with its settings: those of data and those of the node itself.';
revoke execute on function private.workflow_nodes(jsonb) from public;
grant execute on function private.workflow_nodes(jsonb) to authenticated, service_role;

create function private.workflow_edges(workflow_data jsonb) returns table (source text, target text, condition text, place integer)
language sql immutable security invoker set search_path = ''
as $$
  select e.edge ->> 'source', e.edge ->> 'target', nullif(btrim(e.edge ->> 'condition', e' \t\r\n'), ''), e.place::integer
  from jsonb_array_elements(coalesce(nullif(workflow_edges.workflow_data -> 'edges', 'null'), '[]')) with ordinality e (edge, place);
$$;
comment on function private.workflow_edges(jsonb) is 'The edges of a visual workflow, in their order.';
revoke execute on function private.workflow_edges(jsonb) from public;
grant execute on function private.workflow_edges(jsonb) to authenticated, service_role;

create function private.visual_node_problem(workflow_data jsonb) returns text
language sql immutable security invoker set search_path = ''
as $$
  select p.problem
  from (
    select n.place,
      case
        when jsonb_typeof(n.node) <> 'object' then format('node %s is no object', n.place)
        when jsonb_typeof(n.node -> 'id') is distinct from 'string' or n.node ->> 'id' !~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$'
          then format('node %s has no id of at most 100 letters, digits, - and _', n.place)
        when count(*) over (partition by n.node ->> 'id') > 1 then format('the node "%s" is there twice', n.node ->> 'id')
        when coalesce(n.node ->> 'type', 'agent') not in ('agent', 'human_approval', 'human_input', 'subproject', 'transform', 'map', 'start', 'end')
          then format('node "%s" has the unknown type "%s"', n.node ->> 'id', left(n.node ->> 'type', 100))
        when n.node ->> 'type' = 'start' and count(*) over (partition by n.node ->> 'type') > 1 then format('node "%s" is a second start', n.node ->> 'id')
      end as problem
    from jsonb_array_elements(visual_node_problem.workflow_data -> 'nodes') with ordinality n (node, place)
  ) p
  where p.problem is not null
  order by p.place
  limit 1;
$$;
comment on function private.visual_node_problem(jsonb) is 'What is wrong with the first bad node of a visual workflow, null when none is.';
revoke execute on function private.visual_node_problem(jsonb) from public;
grant execute on function private.visual_node_problem(jsonb) to authenticated, service_role;

create function private.visual_edge_problem(workflow_data jsonb) returns text
language sql immutable security invoker set search_path = ''
as $$
  with n as materialized (select x.id, x.type from private.workflow_nodes(visual_edge_problem.workflow_data) x)
  select p.problem
  from (
    select e.place,
      case
        when jsonb_typeof(e.edge) <> 'object' then format('edge %s is no object', e.place)
        when s.id is null then format('edge %s comes from "%s", which is no node', e.place, left(e.edge ->> 'source', 100))
        when t.id is null then format('edge %s from node "%s" goes to "%s", which is no node', e.place, s.id, left(e.edge ->> 'target', 100))
        when s.id = t.id then format('node "%s" has an edge to itself', s.id)
        when count(*) over (partition by e.edge ->> 'source', e.edge ->> 'target') > 1 then format('there are two edges from node "%s" to node "%s"', s.id, t.id)
        when t.type = 'start' then format('an edge leads to node "%s", which is the start', t.id)
        when s.type = 'end' then format('an edge leaves node "%s", which is an end', s.id)
        when jsonb_typeof(coalesce(nullif(e.edge -> 'condition', 'null'), '""')) <> 'string'
          then format('the condition of the edge from node "%s" to node "%s" is no text', s.id, t.id)
        when t.type = 'end' and btrim(e.edge ->> 'condition', e' \t\r\n') <> ''
          then format('the edge from node "%s" to the end "%s" has a condition, and an end does nothing that could be left out', s.id, t.id)
      end as problem
    from jsonb_array_elements(coalesce(nullif(visual_edge_problem.workflow_data -> 'edges', 'null'), '[]')) with ordinality e (edge, place)
    left join n s on s.id = e.edge ->> 'source'
    left join n t on t.id = e.edge ->> 'target'
  ) p
  where p.problem is not null
  order by p.place
  limit 1;
$$;
comment on function private.visual_edge_problem(jsonb) is 'What is wrong with the first bad edge of a visual workflow whose nodes are well, null when none is.';
revoke execute on function private.visual_edge_problem(jsonb) from public;
grant execute on function private.visual_edge_problem(jsonb) to authenticated, service_role;

create function private.visual_problem(workflow_data jsonb, depth integer default 0) returns text
language plpgsql immutable security invoker set search_path = ''
as $$
declare
  v_problem text;
  v_node record;
begin
  if jsonb_typeof(workflow_data -> 'nodes') is distinct from 'array' or jsonb_array_length(workflow_data -> 'nodes') not between 1 and 10000 then
    return 'nodes is no list of 1 to 10000 nodes';
  end if;
  if jsonb_typeof(coalesce(nullif(workflow_data -> 'edges', 'null'), '[]')) <> 'array' then
    return 'edges is no list';
  end if;
  v_problem := coalesce(private.visual_node_problem(workflow_data), private.visual_edge_problem(workflow_data));
  if v_problem is not null then
    return v_problem;
  end if;
  if not exists (select from private.workflow_nodes(workflow_data) n where n.type not in ('start', 'end')) then
    return 'there is no node that does anything';
  end if;
  select format('node "%s" uses {{ input }}, %s', n.id, case depth when 0 then 'and there is no node of the type start' else 'which only the nodes outside have' end) into v_problem
  from private.workflow_nodes(workflow_data) n
  where (n.settings - array['nodes', 'plan'])::text ~ '\{\{\s*input\M'
    and (depth > 0 or not exists (select from private.workflow_nodes(workflow_data) x where x.type = 'start'))
  limit 1;
  if v_problem is not null then
    return v_problem;
  end if;
  for v_node in
    select n.id, n.settings from private.workflow_nodes(workflow_data) n where n.type = 'subproject' and not n.settings ? 'plan' order by n.place
  loop
    v_problem := case when depth >= 5 then 'is nested more than 5 deep' else 'has inside it: ' || private.visual_problem(v_node.settings, depth + 1) end;
    if v_problem is not null then
      return format('node "%s" %s', v_node.id, v_problem);
    end if;
  end loop;
  return null;
end;
$$;
comment on function private.visual_problem(jsonb, integer) is
  'What is wrong with the nodes and edges of a visual workflow, null when nothing is: ids, types, edges, and the same within the nodes of type subproject. Circles are found in the plan that it becomes.';
revoke execute on function private.visual_problem(jsonb, integer) from public;
grant execute on function private.visual_problem(jsonb, integer) to authenticated, service_role;

create function private.list_is_filled(value jsonb) returns boolean
language sql immutable security invoker set search_path = ''
as $$
  select coalesce(jsonb_typeof(value) = 'array' and jsonb_array_length(case jsonb_typeof(value) when 'array' then value else '[]' end) > 0, false);
$$;
comment on function private.list_is_filled(jsonb) is 'Whether the value is a list with something in it.';
revoke execute on function private.list_is_filled(jsonb) from public;
grant execute on function private.list_is_filled(jsonb) to authenticated, service_role;

create function private.code_problem(framework text, workflow_data jsonb) returns text
language sql immutable security invoker set search_path = ''
as $$
  select case
    -- What runs elsewhere is known there; here it is only named.
    when workflow_data = '{}' then null
    when workflow_data ? 'endpoint' then case
      when jsonb_typeof(workflow_data #> '{endpoint,url}') is distinct from 'string'
        or workflow_data #>> '{endpoint,url}' !~ '^(https?://|\$\{[A-Za-z_])' or length(workflow_data #>> '{endpoint,url}') > 2000
        then 'endpoint.url is no http(s) address of at most 2000 characters'
      when framework = 'langgraph' and coalesce(workflow_data #>> '{endpoint,assistant_id}', '') = '' then 'the endpoint of a langgraph deployment needs the assistant_id'
      when framework = 'agno' and coalesce(workflow_data #>> '{endpoint,agent_id}', workflow_data #>> '{endpoint,team_id}', workflow_data #>> '{endpoint,workflow_id}', '') = ''
        then 'the endpoint of an agno deployment needs one of agent_id, team_id, workflow_id'
    end
    when framework = 'n8n' then case
      when not private.list_is_filled(workflow_data -> 'nodes') then 'nodes is no list with nodes of n8n'
      when jsonb_typeof(workflow_data -> 'connections') is distinct from 'object' then 'connections is no object'
      when not exists (select from jsonb_array_elements(workflow_data -> 'nodes') n (node) where n.node ->> 'type' ~* '(trigger|webhook)')
        then 'no node is a trigger (a type with trigger or webhook in its name)'
    end
    when framework = 'langgraph' then case
      when not private.list_is_filled(workflow_data -> 'nodes') then 'nodes is no list with nodes of langgraph'
      when jsonb_typeof(workflow_data -> 'edges') is distinct from 'array' then 'edges is no list'
      when jsonb_typeof(workflow_data -> 'startNode') is distinct from 'string' then 'startNode is missing'
      when not exists (
        select from jsonb_array_elements(workflow_data -> 'nodes') n (node)
        where workflow_data ->> 'startNode' in (n.node ->> 'id', n.node ->> 'name', case jsonb_typeof(n.node) when 'string' then n.node #>> '{}' end)
      ) then format('startNode "%s" is no node', left(workflow_data ->> 'startNode', 100))
    end
    when framework = 'agno' then case
      when jsonb_typeof(workflow_data -> 'agent') is null or jsonb_typeof(workflow_data -> 'agent') not in ('object', 'string') then 'agent is missing'
      when coalesce(nullif(workflow_data -> 'model', 'null'), nullif(workflow_data #> '{agent,model}', 'null')) is null then 'the agent has no model'
    end
    when framework = 'crewai' then case
      when not private.list_is_filled(workflow_data -> 'agents') then 'agents is no list with agents of a crew'
      when not private.list_is_filled(workflow_data -> 'tasks') then 'tasks is no list with tasks of a crew'
    end
  end;
$$;
comment on function private.code_problem(text, jsonb) is
  'What is wrong with a workflow written for a framework, null when nothing is. {endpoint: {url, …}} says where it is deployed, {} that it is where the agent''s endpoint says; otherwise n8n has nodes, connections and a trigger, langgraph nodes, edges and startNode, agno agent and model, crewai agents and tasks.';
revoke execute on function private.code_problem(text, jsonb) from public;
grant execute on function private.code_problem(text, jsonb) to authenticated, service_role;

create function private.with_input(value text, start_id text) returns text
language sql immutable security invoker set search_path = ''
as $$
  select regexp_replace(with_input.value, '\{\{\s*input((\.[A-Za-z0-9_-]+)*)\s*\}\}', format('{{ steps.%s.result\1 }}', start_id), 'g');
$$;
comment on function private.with_input(text, text) is 'A text whose templates {{ input.x }} name the result of the step that the start node became.';
revoke execute on function private.with_input(text, text) from public;
grant execute on function private.with_input(text, text) to authenticated, service_role;

create function private.node_step(node_type text, settings jsonb, start_id text) returns jsonb
language sql immutable security invoker set search_path = ''
as $$
  select case
    when node_type = 'start' then jsonb_build_object(
      'id', settings -> 'id', 'type', 'transform', 'transform', '.', 'name', coalesce(settings -> 'name', settings -> 'label', settings -> 'id')
    )
    else coalesce((
      select jsonb_object_agg(
        k.key, case when k.key in ('prompt', 'params', 'over', 'shows') and start_id is not null then private.with_input(k.value::text, start_id)::jsonb else k.value end
      )
      from jsonb_each(settings) k
      where k.value <> 'null' and k.key in (
        'name', 'agent', 'prompt', 'params', 'on_failure', 'required_role', 'schema', 'shows', 'expires_in_seconds', 'on_expiry', 'over', 'transform', 'plan',
        'timeout_seconds', 'max_attempts', 'deliverable'
      )
    ), '{}')
    || jsonb_strip_nulls(jsonb_build_object('id', settings -> 'id', 'type', node_type, 'name', coalesce(settings -> 'name', settings -> 'label')))
  end;
$$;
comment on function private.node_step(text, jsonb, text) is
  'The step of a plan that a node becomes, without its dependencies. What a node has besides the settings of steps is its editor''s own.';
revoke execute on function private.node_step(text, jsonb, text) from public;
grant execute on function private.node_step(text, jsonb, text) to authenticated, service_role;

create function private.workflow_plan(workflow_data jsonb, depth integer default 0) returns jsonb
language plpgsql immutable security invoker set search_path = ''
as $$
declare
  v_start constant text := (select n.id from private.workflow_nodes(workflow_data) n where n.type = 'start' and depth = 0);
  v_steps jsonb;
begin
  with recursive n as materialized (
    select x.* from private.workflow_nodes(workflow_plan.workflow_data) x where x.type <> 'end' and (x.type <> 'start' or x.id = v_start)
  ),
  e as materialized (
    select x.source, x.target, x.condition, x.place
    from private.workflow_edges(workflow_plan.workflow_data) x join n s on s.id = x.source join n t on t.id = x.target
    union all
    -- What nothing leads to follows the start.
    select v_start, t.id, null, 0 from n t
    where t.id <> v_start and not exists (select from private.workflow_edges(workflow_plan.workflow_data) x where x.target = t.id)
  ),
  -- Nodes that may be left out: where a condition leads to, and what follows from there.
  uncertain (id) as (
    select e.target from e where e.condition is not null
    union
    select e.target from uncertain u join e on e.source = u.id
  ),
  ways as (
    select e.target, jsonb_agg(e.source order by e.place) as sources,
      case
        when bool_or(e.condition is null and u.id is null) then null -- one way is always open
        when bool_and(e.condition is null) then 'any(.steps[]; .status != "skipped")'
        else string_agg(
          concat_ws(' and ', case when u.id is not null then format('.steps["%s"].status != "skipped"', e.source) end, '(' || e.condition || e'\n)'),
          ' or ' order by e.place
        )
      end as condition
    from e left join uncertain u on u.id = e.source
    group by e.target
  )
  select jsonb_agg(
    private.node_step(n.type, n.settings, v_start) || jsonb_strip_nulls(jsonb_build_object('dependencies', w.sources, 'condition', w.condition))
    || case when n.type = 'subproject' and not n.settings ? 'plan' then jsonb_build_object('plan', private.workflow_plan(n.settings, depth + 1)) else '{}' end
    order by n.place
  )
  into v_steps
  from n left join ways w on w.target = n.id;
  return jsonb_build_object('steps', v_steps);
end;
$$;
comment on function private.workflow_plan(jsonb, integer) is
  'The plan_json of a visual workflow. Nodes become steps, edges their dependencies, an end nothing; the start becomes a step that is completed from the beginning, and whose result is the input. A node runs when one of the edges that lead to it is open: its source was not skipped and its condition holds. Within a subproject (depth over 0) the start only orders.';
revoke execute on function private.workflow_plan(jsonb, integer) from public;
grant execute on function private.workflow_plan(jsonb, integer) to authenticated, service_role;

create function private.check_workflow(workflow public.workflows) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_problem text;
  v_token text;
begin
  if workflow.workflow_type = 'code' then
    v_problem := private.code_problem(workflow.framework, workflow.workflow_data);
    if v_problem is not null then
      perform private.refuse_workflow(v_problem);
    end if;
    if private.is_client() and private.literal_credential(workflow.workflow_data -> 'endpoint') is not null then
      raise exception using errcode = '22023', message = 'credential_is_literal',
        detail = format('workflow_data.endpoint.%s of workflow "%s" holds a credential, and everybody who sees the workflow reads it.', private.literal_credential(workflow.workflow_data -> 'endpoint'), workflow.name),
        hint = 'Keep it among the organization''s secrets and write its name here, e.g. "${API_TOKEN}".';
    end if;
    return;
  end if;
  v_problem := private.visual_problem(workflow.workflow_data);
  if v_problem is not null then
    perform private.refuse_workflow(v_problem);
  end if;
  select format('node "%s" names the agent "%s", which organization "%s" does not have', n.id, left(n.settings ->> 'agent', 100), workflow.organization_slug) into v_problem
  from private.workflow_nodes(workflow.workflow_data) n
  where n.settings ->> 'agent' is not null and n.type not in ('start', 'end') and not exists (
    select from public.agents a
    where a.slug = n.settings ->> 'agent' and (a.organization_slug @> array[workflow.organization_slug] or a.owner_user_id = workflow.created_by)
  )
  order by n.place
  limit 1;
  if v_problem is not null then
    perform private.refuse_workflow(v_problem);
  end if;
  begin
    perform private.check_plan(private.workflow_plan(workflow.workflow_data), workflow.organization_slug, workflow.created_by);
  exception
    when invalid_parameter_value then
      get stacked diagnostics v_token = message_text, v_problem = pg_exception_detail;
      if v_token <> 'plan_invalid' then
        raise;
      end if;
      perform private.refuse_workflow(regexp_replace(rtrim(v_problem, '.'), '^In plan_json, ', ''));
  end;
end;
$$;
comment on function private.check_workflow(public.workflows) is
  'Refuses a workflow that could not run: 22023 workflow_invalid, which names the node; 22023 credential_is_literal; PT409 agent_inactive. A visual one is checked as the plan that it becomes.';
revoke execute on function private.check_workflow(public.workflows) from public;
grant execute on function private.check_workflow(public.workflows) to authenticated, service_role;

-- Versions -------------------------------------------------------------------------------------------------------------

create trigger check_json before insert on public.workflows
for each row execute function private.check_json('workflow_data');
create trigger set_updated_at before update on public.workflows
for each row execute function public.set_updated_at();

create function private.prepare_workflow() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_newest text;
  v_framework text;
begin
  if tg_op = 'UPDATE' then
    if (new.workflow_data, new.version, new.name, new.agent_slug, new.organization_slug, new.workflow_type, new.framework)
      is distinct from (old.workflow_data, old.version, old.name, old.agent_slug, old.organization_slug, old.workflow_type, old.framework) then
      raise exception using errcode = 'PT409', message = 'version_is_immutable',
        detail = format('Version %s of workflow "%s" does not change.', old.version, old.name), hint = 'Insert a higher version.';
    end if;
    return new;
  end if;
  select coalesce(a.framework, new.framework) into v_framework
  from public.agents a
  where a.slug = new.agent_slug and (a.organization_slug @> array[new.organization_slug] or a.owner_user_id = new.created_by);
  if not found then
    raise exception using errcode = 'PT404', message = 'agent_not_found',
      detail = format('Organization "%s" has no agent "%s".', new.organization_slug, new.agent_slug), hint = 'A workflow belongs to an agent of its organization.';
  end if;
  -- Values that a constraint refuses are left to it.
  if new.framework in ('langgraph', 'agno', 'crewai', 'n8n') and new.workflow_type in ('visual', 'code') and jsonb_typeof(new.workflow_data) = 'object' then
    if v_framework <> new.framework then
      perform private.refuse_workflow(format('the framework would be %s, and agent "%s" is one of %s', new.framework, new.agent_slug, v_framework));
    end if;
    perform private.check_workflow(new);
  end if;
  -- One writer at a time for each name, so that versions rise and one is active.
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'workflow', new.organization_slug, new.agent_slug, new.name), 0));
  select w.version into v_newest
  from public.workflows w
  where w.organization_slug = new.organization_slug and w.agent_slug = new.agent_slug and w.name = new.name
  order by string_to_array(w.version, '.')::integer[] desc
  limit 1;
  if string_to_array(new.version, '.')::integer[] <= string_to_array(v_newest, '.')::integer[] then
    raise exception using errcode = '22023', message = 'version_must_rise',
      detail = format('Workflow "%s" is at version %s; %s is not higher.', new.name, v_newest, new.version), hint = 'Send a higher version.';
  end if;
  return new;
end;
$$;
comment on function private.prepare_workflow() is 'Before insert and update: workflow_data can run, versions only rise, and what was written does not change (is_active and description may).';
revoke execute on function private.prepare_workflow() from public;

create trigger prepare_workflow before insert or update on public.workflows
for each row execute function private.prepare_workflow();

create function private.keep_one_active_workflow() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', 'workflow', new.organization_slug, new.agent_slug, new.name), 0));
  update public.workflows w set is_active = false
  where w.organization_slug = new.organization_slug and w.agent_slug = new.agent_slug and w.name = new.name and w.is_active and w.id <> new.id;
  return new;
end;
$$;
comment on function private.keep_one_active_workflow() is 'Before a version becomes active: the other versions of the same name stop being so.';
revoke execute on function private.keep_one_active_workflow() from public;

create trigger replace_active_on_insert before insert on public.workflows
for each row when (new.is_active) execute function private.keep_one_active_workflow();
create trigger replace_active_on_update before update of is_active on public.workflows
for each row when (new.is_active and not old.is_active) execute function private.keep_one_active_workflow();

create function private.forget_old_workflows() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from public.workflows w
  where w.id in (
      select x.id from public.workflows x
      where x.organization_slug = new.organization_slug and x.agent_slug = new.agent_slug and x.name = new.name
      order by string_to_array(x.version, '.')::integer[] desc
      offset 10
    )
    and not w.is_active
    and not exists (select from public.workflow_executions e where e.workflow_id = w.id);
  return null;
end;
$$;
comment on function private.forget_old_workflows() is
  'After a version is inserted: of those before the last ten of its name, the ones that are neither active nor have executions are deleted. History is never deleted with them: a version stays for as long as there are executions of it.';
revoke execute on function private.forget_old_workflows() from public;

create trigger forget_old_workflows after insert on public.workflows
for each row execute function private.forget_old_workflows();

create function private.refuse_running_workflow() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_execution uuid;
begin
  select e.id into v_execution
  from public.workflow_executions e
  where e.completed_at is null
    and case tg_table_name when 'workflows' then e.workflow_id = (to_jsonb(old) ->> 'id')::uuid else e.agent_slug = to_jsonb(old) ->> 'slug' end
  limit 1;
  if v_execution is not null then
    raise exception using errcode = 'PT409', message = 'workflow_running',
      detail = format('Execution %s is not over.', v_execution), hint = 'Cancel what runs (cancel_execution) or wait for it, then delete again.';
  end if;
  return old;
end;
$$;
comment on function private.refuse_running_workflow() is
  'Before a workflow or an agent is deleted by itself: PT409 workflow_running while an execution of it is not over. What goes with an organization or a user is not asked.';
revoke execute on function private.refuse_running_workflow() from public;

create trigger refuse_running_workflow before delete on public.workflows
for each row when (pg_trigger_depth() = 0) execute function private.refuse_running_workflow();
create trigger refuse_running_workflow before delete on public.agents
for each row when (pg_trigger_depth() = 0) execute function private.refuse_running_workflow();

comment on table public.workflows is 'Versions of workflows: visual ones run as projects of steps, code ones through their framework''s adapter.';
comment on column public.workflows.is_active is 'The version that runs; one per name. Setting it takes it from the others.';
comment on column public.workflows.workflow_data is
  'visual: {"nodes": [{id, type, …}], "edges": [{source, target, condition?}]}; code: what the framework runs, or {url, …} of where it is deployed. Checked when written; docs/workflows.md.';

alter table public.workflows enable row level security;
revoke all on public.workflows from anon, authenticated, service_role;
grant select, delete on public.workflows to authenticated;
grant insert (organization_slug, agent_slug, name, description, workflow_data, workflow_type, framework, version, is_active) on public.workflows to authenticated;
grant update (description, is_active) on public.workflows to authenticated;
grant select, insert, update, delete on public.workflows to service_role;

create policy "Members read workflows" on public.workflows
for select to authenticated
using (organization_slug = any (array(select private.my_organizations('viewer'))));
create policy "Developers add workflows" on public.workflows
for insert to authenticated
with check (organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Developers change workflows" on public.workflows
for update to authenticated
using (organization_slug = any (array(select private.my_organizations('developer'))))
with check (organization_slug = any (array(select private.my_organizations('developer'))));
create policy "Developers delete workflows" on public.workflows
for delete to authenticated
using (organization_slug = any (array(select private.my_organizations('developer'))));

-- Executions ---------------------------------------------------------------------------------------------------------

create table public.workflow_executions (
  id uuid primary key default gen_random_uuid(),
  organization_slug text not null references public.organizations (slug) on delete cascade,
  workflow_id uuid not null references public.workflows (id) on delete cascade,
  agent_slug text not null references public.agents (slug) on delete cascade,
  created_by uuid references public.users (id) on delete set null,
  status text not null default 'queued',
  status_message text,
  started_at timestamptz,
  completed_at timestamptz,
  paused_at timestamptz,
  resumed_at timestamptz,
  queued_at timestamptz not null default now(),
  timeout_at timestamptz,
  conversation_id uuid references public.agent_conversations (id) on delete set null,
  execution_data jsonb,
  execution_logs jsonb,
  error_message text,
  error_code text,
  retry_count integer not null default 0,
  max_retries integer not null default 3,
  resource_usage jsonb,
  performance_metrics jsonb,
  correlation_id uuid not null default gen_random_uuid() unique,
  parent_execution_id uuid references public.workflow_executions (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint status_is_known check (status in ('queued', 'pending', 'running', 'paused', 'completed', 'failed', 'cancelled', 'timeout')),
  constraint completed_at_matches_final_status
    check ((completed_at is not null) = (status in ('completed', 'failed', 'cancelled', 'timeout'))),
  constraint retry_count_is_within_max_retries check (retry_count between 0 and max_retries),
  constraint max_retries_is_small check (max_retries between 0 and 100),
  constraint failures_have_an_error_code check (status <> 'failed' or error_code is not null),
  constraint error_code_is_snake_case check (error_code ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint execution_data_is_an_object check (jsonb_typeof(execution_data) = 'object'),
  constraint execution_logs_is_a_list check (jsonb_typeof(execution_logs) = 'array'),
  constraint an_execution_is_not_its_own_parent check (parent_execution_id <> id)
);

-- By state.
create index idx_workflow_executions_status on public.workflow_executions (status);
-- An agent's executions by state (foreign key).
create index idx_workflow_executions_agent_status on public.workflow_executions (agent_slug, status);
-- By start.
create index idx_workflow_executions_started on public.workflow_executions (started_at);
-- A workflow's executions (foreign key).
create index idx_executions_workflow_id on public.workflow_executions (workflow_id);
-- An organization's newest executions (policies, foreign key).
create index workflow_executions_organization_recent_idx on public.workflow_executions (organization_slug, created_at desc);
-- Foreign keys.
create index workflow_executions_created_by_idx on public.workflow_executions (created_by);
create index workflow_executions_parent_idx on public.workflow_executions (parent_execution_id) where parent_execution_id is not null;
create index workflow_executions_conversation_idx on public.workflow_executions (conversation_id) where conversation_id is not null;
-- What waits to begin, and what has run out of time.
create index workflow_executions_queued_idx on public.workflow_executions (queued_at) where status = 'queued';
create index workflow_executions_timeout_idx on public.workflow_executions (timeout_at) where completed_at is null and timeout_at is not null;

alter table public.tasks
add constraint tasks_execution_id_fkey foreign key (execution_id) references public.workflow_executions (id) on delete set null;
-- Tasks of an execution (foreign key).
create index tasks_execution_idx on public.tasks (execution_id) where execution_id is not null;
alter table public.runs
add constraint runs_execution_id_fkey foreign key (execution_id) references public.workflow_executions (id) on delete set null;
-- Runs of an execution (foreign key).
create index runs_execution_idx on public.runs (execution_id) where execution_id is not null;

create function private.with_log_lines(logs jsonb, lines jsonb) returns jsonb
language sql immutable security invoker set search_path = ''
as $$
  select coalesce(jsonb_agg(l.line order by l.place) filter (where l.place > l.number - 500), '[]')
  from (
    -- What a step says stands before what follows from it in the same transaction.
    select e.line, row_number() over (order by (e.line ->> 'at')::timestamptz, e.line ? 'step' desc, e.place) as place, count(*) over () as number
    from jsonb_array_elements(coalesce(with_log_lines.logs, '[]') || coalesce(with_log_lines.lines, '[]')) with ordinality e (line, place)
  ) l;
$$;
comment on function private.with_log_lines(jsonb, jsonb) is 'An execution''s log with further lines [{at, level, message, step?}], in the order of time; the last 500 are kept.';
revoke execute on function private.with_log_lines(jsonb, jsonb) from public;
grant execute on function private.with_log_lines(jsonb, jsonb) to authenticated, service_role;

create function private.log_line(level text, message text, step text default null) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select jsonb_strip_nulls(jsonb_build_object('at', private.clock(), 'level', level, 'message', left(message, 500), 'step', step));
$$;
comment on function private.log_line(text, text, text) is 'A line of an execution''s log, written now: {at, level, message, step?}; level is info, warning or error.';
revoke execute on function private.log_line(text, text, text) from public;
grant execute on function private.log_line(text, text, text) to authenticated, service_role;

create function private.note_execution_move(old_row public.workflow_executions, new_row public.workflow_executions) returns public.workflow_executions
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_bucket constant text := case old_row.status
    when 'running' then 'running_seconds' when 'paused' then 'paused_seconds'
    when 'queued' then case when new_row.status <> 'pending' then 'queued_seconds' end
    when 'pending' then 'queued_seconds'
  end;
  v_since constant timestamptz := case old_row.status
    when 'running' then greatest(old_row.started_at, old_row.resumed_at) when 'paused' then old_row.paused_at else old_row.queued_at
  end;
begin
  if v_bucket is not null then
    new_row.performance_metrics := coalesce(new_row.performance_metrics, '{}') || jsonb_build_object(
      v_bucket, round(coalesce((old_row.performance_metrics ->> v_bucket)::numeric, 0) + extract(epoch from private.clock() - v_since)::numeric, 3)
    );
  end if;
  if new_row.status_message is not distinct from old_row.status_message then
    new_row.status_message := case new_row.status
      when 'queued' then format('Waits to begin again: retry %s of %s.', new_row.retry_count, new_row.max_retries)
      when 'pending' then 'Waits for a worker.'
      when 'running' then case old_row.status when 'paused' then 'Goes on.' else 'Runs.' end
      when 'paused' then 'Paused.'
      when 'completed' then 'Completed.'
      when 'failed' then 'Failed: ' || coalesce(new_row.error_message, new_row.error_code)
      when 'timeout' then 'Ran out of time.'
      when 'cancelled' then 'Cancelled.'
    end;
  end if;
  new_row.execution_logs := private.with_log_lines(new_row.execution_logs, jsonb_build_array(private.log_line(
    case when new_row.status in ('failed', 'timeout') then 'error' when new_row.status = 'cancelled' then 'warning' else 'info' end, new_row.status_message
  )));
  return new_row;
end;
$$;
comment on function private.note_execution_move(public.workflow_executions, public.workflow_executions) is
  'What a move of an execution leaves behind: the seconds it was queued, running or paused, a status_message and a line of its log.';
revoke execute on function private.note_execution_move(public.workflow_executions, public.workflow_executions) from public;
grant execute on function private.note_execution_move(public.workflow_executions, public.workflow_executions) to service_role;

create function private.guard_workflow_execution() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_moves constant text[] := case old.status
    when 'queued' then array['pending', 'cancelled']
    when 'pending' then array['running', 'cancelled']
    when 'running' then array['completed', 'failed', 'timeout', 'paused', 'cancelled']
    when 'paused' then array['running', 'cancelled']
    when 'failed' then array['queued']
    when 'timeout' then array['queued']
    else array[]::text[] -- completed and cancelled are final
  end;
begin
  if new.status is distinct from old.status then
    if new.status <> all (v_moves) then
      raise exception using errcode = 'PT409', message = 'illegal_move',
        detail = format('Execution %s is %s and cannot become %s.', old.id, old.status, new.status), hint = 'Read the execution again.';
    end if;
    if new.status = 'queued' then
      if old.retry_count >= old.max_retries then
        raise exception using errcode = 'PT409', message = 'retries_used_up',
          detail = format('Execution %s was retried %s of %s times.', old.id, old.retry_count, old.max_retries), hint = 'Start a new execution.';
      end if;
      new.retry_count := old.retry_count + 1;
      -- It has as long again as it had.
      new.timeout_at := old.timeout_at + (private.clock() - old.queued_at);
      new.queued_at := private.clock();
      new.error_code := null;
      new.error_message := null;
    end if;
    new.completed_at := case when new.status in ('completed', 'failed', 'cancelled', 'timeout') then private.clock() end;
    new.started_at := case when new.status = 'running' and old.status = 'pending' then private.clock() else old.started_at end;
    new.paused_at := case when new.status = 'paused' then private.clock() else old.paused_at end;
    new.resumed_at := case when new.status = 'running' and old.status = 'paused' then private.clock() else old.resumed_at end;
    new := private.note_execution_move(old, new);
  elsif old.completed_at is not null
    and (new.execution_data, new.error_code, new.error_message, new.retry_count, new.started_at, new.completed_at)
      is distinct from (old.execution_data, old.error_code, old.error_message, old.retry_count, old.started_at, old.completed_at) then
    raise exception using errcode = 'PT409', message = 'execution_finished',
      detail = format('Execution %s is %s; its result does not change.', old.id, old.status), hint = 'Start a new execution.';
  end if;
  return new;
end;
$$;
comment on function private.guard_workflow_execution() is
  'The state machine of workflow executions, for every writer: legal moves, retries up to max_retries, and the times, metrics, message and log that follow.';
revoke execute on function private.guard_workflow_execution() from public;

create trigger check_json before insert or update of execution_data on public.workflow_executions
for each row execute function private.check_json('execution_data');
create trigger begin_in_first_state before insert on public.workflow_executions
for each row when (new.status <> 'queued') execute function private.begin_in_first_state();
create trigger guard_workflow_execution before update on public.workflow_executions
for each row execute function private.guard_workflow_execution();
create trigger set_updated_at before update on public.workflow_executions
for each row execute function public.set_updated_at();

create function private.check_execution_input(execution public.workflow_executions) returns void
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_depth integer;
begin
  if jsonb_typeof(execution.execution_data) = 'object' and execution.execution_data - 'input' <> '{}' then
    raise exception using errcode = '22023', message = 'execution_data_invalid',
      detail = format('execution_data begins with nothing but an input; here it has "%s".', left((select k.key from jsonb_object_keys(execution.execution_data - 'input') k (key) limit 1), 100)),
      hint = 'Send {"input": …}; output and steps are written when it ends.';
  end if;
  if octet_length(execution.execution_data::text) > 1048576 then
    raise exception using errcode = 'PT413', message = 'params_too_large',
      detail = format('execution_data has %s bytes; at most 1048576 are allowed.', octet_length(execution.execution_data::text)), hint = 'Send references instead of contents.';
  end if;
  if execution.parent_execution_id is null then
    return;
  end if;
  if not exists (
    select from public.workflow_executions p where p.id = execution.parent_execution_id and p.organization_slug = execution.organization_slug
  ) then
    raise exception using errcode = 'PT404', message = 'parent_execution_not_found',
      detail = format('You have no execution %s in organization "%s".', execution.parent_execution_id, execution.organization_slug), hint = 'Leave parent_execution_id out, or correct it.';
  end if;
  with recursive above (id, depth) as (
    select execution.parent_execution_id, 1
    union all
    select e.parent_execution_id, a.depth + 1
    from above a join public.workflow_executions e on e.id = a.id
    where e.parent_execution_id is not null and a.depth <= 5
  )
  select max(a.depth) into v_depth from above a;
  if v_depth > 5 then
    raise exception using errcode = 'PT409', message = 'executions_too_deep',
      detail = format('Execution %s is already the fifth below its first one.', execution.parent_execution_id), hint = 'Start it without parent_execution_id, or under one further up.';
  end if;
end;
$$;
comment on function private.check_execution_input(public.workflow_executions) is
  'Refuses an execution_data that holds more than an input or is huge, and a parent that is unknown or already five deep.';
revoke execute on function private.check_execution_input(public.workflow_executions) from public;
grant execute on function private.check_execution_input(public.workflow_executions) to authenticated, service_role;

create function private.prepare_workflow_execution() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows w where w.id = new.workflow_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'workflow_not_found',
      detail = format('You have no workflow %s.', new.workflow_id), hint = 'List workflows to see which there are.';
  end if;
  new.organization_slug := v_workflow.organization_slug;
  new.agent_slug := v_workflow.agent_slug;
  new.queued_at := private.clock();
  if private.is_client() then
    perform private.require_role(new.organization_slug, 'member');
    new.created_by := (select auth.uid());
  end if;
  if not v_workflow.is_active then
    raise exception using errcode = 'PT409', message = 'workflow_inactive',
      detail = format('Version %s of workflow "%s" is not the active one.', v_workflow.version, v_workflow.name),
      hint = 'Start the active version, or have a developer set is_active on this one.';
  end if;
  if new.timeout_at <= private.clock() then
    raise exception using errcode = '22023', message = 'timeout_has_passed',
      detail = format('timeout_at is %s, and that has passed.', new.timeout_at), hint = 'Send a later time, or leave timeout_at out.';
  end if;
  if new.conversation_id is not null and not exists (
    select from public.agent_conversations c
    where c.id = new.conversation_id and c.organization_slug = new.organization_slug and (c.user_id = new.created_by or not private.is_client())
  ) then
    raise exception using errcode = 'PT404', message = 'conversation_not_found',
      detail = format('You have no conversation %s in organization "%s".', new.conversation_id, new.organization_slug), hint = 'Leave conversation_id out for a new one.';
  end if;
  perform private.check_execution_input(new);
  new.status_message := coalesce(new.status_message, 'Waits to begin.');
  new.execution_logs := private.with_log_lines(new.execution_logs, jsonb_build_array(private.log_line('info', new.status_message)));
  return new;
end;
$$;
comment on function private.prepare_workflow_execution() is
  'Before insert: organization and agent are the workflow''s, the creator is the caller; refuses what the caller may not start or name, and versions that are not active.';
revoke execute on function private.prepare_workflow_execution() from public;

create trigger prepare_workflow_execution before insert on public.workflow_executions
for each row execute function private.prepare_workflow_execution();

comment on table public.workflow_executions is 'Runs of workflows with their whole history.';
comment on column public.workflow_executions.execution_data is
  '{input, output, steps}: input is what it was started with, output what came of it; steps [{id, name, type, status, seconds}] of a visual workflow, the first 1,000.';
comment on column public.workflow_executions.execution_logs is '[{at, level, message, step?}], the last 500; the lines of steps come within a second.';
comment on column public.workflow_executions.resource_usage is '{duration, tokens, cost} of all its runs: seconds that workers were busy, tokens, US dollars. Written when it ends.';
comment on column public.workflow_executions.performance_metrics is
  '{queued_seconds, running_seconds, paused_seconds, attempts, retries, steps {total, completed, failed, …}}: the seconds after each move, the rest when it ends.';
comment on column public.workflow_executions.queued_at is 'When it was last put into the queue; a retry has as much time until timeout_at as the first try.';
comment on column public.workflow_executions.timeout_at is 'When it is stopped as timeout, whatever it does then.';
comment on column public.workflow_executions.conversation_id is 'The conversation of its project; where none was given, one is begun for it.';
comment on column public.workflow_executions.correlation_id is 'Unique; follows the execution through other systems.';

alter table public.workflow_executions enable row level security;
revoke all on public.workflow_executions from anon, authenticated, service_role;
grant select on public.workflow_executions to authenticated;
grant insert (workflow_id, execution_data, max_retries, timeout_at, parent_execution_id, conversation_id) on public.workflow_executions to authenticated;
grant select, insert, update, delete on public.workflow_executions to service_role;

create policy "Users and admins read executions" on public.workflow_executions
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('viewer'))) and created_by = (select auth.uid())
  or organization_slug = any (array(select private.my_organizations('admin')))
);
create policy "Members start executions" on public.workflow_executions
for insert to authenticated
with check (created_by = (select auth.uid()) and organization_slug = any (array(select private.my_organizations('member'))));
