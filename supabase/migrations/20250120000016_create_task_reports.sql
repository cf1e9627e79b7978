-- Reports: what a worker says about the tasks it holds. Each item names task_id, attempt and lease_token; an item that does
-- not match changes nothing and answers lost (or cancelled), one whose rows somebody holds right now answers busy. A list is
-- taken in a few statements however long it is; when the data of one item is bad, the list is taken one by one and that one
-- answers invalid.
-- Lock order: tasks by id, organizations, users and agents (as the foreign keys will), conversations by id, deliverables by id;
-- but for the last nothing is waited for, so that no report holds up the heartbeats that travel with it.
-- Over 400 lines, because the fence, what each kind of item does and the functions workers call are one subject.

create function private.stale_outcome(worker_id text, kind text, item jsonb) returns text
language sql stable security invoker set search_path = '' set enable_seqscan = off
as $$
  select coalesce((
    select 'busy'
    from public.tasks t
    where t.id = (item ->> 'task_id')::uuid and t.status = 'in_progress' and t.attempt = (item ->> 'attempt')::integer
      and t.lease_token = (item ->> 'lease_token')::uuid and t.worker_id = stale_outcome.worker_id and t.lease_expires_at > private.clock()
  ), (
    select case
      when r.status = 'cancelled' then 'cancelled'
      when kind = 'completed' and r.status = 'completed' then 'ok'
      when kind = 'failed' and r.status in ('failed', 'timeout', 'rejected') then 'ok'
      when kind = 'released' and r.status = 'released' then 'ok'
      when kind = 'paused' and r.status = 'paused' then 'ok'
      else 'lost'
    end
    from public.runs r
    where r.id = (item ->> 'lease_token')::uuid and r.task_id = (item ->> 'task_id')::uuid
  ), 'lost');
$$;
comment on function private.stale_outcome(text, text, jsonb) is
  'The answer to an item that was not taken: busy when it is in force and somebody else holds a row it needs, ok when the same report has been taken before, cancelled when a person cancelled the attempt, else lost.';
revoke execute on function private.stale_outcome(text, text, jsonb) from public;
grant execute on function private.stale_outcome(text, text, jsonb) to service_role;

create function private.hold_leased_tasks(worker_id text, items jsonb, out places integer[], out once boolean)
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := private.clock();
  v_ids constant uuid[] := private.ids_in(items, 'task_id');
  v_writers jsonb;
  v_organizations text[];
  v_users uuid[];
  v_agents text[];
  v_conversations uuid[];
begin
  -- Each task is locked once, so that of several items about one all are taken or none.
  with held as materialized (
    select t.id, t.attempt, t.lease_token, t.organization_slug, t.user_id, t.agent_conversation_id, t.agent_slug
    from public.tasks t
    where t.id = any (v_ids) and t.status = 'in_progress' and t.worker_id = hold_leased_tasks.worker_id and t.lease_expires_at > v_now
    order by t.id
    for update skip locked
  )
  select coalesce(array_agg(i.place), '{}'), count(*) = count(distinct h.id),
    jsonb_agg(jsonb_build_array(i.place, h.organization_slug, h.user_id, h.agent_conversation_id, h.agent_slug)) filter (where i.writes)
  into places, once, v_writers
  from (
    select e.place::integer, (e.item ->> 'task_id')::uuid as task_id, (e.item ->> 'attempt')::integer as attempt,
      (e.item ->> 'lease_token')::uuid as lease_token, e.item ?| array['deliverable', 'messages', 'usage', 'input_request', 'agent_calls'] as writes
    from jsonb_array_elements(items) with ordinality e (item, place)
  ) i
  join held h on h.id = i.task_id and h.attempt = i.attempt and h.lease_token = i.lease_token;
  if v_writers is null then
    return;
  end if;
  -- What they write names these rows; one that is just being deleted, or a conversation that is being written to, is not waited for.
  v_organizations := array(select o.slug from public.organizations o where o.slug = any (array(select w ->> 1 from jsonb_array_elements(v_writers) w)) order by o.slug for key share skip locked);
  v_users := array(select u.id from public.users u where u.id = any (array(select (w ->> 2)::uuid from jsonb_array_elements(v_writers) w)) order by u.id for key share skip locked);
  v_agents := array(select a.slug from public.agents a where a.slug = any (array(select w ->> 4 from jsonb_array_elements(v_writers) w)) order by a.slug for key share skip locked);
  v_conversations := array(
    select c.id from public.agent_conversations c where c.id = any (array(select (w ->> 3)::uuid from jsonb_array_elements(v_writers) w)) order by c.id for no key update skip locked
  );
  places := array(
    select h.place from unnest(places) h (place)
    except
    select (w.writer ->> 0)::integer
    from jsonb_array_elements(v_writers) w (writer)
    where w.writer ->> 1 <> all (v_organizations) or (w.writer ->> 2)::uuid <> all (v_users)
      or w.writer ->> 3 is not null and (w.writer ->> 3)::uuid <> all (v_conversations)
      or w.writer ->> 4 is not null and w.writer ->> 4 <> all (v_agents)
  );
