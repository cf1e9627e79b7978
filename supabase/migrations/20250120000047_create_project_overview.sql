-- Projects and workflows as frontends show them: everything about a project in one request, and as a drawing.

create function public.project_overview(project_id uuid, after_index integer default -1, page_size integer default 1000) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_overview jsonb;
begin
  with page as materialized (
    select s.* from public.project_steps s
    where s.project_id = project_overview.project_id and s.step_index > after_index
    order by s.step_index
    limit least(greatest(page_size, 0), 1000)
  ),
  task as materialized (
    select t.* from public.tasks t where t.project_step_id = any (array(select s.id from page s))
  ),
  question as materialized (
    select q.* from public.input_requests q
    where q.status = 'pending' and (q.project_step_id = any (array(select s.id from page s)) or q.task_id = any (array(select t.id from task t)))
  ),
  deliverable as materialized (
    select d.* from public.deliverables d where d.project_step_id = any (array(select s.id from page s))
  )
  select to_jsonb(p) - 'plan_json' || jsonb_build_object(
    'steps', coalesce((
      select jsonb_agg(to_jsonb(s) || jsonb_build_object(
        'tasks', coalesce((
          select jsonb_agg(jsonb_build_object(
            'id', t.id, 'method', t.method, 'agent_slug', t.agent_slug, 'status', t.status, 'attempt', t.attempt, 'progress', t.progress,
            'progress_message', t.progress_message, 'response', left(t.response, 2000), 'is_cut', length(t.response) > 2000, 'error_code', t.error_code,
            'error_message', t.error_message, 'created_at', t.created_at, 'started_at', t.started_at, 'completed_at', t.completed_at
          ) order by t.created_at, t.id)
          from task t where t.project_step_id = s.id
        ), '[]'),
        'deliverables', coalesce((
          select jsonb_agg(jsonb_build_object('id', d.id, 'title', d.title, 'type', d.type, 'created_at', d.created_at) order by d.created_at, d.id)
          from deliverable d where d.project_step_id = s.id
        ), '[]'),
        'questions', coalesce((
          select jsonb_agg(jsonb_build_object(
            'id', q.id, 'task_id', q.task_id, 'request_type', q.request_type, 'prompt', q.prompt, 'schema', q.schema, 'required_role', q.required_role,
            'requested_at', q.requested_at, 'expires_at', q.expires_at, 'metadata', q.metadata
          ) order by q.requested_at, q.id)
          from question q
          where q.project_step_id = s.id or q.task_id = any (array(select t.id from task t where t.project_step_id = s.id))
        ), '[]')
      ) order by s.step_index)
      from page s
    ), '[]'),
    'subprojects', coalesce((
      select jsonb_agg(jsonb_build_object(
        'id', c.id, 'name', c.name, 'status', c.status, 'project_step_id', c.project_step_id, 'progress', c.progress
      ) order by c.created_at, c.id)
      from public.projects c where c.parent_project_id = p.id
    ), '[]')
  )
  into v_overview
  from public.projects p
  where p.id = project_overview.project_id;
  if v_overview is null then
    raise exception using errcode = 'PT404', message = 'project_not_found',
      detail = format('You have no project %s.', project_id), hint = 'Check the id, or list projects to see which there are.';
  end if;
  return v_overview;
end;
$$;
comment on function public.project_overview(uuid, integer, integer) is
  'A project (without plan_json) with {steps: [{…, tasks, deliverables, questions (open ones)}], subprojects}, of what the caller may see; the first 2000 characters of responses. At most 1000 steps: the next page comes after the last step_index. PT404 project_not_found.';
revoke execute on function public.project_overview(uuid, integer, integer) from public, anon, authenticated;
grant execute on function public.project_overview(uuid, integer, integer) to authenticated, service_role;

-- Drawings -----------------------------------------------------------------------------------------------------------

