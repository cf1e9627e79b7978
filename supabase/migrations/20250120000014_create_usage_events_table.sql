-- Usage: an append-only ledger of what runs consumed, written in the same transaction as the result.

create table public.usage_events (
  id bigint generated always as identity primary key,
  organization_slug text not null references public.organizations (slug) on delete cascade,
  user_id uuid references public.users (id) on delete set null,
  task_id uuid references public.tasks (id) on delete set null,
  run_id uuid references public.runs (id) on delete set null,
  agent_slug text,
  provider text not null,
  model text not null,
  input_tokens bigint not null default 0,
  output_tokens bigint not null default 0,
  cached_tokens bigint not null default 0,
  cost numeric(14, 6),
  price_version text,
  created_at timestamptz not null default now(),
  constraint provider_and_model_are_short check (length(provider) <= 100 and length(model) <= 255),
  constraint tokens_are_not_negative check (input_tokens >= 0 and output_tokens >= 0 and cached_tokens >= 0),
  constraint cost_is_not_negative check (cost >= 0 and cost < 'NaN')
);

-- An organization's usage over time (policies, foreign key).
create index usage_events_organization_time_idx on public.usage_events (organization_slug, created_at);
-- A user's usage over time (policies, foreign key).
create index usage_events_user_time_idx on public.usage_events (user_id, created_at);
-- Usage of a task, a run (foreign keys).
create index usage_events_task_idx on public.usage_events (task_id);
create index usage_events_run_idx on public.usage_events (run_id);

create function private.keep_usage() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  -- Only a foreign key that loses its row (set null) passes.
  if (new.id, new.organization_slug, new.agent_slug, new.provider, new.model, new.input_tokens, new.output_tokens, new.cached_tokens, new.cost, new.price_version, new.created_at)
    is distinct from (old.id, old.organization_slug, old.agent_slug, old.provider, old.model, old.input_tokens, old.output_tokens, old.cached_tokens, old.cost, old.price_version, old.created_at)
  then
    raise exception using errcode = 'PT409', message = 'append_only',
      detail = 'Rows of usage_events are written once.', hint = 'Write a correcting row instead.';
  end if;
  return new;
end;
$$;
comment on function private.keep_usage() is 'Before update: the ledger is append-only.';
revoke execute on function private.keep_usage() from public;

create trigger keep_usage before update on public.usage_events
for each row execute function private.keep_usage();

comment on table public.usage_events is 'Append-only ledger: tokens and cost of each model used by a run.';
comment on column public.usage_events.agent_slug is 'The run''s, without a foreign key: what an agent has cost is its own also when it is gone.';
comment on column public.usage_events.cost is 'US dollars; null when the price is not known (the tokens are kept).';
comment on column public.usage_events.cached_tokens is 'The part of input_tokens that was read from the provider''s cache.';
comment on column public.usage_events.price_version is 'Which price list the cost was computed with.';

alter table public.usage_events enable row level security;
revoke all on public.usage_events from anon, authenticated, service_role;
grant select on public.usage_events to authenticated;
grant select, insert, update, delete on public.usage_events to service_role;

create policy "Users read their usage, admins the organization's" on public.usage_events
for select to authenticated
using (
  organization_slug = any (array(select private.my_organizations('viewer'))) and user_id = (select auth.uid())
  or organization_slug = any (array(select private.my_organizations('admin')))
);

-- Totals of what has left runs and the ledger --------------------------------------------------------------------------

create table private.usage_totals (
  id bigint generated always as identity primary key,
  organization_slug text not null references public.organizations (slug) on delete cascade,
  period_start timestamptz not null,
  kind text not null,
  name text not null,
  runs bigint,
  cost numeric,
  tokens numeric,
  constraint kind_is_known check (kind in ('status', 'model'))
);

-- An organization's totals by month (organization_usage, foreign key).
create index usage_totals_organization_idx on private.usage_totals (organization_slug, period_start, kind, name);

comment on table private.usage_totals is
  'What runs and usage_events that are deleted added to organization_usage: appended in the transaction that deletes them, and added up later by retention, so that nobody waits for a row.';