end;
$$;
comment on function private.hold_leased_tasks(text, jsonb) is
  'The fence: locks the tasks of which this worker still holds exactly the named attempt and whose lease has not run out, and the conversations they speak in. Returns the places (from 1) of the items whose rows are all held now, and whether each is about another task.';
revoke execute on function private.hold_leased_tasks(text, jsonb) from public;
grant execute on function private.hold_leased_tasks(text, jsonb) to service_role;

-- Lists of one kind, with their tasks locked ----------------------------------------------------------------------------

create function private.take_heartbeats(items jsonb, lease_seconds integer) returns void
language sql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
  update public.tasks t
  set lease_expires_at = private.clock() + make_interval(secs => lease_seconds),
    progress = least(greatest(coalesce(b.progress, t.progress), 0), 99)::integer,
    progress_message = coalesce(left(b.progress_message, 1000), t.progress_message), updated_at = now()
  from (
    select i.task_id, max(i.progress) as progress, (array_agg(i.progress_message order by i.place desc) filter (where i.progress_message is not null))[1] as progress_message
    from rows from (jsonb_to_recordset(items) as (task_id uuid, progress numeric, progress_message text)) with ordinality i (task_id, progress, progress_message, place)
    group by i.task_id
  ) b
  where t.id = b.task_id and t.id = any (private.ids_in(items, 'task_id'));
$$;
comment on function private.take_heartbeats(jsonb, integer) is 'Extends leases; keeps progress (0 to 99; 100 is for completion) and progress_message.';
revoke execute on function private.take_heartbeats(jsonb, integer) from public;
grant execute on function private.take_heartbeats(jsonb, integer) to service_role;

create function private.take_events(items jsonb) returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_bad text;
begin
  select coalesce(i.type, '') into v_bad
  from jsonb_to_recordset(items) i (type text)
  where coalesce(i.type, '') not in ('progress', 'message', 'partial', 'tool', 'log')
  limit 1;
  if found then
    raise exception using errcode = '22023', message = 'event_type_unknown',
      detail = format('"%s" is not a type that a worker writes.', v_bad), hint = 'Use progress, message, partial, tool or log.';
  end if;
  insert into public.task_events (task_id, sequence, attempt, type, message, data)
  select i.task_id, coalesce(last.sequence, 0) + row_number() over (partition by i.task_id order by i.place), i.attempt, i.type,
    left(i.message, 10000), coalesce(nullif(i.data, 'null'), '{}')
  from rows from (jsonb_to_recordset(items) as (task_id uuid, attempt integer, type text, message text, data jsonb))
    with ordinality i (task_id, attempt, type, message, data, place)
  left join lateral (
    select e.sequence from public.task_events e where e.task_id = i.task_id order by e.sequence desc limit 1
  ) last on true
  order by i.place;
