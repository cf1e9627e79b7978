-- The types of steps: how each starts and ends, and what a step may use of the results of those before it.
-- Everything here is called with the row of the project locked (private.start_steps, private.advance_project).
-- jq does not run in SQL: conditions and transforms are tasks of the internal method evaluate_step, which a worker computes.
-- Over 400 lines, because each type is a pair of short functions, and results and templates serve all of them.

insert into public.task_methods (name, description, needs_agent, is_internal) values
('evaluate_step', 'Compute the jq program of a project step: its condition or its transform. The database makes these tasks.', false, true);

-- Results ------------------------------------------------------------------------------------------------------------

create function private.json_or_text(value text) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_value jsonb;
begin
  v_value := value::jsonb;
  return case when private.json_is_plain(v_value) then v_value else to_jsonb(value) end;
exception
  when data_exception or program_limit_exceeded or statement_too_complex then
    return to_jsonb(value);
end;
$$;
comment on function private.json_or_text(text) is 'A text that is plain JSON as JSON, any other as a JSON string.';
revoke execute on function private.json_or_text(text) from public;
grant execute on function private.json_or_text(text) to service_role;

create function private.answer_result(step public.project_steps, request public.input_requests) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_answer constant jsonb := case request.status when 'answered' then request.response else '{"approved": true, "expired": true}' end;
begin
  if step.step_type = 'human_approval' and v_answer ? 'edited' then
    return v_answer - 'edited' || jsonb_build_object('value', v_answer -> 'edited');
  elsif step.step_type = 'human_approval' and step.settings ? 'shows' then
    return v_answer || jsonb_build_object('value', coalesce(private.named_value(step.project_id, step.settings ->> 'shows'), 'null'));
  end if;
  return v_answer;
end;
$$;
comment on function private.answer_result(public.project_steps, public.input_requests) is
  'What a step gives whose question is answered, or approved by its expiry ({"approved": true, "expired": true}): human_input: the answer. human_approval: the answer without "edited", and as "value" what was edited, else what it shows; no "value" when it shows nothing and nothing was edited. What is shown is not copied, but looked up.';
revoke execute on function private.answer_result(public.project_steps, public.input_requests) from public;
grant execute on function private.answer_result(public.project_steps, public.input_requests) to service_role;

create function private.step_result(project_step_id uuid) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_step public.project_steps;
begin
  select s.* into v_step from public.project_steps s where s.id = step_result.project_step_id and s.status = 'completed';
  return case
    -- The start of a workflow.
    when v_step.result ? 'execution_id' then (
      select e.execution_data -> 'input' from public.workflow_executions e where e.id = (v_step.result ->> 'execution_id')::uuid
    )
    when v_step.step_type = 'map' then (
      select coalesce(jsonb_agg(private.json_or_text(t.response) order by i.position), '[]')
      from private.map_items i
      left join public.tasks t on t.id = i.task_id
      where i.project_step_id = v_step.id
    )
    when v_step.step_type = 'subproject' then (
      select coalesce(jsonb_object_agg(s.step_id, private.step_result(s.id)), '{}')
      from public.projects p
      join public.project_steps s on s.project_id = p.id and s.status = 'completed'
      join private.step_links l on l.project_step_id = s.id and l.dependents = '{}'
      where p.project_step_id = v_step.id
    )
    when v_step.step_type in ('human_approval', 'human_input') then (
      select private.answer_result(v_step, r) from public.input_requests r
      where r.project_step_id = v_step.id and r.task_id is null and r.status in ('answered', 'expired')
      order by r.requested_at desc, r.id desc
      limit 1
    )
    when v_step.id is not null then (select private.json_or_text(t.response) from public.tasks t where t.id = v_step.task_id)
  end;
end;
$$;
comment on function private.step_result(uuid) is
  'What a completed step gave, as JSON; null otherwise. A response that is JSON is parsed, other text is a JSON string. human_input: the answer; human_approval: see private.answer_result; map: the list of results in order; subproject: {id: result} of the steps on which no other depends.';
revoke execute on function private.step_result(uuid) from public;
grant execute on function private.step_result(uuid) to service_role;

create function private.results_of(project_id uuid, step_ids text[], most_bytes bigint) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select coalesce(jsonb_object_agg(x.step_id, jsonb_build_object('status', x.status, 'task_id', x.task_id, 'bytes', x.bytes)
    || case when x.so_far <= most_bytes then jsonb_build_object('result', private.step_result(x.id)) else '{"is_left_out": true}' end), '{}')
  from (
    select s.id, s.step_id, s.status, s.task_id, coalesce((s.result ->> 'bytes')::bigint, 0) as bytes,
      sum(coalesce((s.result ->> 'bytes')::bigint, 0)) over (order by coalesce((s.result ->> 'bytes')::bigint, 0), s.step_id) as so_far
    from public.project_steps s
    where s.project_id = results_of.project_id and s.step_id = any (results_of.step_ids)
  ) x;
$$;
comment on function private.results_of(uuid, text[], bigint) is
  'The results of steps: {id: {status, task_id, bytes, result}}; the largest of them are without result, with {is_left_out: true}, when all together would be over most_bytes.';
revoke execute on function private.results_of(uuid, text[], bigint) from public;

