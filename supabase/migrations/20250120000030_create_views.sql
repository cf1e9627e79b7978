-- Views for frontends: B's query patterns, A's metrics, D's usage. All security_invoker: RLS of the tables below decides.

create view public.recent_conversations with (security_invoker = true) as
select c.*, (select count(*) from public.messages m where m.conversation_id = c.id) as message_count
from public.agent_conversations c
where c.status = 'active';
comment on view public.recent_conversations is 'Active conversations with message_count. Newest first: ?order=last_message_at.desc.nullslast&limit=10.';

-- The narrow table has the indexes that select and order; its columns are not shown, so that every filter is tried only on rows
-- of tasks that the policy has let through.
create view public.active_tasks with (security_invoker = true) as
select t.id, t.organization_slug, t.user_id, t.status, t.attempt, t.max_attempts, t.progress, t.progress_message, t.error_code, t.worker_id,
  t.lease_token, t.lease_expires_at, t.started_at, t.completed_at, t.paused_at, t.timeout_seconds, t.method, t.agent_slug, t.concurrency_key,
  t.concurrency_limit, t.priority, t.scheduled_at, t.agent_conversation_id, t.agent_name, t.prompt, t.params, t.response, t.response_metadata,
  t.evaluation, t.llm_metadata, t.error_message, t.error_data, t.metadata, t.deliverable_type, t.deliverable_metadata, t.backoff, t.idempotency_key,
  t.parent_task_id, t.project_step_id, t.execution_id, t.created_at, t.updated_at, c.title as conversation_title
from private.live_tasks l
join public.tasks t
  on t.id = l.task_id and t.organization_slug = l.organization_slug and t.user_id = l.user_id and t.priority = l.priority and t.created_at = l.created_at
left join public.agent_conversations c on c.id = t.agent_conversation_id;
comment on view public.active_tasks is 'Tasks that are not finished, with conversation_title. ?order=priority,created_at.';

create view public.agent_activity with (security_invoker = true) as
select t.organization_slug, t.agent_slug, t.agent_name, count(*) as task_count,
  count(*) filter (where t.status = 'completed') as completed_count,
  count(*) filter (where t.status in ('failed', 'timeout')) as failed_count
from public.tasks t
where t.created_at >= now() - interval '7 days'
group by t.organization_slug, t.agent_slug, t.agent_name;
comment on view public.agent_activity is 'Tasks of the last seven days by agent, among those the caller may see.';

create view public.project_progress with (security_invoker = true) as
select p.*, t.total_tasks, t.completed_tasks, d.deliverable_count
from public.projects p
cross join lateral (
  select count(*) as total_tasks, count(*) filter (where x.status = 'completed') as completed_tasks
  from public.tasks x
  join public.project_steps y on y.id = x.project_step_id
  where y.project_id = p.id
) t
cross join lateral (
  select count(*) as deliverable_count
  from public.deliverables x
  join public.project_steps y on y.id = x.project_step_id
  where y.project_id = p.id
) d;
comment on view public.project_progress is 'Projects with the numbers of their steps (kept in projects), of their tasks and of their deliverables.';

create view public.agent_metrics with (security_invoker = true) as
select r.organization_slug, r.agent_slug, date_trunc('day', r.created_at) as day, count(*) as run_count,
  count(*) filter (where r.status = 'completed') as completed_count,
  count(*) filter (where r.status in ('failed', 'timeout', 'abandoned')) as failed_count,
  sum(r.total_tokens) as total_tokens, sum(r.total_cost) as total_cost,
  avg(extract(epoch from r.completed_at - r.created_at)) as average_seconds
from public.runs r
group by r.organization_slug, r.agent_slug, date_trunc('day', r.created_at);
comment on view public.agent_metrics is 'Runs, failures, tokens, cost (US dollars) and mean duration (seconds) by agent and day.';

create view public.performance_logs with (security_invoker = true) as
select r.id as run_id, r.organization_slug, r.agent_slug, r.task_id, r.attempt, r.status, r.error_code, r.worker_id, r.created_at,
  extract(epoch from r.created_at - t.created_at) as seconds_until_claimed,
  extract(epoch from r.completed_at - r.created_at) as seconds_running, r.total_tokens, r.total_cost
from public.runs r
left join public.tasks t on t.id = r.task_id;
comment on view public.performance_logs is 'One row per run: how long it waited and ran (seconds), what it used, how it ended.';

create view public.organization_usage with (security_invoker = true) as
select md5(o.slug || to_char(m.period_start at time zone 'UTC', 'YYYY-MM'))::uuid as id, o.slug as organization_slug,
  m.period_start, (m.period_start at time zone 'UTC' + interval '1 month') at time zone 'UTC' as period_end,
  coalesce(sum(m.runs), 0)::integer as total_runs, coalesce(sum(m.cost), 0) as total_cost,
  -- What one organization's own worker makes up is not to end the list of all.
  least(coalesce(sum(m.tokens), 0), 9223372036854775807)::bigint as total_tokens,
  coalesce(jsonb_object_agg(m.name, m.runs) filter (where m.kind = 'status'), '{}') as runs_by_status,
  coalesce(jsonb_object_agg(m.name, jsonb_build_object('tokens', m.tokens, 'cost', m.cost)) filter (where m.kind = 'model'), '{}') as usage_details