end;
$$;
comment on function private.take_events(jsonb) is 'Appends events to the tasks'' trails.';
revoke execute on function private.take_events(jsonb) from public;
grant execute on function private.take_events(jsonb) to service_role;

create function private.hold_conversation_of_step(project_step_id uuid) returns uuid
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_id uuid;
begin
  -- One that is just being deleted is not waited for; the deliverable would lose it anyway.
  select c.id into v_id
  from public.agent_conversations c
  where c.id = (
    select p.conversation_id from public.projects p
    where p.id = (select s.project_id from public.project_steps s where s.id = hold_conversation_of_step.project_step_id)
  )
  for key share skip locked;
  return v_id;
end;
$$;
comment on function private.hold_conversation_of_step(uuid) is
  'The conversation of the step''s project, locked so that it stays; its deliverables are read by whoever shares it, as the results of its steps are. Null when it is just being deleted.';
revoke execute on function private.hold_conversation_of_step(uuid) from public;
grant execute on function private.hold_conversation_of_step(uuid) to service_role;

create function private.write_deliverables(items jsonb) returns table (task_id uuid, written jsonb)
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_results record;
  v_uuid_head constant text := private.uuid_head();
begin
  -- A result goes to the deliverable it names, or to the one that an earlier attempt of its task made, or to a new one.
  with results as (
    select i.task_id, i.deliverable, i.llm_metadata, i.place, t.organization_slug, t.user_id, t.agent_conversation_id, t.project_step_id,
      t.agent_name, t.deliverable_type, coalesce(i.deliverable ->> 'deliverable_id', t.deliverable_metadata ->> 'deliverable_id')::uuid as named
    from rows from (jsonb_to_recordset(items) as (task_id uuid, deliverable jsonb, llm_metadata jsonb))
      with ordinality i (task_id, deliverable, llm_metadata, place)
    join public.tasks t on t.id = i.task_id
    where jsonb_typeof(i.deliverable) <> 'null'
  ),
  found as (
    select r.*, coalesce(r.named, (select d.id from public.deliverables d where d.task_id = r.task_id order by d.created_at limit 1)) as target
    from results r
  ),
  made as (
    insert into public.deliverables (id, organization_slug, user_id, conversation_id, task_id, project_step_id, title, type, agent_name, metadata)
    select (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid, f.organization_slug, f.user_id,
      case when f.agent_conversation_id is null and f.project_step_id is not null then private.hold_conversation_of_step(f.project_step_id) else f.agent_conversation_id end,
      f.task_id, f.project_step_id,
      left(f.deliverable ->> 'title', 500), coalesce(f.deliverable ->> 'type', f.deliverable_type), f.agent_name,
      coalesce(nullif(f.deliverable -> 'metadata', 'null'), '{}')
    from found f
    where f.target is null
    returning deliverables.id, deliverables.task_id
  )
  select jsonb_agg(jsonb_build_object(
      'id', (v_uuid_head || substr(gen_random_uuid()::text, 16))::uuid, 'deliverable_id', coalesce(f.target, m.id), 'task_id', f.task_id, 'content', f.deliverable ->> 'content',
      'format', coalesce(f.deliverable ->> 'format', 'text'), 'llm_metadata', coalesce(nullif(f.llm_metadata, 'null'), '{}'),
      'file_attachments', f.deliverable -> 'file_attachments'
    ) order by f.place) as versions,
    array_agg(f.target) filter (where f.target is not null) as targets,
    (array_agg(f.task_id) filter (where f.named is not null and not exists (
      select from public.deliverables d where d.id = f.named and d.organization_slug = f.organization_slug and d.user_id = f.user_id
    )))[1] as foreign_to,
    (array_agg(f.named) filter (where f.named is not null))[1] as named
  into v_results
  from found f
  left join made m on m.task_id = f.task_id;
  if v_results.foreign_to is not null then
    raise exception using errcode = 'PT404', message = 'deliverable_not_found',
      detail = format('The user of task %s has no deliverable %s.', v_results.foreign_to, v_results.named), hint = 'Leave deliverable_id out for a new one.';
  end if;
  if v_results.targets is not null then
    perform from public.deliverables d where d.id = any (v_results.targets) order by d.id for no key update;
    update public.deliverable_versions v set is_current_version = false where v.deliverable_id = any (v_results.targets) and v.is_current_version;
  end if;
  return query
  with versions as (
    insert into public.deliverable_versions (
      id, deliverable_id, version_number, content, format, is_current_version, created_by_type, task_id, metadata, file_attachments
    )
    select i.id, i.deliverable_id, coalesce(last.version_number, 0) + row_number() over mine, i.content, i.format,
      row_number() over mine = count(*) over (partition by i.deliverable_id), 'ai_response', i.task_id,
      jsonb_build_object('llmMetadata', i.llm_metadata), nullif(i.file_attachments, 'null')
    from rows from (jsonb_to_recordset(v_results.versions) as (
      id uuid, deliverable_id uuid, task_id uuid, content text, format text, llm_metadata jsonb, file_attachments jsonb
    )) with ordinality i (id, deliverable_id, task_id, content, format, llm_metadata, file_attachments, place)
    left join lateral (
      select v.version_number from public.deliverable_versions v where v.deliverable_id = i.deliverable_id order by v.version_number desc limit 1
    ) last on true
    window mine as (partition by i.deliverable_id order by i.place)
    returning deliverable_versions.task_id, deliverable_versions.deliverable_id, deliverable_versions.id, deliverable_versions.version_number
  )
  select v.task_id, jsonb_build_object('id', v.deliverable_id, 'version_id', v.id, 'version_number', v.version_number) from versions v;
end;
$$;
comment on function private.write_deliverables(jsonb) is
  'Writes the results {title, type, format, content, metadata?, file_attachments?, deliverable_id?} of items as new deliverables or as next versions; returns {id, version_id, version_number} for each task. PT404 deliverable_not_found.';
revoke execute on function private.write_deliverables(jsonb) from public;
grant execute on function private.write_deliverables(jsonb) to service_role;

create function private.take_completions(items jsonb) returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := private.clock();
  v_has record;
  v_written jsonb := '{}';
begin
  select min(i.task_id::text) filter (where jsonb_typeof(i.response) is distinct from 'string') as without_response,
    bool_or(jsonb_typeof(i.deliverable) <> 'null') as deliverables, bool_or(jsonb_typeof(i.messages) <> 'null') as messages,
    bool_or(jsonb_typeof(i.usage) <> 'null') as usage
  into v_has
  from jsonb_to_recordset(items) i (task_id uuid, response jsonb, deliverable jsonb, messages jsonb, usage jsonb);
  if v_has.without_response is not null then
    raise exception using errcode = '22023', message = 'response_missing',
      detail = format('The completion of task %s has no text in "response".', v_has.without_response), hint = 'Send the answer as text; it may be empty.';
  end if;
  if v_has.deliverables then
    select coalesce(jsonb_object_agg(w.task_id, w.written), '{}') into v_written from private.write_deliverables(items) w;
  end if;
  if v_has.messages then
    insert into public.messages (conversation_id, sender_type, receiver_type, sender_agent_slug, content, task_id, metadata)
    select t.agent_conversation_id, case t.method when 'orchestrate' then 'orchestrator' else 'agent' end, 'user', (select a.slug from public.agents a where a.slug = t.agent_slug),
      m.content, t.id, coalesce(m.metadata, '{}')
    from jsonb_to_recordset(items) i (task_id uuid, messages jsonb)
    join public.tasks t on t.id = i.task_id and t.agent_conversation_id is not null
    cross join lateral jsonb_to_recordset(nullif(i.messages, 'null')) m (content text, metadata jsonb);
  end if;
  if v_has.usage then
    perform private.record_usage(items);
  end if;
  update public.tasks t
  set status = 'completed', progress = 100, completed_at = v_now, lease_token = null, lease_expires_at = null, response = i.response #>> '{}', llm_metadata = coalesce(nullif(i.llm_metadata, 'null'), '{}'),
    response_metadata = coalesce(nullif(i.response_metadata, 'null'), '{}')
      || case when v_written ? i.task_id::text then jsonb_build_object('deliverable', v_written -> i.task_id::text) else '{}' end,
    error_code = null, error_message = null, error_data = null, progress_message = null, updated_at = now()
  from jsonb_to_recordset(items) i (task_id uuid, response jsonb, response_metadata jsonb, llm_metadata jsonb)
  where t.id = i.task_id and t.id = any (private.ids_in(items, 'task_id'));
end;
$$;
comment on function private.take_completions(jsonb) is
  'Everything results consist of, or nothing: deliverable versions, messages, usage, runs and tasks in one step.';
revoke execute on function private.take_completions(jsonb) from public;
grant execute on function private.take_completions(jsonb) to service_role;

create function private.retry_delay(backoff interval, attempt integer) returns interval
language sql volatile set search_path = ''
as $$
  select least(backoff * power(2, least(attempt - 1, 20)), interval '1 hour') * (0.75 + random() / 2);
$$;
comment on function private.retry_delay(interval, integer) is 'Wait after this failed attempt: backoff doubled for each earlier one, at most an hour, give or take a quarter.';
revoke execute on function private.retry_delay(interval, integer) from public;
grant execute on function private.retry_delay(interval, integer) to service_role;

create function private.take_failures(items jsonb) returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_without_code text;
begin
  select min(i.task_id::text) into v_without_code
  from jsonb_to_recordset(items) i (task_id uuid, error_code text)
  where coalesce(i.error_code, '') !~ '^[a-z][a-z0-9_]{0,62}$';
  if v_without_code is not null then
    raise exception using errcode = '22023', message = 'error_code_missing',
      detail = format('The failure of task %s has no snake_case error_code.', v_without_code), hint = 'Send error_code, error_message and retryable.';
  end if;
  perform private.record_usage(items);
  update public.tasks t
  set status = case
      when i.again then 'pending'
      when i.rejected then 'rejected'
      when i.error_code = 'timeout' then 'timeout'
      else 'failed'
    end,
    scheduled_at = case when i.again then private.clock() + greatest(
      private.retry_delay(t.backoff, t.attempt), make_interval(secs => least(coalesce(i.retry_after, 0), 86400)::double precision)
    ) else t.scheduled_at end,
    error_code = i.error_code, error_message = left(i.error_message, 10000), error_data = nullif(i.error_data, 'null'), progress_message = null
  from (
    select f.*, coalesce(f.retryable, false) and not coalesce(f.rejected, false) and x.attempt < x.max_attempts as again
    from jsonb_to_recordset(items) f (
      task_id uuid, error_code text, error_message text, error_data jsonb, retryable boolean, retry_after numeric, rejected boolean
    )
    join public.tasks x on x.id = f.task_id and x.id = any (private.ids_in(items, 'task_id'))
  ) i
  where t.id = i.task_id and t.id = any (private.ids_in(items, 'task_id'));
end;
$$;
comment on function private.take_failures(jsonb) is
  'Ends attempts with errors: back to pending after a wait while it is retryable and attempts remain, else failed, timeout or rejected.';
revoke execute on function private.take_failures(jsonb) from public;
grant execute on function private.take_failures(jsonb) to service_role;

create function private.take_releases(items jsonb) returns void
language sql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
  update public.tasks t
  set status = 'pending', attempt = t.attempt - 1, scheduled_at = private.clock(), progress_message = null
  from jsonb_to_recordset(items) i (task_id uuid)
  where t.id = i.task_id and t.id = any (private.ids_in(items, 'task_id'));
$$;
comment on function private.take_releases(jsonb) is 'Gives tasks back unfinished; costs no attempt.';
revoke execute on function private.take_releases(jsonb) from public;
grant execute on function private.take_releases(jsonb) to service_role;

-- Lists of items -------------------------------------------------------------------------------------------------------

create function private.take_list(worker_id text, kind text, items jsonb, lease_seconds integer) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_places integer[];
  v_once boolean;
  v_held jsonb;
begin
  select h.places, h.once into v_places, v_once from private.hold_leased_tasks(worker_id, items) h;
  if cardinality(v_places) = jsonb_array_length(items) and (v_once or kind in ('event', 'heartbeat', 'step')) then
    v_held := items;
  else
    -- Of several last words about an attempt the first counts.
    select jsonb_agg(h.item order by h.place) into v_held
    from (
      select e.item, e.place, row_number() over (partition by (e.item ->> 'lease_token')::uuid order by e.place) as turn
      from jsonb_array_elements(items) with ordinality e (item, place)
      where e.place = any (v_places)
    ) h
    where h.turn = 1 or kind in ('event', 'heartbeat', 'step');
  end if;
  if v_held is not null then
    if kind in ('completed', 'failed', 'paused', 'released') then
      perform private.try_steps(v_held);
    end if;
    case kind
      when 'step' then perform private.take_steps(v_held);
      when 'heartbeat' then perform private.take_heartbeats(v_held, lease_seconds);
      when 'event' then perform private.take_events(v_held);
      when 'completed' then perform private.take_completions(v_held);
      when 'failed' then perform private.take_failures(v_held);
      when 'paused' then perform private.take_pauses(v_held);
      when 'released' then perform private.take_releases(v_held);
    end case;
  end if;
  return (
    select jsonb_agg(jsonb_build_object(
      'task_id', e.item ->> 'task_id', 'kind', kind,
      'outcome', case when e.place = any (v_places) then 'ok' else private.stale_outcome(worker_id, kind, e.item) end
    ) order by e.place)
    from jsonb_array_elements(items) with ordinality e (item, place)
  );
end;
$$;
comment on function private.take_list(text, text, jsonb, integer) is
  'Takes a list of items of one kind, all of them or none; returns [{task_id, kind, outcome: ok|lost|cancelled|busy}].';
revoke execute on function private.take_list(text, text, jsonb, integer) from public;
grant execute on function private.take_list(text, text, jsonb, integer) to service_role;

create function private.take_items(worker_id text, kind text, items jsonb, lease_seconds integer default 30) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_item jsonb;
  v_outcomes jsonb := '[]';
  v_detail text;
begin
  perform private.check_worker_id(worker_id);
  if items is null or items in ('null', '[]') then
    return v_outcomes;
  end if;
  if jsonb_typeof(items) <> 'array' or jsonb_array_length(items) > 1000 then
    raise exception using errcode = '22023', message = 'items_not_a_list',
      detail = format('The %s items are no JSON array of at most 1000.', kind), hint = 'Send a list of objects, in several calls if they are many.';
  end if;
  begin
    return private.take_list(worker_id, kind, items, lease_seconds);
  exception
    -- Bad data of one item. Anything else (deadlock, shutdown, a full disk) ends the whole call, which is then repeated.
    when data_exception or integrity_constraint_violation or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT413' or sqlstate 'PT429' then
      -- Only our own refusals are quoted whole: the detail of a broken constraint would show the row.
      get stacked diagnostics v_detail = pg_exception_detail;
      v_detail := concat_ws(': ', sqlerrm, case when sqlstate like 'PT%' or sqlstate = '22023' then nullif(v_detail, '') end);
  end;
  if jsonb_array_length(items) = 1 then
    if kind <> 'step' and items -> 0 ? 'steps' then
      -- Its steps tell what led here.
      perform private.take_items(worker_id, 'step', items);
    end if;
    return jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
      'task_id', items -> 0 ->> 'task_id', 'kind', kind, 'outcome', 'invalid', 'detail', v_detail
    )));
  end if;
  for v_item in select e.item from jsonb_array_elements(items) with ordinality e (item, place) order by e.place loop
    v_outcomes := v_outcomes || private.take_items(worker_id, kind, jsonb_build_array(v_item), lease_seconds);
  end loop;
  return v_outcomes;
