-- Status webhooks: how the endpoint of an api agent reports on a long job, with no server of ours in between. It answers 202, and
-- later calls report_task_status with the anon key, each report signed as Standard Webhooks are: HMAC-SHA256 over id, time and body.
-- The attempt stays leased by its worker, which asks here; so cancelling, timeouts and lost workers are as for every attempt.
-- Lock order: the webhook alone. No report locks a task, or waits for one.

create table private.status_webhooks (
  id uuid primary key default gen_random_uuid(),
  task_id uuid not null unique references public.tasks (id) on delete cascade,
  attempt integer not null,
  lease_token uuid not null,
  secret bytea not null default decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  progress integer,
  progress_message text,
  outcome jsonb,
  outcome_bytes integer not null default 0,
  created_at timestamptz not null default now(),
  constraint secret_is_as_long_as_its_hash check (octet_length(secret) = 32),
  constraint progress_is_a_percentage check (progress between 0 and 100),
  constraint outcome_says_how_it_ended check (coalesce(outcome ->> 'status' in ('completed', 'failed'), outcome is null))
);

-- What is long over (open_status_webhook).
create index status_webhooks_expires_at_idx on private.status_webhooks (expires_at);

create table private.status_reports (
  webhook_id uuid not null references private.status_webhooks (id) on delete cascade,
  report_id text not null,
  received_at timestamptz not null,
  primary key (webhook_id, report_id)
);

comment on table private.status_webhooks is 'At most one for a task: the right of its agent''s endpoint to report on it, and what it has reported.';
comment on column private.status_webhooks.attempt is 'The attempt that waits, or waited last; the next one takes the webhook over when a worker was lost.';
comment on column private.status_webhooks.secret is '244 random bits, with which reports are signed.';
comment on column private.status_webhooks.accepted_at is 'When the endpoint had taken the job on, so that it is not called again.';
comment on column private.status_webhooks.outcome_bytes is 'Length of the report it came in, for read_status_webhooks to count.';
comment on column private.status_webhooks.outcome is '{status: completed, result} or {status: failed, message?, retryable?}.';
comment on table private.status_reports is 'Reports of the last ten minutes that were accepted, so that none is accepted twice; older ones are refused by their time.';

revoke all on private.status_webhooks, private.status_reports from anon, authenticated, service_role;
grant select, insert, update, delete on private.status_webhooks to service_role;

-- The worker's side ----------------------------------------------------------------------------------------------------

create function private.check_lease(task_id uuid, attempt integer, lease_token uuid) returns void
language plpgsql stable security invoker set search_path = ''
as $$
begin
  if not exists (
    select from public.tasks t
    where t.id = check_lease.task_id and t.status = 'in_progress' and t.attempt = check_lease.attempt
      and t.lease_token = check_lease.lease_token and t.lease_expires_at > private.clock()
  ) then
    raise exception using errcode = 'PT409', message = 'lease_lost',
      detail = format('Attempt %s of task %s is not yours.', attempt, task_id), hint = 'Drop it: another worker has the task, or it was cancelled.';
  end if;
end;
$$;
comment on function private.check_lease(uuid, integer, uuid) is 'Raises PT409 lease_lost unless the attempt runs under this lease.';
revoke execute on function private.check_lease(uuid, integer, uuid) from public;
grant execute on function private.check_lease(uuid, integer, uuid) to service_role;

create function private.given_up(lease_token uuid) returns boolean
language sql stable security invoker set search_path = ''
as $$
  select coalesce((select r.status in ('abandoned', 'released') from public.runs r where r.id = given_up.lease_token), false);
$$;
comment on function private.given_up(uuid) is 'Whether an attempt ended without a word about the task, because its worker was lost or left: what it began goes on.';
revoke execute on function private.given_up(uuid) from public;
grant execute on function private.given_up(uuid) to service_role;

