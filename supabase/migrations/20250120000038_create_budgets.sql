-- Budgets: settings.limits.max_monthly_cost, in US dollars for each calendar month (UTC). Once usage_events of the month add up to
-- it, nothing more of the organization is claimed (private.queue_is_paused) and no task is taken in (private.check_budget) until
-- the month ends or the limit is raised; what runs goes on. Costs that are not known (null) count nothing.
-- No claim and no insert adds anything up: reports leave a row in unfolded_costs, the reaper folds these into budgets once a
-- second, and whose budget is spent stands in spent_budgets, which is nearly always empty (migration 7, with the tasks that it
-- keeps out). So a stop comes up to about a second after the report that used up the budget; raising the limit acts at once.
-- Lock order: organization, then its budget. Reports lock neither, and the reaper waits for no budget.

create function private.budget_month() returns date
language sql stable set search_path = ''
as $$
  select date_trunc('month', private.clock() at time zone 'UTC')::date;
$$;
comment on function private.budget_month() is 'The first day of the current calendar month (UTC).';
revoke execute on function private.budget_month() from public;
grant execute on function private.budget_month() to authenticated, service_role;

create function private.end_of_month(month date) returns timestamptz
language sql immutable set search_path = ''
as $$
  select (month::timestamp + interval '1 month') at time zone 'UTC';
$$;
comment on function private.end_of_month(date) is 'When the month that begins on this day ends (UTC).';
revoke execute on function private.end_of_month(date) from public;
grant execute on function private.end_of_month(date) to authenticated, service_role;

create table private.budgets (
  organization_slug text primary key references public.organizations (slug) on delete cascade,
  max_monthly_cost numeric not null,
  month date not null,
  spent numeric not null,
  recount_at timestamptz
);

-- Budgets whose month is over, and those to be counted again (private.fold_costs).
create index budgets_month_idx on private.budgets (month);
create index budgets_recount_idx on private.budgets (recount_at) where recount_at is not null;

create table private.unfolded_costs (
  id bigint generated always as identity primary key,
  organization_slug text not null,
  month date not null,
  cost numeric not null
);

comment on table private.budgets is 'What organizations with a limit of cost have spent this month; others have no row.';
comment on column private.budgets.recount_at is
  'When spent is to be read from the ledger once more: soon after a limit was first set, since reports that were under way then did not know of it.';
comment on table private.unfolded_costs is 'Costs that are in the ledger and not yet in budgets; appended by reports, gone within a second.';

revoke all on private.budgets, private.unfolded_costs from anon, authenticated, service_role;
grant select, update on private.budgets to service_role;
grant select, insert, delete on private.unfolded_costs to service_role;

-- Organizations that go on are to be noticed at once.
create trigger wake_workers after delete on private.spent_budgets
for each statement execute function private.wake_workers();

create function private.ledger_cost(organization_slug text, month date) returns numeric
language sql stable security invoker set search_path = ''
as $$
  select coalesce(sum(u.cost), 0) from public.usage_events u
  where u.organization_slug = ledger_cost.organization_slug
    and u.created_at >= ledger_cost.month::timestamp at time zone 'UTC' and u.created_at < private.end_of_month(ledger_cost.month);
$$;
comment on function private.ledger_cost(text, date) is 'What an organization spent in a month, added up from the ledger: when a limit is set and when somebody asks, never for a claim.';
revoke execute on function private.ledger_cost(text, date) from public;
grant execute on function private.ledger_cost(text, date) to service_role;

create function private.judge_budgets(organizations text[]) returns void
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  delete from private.spent_budgets s
  where s.organization_slug = any (organizations) and not exists (
    select from private.budgets b
    where b.organization_slug = s.organization_slug and b.spent >= b.max_monthly_cost and private.end_of_month(b.month) = s.until
  );
  insert into private.spent_budgets (organization_slug, until)
  select b.organization_slug, private.end_of_month(b.month) from private.budgets b
  where b.organization_slug = any (organizations) and b.spent >= b.max_monthly_cost
  order by b.organization_slug
  on conflict (organization_slug) do nothing;
end;
$$;
comment on function private.judge_budgets(text[]) is 'Writes anew whether the budgets of these organizations are spent. Called with the rows of budgets locked.';
revoke execute on function private.judge_budgets(text[]) from public;
grant execute on function private.judge_budgets(text[]) to service_role;

create function private.fold_costs() returns void
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_month constant date := private.budget_month();
  v_organizations text[];
