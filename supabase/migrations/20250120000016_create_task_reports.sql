-- Reports: what a worker says about the tasks it holds. Each item names task_id, attempt and lease_token; an item that does
-- not match changes nothing and answers lost (or cancelled). One bad item never spoils the others: it answers invalid.

create function private.lock_leased_task(worker_id text, item jsonb) returns public.tasks
language sql volatile security invoker set search_path = ''
as $$
  select t.*
  from public.tasks t
  where t.id = (item ->> 'task_id')::uuid and t.status = 'in_progress' and t.attempt = (item ->> 'attempt')::integer
    and t.lease_token = (item ->> 'lease_token')::uuid and t.worker_id = lock_leased_task.worker_id
    and t.lease_expires_at > private.clock()
  for update of t;
$$;
comment on function private.lock_leased_task(text, jsonb) is
  'The fence: locks and returns the task if this worker still holds exactly this attempt of it and the lease has not run out; a row of nulls otherwise.';
revoke execute on function private.lock_leased_task(text, jsonb) from public;
grant execute on function private.lock_leased_task(text, jsonb) to service_role;

create function private.stale_outcome(kind text, item jsonb) returns text
language sql stable security invoker set search_path = ''
as $$
  select coalesce((
    select case
      when r.status = 'cancelled' then 'cancelled'
      when kind = 'completed' and r.status = 'completed' then 'ok'
      when kind = 'failed' and r.status in ('failed', 'timeout', 'rejected') then 'ok'
      when kind = 'released' and r.status = 'released' then 'ok'
      else 'lost'
    end
    from public.runs r
    where r.lease_token = (item ->> 'lease_token')::uuid and r.task_id = (item ->> 'task_id')::uuid
  ), 'lost');
$$;
comment on function private.stale_outcome(text, jsonb) is
  'The answer to an item that does not match: ok when the same report has been taken before, cancelled when a person cancelled the attempt, else lost.';
revoke execute on function private.stale_outcome(text, jsonb) from public;
grant execute on function private.stale_outcome(text, jsonb) to service_role;

-- One item each --------------------------------------------------------------------------------------------------------

create function private.take_heartbeat(task public.tasks, item jsonb, lease_seconds integer) returns void
language sql volatile security invoker set search_path = ''
as $$
  update public.tasks t
  set lease_expires_at = private.clock() + make_interval(secs => lease_seconds),
    progress = least(greatest(coalesce((item ->> 'progress')::numeric, t.progress), 0), 99)::integer,
    progress_message = coalesce(left(item ->> 'progress_message', 1000), t.progress_message)
  where t.id = task.id;
$$;
comment on function private.take_heartbeat(public.tasks, jsonb, integer) is 'Extends the lease; keeps progress (0 to 99; 100 is for completion) and progress_message.';
revoke execute on function private.take_heartbeat(public.tasks, jsonb, integer) from public;
grant execute on function private.take_heartbeat(public.tasks, jsonb, integer) to service_role;