create function public.open_status_webhook(task_id uuid, attempt integer, lease_token uuid, ttl_seconds integer) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_webhook private.status_webhooks;
begin
  perform private.check_lease(task_id, attempt, lease_token);
  if ttl_seconds is null or ttl_seconds not between 1 and 604800 then
    raise exception using errcode = '22023', message = 'ttl_out_of_range',
      detail = format('ttl_seconds is %s.', coalesce(ttl_seconds::text, 'null')), hint = 'Between a second and a week: 1 to 604800.';
  end if;
  delete from private.status_webhooks w
  where w.id in (
    select x.id from private.status_webhooks x where x.expires_at < private.clock() - interval '1 day' order by x.expires_at limit 100 for update skip locked
  );
  -- What a lost worker began goes on under the same webhook; after any other end of an attempt the next one calls anew.
  update private.status_webhooks w
  set attempt = open_status_webhook.attempt, lease_token = open_status_webhook.lease_token
  where w.task_id = open_status_webhook.task_id and w.expires_at > private.clock()
    and (w.lease_token = open_status_webhook.lease_token or private.given_up(w.lease_token))
  returning w.* into v_webhook;
  if not found then
    delete from private.status_webhooks w where w.task_id = open_status_webhook.task_id;
    insert into private.status_webhooks (task_id, attempt, lease_token, expires_at)
    values (open_status_webhook.task_id, open_status_webhook.attempt, open_status_webhook.lease_token, private.clock() + make_interval(secs => ttl_seconds))
    returning * into v_webhook;
  end if;
  return jsonb_build_object(
    'id', v_webhook.id, 'secret', 'whsec_' || encode(v_webhook.secret, 'base64'), 'expires_at', v_webhook.expires_at,
    'expires_in', extract(epoch from v_webhook.expires_at - private.clock()), 'under_way', v_webhook.accepted_at is not null
  );
end;
$$;
comment on function public.open_status_webhook(uuid, integer, uuid, integer) is
  'For an attempt about to call an endpoint that reports by itself: {id, secret, expires_at, expires_in, under_way}. under_way: an earlier attempt, whose worker was lost, has called it; wait, and do not call again. Errors: PT409 lease_lost, 22023 ttl_out_of_range.';
revoke execute on function public.open_status_webhook(uuid, integer, uuid, integer) from public, anon, authenticated;
grant execute on function public.open_status_webhook(uuid, integer, uuid, integer) to service_role;

create function public.read_status_webhooks(ids uuid[]) returns jsonb
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  -- Who reads waits, so the job is under way.
  update private.status_webhooks w set accepted_at = private.clock()
  where w.id in (
    select x.id from private.status_webhooks x where x.id = any (ids) and x.accepted_at is null order by x.id for update skip locked
  );
  return (
    select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'id', r.id, 'progress', r.progress, 'message', r.progress_message
    )) || case when r.place = 1 or r.size <= 10000000 then jsonb_build_object('outcome', r.outcome) else '{}' end), '[]')
    from (
      select w.*, row_number() over by_id as place, sum(w.outcome_bytes) over by_id as size
      from private.status_webhooks w
      where w.id = any (ids)
      window by_id as (partition by w.outcome is null order by w.id)
    ) r
  );
end;
$$;
comment on function public.read_status_webhooks(uuid[]) is
  'For a worker that waits: [{id, progress?, message?, outcome}] of those that exist; outcome {status: completed, result} or {status: failed, message?, retryable?}, null until there is one. About 10 MB of outcomes at once; the rest comes when these are no longer asked for.';
revoke execute on function public.read_status_webhooks(uuid[]) from public, anon, authenticated;
grant execute on function public.read_status_webhooks(uuid[]) to service_role;

-- The endpoint's side --------------------------------------------------------------------------------------------------

create function private.hmac_sha256(key bytea, message bytea) returns bytea
language plpgsql immutable set search_path = ''
as $$
declare
  v_inner bytea := decode(repeat('36', 64), 'hex');
  v_outer bytea := decode(repeat('5c', 64), 'hex');