end;
$$;
comment on function private.take_items(text, text, jsonb, integer) is
  'Takes a list of items of one kind in a subtransaction, and one by one when that fails; returns [{task_id, kind, outcome: ok|lost|cancelled|busy|invalid, detail?}].';
revoke execute on function private.take_items(text, text, jsonb, integer) from public;
grant execute on function private.take_items(text, text, jsonb, integer) to service_role;

create function public.heartbeat_tasks(worker_id text, items jsonb, lease_seconds integer default 30) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.check_claim_arguments(0, lease_seconds);
  select private.take_items(worker_id, 'heartbeat', items, lease_seconds);
$$;
comment on function public.heartbeat_tasks(text, jsonb, integer) is 'Extends leases: items [{task_id, attempt, lease_token, progress?, progress_message?}]. Returns outcomes.';
revoke execute on function public.heartbeat_tasks(text, jsonb, integer) from public, anon, authenticated;
grant execute on function public.heartbeat_tasks(text, jsonb, integer) to service_role;

create function public.add_task_events(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.take_items(worker_id, 'event', items);
$$;
comment on function public.add_task_events(text, jsonb) is 'Appends events: items [{task_id, attempt, lease_token, type, message?, data?}]. Returns outcomes.';
revoke execute on function public.add_task_events(text, jsonb) from public, anon, authenticated;
grant execute on function public.add_task_events(text, jsonb) to service_role;

create function public.add_run_steps(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.take_items(worker_id, 'step', items);
$$;
comment on function public.add_run_steps(text, jsonb) is
  'Writes steps of runs: items [{task_id, attempt, lease_token, steps: [{sequence_number, type, name?, input?, output?, status?, error_message?, started_at?, completed_at?, input_tokens?, output_tokens?, cost?, metadata?}]}]. A step that was sent as running is sent again when it has ended. Returns outcomes.';
revoke execute on function public.add_run_steps(text, jsonb) from public, anon, authenticated;
grant execute on function public.add_run_steps(text, jsonb) to service_role;

create function public.complete_tasks(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.take_items(worker_id, 'completed', items);
$$;
comment on function public.complete_tasks(text, jsonb) is
  'Completes tasks: items [{task_id, attempt, lease_token, response, response_metadata?, llm_metadata?, deliverable?, messages?, usage?, steps?}]. Returns outcomes; a repeated report answers ok and acts once.';
revoke execute on function public.complete_tasks(text, jsonb) from public, anon, authenticated;
grant execute on function public.complete_tasks(text, jsonb) to service_role;

create function public.fail_tasks(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.take_items(worker_id, 'failed', items);
$$;
comment on function public.fail_tasks(text, jsonb) is
  'Ends attempts with an error: items [{task_id, attempt, lease_token, error_code, error_message, error_data?, retryable, retry_after?, rejected?, usage?}]. Returns outcomes.';
revoke execute on function public.fail_tasks(text, jsonb) from public, anon, authenticated;
grant execute on function public.fail_tasks(text, jsonb) to service_role;

create function public.release_tasks(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.take_items(worker_id, 'released', items);
$$;
comment on function public.release_tasks(text, jsonb) is 'Gives tasks back unfinished, at no cost of an attempt: items [{task_id, attempt, lease_token}]. Returns outcomes.';
revoke execute on function public.release_tasks(text, jsonb) from public, anon, authenticated;
grant execute on function public.release_tasks(text, jsonb) to service_role;