begin
  if not exists (select from private.budgets) then
    return;
  end if;
  v_organizations := array(
    select b.organization_slug from private.budgets b
    where b.organization_slug in (
      select u.organization_slug from private.unfolded_costs u
      union all
      select x.organization_slug from private.budgets x where x.month < v_month
      union all
      select x.organization_slug from private.budgets x where x.recount_at <= private.clock()
    )
    order by b.organization_slug
    for no key update skip locked
  );
  if v_organizations = '{}' then
    return;
  end if;
  -- The ledger and what is not folded yet are read at one moment: a recount leaves out nothing and counts nothing twice.
  with folded as (
    delete from private.unfolded_costs u where u.organization_slug = any (v_organizations) returning u.organization_slug, u.month, u.cost
  )
  update private.budgets b
  set month = v_month,
    spent = case
      when b.recount_at <= private.clock() then private.ledger_cost(b.organization_slug, v_month)
      else case when b.month = v_month then b.spent else 0 end
        + coalesce((select sum(f.cost) from folded f where f.organization_slug = b.organization_slug and f.month = v_month), 0)
    end,
    recount_at = case when b.recount_at > private.clock() then b.recount_at end
  where b.organization_slug = any (v_organizations);
  perform private.judge_budgets(v_organizations);
end;
$$;
comment on function private.fold_costs() is
  'Adds what was reported since the last time to the budgets, begins new months, and says whose budget is spent. Called by the reaper, one at a time.';
revoke execute on function private.fold_costs() from public;
grant execute on function private.fold_costs() to service_role;

create function private.follow_cost_limit() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_limit constant numeric := (new.settings #>> '{limits,max_monthly_cost}')::numeric;
  v_month constant date := private.budget_month();
begin
  if v_limit is null then
    delete from private.budgets b where b.organization_slug = new.slug;
    delete from private.unfolded_costs u where u.organization_slug = new.slug;
  else
    insert into private.budgets as b (organization_slug, max_monthly_cost, month, spent, recount_at)
    values (new.slug, v_limit, v_month, private.ledger_cost(new.slug, v_month), private.clock() + interval '15 seconds')
    on conflict (organization_slug) do update set max_monthly_cost = excluded.max_monthly_cost;
  end if;
  perform private.judge_budgets(array[new.slug]);
  return null;
end;
$$;
comment on function private.follow_cost_limit() is 'After max_monthly_cost of an organization is set, changed or taken away: its budget, and whether that is spent, at once.';
revoke execute on function private.follow_cost_limit() from public;

create trigger follow_new_cost_limit after insert on public.organizations
for each row when (new.settings #> '{limits,max_monthly_cost}' is not null) execute function private.follow_cost_limit();
create trigger follow_cost_limit after update of settings on public.organizations
for each row when (new.settings #> '{limits,max_monthly_cost}' is distinct from old.settings #> '{limits,max_monthly_cost}')
execute function private.follow_cost_limit();

-- Organizations that had a limit before it was enforced.
insert into private.budgets (organization_slug, max_monthly_cost, month, spent)
select o.slug, (o.settings #>> '{limits,max_monthly_cost}')::numeric, private.budget_month(), private.ledger_cost(o.slug, private.budget_month())
from public.organizations o
where o.settings #> '{limits,max_monthly_cost}' is not null;
select private.judge_budgets(array(select b.organization_slug from private.budgets b));

-- For admins -----------------------------------------------------------------------------------------------------------

create function private.budget_status(organization_slug text) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_month constant date := private.budget_month();
begin
  perform private.require_role(organization_slug, 'admin');
  return (
    select jsonb_build_object(
      'organization_slug', o.slug, 'max_monthly_cost', o.settings #> '{limits,max_monthly_cost}', 'month', v_month,
      'spent', case
        when b.month = v_month then b.spent + coalesce((
          select sum(u.cost) from private.unfolded_costs u where u.organization_slug = o.slug and u.month = v_month
        ), 0)
        else private.ledger_cost(o.slug, v_month)
      end,
      'is_spent', exists (select from private.spent_budgets s where s.organization_slug = o.slug and s.until > private.clock()),
      'resets_at', private.end_of_month(v_month)
    )
    from public.organizations o
    left join private.budgets b on b.organization_slug = o.slug
    where o.slug = budget_status.organization_slug
  );
end;
$$;
comment on function private.budget_status(text) is 'Body of public.budget_status.';
revoke execute on function private.budget_status(text) from public;
grant execute on function private.budget_status(text) to authenticated, service_role;

create function public.budget_status(organization_slug text) returns jsonb
language sql stable security invoker set search_path = ''
as $$
  select private.budget_status(organization_slug);
$$;
comment on function public.budget_status(text) is
  'What the organization has spent this calendar month (admin and higher): {organization_slug, month, spent, max_monthly_cost (null: no limit), is_spent, resets_at}; US dollars, UTC. While is_spent, nothing is claimed and inserting a task answers PT429 budget_spent.';
revoke execute on function public.budget_status(text) from public, anon, authenticated;
grant execute on function public.budget_status(text) to authenticated, service_role;