begin
  for i in 0..octet_length(key) - 1 loop
    v_inner := set_byte(v_inner, i, get_byte(v_inner, i) # get_byte(key, i));
    v_outer := set_byte(v_outer, i, get_byte(v_outer, i) # get_byte(key, i));
  end loop;
  return sha256(v_outer || sha256(v_inner || message));
end;
$$;
comment on function private.hmac_sha256(bytea, bytea) is 'HMAC-SHA256 (RFC 2104) for keys of at most 64 bytes; pgcrypto is not everywhere.';
revoke execute on function private.hmac_sha256(bytea, bytea) from public;

create function private.signature_fits(secret bytea, signed bytea, signatures text) returns boolean
language plpgsql volatile set search_path = ''
as $$
declare
  v_right constant text := 'v1,' || encode(private.hmac_sha256(secret, signed), 'base64');
  v_nonce constant bytea := convert_to(gen_random_uuid()::text, 'UTF8');
begin
  -- Hashes with a nonce are compared, so that the time that takes says nothing about the right one.
  return (
    select coalesce(bool_or(sha256(v_nonce || convert_to(s.signature, 'UTF8')) = sha256(v_nonce || convert_to(v_right, 'UTF8'))), false)
    from (select x.signature from string_to_table(left(signatures, 1000), ' ') x (signature) limit 10) s
  );
end;
$$;
comment on function private.signature_fits(bytea, bytea, text) is 'Whether one of the signatures "v1,<base64>", with spaces between them, is that of the signed bytes.';
revoke execute on function private.signature_fits(bytea, bytea, text) from public;

create function private.signed_webhook(body json, headers json) returns private.status_webhooks
language plpgsql volatile set search_path = ''
as $$
declare
  v_id constant text := headers ->> 'webhook-id';
  v_time constant text := substring(headers ->> 'webhook-timestamp' from '^[0-9]{1,12}$');
  v_webhook private.status_webhooks;
begin
  select w.* into v_webhook from private.status_webhooks w where w.id = private.uuid_or_null(body ->> 'webhook_id');
  -- Everything is computed for everybody, so that time tells no stranger which ids exist.
  if not private.signature_fits(
      coalesce(v_webhook.secret, sha256('')), convert_to(concat(v_id, '.', v_time, '.', body::text), 'UTF8'), coalesce(headers ->> 'webhook-signature', '')
    )
    or v_webhook.id is null or coalesce(length(v_id), 0) not between 1 and 200 or v_time is null
    or abs(v_time::numeric - extract(epoch from private.clock())) > 300 then
    raise exception using errcode = 'PT401', message = 'report_not_accepted',
      detail = 'The report is not signed by a status webhook of now.',
      hint = 'Send webhook_id in the body, and the headers webhook-id, webhook-timestamp (seconds, right to five minutes) and webhook-signature: see docs/api-agents.md.';
  end if;
  return v_webhook;
end;
$$;
comment on function private.signed_webhook(json, json) is
  'The webhook whose secret signed this body, "<webhook-id>.<webhook-timestamp>.<body>", within five minutes; PT401 report_not_accepted, always the same, otherwise.';
revoke execute on function private.signed_webhook(json, json) from public;

create function private.check_webhook_is_open(webhook private.status_webhooks) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_why text;
begin
  select case
      when webhook.expires_at <= private.clock() then 'it has expired'
      when webhook.outcome is not null then 'the job was reported as ' || (webhook.outcome ->> 'status')
      when t.status = 'in_progress' and t.lease_token = webhook.lease_token then null
      -- Its worker was lost, and the next one waits for the same job.
      when t.status in ('pending', 'in_progress') and private.given_up(webhook.lease_token) then null
      when t.status = 'in_progress' then 'another attempt runs'
      else 'the task is ' || t.status
    end into v_why
  from public.tasks t
  where t.id = webhook.task_id;
  if not found then
    v_why := 'it was replaced';
  end if;
  if v_why is not null then
    raise exception using errcode = 'PT409', message = 'status_webhook_closed',
      detail = format('Nothing is reported to webhook %s any more: %s.', webhook.id, v_why), hint = 'Stop the job; nobody waits for it.';
  end if;
end;
$$;
comment on function private.check_webhook_is_open(private.status_webhooks) is 'Raises PT409 status_webhook_closed unless the attempt that the webhook is for runs, or is to be taken up by the next.';
revoke execute on function private.check_webhook_is_open(private.status_webhooks) from public;

create function private.outcome_of_report(report jsonb) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_problem constant text := case
    when coalesce(report ->> 'status', '') not in ('progress', 'completed', 'failed') then 'status is progress, completed or failed'
    when coalesce(jsonb_typeof(report -> 'progress'), 'number') <> 'number' or (report ->> 'progress')::numeric not between 0 and 100
      then 'progress is a number from 0 to 100'
    when coalesce(jsonb_typeof(report -> 'message'), 'string') <> 'string' then 'message is a text'
    when coalesce(jsonb_typeof(report -> 'retryable'), 'boolean') <> 'boolean' then 'retryable is true or false'
    when report ->> 'status' = 'completed' and not report ? 'result' then 'a completed job has a result'
    when not private.json_is_plain(report) then 'numbers end at 1e308, and 64 levels are the most'
  end;
begin
  if v_problem is not null then
    raise exception using errcode = '22023', message = 'report_invalid',
      detail = format('The report cannot be read: %s.', v_problem), hint = 'Send {"webhook_id", "status": "progress|completed|failed", "progress", "message", "result", "retryable"}.';
  end if;
  return case report ->> 'status'
    when 'completed' then jsonb_build_object('status', 'completed', 'result', report -> 'result')
    when 'failed' then jsonb_strip_nulls(jsonb_build_object(
      'status', 'failed', 'message', left(report ->> 'message', 2000), 'retryable', report -> 'retryable'
    ))
  end;
end;
$$;
comment on function private.outcome_of_report(jsonb) is 'What a report says of the job''s end, as status_webhooks keeps it; null for progress. 22023 report_invalid.';
revoke execute on function private.outcome_of_report(jsonb) from public;

create function private.report_task_status(body json) returns json
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_headers constant json := coalesce(nullif(current_setting('request.headers', true), ''), '{}')::json;
  v_webhook private.status_webhooks;
  v_report jsonb;
  v_outcome jsonb;
begin
  if octet_length(body::text) > 10000000 then
    raise exception using errcode = 'PT413', message = 'report_too_large',
      detail = 'A report has at most 10000000 bytes.', hint = 'Report where the result can be fetched.';
  end if;
  v_webhook := private.signed_webhook(body, v_headers);
  -- One report at a time; as it is now, not as it was before the wait.
  select w.* into v_webhook from private.status_webhooks w where w.id = v_webhook.id for no key update;
  delete from private.status_reports r where r.webhook_id = v_webhook.id and r.received_at < private.clock() - interval '10 minutes';
  if exists (select from private.status_reports r where r.webhook_id = v_webhook.id and r.report_id = v_headers ->> 'webhook-id') then
    raise exception using errcode = 'PT409', message = 'report_repeated',
      detail = 'A report with this webhook-id was accepted before.', hint = 'Nothing is to be done; give a new report an id of its own.';
  end if;
  perform private.check_webhook_is_open(v_webhook);
  if (select count(*) from private.status_reports r where r.webhook_id = v_webhook.id) >= 1200 then
    raise exception using errcode = 'PT429', message = 'too_many_reports',
      detail = 'A job reports at most 1200 times in ten minutes.', hint = 'Report less often: every few seconds is plenty.';
  end if;
  v_report := body::jsonb;
  v_outcome := private.outcome_of_report(v_report);
  insert into private.status_reports (webhook_id, report_id, received_at) values (v_webhook.id, v_headers ->> 'webhook-id', private.clock());
  update private.status_webhooks w
  set outcome = v_outcome, outcome_bytes = octet_length(body::text), accepted_at = coalesce(w.accepted_at, private.clock()),
    progress = case when v_outcome is null then greatest(w.progress, (v_report ->> 'progress')::numeric) else w.progress end,
    progress_message = case when v_outcome is null then coalesce(left(v_report ->> 'message', 1000), w.progress_message) else w.progress_message end
  where w.id = v_webhook.id;
  return json_build_object('accepted', true);
end;
$$;
comment on function private.report_task_status(json) is 'Body of public.report_task_status.';
revoke execute on function private.report_task_status(json) from public;
grant execute on function private.report_task_status(json) to anon;

-- The body is bound when the function is made: anon may call what it names, and cannot look into private.
create function public.report_task_status(json) returns json
language sql volatile security invoker set search_path = ''
return private.report_task_status($1);
comment on function public.report_task_status(json) is
  'For endpoints of api agents, with the anon key: the JSON body {webhook_id, status: progress|completed|failed, progress?, message?, result?, retryable?}, signed with the webhook''s secret as by Standard Webhooks. Errors: PT401 report_not_accepted, PT409 report_repeated, status_webhook_closed, 22023 report_invalid, PT413 report_too_large, PT429 too_many_reports.';
revoke execute on function public.report_task_status(json) from public, anon, authenticated;
grant execute on function public.report_task_status(json) to anon;