comment on column private.usage_totals.kind is 'status: runs that ended in the state of that name; model: tokens and cost of agent/provider/model.';

alter table private.usage_totals enable row level security;
revoke all on private.usage_totals from anon, authenticated, service_role;
grant select on private.usage_totals to authenticated, service_role; -- for the view; the schema is not exposed
create policy "Admins count what is gone, too" on private.usage_totals for select to authenticated
using (organization_slug = any (array(select private.my_organizations('admin'))));

create function private.count_deleted_runs() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  insert into private.usage_totals (organization_slug, period_start, kind, name, runs)
  select o.organization_slug, date_trunc('month', o.created_at at time zone 'UTC') at time zone 'UTC', 'status', o.status, count(*)
  from old_rows o
  where exists (select from public.organizations x where x.slug = o.organization_slug)
  group by 1, 2, 4;
  return null;
end;
$$;
comment on function private.count_deleted_runs() is 'After runs are deleted, by whatever hand: they stay counted in organization_usage, but for those that go with their organization.';
revoke execute on function private.count_deleted_runs() from public;

create trigger count_deleted_runs after delete on public.runs
referencing old table as old_rows
for each statement execute function private.count_deleted_runs();

create function private.ids_in(items jsonb, key text) returns uuid[]
language sql immutable set search_path = ''
as $$
  select array(select (e.item ->> key)::uuid from jsonb_array_elements(items) e (item));
$$;
comment on function private.ids_in(jsonb, text) is
  'The ids that items have under a key. Statements that join items to a table name the ids once more: with nested loops switched off, any plan is then one walk over an index and a hash of the items, whatever the planner knows of the table.';
revoke execute on function private.ids_in(jsonb, text) from public;
grant execute on function private.ids_in(jsonb, text) to service_role;

create function private.record_usage(items jsonb) returns void
language plpgsql volatile security invoker set search_path = '' set enable_seqscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_run_ids constant uuid[] := private.ids_in(items, 'lease_token'); -- named once more, see private.ids_in
begin
  with written as (
    insert into public.usage_events (
      organization_slug, user_id, task_id, run_id, agent_slug, provider, model, input_tokens, output_tokens, cached_tokens, cost, price_version
    )
    select r.organization_slug, r.created_by, r.task_id, r.id, r.agent_slug, u.provider, u.model,
      coalesce(u.input_tokens, 0), coalesce(u.output_tokens, 0), coalesce(u.cached_tokens, 0), u.cost, u.price_version
    from jsonb_to_recordset(items) i (lease_token uuid, usage jsonb)
    join public.runs r on r.id = i.lease_token and r.id = any (v_run_ids)
    cross join lateral jsonb_to_recordset(i.usage) u (
      provider text, model text, input_tokens bigint, output_tokens bigint, cached_tokens bigint, cost numeric, price_version text
    )
    where i.usage <> 'null'
    returning organization_slug, run_id, input_tokens, output_tokens, cost
  ),
  charged as (
    -- Only where a budget is set, and a row of its own, so that nobody waits; private.fold_costs adds them up.
    insert into private.unfolded_costs (organization_slug, month, cost)
    select s.organization_slug, private.budget_month(), s.cost
    from (select w.organization_slug, sum(w.cost) as cost from written w where w.cost > 0 group by w.organization_slug) s
    where (select b.organization_slug from private.budgets b where b.organization_slug = s.organization_slug) is not null
  )
  update public.runs r
  set total_tokens = r.total_tokens + s.tokens, total_cost = r.total_cost + s.cost
  from (
    select w.run_id, sum(w.input_tokens + w.output_tokens) as tokens, coalesce(sum(w.cost), 0) as cost from written w group by w.run_id
  ) s
  where r.id = s.run_id and r.id = any (v_run_ids);
end;
$$;
comment on function private.record_usage(jsonb) is
  'Writes the usage of report items [{lease_token, usage: [{provider, model, input_tokens, output_tokens, cached_tokens?, cost, price_version?}]}] to the ledger, the runs'' totals and the budgets.';
revoke execute on function private.record_usage(jsonb) from public;
grant execute on function private.record_usage(jsonb) to service_role;