create function private.diagram_text(value text) returns text
language sql immutable set search_path = ''
as $$
  select string_agg(case when c.letter ~ '[[:alnum:] .,:_/+-]' then c.letter else '#' || ascii(c.letter) || ';' end, '' order by c.place)
  from regexp_split_to_table(case when length(value) > 60 then left(value, 59) || '…' else value end, '') with ordinality c (letter, place);
$$;
comment on function private.diagram_text(text) is 'The first 60 characters of a text as Mermaid shows them and never reads them: all but letters, digits and plain signs as #code;.';
revoke execute on function private.diagram_text(text) from public;
grant execute on function private.diagram_text(text) to authenticated, service_role;

create function private.diagram(steps jsonb) returns text
language sql immutable set search_path = ''
as $$
  with step as (
    select s.step ->> 'id' as id, coalesce(nullif(btrim(s.step ->> 'name'), ''), s.step ->> 'id') as name, coalesce(s.step ->> 'type', 'agent') as type,
      s.step ->> 'agent' as agent, s.step ->> 'status' as status, s.step ->> 'condition' as condition,
      coalesce(nullif(s.step -> 'dependencies', 'null'), '[]') as dependencies, coalesce(nullif(s.step -> 'conditional', 'null'), '[]') as conditional, s.place
    from jsonb_array_elements(steps) with ordinality s (step, place)
    where s.place <= 300
  ),
  node as (
    select s.place, '  s' || s.place || format(
        case s.type
          when 'human_approval' then '{{"%s"}}' when 'human_input' then '[/"%s"/]' when 'subproject' then '[["%s"]]'
          when 'transform' then '("%s")' when 'map' then '[\"%s"\]'
          when 'start' then '(["%s"])' when 'end' then '(["%s"])' else '["%s"]'
        end,
        private.diagram_text(s.name) || coalesce('<br/>' || private.diagram_text(s.agent), '')
      ) || coalesce(':::' || s.status, '') as line
    from step s
  ),
  edge as (
    select s.place, b.place as before, format('  s%s %s s%s', b.place, case when s.condition is null and not s.conditional ? d.id then '-->' else '-.->' end, s.place) as line
    from step s cross join lateral jsonb_array_elements_text(s.dependencies) d (id) join step b on b.id = d.id
  )
  select concat_ws(e'\n', 'flowchart TD',
    (select string_agg(n.line, e'\n' order by n.place) from node n),
    (select format('  more["and %s more steps"]', jsonb_array_length(steps) - 300) where jsonb_array_length(steps) > 300),
    (select string_agg(e.line, e'\n' order by e.before, e.place) from (select x.* from edge x order by x.before, x.place limit 450) e),
    (
      select string_agg(format('  classDef %s %s', c.status, c.style), e'\n' order by c.status)
      from (values
        ('completed', 'fill:#d3f9d8,stroke:#2b8a3e'), ('in_progress', 'fill:#d0ebff,stroke:#1864ab'), ('awaiting_input', 'fill:#fff3bf,stroke:#e67700'),
        ('failed', 'fill:#ffe3e3,stroke:#c92a2a'), ('skipped', 'fill:#f1f3f5,stroke:#adb5bd,stroke-dasharray:4'), ('cancelled', 'fill:#f1f3f5,stroke:#868e96'),
        ('pending', 'fill:#ffffff,stroke:#adb5bd'), ('ready', 'fill:#ffffff,stroke:#1864ab')
      ) c (status, style)
      where c.status in (select s.status from step s)
    )
  );
$$;
comment on function private.diagram(jsonb) is
  'A Mermaid flowchart of steps [{id, name, type, agent, dependencies, condition, conditional, status}]: a shape for each type, a colour for each status, dotted arrows to steps with a condition and from those that conditional lists. The first 300 steps and 450 arrows, since Mermaid draws no more than 500.';
revoke execute on function private.diagram(jsonb) from public;
grant execute on function private.diagram(jsonb) to authenticated, service_role;