from public.organizations o
join (
  select p.organization_slug, p.period_start, p.kind, p.name, sum(p.runs) as runs, sum(p.cost) as cost, sum(p.tokens) as tokens
  from (
    select r.organization_slug, date_trunc('month', r.created_at at time zone 'UTC') at time zone 'UTC' as period_start,
      'status' as kind, r.status as name, count(*) as runs, null::numeric as cost, null::numeric as tokens
    from public.runs r group by 1, 2, 4
    union all
    select u.organization_slug, date_trunc('month', u.created_at at time zone 'UTC') at time zone 'UTC', 'model',
      concat_ws('/', coalesce(u.agent_slug, '-'), u.provider, u.model), null, sum(u.cost), sum(u.input_tokens + u.output_tokens)
    from public.usage_events u group by 1, 2, 4
    union all
    select t.organization_slug, t.period_start, t.kind, t.name, t.runs, t.cost, t.tokens from private.usage_totals t
  ) p
  group by p.organization_slug, p.period_start, p.kind, p.name
) m on m.organization_slug = o.slug
where not private.is_client() or o.slug in (select private.my_organizations('admin'))
group by o.slug, m.period_start;
comment on view public.organization_usage is
  'Runs, tokens and cost (US dollars) of an organization by calendar month (UTC), for its admins. Computed from runs, usage_events and the totals of those that retention has removed, so it equals the ledger at all times. usage_details: {"agent/provider/model": {tokens, cost}}, - for no agent; cost is null where no price is known.';

revoke all on public.recent_conversations, public.active_tasks, public.agent_activity, public.project_progress,
public.agent_metrics, public.performance_logs, public.organization_usage from anon, authenticated, service_role;
grant select on public.recent_conversations, public.active_tasks, public.agent_activity, public.project_progress,
public.agent_metrics, public.performance_logs, public.organization_usage to authenticated, service_role;

-- An organization's first pages, for its admins. The planner takes the policy and the filter for independent, expects almost
-- no rows, and would read and sort the whole organization; here it must walk the index that has the order already.

create function public.organization_tasks(organization_slug text, before timestamptz default 'infinity', page_size integer default 20)
returns setof public.tasks
language sql stable security invoker set search_path = '' set enable_sort = off set enable_bitmapscan = off
as $$
  select t.* from public.tasks t
  where t.organization_slug = organization_tasks.organization_slug and t.created_at < before
  order by t.created_at desc
  limit least(greatest(page_size, 0), 1000);
$$;
comment on function public.organization_tasks(text, timestamptz, integer) is
  'The newest tasks of an organization that the caller may see, newest first; the next page begins before the created_at of the last row.';
revoke execute on function public.organization_tasks(text, timestamptz, integer) from public, anon, authenticated;
grant execute on function public.organization_tasks(text, timestamptz, integer) to authenticated, service_role;

create function public.organization_active_tasks(organization_slug text, page_size integer default 20)
returns setof public.active_tasks
language sql stable security invoker set search_path = '' set enable_sort = off set enable_bitmapscan = off
as $$
  select t.*
  from private.live_tasks l
  cross join lateral (select a.* from public.active_tasks a where a.id = l.task_id) t
  where l.organization_slug = organization_active_tasks.organization_slug
  order by l.priority, l.created_at
  limit least(greatest(page_size, 0), 1000);
$$;
comment on function public.organization_active_tasks(text, integer) is 'The unfinished tasks of an organization that the caller may see, by priority and age.';
revoke execute on function public.organization_active_tasks(text, integer) from public, anon, authenticated;
grant execute on function public.organization_active_tasks(text, integer) to authenticated, service_role;

create function public.organization_conversations(organization_slug text, before timestamptz default 'infinity', page_size integer default 20)
returns setof public.recent_conversations
language sql stable security invoker set search_path = '' set enable_sort = off set enable_bitmapscan = off
as $$
  select c.* from public.recent_conversations c
  where c.organization_slug = organization_conversations.organization_slug and c.last_message_at < before
  order by c.last_message_at desc
  limit least(greatest(page_size, 0), 1000);
$$;
comment on function public.organization_conversations(text, timestamptz, integer) is
  'The conversations of an organization that the caller may see, those with the newest message first; the next page begins before the last_message_at of the last row.';
revoke execute on function public.organization_conversations(text, timestamptz, integer) from public, anon, authenticated;
grant execute on function public.organization_conversations(text, timestamptz, integer) to authenticated, service_role;
