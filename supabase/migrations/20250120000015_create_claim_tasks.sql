-- Claiming: how pending tasks reach workers. One statement picks, leases and starts the runs; skip locked keeps workers apart.

create function private.organizations_with_work(organizations text[]) returns table (organization_slug text, room bigint)
language plpgsql volatile security invoker set search_path = '' rows 10
as $$
declare
  v_slug text;
  v_limit numeric;
begin
  -- A loose index scan: one probe per organization that has pending tasks, however many they are.
  loop
    select t.organization_slug into v_slug
    from public.tasks t
    where t.status = 'pending' and (v_slug is null or t.organization_slug > v_slug)
    order by t.organization_slug
    limit 1;
    exit when not found;
    continue when organizations is not null and v_slug <> all (organizations);
    select (o.settings #>> '{limits,max_concurrent_tasks}')::numeric into v_limit
    from public.organizations o where o.slug = v_slug and o.is_active;
    continue when not found;
    if v_limit is not null then
      -- One claimer at a time counts what runs; the others come back in the next round.
      perform from public.organizations o where o.slug = v_slug for no key update skip locked;
      continue when not found;
      select floor(v_limit) - count(*) into v_limit
      from public.tasks t where t.organization_slug = v_slug and t.status = 'in_progress';
    end if;
    organization_slug := v_slug;
    room := least(coalesce(v_limit, 1000), 1000);
    return next;
  end loop;
end;
$$;
comment on function private.organizations_with_work(text[]) is
  'Active organizations with pending tasks, and how many more each may run now (settings.limits.max_concurrent_tasks).';
revoke execute on function private.organizations_with_work(text[]) from public;
grant execute on function private.organizations_with_work(text[]) to service_role;

create function private.pick_tasks(max_tasks integer, methods text[], organizations text[]) returns setof uuid
language plpgsql volatile security invoker set search_path = '' rows 50
as $$
declare
  v_ids uuid[];
  v_seen bigint;
begin
  with candidates as materialized (
    select c.id, c.turn
    from private.organizations_with_work(organizations) o
    cross join lateral (
      select t.id, row_number() over (order by t.priority, t.scheduled_at) as turn
      from public.tasks t
      where t.organization_slug = o.organization_slug and t.status = 'pending' and t.scheduled_at <= private.clock()
        and (pick_tasks.methods is null or t.method = any (pick_tasks.methods))
      order by t.priority, t.scheduled_at
      limit least(o.room, 2 * max_tasks)
    ) c
    where o.room > 0
  ),
  picked as materialized (
    select t.id
    from candidates c
    join public.tasks t on t.id = c.id and t.status = 'pending'
    order by c.turn, random() -- priorities are each organization's own
    limit max_tasks
    for update of t skip locked
  )
  select coalesce(array_agg(p.id), '{}'), (select count(*) from candidates) into v_ids, v_seen from picked p;
  if cardinality(v_ids) < least(v_seen, max_tasks) then
    -- Others are just taking the first candidates: take what stands behind them.
    v_ids := v_ids || array(
      select c.id
      from private.organizations_with_work(organizations) o
      cross join lateral (
        select t.id
        from public.tasks t
        where t.organization_slug = o.organization_slug and t.status = 'pending' and t.scheduled_at <= private.clock()
          and (pick_tasks.methods is null or t.method = any (pick_tasks.methods)) and t.id <> all (v_ids)
        order by t.priority, t.scheduled_at
        limit greatest(0, least(
          o.room - (select count(*) from public.tasks p where p.id = any (v_ids) and p.organization_slug = o.organization_slug),
          max_tasks - cardinality(v_ids)
        ))
        for update skip locked
      ) c
      limit max_tasks - cardinality(v_ids)
    );
  end if;
  return query select unnest(v_ids);
end;
$$;
comment on function private.pick_tasks(integer, text[], text[]) is
  'Locks up to max_tasks pending tasks that are due: organizations take turns, and within one priority goes before age.';
revoke execute on function private.pick_tasks(integer, text[], text[]) from public;
grant execute on function private.pick_tasks(integer, text[], text[]) to service_role;

create function public.claim_tasks(
  worker_id text, max_tasks integer default 1, lease_seconds integer default 30, methods text[] default null, organizations text[] default null
) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_tasks jsonb;
begin
  perform private.check_worker_id(worker_id);
  perform private.check_claim_arguments(max_tasks, lease_seconds);
  with picked as materialized (
    select p.id from private.pick_tasks(max_tasks, methods, organizations) as p (id)
  ),
  claimed as (
    update public.tasks t
    set status = 'in_progress', attempt = t.attempt + 1, worker_id = claim_tasks.worker_id, lease_token = gen_random_uuid(),
      lease_expires_at = private.clock() + make_interval(secs => lease_seconds), started_at = private.clock(), progress_message = null,
      error_code = null, error_message = null, error_data = null
    from picked p
    where t.id = p.id
    returning t.*
  ),
  started as (
    insert into public.runs (organization_slug, created_by, task_id, execution_id, agent_slug, agent_name, initial_prompt, attempt, worker_id, lease_token)
    select c.organization_slug, c.user_id, c.id, c.execution_id, c.agent_slug, c.agent_name, left(c.prompt, 2000), c.attempt, c.worker_id, c.lease_token
    from claimed c
    returning id, lease_token
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'task', jsonb_build_object(
      'id', c.id, 'organization_slug', c.organization_slug, 'user_id', c.user_id, 'method', c.method, 'prompt', c.prompt, 'params', c.params,
      'deliverable_type', c.deliverable_type, 'deliverable_metadata', c.deliverable_metadata, 'timeout_seconds', c.timeout_seconds,
      'attempt', c.attempt, 'max_attempts', c.max_attempts, 'agent_conversation_id', c.agent_conversation_id, 'agent_slug', c.agent_slug,
      'agent_name', c.agent_name, 'metadata', c.metadata, 'priority', c.priority, 'created_at', c.created_at
    ),
    'agent', case when a.slug is not null then jsonb_build_object(
      'slug', a.slug, 'name', a.name, 'description', a.description, 'version', a.version, 'agent_type', a.agent_type, 'context', a.context,
      'io_schema', a.io_schema, 'capabilities', a.capabilities, 'endpoint', a.endpoint, 'llm_config', a.llm_config,
      'metadata', a.metadata, 'status', a.status
    ) end,
    'attempt', c.attempt, 'lease_token', c.lease_token, 'lease_expires_at', c.lease_expires_at, 'run_id', s.id,
    'history', case when c.agent_conversation_id is null then '[]' else private.conversation_history(c.agent_conversation_id, c.id) end
  ) order by c.priority, c.scheduled_at), '[]')
  into v_tasks
  from claimed c
  join started s on s.lease_token = c.lease_token
  left join public.agents a
    on a.slug = c.agent_slug and (a.organization_slug @> array[c.organization_slug] or a.owner_user_id = c.user_id);
  return v_tasks;
end;
$$;
comment on function public.claim_tasks(text, integer, integer, text[], text[]) is
  'Leases up to max_tasks due tasks to a worker and starts their runs. Returns [{task, agent, attempt, lease_token, lease_expires_at, run_id, history}]; agent is null when it is gone. methods and organizations narrow what is asked for.';
revoke execute on function public.claim_tasks(text, integer, integer, text[], text[]) from public, anon, authenticated;
grant execute on function public.claim_tasks(text, integer, integer, text[], text[]) to service_role;