create function private.project_step_result(project_step_id uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_status text;
begin
  select s.status into v_status
  from public.project_steps s
  join public.projects p on p.id = s.project_id
  where s.id = project_step_result.project_step_id
    and (
      not private.is_client()
      or p.organization_slug in (select private.my_organizations('viewer'))
      and (p.user_id = (select auth.uid()) or p.conversation_id in (select private.my_shared_conversations()))
      or p.organization_slug in (select private.my_organizations('admin'))
    );
  if not found then
    raise exception using errcode = 'PT404', message = 'project_step_not_found',
      detail = format('There is no step %s whose result you may read.', project_step_id),
      hint = 'Check the id (project_steps.id); the project''s user, who shares its conversation, and the organization''s admins read results.';
  end if;
  return private.step_result(project_step_id);
end;
$$;
comment on function private.project_step_result(uuid) is 'Body of public.project_step_result.';
revoke execute on function private.project_step_result(uuid) from public;
grant execute on function private.project_step_result(uuid) to authenticated, service_role;

create function public.project_step_result(project_step_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select private.project_step_result(project_step_id);
$$;
comment on function public.project_step_result(uuid) is
  'What a completed step gave, as JSON; null for one that is not completed. For the project''s user, who shares its conversation, and admins. Errors: PT404 project_step_not_found.';
revoke execute on function public.project_step_result(uuid) from public, anon, authenticated;
grant execute on function public.project_step_result(uuid) to authenticated, service_role;

-- Templates ----------------------------------------------------------------------------------------------------------

create function private.template_value(expression text, steps jsonb, item jsonb, place integer) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_path constant text[] := string_to_array(expression, '.');
  v_is_left_out boolean;
  v_value jsonb;
begin
  if v_path[1] = 'index' then
    return to_jsonb(place);
  elsif v_path[1] = 'item' then
    return item #> v_path[2:];
  end if;
  v_is_left_out := steps #> array[v_path[2], 'is_left_out'] is not null;
  if v_is_left_out and cardinality(v_path) > 3 then
    raise exception using errcode = 'PT413', message = 'result_too_large',
      detail = format('The result of step "%s" has %s bytes: too many to look into for a template.', v_path[2], steps #>> array[v_path[2], 'bytes']),
      hint = 'Let an earlier step give less, or take the part out with a transform.';
  end if;
  v_value := steps #> v_path[2:]; -- at once: the results themselves are not copied
  if v_is_left_out or octet_length(v_value::text) > 100000 then
    return jsonb_build_object('$ref', jsonb_build_object(
      'step_id', v_path[2], 'task_id', steps #> array[v_path[2], 'task_id'],
      'bytes', coalesce(octet_length(v_value::text), (steps #>> array[v_path[2], 'bytes'])::integer)
    ) || case when cardinality(v_path) > 3 then jsonb_build_object('path', v_path[4:]) else '{}' end);
  end if;
  return v_value;
end;
$$;
comment on function private.template_value(text, jsonb, jsonb, integer) is
  'What a template''s expression means: a result or a part of one, the element or the place in a map. What is over 100000 bytes is referred to: {"$ref": {step_id, task_id, bytes, path?}}. PT413 result_too_large.';
revoke execute on function private.template_value(text, jsonb, jsonb, integer) from public;

create function private.template_values(source text, known jsonb, steps jsonb, item jsonb, place integer) returns jsonb
language plpgsql immutable set search_path = ''
as $$
declare
  v_expression record;
  v_value jsonb;
  v_bytes bigint := 0;
  v_names text[];
  v_values jsonb[];
begin
  for v_expression in select e.text as name, count(*) as number from private.template_expressions(source) e (text) group by e.text order by e.text loop
    v_value := coalesce(known -> v_expression.name, private.template_value(v_expression.name, steps, item, place), 'null');
    v_bytes := v_bytes + v_expression.number * coalesce(octet_length(v_value #>> '{}'), 0);
    -- Before anything is put together: a short plan may name a long result very often.
    if v_bytes > 2097152 then
      raise exception using errcode = 'PT413', message = 'result_too_large',
        detail = 'With the results that they name, prompt and params are far over the 1048576 bytes that are allowed.', hint = 'Name large results once.';
    end if;
    v_names[coalesce(cardinality(v_names), 0) + 1] := v_expression.name;
    v_values[coalesce(cardinality(v_values), 0) + 1] := v_value;
  end loop;
  return (select coalesce(jsonb_object_agg(x.name, x.value), '{}') from unnest(v_names, v_values) x (name, value));
end;
$$;
comment on function private.template_values(text, jsonb, jsonb, jsonb, integer) is
  'What the templates of a text mean, each looked up once: {expression: value}, of which `known` gives some. PT413 result_too_large when the text would be over 2 MiB with them.';
revoke execute on function private.template_values(text, jsonb, jsonb, jsonb, integer) from public;

create function private.render_text(source text, known jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_parts constant text[] := string_to_array(source, '{{');
  v_rendered text[] := v_parts[1:1];
  v_part text;
  v_value jsonb;
begin
  foreach v_part in array v_parts[2:] loop
    v_value := known -> btrim(split_part(v_part, '}}', 1), e' \t\r\n');
    if v_value ? '$ref' then
      v_value := to_jsonb(format(
        '[The result of step "%s" has %s bytes, too many to stand here%s.]', v_value #>> '{$ref,step_id}', v_value #>> '{$ref,bytes}',
        coalesce('; it is kept in task ' || (v_value #>> '{$ref,task_id}'), '')
      ));
    end if;
    v_rendered := v_rendered || coalesce(v_value #>> '{}', '') || substr(v_part, strpos(v_part, '}}') + 2);
  end loop;
  return array_to_string(v_rendered, '');
end;
$$;
comment on function private.render_text(text, jsonb) is
  'A text with its templates filled in: texts as they are, null as nothing, other values as JSON, what is too large as a sentence that says where it is. What is filled in is not looked at for templates again.';
revoke execute on function private.render_text(text, jsonb) from public;

create function private.render_json(value jsonb, known jsonb) returns jsonb
language plpgsql immutable set search_path = ''
as $$
begin
  case jsonb_typeof(value)
    when 'object' then
      return (select coalesce(jsonb_object_agg(e.key, private.render_json(e.value, known)), '{}') from jsonb_each(value) e);
    when 'array' then
      return (
        select coalesce(jsonb_agg(private.render_json(e.element, known) order by e.ordinal), '[]')
        from jsonb_array_elements(value) with ordinality e (element, ordinal)
      );
    when 'string' then
      if value #>> '{}' ~ '^\{\{[^{}]*\}\}$' then
        -- A text that is one template keeps the type of what that gives.
        return coalesce(known -> btrim(trim('{}' from value #>> '{}'), e' \t\r\n'), 'null');
      elsif value #>> '{}' like '%{{%' then
        return to_jsonb(private.render_text(value #>> '{}', known));
      end if;
      return value;
    else
      return value;
  end case;
end;
$$;
comment on function private.render_json(jsonb, jsonb) is 'JSON with the templates in its texts filled in; a text that is one template becomes the value itself.';
revoke execute on function private.render_json(jsonb, jsonb) from public;

create function private.render_templates(
  step public.project_steps, known jsonb, steps jsonb, item jsonb, place integer, out prompt text, out params jsonb, out error_code text, out error_message text
)
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_values jsonb;
begin
  v_values := private.template_values(concat(step.prompt, step.params::text), known, steps, item, place);
  prompt := private.render_text(coalesce(step.prompt, step.step_name), v_values);
  params := private.render_json(step.params, v_values);
  if btrim(prompt, e' \t\r\n') = '' then
    error_code := 'prompt_empty';
    error_message := 'Nothing is left of the prompt: the results that it names are empty.';
  elsif octet_length(prompt) > 1048576 or octet_length(params::text) > 1048576 then
    error_code := 'result_too_large';
    error_message := format('With the results that they name, prompt and params have %s and %s bytes; at most 1048576 are allowed.', octet_length(prompt), octet_length(params::text));
  elsif not private.json_is_plain(params) then
    error_code := 'json_not_plain';
    error_message := 'With the results that they name, the params are nested more than 64 deep.';
  end if;
exception
  when sqlstate 'PT413' then
    error_code := sqlerrm;
    get stacked diagnostics error_message = pg_exception_detail;
end;
$$;
comment on function private.render_templates(public.project_steps, jsonb, jsonb, jsonb, integer) is 'The prompt and the params of a step with its templates filled in, or why that cannot be.';
revoke execute on function private.render_templates(public.project_steps, jsonb, jsonb, jsonb, integer) from public;

create function private.render_step(
  step public.project_steps, steps jsonb, item jsonb, place integer, known jsonb,
  out prompt text, out params jsonb, out error_code text, out error_message text
)
language plpgsql stable security invoker set search_path = ''
as $$
begin
  -- What a plan says itself was checked with it.
  if step.prompt like '%{{%' or step.params <> '{}' and step.params::text like '%{{%' then
    select r.* into prompt, params, error_code, error_message from private.render_templates(step, known, steps, item, place) r;
  else
    prompt := coalesce(step.prompt, step.step_name);
    params := step.params;
  end if;
end;
$$;
comment on function private.render_step(public.project_steps, jsonb, jsonb, integer, jsonb) is 'The prompt and the params of a step''s task, or why there can be none. known: what some of its templates mean, where that was looked up before (private.template_values).';
revoke execute on function private.render_step(public.project_steps, jsonb, jsonb, integer, jsonb) from public;

create function private.fail_step(project_step_id uuid, error_code text, error_message text) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  update public.project_steps s set status = 'ready' where s.id = fail_step.project_step_id and s.status = 'pending';
  update public.project_steps s set status = 'failed', error_details = private.step_error(s.task_id, error_code, error_message)
  where s.id = fail_step.project_step_id and s.completed_at is null;
end;
$$;
comment on function private.fail_step(uuid, text, text) is 'Ends a step that is not over as failed.';
revoke execute on function private.fail_step(uuid, text, text) from public;

-- agent --------------------------------------------------------------------------------------------------------------

create function private.hold_agents(project public.projects, ids uuid[]) returns text[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_slugs text[];
begin
  -- One that is just being deleted is not waited for.
  v_slugs := array(
    select a.slug from public.agents a
    where a.slug = any (array(select distinct s.agent_slug from public.project_steps s where s.id = any (ids)))
      and a.status = 'active' and (a.organization_slug @> array[project.organization_slug] or a.owner_user_id = project.user_id)
    order by a.slug
    for key share skip locked
  );
  if exists (select from public.project_steps s where s.id = any (ids) and s.agent_slug <> all (v_slugs)) then
    perform private.fail_step(s.id, case when a.slug is null then 'agent_not_found' else 'agent_inactive' end, format(
      case when a.slug is null then 'Organization "%s" has no agent "%s" any more.' else 'In organization "%s", the agent "%s" is not active.' end,
      project.organization_slug, s.agent_slug
    ))
    from public.project_steps s
    left join public.agents a on a.slug = s.agent_slug and (a.organization_slug @> array[project.organization_slug] or a.owner_user_id = project.user_id)
    where s.id = any (ids) and s.agent_slug <> all (v_slugs) and a.status is distinct from 'active';
    update public.project_steps s set status = 'ready' where s.id = any (ids) and s.agent_slug <> all (v_slugs) and s.status = 'pending';
    insert into private.project_work (project_id)
    select project.id
    where exists (select from public.project_steps s where s.id = any (ids) and s.agent_slug <> all (v_slugs) and s.completed_at is null);
  end if;
  return v_slugs;
end;
$$;
comment on function private.hold_agents(public.projects, uuid[]) is
  'Locks and returns the agents of steps that can be used now. Steps whose agent is gone or not active fail; those whose agent somebody just changes are left to the next exchange.';
revoke execute on function private.hold_agents(public.projects, uuid[]) from public;

create function private.method_of_step(settings jsonb) returns text
language sql immutable set search_path = ''
as $$
  select case when settings ? 'deliverable' then 'process' else 'converse' end;
$$;
comment on function private.method_of_step(jsonb) is 'The method of the tasks of a step with these settings: process where it is to end as a deliverable, else converse.';
revoke execute on function private.method_of_step(jsonb) from public;

create function private.start_agent_steps(project public.projects, ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_uuid_head constant text := private.uuid_head();
  v_slugs constant text[] := private.hold_agents(project, ids);
  v_refs constant text[] := array(select distinct r.step_id from private.step_links l cross join lateral unnest(l.refs) r (step_id) where l.project_step_id = any (ids));
  -- Once for all of them: private.steps_for_now takes no more than fit.
  v_steps constant jsonb := case when v_refs <> '{}' then private.results_of(project.id, v_refs, 4000000) end;
  v_known constant jsonb := case when v_refs <> '{}' then (
    select jsonb_object_agg(x.name, private.template_value(x.name, v_steps, null, null))
    from (
      select e.text as name
      from public.project_steps s cross join lateral private.template_expressions(concat(s.prompt, s.params::text)) e (text)
      where s.id = any (ids)
      group by e.text
      having count(distinct s.id) > 1
    ) x
    where v_steps #> array[split_part(x.name, '.', 2), 'is_left_out'] is null
  ) end;
  v_bad record;
begin
  for v_bad in
    with chosen as materialized (
      select s.id, s.step_id, s.agent_slug, a.name as agent_name, s.settings, r.*, (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid as task_id
      from public.project_steps s
      join private.step_links l on l.project_step_id = s.id
      join public.agents a on a.slug = s.agent_slug
      cross join lateral private.render_step(s, v_steps, null, null, v_known) r
      where s.id = any (ids) and l.project_step_id = any (ids) and s.status in ('pending', 'ready') and s.task_id is null and a.slug = any (v_slugs)
      order by s.step_index
    ),
    made as (
      insert into public.tasks (
        id, organization_slug, user_id, method, deliverable_type, agent_slug, agent_name, prompt, params, timeout_seconds, max_attempts, project_step_id,
        execution_id, metadata
      )
      select c.task_id, project.organization_slug, project.user_id, private.method_of_step(c.settings), coalesce(c.settings ->> 'deliverable', 'text'),
        c.agent_slug, c.agent_name, c.prompt, c.params,
        coalesce((c.settings ->> 'timeout_seconds')::integer, 300), coalesce((c.settings ->> 'max_attempts')::integer, 3), c.id, project.execution_id,
        jsonb_build_object('project_id', project.id, 'step_id', c.step_id)
      from chosen c
      where c.error_code is null
    ),
    queued as (
      update public.project_steps s set status = 'ready', task_id = c.task_id
      from chosen c
      where s.id = c.id and s.id = any (ids) and c.error_code is null
    )
    select c.id, c.error_code, c.error_message from chosen c where c.error_code is not null
  loop
    perform private.fail_step(v_bad.id, v_bad.error_code, v_bad.error_message);
  end loop;
end;
$$;
comment on function private.start_agent_steps(public.projects, uuid[]) is 'Makes the tasks of steps of the type agent whose dependencies are over, and makes them ready where they are not yet.';
revoke execute on function private.start_agent_steps(public.projects, uuid[]) from public;

-- transform, and conditions of every type ----------------------------------------------------------------------------

create function private.start_evaluations(project public.projects, ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_uuid_head constant text := private.uuid_head();
begin
  with chosen as materialized (
    select s.id, s.step_id, s.settings, (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid as task_id
    from public.project_steps s
    where s.id = any (ids) and s.status = 'ready' and s.task_id is null
    order by s.step_index
  ),
  made as (
    insert into public.tasks (
      id, organization_slug, user_id, method, prompt, timeout_seconds, max_attempts, project_step_id, execution_id, metadata
    )
    select c.task_id, project.organization_slug, project.user_id, 'evaluate_step', format('Evaluate step "%s"', c.step_id), 60,
      coalesce((c.settings ->> 'max_attempts')::integer, 3), c.id, project.execution_id, jsonb_build_object('project_id', project.id, 'step_id', c.step_id)
    from chosen c
  )
  update public.project_steps s set task_id = c.task_id
  from chosen c
  where s.id = c.id and s.id = any (ids);
end;
$$;
comment on function private.start_evaluations(public.projects, uuid[]) is
  'Makes the tasks in which workers compute the jq programs of ready steps: conditions that were not looked at yet, transforms otherwise.';
revoke execute on function private.start_evaluations(public.projects, uuid[]) from public;

create function private.end_checks(task_ids uuid[], step_ids uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_held uuid[];
begin
  with checked as materialized (
    select s.id, t.response = 'true' as holds
    from public.tasks t
    join public.project_steps s on s.id = t.project_step_id and s.task_id = t.id
    join private.step_links l on l.project_step_id = s.id
    where t.id = any (task_ids) and s.id = any (step_ids) and l.project_step_id = any (step_ids)
      and t.status = 'completed' and s.completed_at is null and s.condition is not null and not l.is_checked
  ),
  noted as (
    update private.step_links l set is_checked = true from checked c
    where l.project_step_id = any (step_ids) and l.project_step_id = c.id and c.holds
  ),
  moved as (
    update public.project_steps s set status = case when c.holds then 'ready' else 'skipped' end, task_id = case when c.holds then null else s.task_id end
    from checked c
    where s.id = any (step_ids) and s.id = c.id
  )
  select coalesce(array_agg(c.id) filter (where c.holds), '{}') into v_held from checked c;
  return v_held;
end;
$$;
comment on function private.end_checks(uuid[], uuid[]) is 'After conditions were computed: steps whose condition does not hold are skipped; returns those whose does, and that start now.';
revoke execute on function private.end_checks(uuid[], uuid[]) from public;

create function private.read_step_input(task_id uuid, lease_token uuid) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_step record;
  v_steps jsonb;
begin
  select s.*, l.refs, l.is_checked into v_step
  from public.tasks t
  join public.project_steps s on s.id = t.project_step_id and s.task_id = t.id
  join private.step_links l on l.project_step_id = s.id
  where t.id = read_step_input.task_id and t.lease_token = read_step_input.lease_token and t.status = 'in_progress'
    and t.lease_expires_at > private.clock();
  if not found then
    return null;
  end if;
  v_steps := private.results_of(v_step.project_id, v_step.refs || v_step.dependencies, 4000000);
  if exists (select from jsonb_each(v_steps) e where not e.value ? 'result') then
    return jsonb_build_object('error_code', 'result_too_large', 'error_message', format(
      'The results that step "%s" may use have %s bytes together; at most 4000000 are handed to a jq program.', v_step.step_id,
      (select sum((e.value ->> 'bytes')::bigint) from jsonb_each(v_steps) e)
    ));
  end if;
  return jsonb_build_object(
    'kind', case when v_step.condition is not null and not v_step.is_checked then 'condition' else 'transform' end,
    'program', case when v_step.condition is not null and not v_step.is_checked then v_step.condition else v_step.settings ->> 'transform' end,
    'steps', (select coalesce(jsonb_object_agg(e.key, e.value - array['task_id', 'bytes']), '{}') from jsonb_each(v_steps) e)
  );
end;
$$;
comment on function private.read_step_input(uuid, uuid) is 'Body of public.read_step_input.';
revoke execute on function private.read_step_input(uuid, uuid) from public;
grant execute on function private.read_step_input(uuid, uuid) to service_role;

create function public.read_step_input(task_id uuid, lease_token uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select private.read_step_input(task_id, lease_token);
$$;
comment on function public.read_step_input(uuid, uuid) is
  'For the worker that holds a task of the method evaluate_step, and nobody else: {kind: condition|transform, program, steps: {id: {status, result}}}, of the steps that it depends on and those that the program names; {error_code, error_message} when these are too large. Null when there is nothing to compute any more.';
revoke execute on function public.read_step_input(uuid, uuid) from public, anon, authenticated;
grant execute on function public.read_step_input(uuid, uuid) to service_role;

-- map ----------------------------------------------------------------------------------------------------------------

create function private.named_value(project_id uuid, source text) returns jsonb
language plpgsql stable security invoker set search_path = '' set enable_nestloop = on
as $$
declare
  v_expression constant text := coalesce((select e.text from private.template_expressions(source) e (text)), 'steps.' || source || '.result');
  v_value jsonb;
begin
  v_value := private.template_value(v_expression, private.results_of(project_id, array[split_part(v_expression, '.', 2)], 4000000), null, null);
  -- What is over 100000 bytes is not put into a prompt; here it is taken all the same.
  if v_value ? '$ref' then
    v_value := (select private.step_result(s.id) #> (string_to_array(v_expression, '.'))[4:] from public.project_steps s
      where s.project_id = named_value.project_id and s.step_id = split_part(v_expression, '.', 2) and (s.result ->> 'bytes')::bigint <= 4000000);
  end if;
  return v_value;
end;
$$;
comment on function private.named_value(uuid, text) is 'What the id of a step, or one template, stands for: what a map goes over, what an approval shows. PT413 result_too_large.';
revoke execute on function private.named_value(uuid, text) from public;

create function private.known_in_map(project_id uuid, step public.project_steps, refs text[], list jsonb) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_source constant text := concat(step.prompt, step.params::text);
  v_known jsonb := '{}';
  v_bytes bigint;
begin
  if v_source like '%steps.%' then
    v_known := (
      select coalesce(jsonb_object_agg(k.key, k.value), '{}')
      from jsonb_each(private.template_values(v_source, null, private.results_of(project_id, refs, 4000000), null, null)) k
      where k.key like 'steps.%'
    );
  end if;
  select jsonb_array_length(list) * (octet_length(v_source) + coalesce(sum(octet_length(v_known ->> e.text)), 0))
    + count(*) filter (where e.text like 'item%') * octet_length(list::text)
  into v_bytes
  from private.template_expressions(v_source) e (text);
  if v_bytes > 67108864 then
    raise exception using errcode = 'PT413', message = 'result_too_large',
      detail = format('The tasks of its %s elements would have about %s bytes together; at most 67108864 are allowed.', jsonb_array_length(list), v_bytes),
      hint = 'Name shorter results, or go over fewer elements.';
  end if;
  return v_known;
end;
$$;
comment on function private.known_in_map(uuid, public.project_steps, text[], jsonb) is
  'What those templates of a map mean that are the same for each element: {expression: value}. PT413 result_too_large when its tasks would have over 64 MiB.';
revoke execute on function private.known_in_map(uuid, public.project_steps, text[], jsonb) from public;

create function private.start_map(project public.projects, step public.project_steps) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_uuid_head constant text := private.uuid_head();
  v_refs text[];
  v_known jsonb;
  v_detail text;
  v_list jsonb;
  v_bad record;
begin
  begin
    v_list := private.named_value(project.id, step.settings ->> 'over');
  exception
    when sqlstate 'PT413' then
      v_list := null;
  end;
  if jsonb_typeof(v_list) is distinct from 'array' or jsonb_array_length(v_list) > 1000 then
    perform private.fail_step(step.id, case when jsonb_typeof(v_list) = 'array' then 'map_too_long' else 'map_not_a_list' end, case
      when jsonb_typeof(v_list) = 'array' then format('The list that the step goes over has %s elements; at most 1000 are allowed.', jsonb_array_length(v_list))
      else format(
        'What the step goes over is %s and no list. An agent answers in JSON when its io_schema.output asks for it; name the list in it: {{ steps.ID.result.KEY }}.',
        coalesce(jsonb_typeof(v_list), 'missing or over 4000000 bytes')
      )
    end);
    return;
  end if;
  insert into private.map_items (project_step_id, position)
  select step.id, g.place from generate_series(0, jsonb_array_length(v_list) - 1) g (place)
  on conflict do nothing;
  -- Begun before: what is completed stays, and what is over in another way is done again.
  update private.map_items i set is_done = t.status = 'completed', task_id = case when t.status = 'completed' then i.task_id end
  from public.tasks t
  where i.project_step_id = step.id and t.id = i.task_id and t.completed_at is not null and not i.is_done
    and t.id = any (array(select x.task_id from private.map_items x where x.project_step_id = step.id and x.task_id is not null));
  update private.step_links l set items_left = (select count(*) from private.map_items i where i.project_step_id = step.id and not i.is_done)
  where l.project_step_id = step.id
  returning l.refs into v_refs;
  update public.project_steps s set status = 'in_progress' where s.id = step.id and s.status = 'ready';
  begin
    v_known := private.known_in_map(project.id, step, v_refs, v_list);
  exception
    when sqlstate 'PT413' then
      get stacked diagnostics v_detail = pg_exception_detail;
      perform private.fail_step(step.id, sqlerrm, v_detail);
      return;
  end;
  with chosen as materialized (
    select i.position, r.*, (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid as task_id
    from private.map_items i
    join jsonb_array_elements(v_list) with ordinality e (item, place) on e.place = i.position + 1
    cross join lateral private.render_step(step, null, e.item, i.position, v_known) r
    where i.project_step_id = step.id and i.task_id is null
    order by i.position
  ),
  made as (
    insert into public.tasks (
      id, organization_slug, user_id, method, deliverable_type, agent_slug, agent_name, prompt, params, timeout_seconds, max_attempts, project_step_id,
      execution_id, metadata
    )
    select c.task_id, project.organization_slug, project.user_id, private.method_of_step(step.settings), coalesce(step.settings ->> 'deliverable', 'text'),
      step.agent_slug, step.agent_name, c.prompt, c.params,
      coalesce((step.settings ->> 'timeout_seconds')::integer, 300), coalesce((step.settings ->> 'max_attempts')::integer, 3), step.id, project.execution_id,
      jsonb_build_object('project_id', project.id, 'step_id', step.step_id, 'index', c.position)
    from chosen c
    where not exists (select from chosen b where b.error_code is not null)
  ),
  queued as (
    update private.map_items i set task_id = c.task_id
    from chosen c
    where i.project_step_id = step.id and i.position = c.position and not exists (select from chosen b where b.error_code is not null)
  )
  select c.position, c.error_code, c.error_message into v_bad from chosen c where c.error_code is not null order by c.position limit 1;
  if found then
    perform private.fail_step(step.id, v_bad.error_code, format('Element %s: %s', v_bad.position, v_bad.error_message));
  else
    perform private.end_maps(array[step.id]);
  end if;
end;
$$;
comment on function private.start_map(public.projects, public.project_steps) is 'Makes the tasks of a map: one for each element that is not done.';
revoke execute on function private.start_map(public.projects, public.project_steps) from public;

create function private.start_maps(project public.projects, ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_slugs constant text[] := private.hold_agents(project, ids);
begin
  perform private.start_map(project, s)
  from public.project_steps s
  where s.id = any (ids) and s.status in ('ready', 'in_progress') and s.agent_slug = any (v_slugs);
end;
$$;
comment on function private.start_maps(public.projects, uuid[]) is 'Starts ready steps of the type map, or what of them was withdrawn.';
revoke execute on function private.start_maps(public.projects, uuid[]) from public;

create function private.end_maps(ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
begin
  update public.project_steps s
  set status = 'completed', result = jsonb_build_object('bytes', (
    select coalesce(sum(octet_length((select t.response from public.tasks t where t.id = i.task_id)) + 2), 2)
    from private.map_items i where i.project_step_id = s.id
  ))
  from private.step_links l
  where s.id = any (ids) and s.status in ('ready', 'in_progress') and l.project_step_id = s.id and l.project_step_id = any (ids) and l.items_left = 0;
end;
$$;
comment on function private.end_maps(uuid[]) is 'Completes maps of which every element is done.';
revoke execute on function private.end_maps(uuid[]) from public;

create function private.end_map_tasks(task_ids uuid[], step_ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = off set enable_seqscan = off
as $$
declare
  v_failed record;
begin
  with done as (
    update private.map_items i set is_done = true
    from public.tasks t
    where i.task_id = any (task_ids) and t.id = any (task_ids) and t.id = i.task_id and t.status = 'completed' and not i.is_done
    returning i.project_step_id
  )
  update private.step_links l set items_left = l.items_left - d.number
  from (select x.project_step_id, count(*) as number from done x group by x.project_step_id) d
  where l.project_step_id = any (step_ids) and l.project_step_id = d.project_step_id;
  for v_failed in
    select distinct on (s.id) s.id, s.project_id, i.position, t.id as task_id, t.error_code, t.error_message
    from private.map_items i
    join public.tasks t on t.id = i.task_id
    join public.project_steps s on s.id = i.project_step_id
    where i.task_id = any (task_ids) and t.id = any (task_ids) and t.completed_at is not null and t.status <> 'completed'
      and s.id = any (step_ids) and s.completed_at is null
    order by s.id, i.position
  loop
    update public.project_steps s
    set status = 'failed', error_details = private.step_error(
      v_failed.task_id, coalesce(v_failed.error_code, 'task_cancelled'),
      format('Element %s: %s', v_failed.position, coalesce(v_failed.error_message, 'The task was cancelled.'))
    )
    where s.id = v_failed.id;
    perform private.withdraw_map_tasks(v_failed.id);
  end loop;
  perform private.end_maps(step_ids);
end;
$$;
comment on function private.end_map_tasks(uuid[], uuid[]) is 'After tasks of maps are over: one that failed fails its map, and the last that is completed completes it.';
revoke execute on function private.end_map_tasks(uuid[], uuid[]) from public;

create function private.withdraw_map_tasks(project_step_id uuid) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = on
as $$
declare
  v_held uuid[];
begin
  v_held := array(
    select t.id from public.tasks t
    where t.project_step_id = withdraw_map_tasks.project_step_id and t.status = 'pending' and t.paused_at is null
    order by t.id
    for update skip locked
  );
  update private.map_items i set task_id = null where i.task_id = any (v_held);
  update public.tasks t set status = 'cancelled', error_code = 'withdrawn', error_message = 'Another element of the list failed before it began.'
  where t.id = any (v_held) and t.status = 'pending';
end;
$$;
comment on function private.withdraw_map_tasks(uuid) is 'Takes what waits in the queue of a map that failed out of it; what runs ends, and is not done again when the map is retried.';
revoke execute on function private.withdraw_map_tasks(uuid) from public;

-- subproject ---------------------------------------------------------------------------------------------------------

create function private.start_subprojects(project public.projects, ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = on
as $$
declare
  v_step public.project_steps;
  v_child public.projects;
begin
  for v_step in select s.* from public.project_steps s where s.id = any (ids) and s.status = 'ready' order by s.step_index loop
    select p.* into v_child from public.projects p
    where p.project_step_id = v_step.id and p.status in ('failed', 'paused')
    order by p.created_at desc
    limit 1
    for no key update skip locked;
    if v_child.id is null and exists (select from public.projects p where p.project_step_id = v_step.id and p.status in ('failed', 'paused')) then
      insert into private.project_work (project_id) values (project.id); -- somebody just writes to it
      continue;
    end if;
    update public.project_steps s set status = 'in_progress' where s.id = v_step.id;
    if v_child.id is not null then
      -- It was started before: it goes on with what did not finish.
      perform private.reset_failed_steps(v_child.id);
      update public.projects p set status = 'running' where p.id = v_child.id;
    else
      insert into public.projects (
        organization_slug, user_id, conversation_id, name, plan_json, plan_version, status, started_at, parent_project_id, project_step_id, execution_id,
        hierarchy_level
      )
      values (
        project.organization_slug, project.user_id, project.conversation_id, v_step.step_name, v_step.settings -> 'plan', 1, 'running', private.clock(),
        project.id, v_step.id, project.execution_id, project.hierarchy_level + 1
      );
    end if;
  end loop;
end;
$$;
comment on function private.start_subprojects(public.projects, uuid[]) is 'Makes and starts the projects that carry out ready steps of the type subproject, or lets those go on that failed before.';
revoke execute on function private.start_subprojects(public.projects, uuid[]) from public;

create function private.end_subprojects(ids uuid[]) returns uuid[]
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = on
as $$
begin
  update public.project_steps s
  set status = case p.status when 'completed' then 'completed' else 'failed' end,
    result = case p.status when 'completed' then jsonb_build_object('project_id', p.id, 'bytes', (
      select coalesce(sum((x.result ->> 'bytes')::bigint + length(x.step_id) + 6), 2)
      from public.project_steps x join private.step_links l on l.project_step_id = x.id and l.dependents = '{}'
      where x.project_id = p.id and x.status = 'completed'
    )) end,
    error_details = case when p.status <> 'completed' then private.step_error(
      (p.error_details ->> 'task_id')::uuid, case p.status when 'cancelled' then 'subproject_cancelled' else coalesce(p.error_details ->> 'error_code', 'subproject_failed') end,
      case p.status when 'cancelled' then 'The subproject was cancelled.' else format('Step "%s": %s', p.error_details ->> 'step_id', p.error_details ->> 'error_message') end
    ) || jsonb_build_object('project_id', p.id) end
  from public.projects p
  where p.id = any (ids) and p.status in ('completed', 'failed', 'cancelled') and s.id = p.project_step_id and s.status = 'in_progress';
  return array(
    select s.id from public.projects p join public.project_steps s on s.id = p.project_step_id where p.id = any (ids) and s.completed_at is not null
  );
end;
$$;
comment on function private.end_subprojects(uuid[]) is 'Ends the steps that these projects, which are over, carried out; returns them. Called with the project above locked.';
revoke execute on function private.end_subprojects(uuid[]) from public;

create function private.end_steps_without_project(project_id uuid) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_ids uuid[];
begin
  with ended as (
    update public.project_steps s
    set status = 'failed', error_details = private.step_error(null, 'subproject_cancelled', 'The subproject was deleted.')
    where s.project_id = end_steps_without_project.project_id and s.step_type = 'subproject' and s.status = 'in_progress'
      and not exists (select from public.projects c where c.project_step_id = s.id)
    returning s.id
  )
  select array_agg(e.id) into v_ids from ended e;
  if v_ids is not null then
    perform private.advance_project(project_id, '{}', v_ids);
  end if;
end;
$$;
comment on function private.end_steps_without_project(uuid) is 'Fails the steps of a project whose projects somebody has deleted. Called with the project locked.';
revoke execute on function private.end_steps_without_project(uuid) from public;

create function private.report_subproject(child public.projects) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_parent_id uuid;
begin
  select p.id into v_parent_id from public.projects p where p.id = child.parent_project_id for no key update skip locked;
  if found then
    perform private.advance_project(v_parent_id, '{}', private.end_subprojects(array[child.id]));
  else
    insert into private.project_work (project_id, child_project_id) select child.parent_project_id, child.id where child.parent_project_id is not null;
  end if;
end;
$$;
comment on function private.report_subproject(public.projects) is 'After a project that carries out a step of another is over: so is the step. Does not wait for the project above, see private.project_work.';
revoke execute on function private.report_subproject(public.projects) from public;

create function private.move_subprojects(project_id uuid, status text, project_step_id uuid default null) returns void
language plpgsql volatile security definer set search_path = '' set enable_nestloop = on
as $$
declare
  v_from constant text[] := case move_subprojects.status
    when 'running' then array['paused']
    when 'paused' then array['running']
    when 'failed' then array['running']
    when 'cancelled' then array['planning', 'awaiting_approval', 'running', 'paused', 'failed']
    else '{}'
  end;
  v_held uuid[];
begin
  if not exists (select from public.projects p where p.parent_project_id = move_subprojects.project_id) then
    return;
  end if;
  v_held := array(
    select p.id from public.projects p
    where p.parent_project_id = move_subprojects.project_id and p.status = any (v_from) and p.project_step_id is not null
      and (move_subprojects.project_step_id is null or p.project_step_id = move_subprojects.project_step_id)
    order by p.id
    limit 50 -- each with its steps and tasks; the rest is for the next exchange
    for no key update skip locked
  );
  insert into private.project_work (project_id)
  select move_subprojects.project_id
  where exists (
    select from public.projects p
    where p.parent_project_id = move_subprojects.project_id and p.status = any (v_from) and p.project_step_id is not null and p.id <> all (v_held)
      and (move_subprojects.project_step_id is null or p.project_step_id = move_subprojects.project_step_id)
  );
  update public.projects p set status = case move_subprojects.status when 'failed' then 'paused' else move_subprojects.status end where p.id = any (v_held);
end;
$$;
comment on function private.move_subprojects(uuid, text, uuid) is
  'The projects below one follow it (or one of its steps): they pause with it, go on with it, and are cancelled with it. Called with the project locked; those that somebody holds, and more than fifty, are left to the next exchange.';
revoke execute on function private.move_subprojects(uuid, text, uuid) from public;

-- human_approval, human_input ----------------------------------------------------------------------------------------

create function private.answer_schema(step public.project_steps) returns jsonb
language sql immutable set search_path = ''
as $$
  select case step.step_type when 'human_approval' then coalesce(step.settings -> 'schema', '{}') || jsonb_build_object(
    'type', 'object', 'required', coalesce(step.settings #> '{schema,required}', '[]') || '["approved"]',
    'properties', coalesce(step.settings #> '{schema,properties}', '{}') || '{"approved": {"type": "boolean"}}'
  ) else coalesce(step.settings -> 'schema', '{}') end;
$$;
comment on function private.answer_schema(public.project_steps) is 'What the answer to a step''s question must fit: its schema, and for an approval also {"approved": true or false}.';
revoke execute on function private.answer_schema(public.project_steps) from public;

create function private.shown_to_people(step public.project_steps) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_expression constant text := coalesce(
    (select e.text from private.template_expressions(step.settings ->> 'shows') e (text)), 'steps.' || (step.settings ->> 'shows') || '.result'
  );
  v_id constant text := split_part(v_expression, '.', 2);
  v_steps jsonb;
begin
  if v_expression is null then
    return '{}';
  end if;
  v_steps := private.results_of(step.project_id, array[v_id], 4000000);
  if not v_steps -> v_id ? 'result' then
    raise exception using errcode = 'PT413', message = 'result_too_large',
      detail = format('The result of step "%s" has %s bytes; at most 4000000 are shown to people.', v_id, v_steps #>> array[v_id, 'bytes']),
      hint = 'Show a part of it, which a transform takes out.';
  end if;
  return jsonb_build_object('shown', coalesce(private.template_value(v_expression, v_steps, null, null), 'null'));
end;
$$;
comment on function private.shown_to_people(public.project_steps) is
  'What goes into the metadata of a step''s question: {"shown": the result that it shows}; of one over 100000 bytes only where it is, {"$ref": …}. PT413 result_too_large.';
revoke execute on function private.shown_to_people(public.project_steps) from public;

create function private.ask_people(project public.projects, ids uuid[]) returns void
language plpgsql volatile security invoker set search_path = '' set enable_nestloop = on
as $$
declare
  v_steps jsonb;
  v_step public.project_steps;
  v_text record;
  v_shown jsonb;
begin
  for v_step in select s.* from public.project_steps s where s.id = any (ids) and s.status = 'ready' order by s.step_index loop
    v_steps := (select case when l.refs <> '{}' then private.results_of(project.id, l.refs, 4000000) end from private.step_links l where l.project_step_id = v_step.id);
    select * into v_text from private.render_step(v_step, v_steps, null, null, null);
    if v_text.error_code is null and octet_length(v_text.prompt) > 262144 then
      v_text.error_code := 'result_too_large';
      v_text.error_message := format('With the results that it names, the question has %s bytes; at most 262144 are allowed.', octet_length(v_text.prompt));
    end if;
    begin
      v_shown := private.shown_to_people(v_step);
    exception
      when sqlstate 'PT413' then
        v_text.error_code := sqlerrm;
        get stacked diagnostics v_text.error_message = pg_exception_detail;
    end;
    if v_text.error_code is not null then
      perform private.fail_step(v_step.id, v_text.error_code, v_text.error_message);
      continue;
    end if;
    insert into public.input_requests (
      organization_slug, project_step_id, execution_id, request_type, prompt, schema, required_role, on_expiry, metadata, requested_at, expires_at
    )
    values (
      project.organization_slug, v_step.id, project.execution_id, case v_step.step_type when 'human_approval' then 'approval' else 'input' end, v_text.prompt,
      private.answer_schema(v_step), coalesce(v_step.settings ->> 'required_role', 'member'), coalesce(v_step.settings ->> 'on_expiry', 'fail'),
      jsonb_build_object('project_id', project.id, 'step_id', v_step.step_id) || v_shown, private.clock(),
      private.clock() + make_interval(secs => (v_step.settings ->> 'expires_in_seconds')::double precision)
    );
    update public.project_steps s set status = 'awaiting_input' where s.id = v_step.id;
  end loop;
end;
$$;
comment on function private.ask_people(public.projects, uuid[]) is 'Asks the questions of ready steps of the types human_approval and human_input.';
revoke execute on function private.ask_people(public.projects, uuid[]) from public;

create function private.end_question(request public.input_requests) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_project_id uuid;
  v_outcome text;
begin
  select s.project_id, case
      when request.status = 'answered' and s.step_type = 'human_approval' and request.response -> 'approved' <> 'true' then 'not_approved'
      when request.status = 'answered' or request.on_expiry = 'approve' then 'completed'
      when request.on_expiry = 'skip' then 'skipped'
      else 'input_expired'
    end
  into v_project_id, v_outcome
  from public.project_steps s
  where s.id = request.project_step_id and s.status = 'awaiting_input';
  if not found then
    return;
  end if;
  update public.project_steps s
  set status = case when v_outcome in ('completed', 'skipped') then v_outcome else 'failed' end,
    result = case v_outcome when 'completed' then jsonb_build_object(
      'input_request_id', request.id, 'bytes', octet_length(private.answer_result(s, request)::text)
    ) end,
    error_details = case when v_outcome in ('not_approved', 'input_expired') then private.step_error(
      null, v_outcome, case v_outcome when 'not_approved' then 'It was not approved.' else 'Nobody answered the question in time.' end
    ) || jsonb_build_object('input_request_id', request.id) end
  where s.id = request.project_step_id;
  perform private.advance_project(v_project_id, '{}', array[request.project_step_id]);
end;
$$;
comment on function private.end_question(public.input_requests) is
  'After the question of a step is answered or has expired: the step ends as the answer, or its on_expiry, says. Called with the project locked.';
revoke execute on function private.end_question(public.input_requests) from public;

create function private.expire_step_questions(ids uuid[]) returns void
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_projects constant uuid[] := array(
    select p.id from public.projects p
    where p.id in (
      select s.project_id from public.input_requests r join public.project_steps s on s.id = r.project_step_id where r.id = any (ids) and r.task_id is null
    )
    order by p.id
    for no key update skip locked
  );
  v_request public.input_requests;
begin
  for v_request in
    select r.* from public.input_requests r
    join public.project_steps s on s.id = r.project_step_id
    where r.id = any (ids) and r.task_id is null and r.status = 'pending' and s.project_id = any (v_projects)
    order by r.id
    for update of r skip locked
  loop
    begin
      update public.input_requests r set status = 'expired' where r.id = v_request.id returning r.* into v_request;
      perform private.end_question(v_request);
    exception when others then
      perform private.fail_broken_project((select s.project_id from public.project_steps s where s.id = v_request.project_step_id), sqlstate, sqlerrm);
    end;
  end loop;
end;
$$;
comment on function private.expire_step_questions(uuid[]) is
  'Closes those of these questions that steps have asked, and moves their projects on. Waits for nobody: a project that somebody holds is left to the next call.';
revoke execute on function private.expire_step_questions(uuid[]) from public;
grant execute on function private.expire_step_questions(uuid[]) to service_role;