create function public.project_diagram(project_id uuid) returns text
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_steps jsonb;
begin
  select coalesce((
    select jsonb_agg(jsonb_build_object(
      'id', s.step_id, 'name', s.step_name, 'type', s.step_type, 'agent', s.agent_slug, 'dependencies', s.dependencies, 'condition', s.condition,
      'status', s.status
    ) order by s.step_index)
    from public.project_steps s where s.project_id = p.id
  ), '[]')
  into v_steps
  from public.projects p
  where p.id = project_diagram.project_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'project_not_found',
      detail = format('You have no project %s.', project_id), hint = 'Check the id, or list projects to see which there are.';
  end if;
  return private.diagram(v_steps);
end;
$$;
comment on function public.project_diagram(uuid) is 'A project as the text of a Mermaid flowchart, with the status of each step. PT404 project_not_found.';
revoke execute on function public.project_diagram(uuid) from public, anon, authenticated;
grant execute on function public.project_diagram(uuid) to authenticated, service_role;

create function private.code_nodes(framework text, workflow_data jsonb) returns table (id text, name text, type text, note text, place integer)
language sql immutable security invoker set search_path = ''
as $$
  -- n8n's connections name nodes by their names; langgraph's edges by their ids. A sticky note of n8n does nothing.
  select x.id, coalesce(x.node ->> 'name', x.id),
    case
      when framework = 'n8n' and x.node ->> 'type' ~* '(trigger|webhook)' or framework = 'langgraph' and x.id in ('__start__', 'START') then 'start'
      when framework = 'langgraph' and x.id in ('__end__', 'END') then 'end' else 'node'
    end,
    case when framework = 'n8n' then substring(x.node ->> 'type' from '[^.]*$') end, x.place
  from (
    select n.node, n.place::integer, case
        when jsonb_typeof(n.node) = 'string' then n.node #>> '{}'
        when framework = 'n8n' then coalesce(n.node ->> 'name', n.node ->> 'id') else coalesce(n.node ->> 'id', n.node ->> 'name')
      end as id
    from jsonb_array_elements(
      case when framework in ('langgraph', 'n8n') and jsonb_typeof(workflow_data -> 'nodes') = 'array' then workflow_data -> 'nodes' else '[]' end
    ) with ordinality n (node, place)
  ) x
  where x.id is not null and x.node ->> 'type' is distinct from 'n8n-nodes-base.stickyNote';
$$;
comment on function private.code_nodes(text, jsonb) is 'The nodes of a workflow that was written for langgraph or n8n, as far as they can be read; note is the kind of an n8n node.';
revoke execute on function private.code_nodes(text, jsonb) from public;
grant execute on function private.code_nodes(text, jsonb) to authenticated, service_role;

create function private.code_edges(framework text, workflow_data jsonb) returns table (source text, target text, is_conditional boolean)
language sql immutable security invoker set search_path = ''
as $$
  select coalesce(e.edge ->> 'source', e.edge ->> 'from', e.edge ->> 0), coalesce(e.edge ->> 'target', e.edge ->> 'to', e.edge ->> 1),
    coalesce(nullif(e.edge -> 'condition', 'null'), 'false') <> 'false' or coalesce(e.edge -> 'conditional', 'false') = 'true'
  from jsonb_array_elements(
    case when framework = 'langgraph' and jsonb_typeof(workflow_data -> 'edges') = 'array' then workflow_data -> 'edges' else '[]' end
  ) e (edge)
  union all
  -- {"node": {"main": [[{"node": "target"}, …], …]}}: a list for each output; of several, one is taken.
  select f.key, t.target ->> 'node', k.key = 'main' and jsonb_array_length(k.value) > 1
  from jsonb_each(case when framework = 'n8n' and jsonb_typeof(workflow_data -> 'connections') = 'object' then workflow_data -> 'connections' else '{}' end) f
  cross join lateral jsonb_each(case jsonb_typeof(f.value) when 'object' then f.value else '{}' end) k
  cross join lateral jsonb_array_elements(case jsonb_typeof(k.value) when 'array' then k.value else '[]' end) o (output)
  cross join lateral jsonb_array_elements(case jsonb_typeof(o.output) when 'array' then o.output else '[]' end) t (target);