create function private.take_event(task public.tasks, item jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if item ->> 'type' is null or item ->> 'type' not in ('progress', 'message', 'partial', 'tool', 'log') then
    raise exception using errcode = '22023', message = 'event_type_unknown',
      detail = format('"%s" is not a type that a worker writes.', item ->> 'type'), hint = 'Use progress, message, partial, tool or log.';
  end if;
  insert into public.task_events (task_id, sequence, attempt, type, message, data)
  select task.id, coalesce(max(e.sequence), 0) + 1, task.attempt, item ->> 'type', left(item ->> 'message', 10000), coalesce(nullif(item -> 'data', 'null'), '{}')
  from public.task_events e
  where e.task_id = task.id;
end;
$$;
comment on function private.take_event(public.tasks, jsonb) is 'Appends a worker''s event to the task''s trail. Called with the task''s row locked.';
revoke execute on function private.take_event(public.tasks, jsonb) from public;
grant execute on function private.take_event(public.tasks, jsonb) to service_role;

create function private.write_deliverable(task public.tasks, deliverable jsonb, llm_metadata jsonb) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_id uuid := coalesce(deliverable ->> 'deliverable_id', task.deliverable_metadata ->> 'deliverable_id')::uuid;
  v_version public.deliverable_versions;
begin
  if v_id is null then
    -- A task that was retried goes on with the deliverable it made before.
    select d.id into v_id from public.deliverables d where d.task_id = task.id order by d.created_at limit 1;
  elsif not exists (
    select from public.deliverables d
    where d.id = v_id and d.organization_slug = task.organization_slug and d.user_id = task.user_id
  ) then
    raise exception using errcode = 'PT404', message = 'deliverable_not_found',
      detail = format('The user of task %s has no deliverable %s.', task.id, v_id), hint = 'Leave deliverable_id out for a new one.';
  end if;
  if v_id is null then
    insert into public.deliverables (organization_slug, user_id, conversation_id, task_id, project_step_id, title, type, agent_name, metadata)
    values (
      task.organization_slug, task.user_id, task.agent_conversation_id, task.id, task.project_step_id,
      left(deliverable ->> 'title', 500), coalesce(deliverable ->> 'type', task.deliverable_type), task.agent_name, coalesce(nullif(deliverable -> 'metadata', 'null'), '{}')
    )
    returning id into v_id;
  end if;
  v_version.deliverable_id := v_id;
  v_version.content := deliverable ->> 'content';
  v_version.format := coalesce(deliverable ->> 'format', 'text');
  v_version.created_by_type := 'ai_response';
  v_version.task_id := task.id;
  v_version.metadata := jsonb_build_object('llmMetadata', llm_metadata);
  v_version.file_attachments := nullif(deliverable -> 'file_attachments', 'null');
  v_version := private.add_deliverable_version(v_version);
  return jsonb_build_object('id', v_id, 'version_id', v_version.id, 'version_number', v_version.version_number);
end;
$$;
comment on function private.write_deliverable(public.tasks, jsonb, jsonb) is
  'Writes a result {title, type, format, content, metadata?, file_attachments?, deliverable_id?} as a new deliverable or the next version of the one named; returns {id, version_id, version_number}.';
revoke execute on function private.write_deliverable(public.tasks, jsonb, jsonb) from public;
grant execute on function private.write_deliverable(public.tasks, jsonb, jsonb) to service_role;

create function private.take_completion(task public.tasks, item jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_llm_metadata jsonb := coalesce(nullif(item -> 'llm_metadata', 'null'), '{}');
  v_metadata jsonb := coalesce(nullif(item -> 'response_metadata', 'null'), '{}');
  v_deliverable jsonb := nullif(item -> 'deliverable', 'null');
begin
  if jsonb_typeof(item -> 'response') is distinct from 'string' then
    raise exception using errcode = '22023', message = 'response_missing',
      detail = format('The completion of task %s has no text in "response".', task.id), hint = 'Send the answer as text; it may be empty.';
  end if;
  if v_deliverable is not null then
    v_metadata := v_metadata || jsonb_build_object('deliverable', private.write_deliverable(task, v_deliverable, v_llm_metadata));
  end if;
  if task.agent_conversation_id is not null then
    insert into public.messages (conversation_id, sender_type, receiver_type, sender_agent_slug, content, task_id, metadata)
    select task.agent_conversation_id, 'agent', 'user', (select a.slug from public.agents a where a.slug = task.agent_slug),
      m.content, task.id, coalesce(m.metadata, '{}')
    from jsonb_to_recordset(coalesce(nullif(item -> 'messages', 'null'), '[]')) as m (content text, metadata jsonb);
  end if;
  perform private.record_usage(task.lease_token, nullif(item -> 'usage', 'null'));
  update public.tasks t
  set status = 'completed', response = item ->> 'response', response_metadata = v_metadata, llm_metadata = v_llm_metadata,
    error_code = null, error_message = null, error_data = null, progress_message = null
  where t.id = task.id;
end;
$$;
comment on function private.take_completion(public.tasks, jsonb) is
  'Everything a result consists of, or nothing: deliverable version, messages, usage, run and task in one step. Called with the task''s row locked.';
revoke execute on function private.take_completion(public.tasks, jsonb) from public;
grant execute on function private.take_completion(public.tasks, jsonb) to service_role;

create function private.retry_delay(backoff interval, attempt integer) returns interval
language sql volatile set search_path = ''
as $$
  select least(backoff * power(2, least(attempt - 1, 20)), interval '1 hour') * (0.75 + random() / 2);
$$;
comment on function private.retry_delay(interval, integer) is 'Wait after this failed attempt: backoff doubled for each earlier one, at most an hour, give or take a quarter.';
revoke execute on function private.retry_delay(interval, integer) from public;
grant execute on function private.retry_delay(interval, integer) to service_role;

create function private.take_failure(task public.tasks, item jsonb) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_code text := item ->> 'error_code';
  v_again boolean := coalesce((item ->> 'retryable')::boolean, false) and task.attempt < task.max_attempts
    and not coalesce((item ->> 'rejected')::boolean, false);
begin
  if v_code is null or v_code !~ '^[a-z][a-z0-9_]{0,62}$' then
    raise exception using errcode = '22023', message = 'error_code_missing',
      detail = format('The failure of task %s has no snake_case error_code.', task.id), hint = 'Send error_code, error_message and retryable.';
  end if;
  perform private.record_usage(task.lease_token, nullif(item -> 'usage', 'null'));
  update public.tasks t
  set status = case
      when v_again then 'pending'
      when coalesce((item ->> 'rejected')::boolean, false) then 'rejected'
      when v_code = 'timeout' then 'timeout'
      else 'failed'
    end,
    scheduled_at = case when v_again then private.clock() + greatest(
      private.retry_delay(t.backoff, t.attempt), make_interval(secs => least(coalesce((item ->> 'retry_after')::numeric, 0), 86400)::double precision)
    ) else t.scheduled_at end,
    error_code = v_code, error_message = left(item ->> 'error_message', 10000), error_data = nullif(item -> 'error_data', 'null'), progress_message = null
  where t.id = task.id;
end;
$$;
comment on function private.take_failure(public.tasks, jsonb) is
  'Ends an attempt with an error: back to pending after a wait while it is retryable and attempts remain, else failed, timeout or rejected.';
revoke execute on function private.take_failure(public.tasks, jsonb) from public;
grant execute on function private.take_failure(public.tasks, jsonb) to service_role;

create function private.take_release(task public.tasks) returns void
language sql volatile security invoker set search_path = ''
as $$
  update public.tasks t
  set status = 'pending', attempt = t.attempt - 1, scheduled_at = private.clock(), progress_message = null
  where t.id = task.id;
$$;
comment on function private.take_release(public.tasks) is 'Gives a task back unfinished; costs no attempt.';
revoke execute on function private.take_release(public.tasks) from public;
grant execute on function private.take_release(public.tasks) to service_role;

-- Lists of items -------------------------------------------------------------------------------------------------------

create function private.take_item(worker_id text, kind text, item jsonb, lease_seconds integer) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_task public.tasks;
  v_outcome text := 'ok';
  v_detail text;
begin
  begin
    v_task := private.lock_leased_task(worker_id, item);
    if v_task.id is null then
      v_outcome := private.stale_outcome(kind, item);
    else
      case kind
        when 'heartbeat' then perform private.take_heartbeat(v_task, item, lease_seconds);
        when 'event' then perform private.take_event(v_task, item);
        when 'completed' then perform private.take_completion(v_task, item);
        when 'failed' then perform private.take_failure(v_task, item);
        when 'released' then perform private.take_release(v_task);
      end case;
    end if;
  exception
    -- Bad data of one item. Anything else (deadlock, shutdown, a full disk) ends the whole call, which is then repeated.
    when data_exception or integrity_constraint_violation or sqlstate 'PT404' or sqlstate 'PT409' or sqlstate 'PT413' or sqlstate 'PT429' then
      v_outcome := 'invalid';
      -- Only our own refusals are quoted whole: the detail of a broken constraint would show the row.
      get stacked diagnostics v_detail = pg_exception_detail;
      v_detail := concat_ws(': ', sqlerrm, case when sqlstate like 'PT%' or sqlstate = '22023' then nullif(v_detail, '') end);
  end;
  return jsonb_strip_nulls(jsonb_build_object('task_id', item ->> 'task_id', 'kind', kind, 'outcome', v_outcome, 'detail', v_detail));
end;
$$;
comment on function private.take_item(text, text, jsonb, integer) is
  'Takes one item of a report in a subtransaction of its own; returns {task_id, kind, outcome: ok|lost|cancelled|invalid, detail?}.';
revoke execute on function private.take_item(text, text, jsonb, integer) from public;
grant execute on function private.take_item(text, text, jsonb, integer) to service_role;

create function private.take_items(worker_id text, kind text, items jsonb, lease_seconds integer default 30) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_item jsonb;
  v_outcomes jsonb := '[]';
begin
  perform private.check_worker_id(worker_id);
  if items is null or items = 'null' then
    return v_outcomes;
  end if;
  if jsonb_typeof(items) <> 'array' or jsonb_array_length(items) > 1000 then
    raise exception using errcode = '22023', message = 'items_not_a_list',
      detail = format('The %s items are no JSON array of at most 1000.', kind), hint = 'Send a list of objects, in several calls if they are many.';
  end if;
  -- Conversations are written to in the order of their ids, so that two reports never wait for each other in a circle.
  for v_item in
    select i.item
    from jsonb_array_elements(items) with ordinality as i (item, position)
    left join public.tasks t
      on t.id = private.uuid_or_null(i.item ->> 'task_id')
    order by t.agent_conversation_id nulls first, i.position
  loop
    v_outcomes := v_outcomes || private.take_item(worker_id, kind, v_item, lease_seconds);
  end loop;
  return v_outcomes;
end;
$$;
comment on function private.take_items(text, text, jsonb, integer) is 'Takes a list of items of one kind; returns their outcomes as a JSON array.';
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

create function public.complete_tasks(worker_id text, items jsonb) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.take_items(worker_id, 'completed', items);
$$;
comment on function public.complete_tasks(text, jsonb) is
  'Completes tasks: items [{task_id, attempt, lease_token, response, response_metadata?, llm_metadata?, deliverable?, messages?, usage?}]. Returns outcomes; a repeated report answers ok and acts once.';
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