$$;
comment on function private.code_edges(text, jsonb) is
  'The edges of a workflow that was written for langgraph ({source, target}, {from, to} or [source, target]) or n8n (connections), as far as they can be read.';
revoke execute on function private.code_edges(text, jsonb) from public;
grant execute on function private.code_edges(text, jsonb) to authenticated, service_role;

create function private.workflow_drawing(workflow public.workflows) returns jsonb
language sql immutable security invoker set search_path = ''
as $$
  with visual as (select case when workflow.workflow_type = 'visual' then workflow.workflow_data else '{}' end as data),
  code as (select case when workflow.workflow_type = 'visual' or workflow.workflow_data ? 'endpoint' then '{}' else workflow.workflow_data end as data),
  edge as materialized (
    select e.source, e.target, e.condition is not null as is_conditional from visual cross join lateral private.workflow_edges(visual.data) e
    union all
    select e.source, e.target, e.is_conditional from code cross join lateral private.code_edges(workflow.framework, code.data) e
  ),
  named as (
    select n.id, coalesce(n.settings ->> 'name', n.settings ->> 'label') as name, n.type, n.settings ->> 'agent' as note, n.place
    from visual cross join lateral private.workflow_nodes(visual.data) n
    union all
    select n.id, n.name, n.type, n.note, n.place from code cross join lateral private.code_nodes(workflow.framework, code.data) n
    union all
    -- Where a graph begins and ends need not be among its nodes.
    select x.id, null, case when bool_and(x.leaves) then 'start' when bool_or(x.leaves) then 'node' else 'end' end, null,
      case when bool_and(x.leaves) then 0 else 2000000000 end
    from (select e.source as id, true as leaves from edge e union all select e.target, false from edge e) x
    group by x.id
  ),
  node as (select distinct on (n.id) n.* from named n where n.id is not null order by n.id, n.place in (0, 2000000000), n.place),
  before as (select e.target, jsonb_agg(distinct e.source) filter (where e.source is not null) as sources, jsonb_agg(distinct e.source) filter (where e.is_conditional) as conditional from edge e group by e.target)
  select coalesce(
    jsonb_agg(jsonb_build_object(
      'id', n.id, 'name', n.name, 'type', n.type, 'agent', n.note, 'dependencies', b.sources, 'conditional', b.conditional
    ) order by n.place, n.id),
    -- What runs elsewhere is one box.
    jsonb_build_array(jsonb_build_object('id', workflow.name, 'type', 'subproject', 'agent', concat_ws(
      ' ', workflow.framework, coalesce(
        workflow.workflow_data #>> '{endpoint,assistant_id}', workflow.workflow_data #>> '{endpoint,agent_id}',
        workflow.workflow_data #>> '{endpoint,team_id}', workflow.workflow_data #>> '{endpoint,workflow_id}'
      )
    )))
  )
  from node n left join before b on b.target = n.id;
$$;
comment on function private.workflow_drawing(public.workflows) is 'A workflow as private.diagram draws it: its nodes with their starts and ends, or one box for a program whose nodes are not here.';
revoke execute on function private.workflow_drawing(public.workflows) from public;
grant execute on function private.workflow_drawing(public.workflows) to authenticated, service_role;

create function public.workflow_diagram(workflow_id uuid) returns text
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows w where w.id = workflow_diagram.workflow_id;
  if not found then
    raise exception using errcode = 'PT404', message = 'workflow_not_found',
      detail = format('You have no workflow %s.', workflow_id), hint = 'List workflows to see which there are.';
  end if;
  return private.diagram(private.workflow_drawing(v_workflow));
end;
$$;
comment on function public.workflow_diagram(uuid) is
  'A stored workflow as the text of a Mermaid flowchart: the nodes of visual ones, of langgraph and of n8n; what is deployed elsewhere is one box. PT404 workflow_not_found.';
revoke execute on function public.workflow_diagram(uuid) from public, anon, authenticated;
grant execute on function public.workflow_diagram(uuid) to authenticated, service_role;
