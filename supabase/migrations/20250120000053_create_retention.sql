-- Retention (document E): what is over long enough goes to the archive and from there, in bounded batches, by workers' maintenance
-- (private.keep_retention, called by the reaper) or pg_cron. Nothing that is not over, and nothing that such a thing refers to, is touched.
-- A piece of work is a row of private.retention_work, whose lock its worker holds; it says how far it came, so whoever comes next goes on.
-- Lock order: as everywhere, tasks by id, then what hangs on them; a lock that is not there within 30 ms is tried again later.
-- Over 400 lines, because periods, archive and each kind of work are one subject.

-- Periods ------------------------------------------------------------------------------------------------------------

create table private.retention_periods (
  kind text primary key,
  archive_days integer,
  delete_days integer,
  least_days integer not null default 1,
  can_archive boolean not null default false,
  is_per_organization boolean not null default false,
  constraint days_are_in_bounds check (least(archive_days, delete_days) >= least_days and greatest(archive_days, delete_days) <= 36500),
  constraint archived_before_deleted check (archive_days < delete_days),
  constraint archived_where_there_is_an_archive check (archive_days is null or can_archive)
);
comment on table private.retention_periods is 'How long each kind of row is kept, in days from when it was over: until it is archived, and until it is deleted. See docs/retention.md.';
comment on column private.retention_periods.archive_days is 'Null: not archived.';
comment on column private.retention_periods.delete_days is 'Null: never deleted.';
comment on column private.retention_periods.least_days is 'Nobody may set fewer.';
revoke all on private.retention_periods from anon, authenticated, service_role;

insert into private.retention_periods (kind, archive_days, delete_days, least_days, can_archive, is_per_organization) values
('workflow_executions', 30, 90, 1, true, true),
('projects', 30, 90, 1, true, true),
('tasks', 30, 90, 1, true, true),
('runs', 30, 90, 1, true, true),
('task_events', null, 90, 1, false, true),
('run_steps', null, 90, 1, false, true),
('usage_events', null, 400, 62, false, false),
('agent_versions', null, 365, 1, false, false),
('audit_logs', 183, 365, 30, true, false),
('agent_logs', null, 90, 1, false, false),
('system_logs', null, 90, 1, false, false),
('prompts', null, 90, 1, false, false);

create table private.organization_retention (
  organization_slug text not null references public.organizations (slug) on delete cascade,
  kind text not null references private.retention_periods (kind),
  archive_days integer,
  delete_days integer,
  primary key (organization_slug, kind)
);
-- Foreign key.
create index organization_retention_kind_idx on private.organization_retention (kind);
comment on table private.organization_retention is 'Periods of an organization''s own; null is the operator''s.';
revoke all on private.organization_retention from anon, authenticated, service_role;

create trigger audit after insert or update or delete on private.organization_retention
for each row execute function private.audit('kind');

create function private.retention_period(kind text, organization_slug text) returns private.retention_periods
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_period private.retention_periods;
  v_own private.organization_retention;
begin
  select p.* into v_period from private.retention_periods p where p.kind = retention_period.kind;
  select o.* into v_own from private.organization_retention o
  where o.organization_slug = retention_period.organization_slug and o.kind = retention_period.kind;
  v_period.archive_days := coalesce(v_own.archive_days, v_period.archive_days);
  v_period.delete_days := coalesce(v_own.delete_days, v_period.delete_days);
  return v_period;
end;
$$;
comment on function private.retention_period(text, text) is 'The periods of a kind that hold for an organization (null: the operator''s).';
revoke execute on function private.retention_period(text, text) from public;

-- The archive --------------------------------------------------------------------------------------------------------

create table archive.records (
  id bigint generated always as identity,
  kind text not null,
  record_id text not null,
  organization_slug text,
  user_id uuid,
  data jsonb not null,
  archived_at timestamptz not null default private.clock(),
  delete_at timestamptz not null,
  -- Also what is due.
  primary key (delete_at, id)
) partition by range (delete_at);
-- As far ahead as what is archived the longest: audit_logs, for half a year.
select private.partition_by_month('archive.records', 'delete_at', 7);
-- What goes with its organization, and archived_records.
create index records_organization_idx on archive.records (organization_slug, kind, archived_at);
-- What goes with its user.
create index records_user_idx on archive.records (user_id) where user_id is not null;
comment on table archive.records is 'Rows that retention took out of public, each whole as JSON, until delete_at.';
comment on column archive.records.kind is 'The table that it was in.';
comment on column archive.records.record_id is 'Its id there.';
comment on column archive.records.delete_at is 'Fixed when it is archived; infinity: never.';
alter table archive.records enable row level security;
revoke all on archive.records from anon, authenticated, service_role;

create function private.remove_archive() returns trigger
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  case tg_table_name
    -- What was changed in it outlives the organization, as in audit_logs.
    when 'organizations' then delete from archive.records r where r.organization_slug = old.slug and r.kind <> 'audit_logs';
    when 'users' then delete from archive.records r where r.user_id = old.id;
    when 'agents' then delete from archive.agent_versions v where v.agent_slug = old.slug;
  end case;
  return null;
end;
$$;
comment on function private.remove_archive() is 'After an organization, a user or an agent is deleted: so is what the archive has of it.';
revoke execute on function private.remove_archive() from public;

create trigger remove_archive after delete on public.organizations
for each row execute function private.remove_archive();
create trigger remove_archive after delete on public.users
for each row execute function private.remove_archive();
create trigger remove_archive after delete on public.agents
for each row execute function private.remove_archive();

create function private.move_rows(
  table_name text, link text, keys uuid[], users uuid[], times timestamptz[], organization_slug text, max_rows integer, unless text default 'false',
  out archived bigint, out deleted bigint
)
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
begin
  archived := 0;
  deleted := 0;
  if keys = '{}' then
    return;
  end if;
  -- By their place, in one statement: what was read is what goes. Places are those of a partition.
  execute format(
    'with picked as (select r.tableoid as part, r.ctid as place, r.%2$I as link, to_jsonb(r) as data, %3$s as leave_out'
    '  from public.%1$I r where r.%2$I = any ($1) limit $6),'
    ' owned as (select p.*, o.user_id, o.delete_at from picked p join unnest($1, $2, $3) o (key, user_id, delete_at) on o.key = p.link),'
    ' kept as (insert into archive.records (kind, record_id, organization_slug, user_id, data, delete_at)'
    '  select %1$L, coalesce(p.data ->> ''id'', p.data ->> ''user_id'', p.data ->> ''version''), $4, p.user_id, p.data, p.delete_at from owned p'
    '  where p.delete_at > $5 and not p.leave_out returning id),'
    ' gone as (delete from public.%1$I r where r.ctid = any (array(select p.place from picked p))'
    '  and (r.tableoid, r.ctid) in (select p.part, p.place from picked p) returning 1)'
    ' select (select count(*) from kept), (select count(*) from gone)',
    table_name, link, unless
  )
  into archived, deleted using keys, users, times, organization_slug, private.clock(), max_rows;
  deleted := deleted - archived;
end;
$$;
comment on function private.move_rows(text, text, uuid[], uuid[], timestamptz[], text, integer, text) is
  'Takes at most max_rows rows whose column link is one of keys out of a table of public. Each goes to the archive until the time that belongs to its key, or is deleted when that has passed or the condition unless holds.';
revoke execute on function private.move_rows(text, text, uuid[], uuid[], timestamptz[], text, integer, text) from public;

-- The work -----------------------------------------------------------------------------------------------------------

create table private.retention_work (
  id bigint generated always as identity primary key,
  kind text not null,
  organization_slug text references public.organizations (slug) on delete cascade,
  root_id uuid,
  projects uuid[] not null default '{}',
  over_before timestamptz,
  next_at timestamptz not null default private.clock(),
  cursor_at timestamptz not null default '-infinity',
  batch_size integer not null default 50,
  removed_in_pass bigint not null default 0,
  archived bigint not null default 0,
  deleted bigint not null default 0,
  last_run_at timestamptz,
  last_error text,
  constraint done_once_at_a_time unique nulls not distinct (organization_slug, kind, root_id),
  constraint a_tree_has_a_root check ((root_id is not null) = (kind in ('execution_tree', 'project_tree')) and (root_id is null) = (over_before is null))
) with (fillfactor = 70);
-- What is next.
create index retention_work_next_idx on private.retention_work (next_at);
-- Trees that go right now.
create index retention_work_root_idx on private.retention_work (root_id) where root_id is not null;

comment on table private.retention_work is
  'What retention goes over: each kind of each organization, logs as a whole, and the executions and projects that are being taken out (root_id), which is done when their row is gone.';
comment on column private.retention_work.cursor_at is 'How far this pass has come; what lies before has been removed or is not due.';
comment on column private.retention_work.batch_size is 'Rows looked at in one go; smaller after an error, until it goes well again.';
comment on column private.retention_work.projects is 'The projects of the tree, as they were when it was found to be over.';
comment on column private.retention_work.over_before is 'Everything in the tree was over before this.';
revoke all on private.retention_work from anon, authenticated, service_role;

create function private.add_retention_work() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  insert into private.retention_work (kind, organization_slug, next_at)
  select k.kind, new.slug, private.clock() + (0.5 + random()) * interval '1 hour'
  from unnest(array['workflow_executions', 'projects', 'tasks', 'runs', 'task_events', 'run_steps', 'usage_events']) k (kind);
  return null;
end;
$$;
comment on function private.add_retention_work() is 'After an organization is made: what retention does for it, spread over time.';
revoke execute on function private.add_retention_work() from public;

create trigger add_retention_work after insert on public.organizations
for each row execute function private.add_retention_work();

insert into private.retention_work (kind, organization_slug)
select k.kind, o.slug
from public.organizations o, unnest(array['workflow_executions', 'projects', 'tasks', 'runs', 'task_events', 'run_steps', 'usage_events']) k (kind);
insert into private.retention_work (kind)
select k.kind from unnest(array['agent_versions', 'audit_logs', 'agent_logs', 'system_logs', 'prompts', 'archive', 'usage_totals', 'partitions']) k (kind);

-- One outcome for all of them: rows archived, rows deleted, how far it came, and whether the pass is done.
create type private.retention_outcome as (archived bigint, deleted bigint, cursor_at timestamptz, is_done boolean);
comment on type private.retention_outcome is 'What one batch of retention did: rows archived, rows deleted, where the next one begins, whether there is a next one.';

create function private.leaves_before(period private.retention_periods) returns timestamptz
language sql stable set search_path = ''
as $$
  select private.clock() - make_interval(days => least(period.archive_days, period.delete_days));
$$;
comment on function private.leaves_before(private.retention_periods) is 'What was over before this leaves public; null: nothing does.';
revoke execute on function private.leaves_before(private.retention_periods) from public;

create function private.delete_times(over_at timestamptz[], period private.retention_periods) returns timestamptz[]
language sql stable set search_path = ''
as $$
  select coalesce(array_agg(case
    when period.archive_days is null then '-infinity'
    when period.delete_days is null then 'infinity'
    else o.over_at + make_interval(days => period.delete_days)
  end order by o.place), '{}')
  from unnest(delete_times.over_at) with ordinality o (over_at, place);
$$;
comment on function private.delete_times(timestamptz[], private.retention_periods) is 'Until when the archive keeps what was over at these times; -infinity: it does not.';
revoke execute on function private.delete_times(timestamptz[], private.retention_periods) from public;

create function private.next_candidates(
  work private.retention_work, before timestamptz, max_rows integer, out ids uuid[], out last_at timestamptz, out is_last boolean
)
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_sort = off set enable_bitmapscan = off
as $$
begin
  case work.kind
    when 'workflow_executions' then
      select array_agg(c.id), max(c.created_at), count(*) < max_rows into ids, last_at, is_last
      from (
        select e.id, e.created_at from public.workflow_executions e
        where e.organization_slug = work.organization_slug and e.created_at >= work.cursor_at and e.created_at < before and e.completed_at < before
          and not exists (select from private.retention_work w where w.root_id = e.id)
        order by e.created_at limit max_rows
      ) c;
    when 'projects' then
      select array_agg(c.id), max(c.created_at), count(*) < max_rows into ids, last_at, is_last
      from (
        select p.id, p.created_at from public.projects p
        where p.organization_slug = work.organization_slug and p.created_at >= work.cursor_at and p.created_at < before and p.completed_at < before
          and p.parent_project_id is null and p.execution_id is null and not exists (select from private.retention_work w where w.root_id = p.id)
        order by p.created_at limit max_rows
      ) c;
    when 'runs' then
      select array_agg(c.id), max(c.created_at), count(*) < max_rows into ids, last_at, is_last
      from (
        select r.id, r.created_at from public.runs r
        where r.organization_slug = work.organization_slug and r.task_id is null and r.created_at >= work.cursor_at and r.created_at < before
          and r.completed_at < before and r.execution_id is null
        order by r.created_at limit max_rows
      ) c;
    else
      select array_agg(c.id), max(c.created_at), count(*) < max_rows into ids, last_at, is_last
      from (
        select t.id, t.created_at from public.tasks t
        where t.organization_slug = work.organization_slug and t.created_at >= work.cursor_at and t.created_at < before order by t.created_at limit max_rows
      ) c;
  end case;
  ids := coalesce(ids, '{}');
  last_at := coalesce(last_at, before);
end;
$$;
comment on function private.next_candidates(private.retention_work, timestamptz, integer) is
  'The next rows of a kind from the cursor on, in the order in which they were made: tasks over or not, of the rest what is itself over.';
revoke execute on function private.next_candidates(private.retention_work, timestamptz, integer) from public;

-- Runs without a task, made by servers' own programs.
create index runs_alone_idx on public.runs (organization_slug, created_at) where task_id is null;

-- Tasks --------------------------------------------------------------------------------------------------------------

create function private.tasks_over(ids uuid[], before timestamptz) returns uuid[]
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  -- Not in SQL: its plan is kept.
  return (
    with recursive up as (
      select t.id, t.id as at, t.parent_task_id as above from public.tasks t where t.id = any (ids) and t.completed_at < before
      union
      select u.id, p.id, p.parent_task_id from up u join public.tasks p on p.id = u.above
    ),
    roots as materialized (select u.id, u.at as root_id from up u where u.above is null),
    down as (
      select distinct r.root_id, r.root_id as id from roots r
      union
      select d.root_id, k.id from down d join public.tasks k on k.parent_task_id = d.id
    ),
    families as materialized (
      select d.root_id
      from down d
      join public.tasks t on t.id = d.id
      group by d.root_id
      having bool_and(
        coalesce(t.completed_at < before, false) and t.project_step_id is null and t.execution_id is null
        and not exists (select from private.plan_tasks p where p.task_id = t.id)
        and not exists (select from public.input_requests q where q.task_id = t.id and q.status = 'pending')
      )
    )
    select coalesce(array_agg(r.id), '{}')
    from roots r
    where r.root_id in (select f.root_id from families f)
      and not exists (select from public.webhook_deliveries d where d.task_id = r.id and d.completed_at is null)
      and not exists (select from public.marketplace_integrations m where m.task_id = r.id)
  );
end;
$$;
comment on function private.tasks_over(uuid[], timestamptz) is
  'Those of these tasks that were over before a time with all their family, the tasks above and below them, whose data they share; not those of projects and executions, which go with these, nor what is being delivered or published.';
revoke execute on function private.tasks_over(uuid[], timestamptz) from public;

create function private.remove_traces(
  run_ids uuid[], users uuid[], times timestamptz[], organization_slug text, out archived bigint, out deleted bigint, out is_whole boolean
)
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_max constant integer := 5000;
  v_moved record;
begin
  select m.* into v_moved from private.move_rows('run_steps', 'run_id', run_ids, users, times, organization_slug, v_max) m;
  archived := v_moved.archived;
  deleted := v_moved.deleted;
  is_whole := v_moved.archived + v_moved.deleted < v_max;
  if is_whole then
    select m.* into v_moved from private.move_rows('workflow_data', 'run_id', run_ids, users, times, organization_slug, v_max / 10) m;
    archived := archived + v_moved.archived;
    deleted := deleted + v_moved.deleted;
    is_whole := v_moved.archived + v_moved.deleted < v_max / 10;
  end if;
end;
$$;
comment on function private.remove_traces(uuid[], uuid[], timestamptz[], text) is 'Takes out steps and data of runs, at most a few thousand; is_whole when none is left.';
revoke execute on function private.remove_traces(uuid[], uuid[], timestamptz[], text) from public;

create function private.remove_tasks(
  ids uuid[], before timestamptz, period private.retention_periods, organization_slug text, out archived bigint, out deleted bigint, out is_whole boolean
)
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_max constant integer := 5000;
  v_tasks record;
  v_runs record;
  v_part record;
  v_table text;
begin
  select array_agg(t.id) as ids, array_agg(t.user_id) as users, private.delete_times(array_agg(t.completed_at), period) as times
  into v_tasks
  from (
    -- A task that somebody retries, or retries right now, is not over.
    select x.id, x.user_id, x.completed_at from public.tasks x where x.id = any (remove_tasks.ids) and x.completed_at < before order by x.id for update skip locked
  ) t;
  archived := 0;
  deleted := 0;
  is_whole := true;
  if v_tasks.ids is null then
    return;
  end if;
  select coalesce(array_agg(r.id), '{}') as ids, coalesce(array_agg(o.user_id), '{}') as users, coalesce(array_agg(o.delete_at), '{}') as times
  into v_runs
  from public.runs r
  join unnest(v_tasks.ids, v_tasks.users, v_tasks.times) o (id, user_id, delete_at) on o.id = r.task_id
  where r.task_id = any (v_tasks.ids);
  select t.* into v_part from private.remove_traces(v_runs.ids, v_runs.users, v_runs.times, organization_slug) t;
  archived := v_part.archived;
  deleted := v_part.deleted;
  is_whole := v_part.is_whole;
  -- What may be much goes first, a part at a time; streamed text is in the response.
  foreach v_table in array array['task_events', 'agent_logs', 'prompts', 'input_requests', 'task_comments', 'task_assignments'] loop
    exit when not is_whole;
    select m.* into v_part
    from private.move_rows(
      v_table, 'task_id', v_tasks.ids, v_tasks.users, v_tasks.times, organization_slug, v_max, case v_table when 'task_events' then 'r.type = ''partial''' else 'false' end
    ) m;
    archived := archived + v_part.archived;
    deleted := deleted + v_part.deleted;
    is_whole := v_part.archived + v_part.deleted < v_max;
  end loop;
  if not is_whole then
    return;
  end if;
  -- Both links of the ledger in one go, before the foreign keys clear them one by one.
  update public.usage_events u set task_id = null, run_id = null where u.task_id = any (v_tasks.ids);
  select m.* into v_part from private.move_rows('runs', 'id', v_runs.ids, v_runs.users, v_runs.times, organization_slug, v_max) m;
  archived := archived + v_part.archived;
  deleted := deleted + v_part.deleted;
  if v_part.archived + v_part.deleted = v_max then
    is_whole := false;
    return;
  end if;
  delete from private.plan_tasks p where p.task_id = any (v_tasks.ids);
  select m.* into v_part from private.move_rows('tasks', 'id', v_tasks.ids, v_tasks.users, v_tasks.times, organization_slug, v_max) m;
  archived := archived + v_part.archived;
  deleted := deleted + v_part.deleted;
end;
$$;
comment on function private.remove_tasks(uuid[], timestamptz, private.retention_periods, text) is
  'Takes these tasks out, with all that hangs on them, but for those that are locked or no longer over; a part of it when it is very much (is_whole false), and the rest when called again.';
revoke execute on function private.remove_tasks(uuid[], timestamptz, private.retention_periods, text) from public;

create function private.retain_tasks(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_period constant private.retention_periods := private.retention_period('tasks', work.organization_slug);
  v_before constant timestamptz := private.leaves_before(v_period);
  v_read integer := work.batch_size;
  v_found record;
  v_due uuid[];
  v_part record;
begin
  if v_before is null then
    return (0, 0, work.cursor_at, true)::private.retention_outcome;
  end if;
  loop
    select c.* into v_found from private.next_candidates(work, v_before, v_read) c;
    if v_found.ids = '{}' then
      return (0, 0, work.cursor_at, true)::private.retention_outcome;
    end if;
    v_due := private.tasks_over(v_found.ids, v_before);
    -- Rows of one statement have one time: what is kept of it must not keep the rest from being seen.
    exit when v_found.is_last or v_due <> '{}' or v_found.last_at > work.cursor_at or v_read > 50000;
    v_read := v_read * 8;
  end loop;
  if v_due = '{}' then
    return (
      0, 0, case when v_found.last_at > work.cursor_at then v_found.last_at else v_found.last_at + interval '1 microsecond' end, v_found.is_last
    )::private.retention_outcome;
  end if;
  select r.* into v_part from private.remove_tasks(v_due[: work.batch_size], v_before, v_period, work.organization_slug) r;
  if not v_part.is_whole or cardinality(v_due) > work.batch_size then
    return (v_part.archived, v_part.deleted, work.cursor_at, false)::private.retention_outcome;
  end if;
  return (v_part.archived, v_part.deleted, v_found.last_at, v_found.is_last)::private.retention_outcome;
end;
$$;
comment on function private.retain_tasks(private.retention_work) is 'A batch of the tasks of an organization that belong to no project and no execution, or no more.';
revoke execute on function private.retain_tasks(private.retention_work) from public;

create function private.retain_runs(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_period constant private.retention_periods := private.retention_period('runs', work.organization_slug);
  v_before constant timestamptz := private.leaves_before(v_period);
  v_found record;
  v_runs record;
  v_part record;
  v_moved record;
begin
  if v_before is null then
    return (0, 0, work.cursor_at, true)::private.retention_outcome;
  end if;
  select c.* into v_found from private.next_candidates(work, v_before, work.batch_size) c;
  if v_found.ids = '{}' then
    return (0, 0, work.cursor_at, true)::private.retention_outcome;
  end if;
  select coalesce(array_agg(r.id), '{}') as ids, coalesce(array_agg(r.created_by), '{}') as users, private.delete_times(array_agg(r.completed_at), v_period) as times
  into v_runs
  from (
    select x.id, x.created_by, x.completed_at from public.runs x
    where x.id = any (v_found.ids) and x.completed_at < v_before and x.execution_id is null
      and not exists (select from public.runs c where c.parent_run_id = x.id and c.completed_at is null)
      and not exists (select from public.runs p where p.id = x.parent_run_id and p.completed_at is null)
    order by x.id for update skip locked
  ) r;
  select t.* into v_part from private.remove_traces(v_runs.ids, v_runs.users, v_runs.times, work.organization_slug) t;
  if not v_part.is_whole then
    return (v_part.archived, v_part.deleted, work.cursor_at, false)::private.retention_outcome;
  end if;
  select m.* into v_moved from private.move_rows('runs', 'id', v_runs.ids, v_runs.users, v_runs.times, work.organization_slug, work.batch_size) m;
  return (
    v_part.archived + v_moved.archived, v_part.deleted + v_moved.deleted,
    case
      when v_moved.archived + v_moved.deleted > 0 or v_found.last_at > work.cursor_at then v_found.last_at
      else v_found.last_at + interval '1 microsecond'
    end,
    v_found.is_last
  )::private.retention_outcome;
end;
$$;
comment on function private.retain_runs(private.retention_work) is 'A batch of the runs of an organization that have no task.';
revoke execute on function private.retain_runs(private.retention_work) from public;

create function private.retain_trails(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_before constant timestamptz := private.leaves_before(private.retention_period(work.kind, work.organization_slug));
  v_tasks_before constant timestamptz := private.leaves_before(private.retention_period('tasks', work.organization_slug));
  v_max constant integer := 5000;
  v_read integer := work.batch_size;
  v_found record;
  v_due uuid[];
  v_deleted integer;
begin
  -- Tasks that leave sooner take their trail along.
  if v_before is null or v_tasks_before >= v_before then
    return (0, 0, work.cursor_at, true)::private.retention_outcome;
  end if;
  loop
    select c.* into v_found from private.next_candidates(work, v_before, v_read) c;
    -- As in private.retain_tasks.
    exit when v_found.is_last or v_found.last_at > work.cursor_at or v_read > 50000;
    v_read := v_read * 8;
  end loop;
  if v_found.ids = '{}' then
    return (0, 0, work.cursor_at, true)::private.retention_outcome;
  end if;
  v_due := private.tasks_over(v_found.ids, v_before);
  if work.kind = 'task_events' then
    -- The last one stays: events of a task that is retried go on counting from there.
    delete from public.task_events e
    where (e.task_id, e.sequence) in (
      select x.task_id, x.sequence from public.task_events x
      where x.task_id = any (v_due) and x.sequence < (select max(y.sequence) from public.task_events y where y.task_id = x.task_id)
      limit v_max
    );
  else
    delete from public.run_steps s
    where s.id in (select x.id from public.run_steps x join public.runs r on r.id = x.run_id where r.task_id = any (v_due) limit v_max);
  end if;
  get diagnostics v_deleted = row_count;
  if v_deleted = v_max then
    return (0, v_deleted, work.cursor_at, false)::private.retention_outcome;
  end if;
  return (
    0, v_deleted, case when v_found.last_at > work.cursor_at then v_found.last_at else v_found.last_at + interval '1 microsecond' end, v_found.is_last
  )::private.retention_outcome;
end;
$$;
comment on function private.retain_trails(private.retention_work) is 'A batch of tasks that stay longer than their events (or steps): these are deleted.';
revoke execute on function private.retain_trails(private.retention_work) from public;

-- Projects and executions ----------------------------------------------------------------------------------------------

create function private.projects_below(ids uuid[]) returns uuid[]
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  -- Not in SQL: its plan is kept.
  return (
    with recursive below as (
      select p.id from public.projects p where p.id = any (ids)
      union
      select c.id from below b join public.projects c on c.parent_project_id = b.id
    )
    select coalesce(array_agg(b.id), '{}') from below b
  );
end;
$$;
comment on function private.projects_below(uuid[]) is 'These projects and all below them.';
revoke execute on function private.projects_below(uuid[]) from public;

create function private.tree_is_over(execution_id uuid, projects uuid[], before timestamptz) returns boolean
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  -- Not in SQL: its plan is kept.
  return (
    with recursive work as (
      select t.id, t.completed_at from public.tasks t where t.execution_id = tree_is_over.execution_id
      union
      select t.id, t.completed_at from public.project_steps s join public.tasks t on t.project_step_id = s.id where s.project_id = any (projects)
      union
      select t.id, t.completed_at from private.plan_tasks p join public.tasks t on t.id = p.task_id where p.project_id = any (projects)
    ),
    below as (
      select w.id, w.completed_at from work w
      union
      select t.id, t.completed_at from below b join public.tasks t on t.parent_task_id = b.id
    ),
    executions_above as (
      select e.id, e.parent_execution_id, e.completed_at from public.workflow_executions e where e.id = tree_is_over.execution_id
      union
      select e.id, e.parent_execution_id, e.completed_at from executions_above a join public.workflow_executions e on e.id = a.parent_execution_id
    ),
    executions_below as (
      select a.id, a.completed_at from executions_above a where a.parent_execution_id is null
      union
      select e.id, e.completed_at from executions_below b join public.workflow_executions e on e.parent_execution_id = b.id
    )
    select not exists (select from public.projects p where p.id = any (projects) and (p.completed_at < before) is not true)
      and not exists (select from below b where (b.completed_at < before) is not true)
      and not exists (select from executions_below e where e.completed_at is null)
      and not exists (select from private.project_work w where w.project_id = any (projects) or w.child_project_id = any (projects))
      and not exists (select from private.executions_to_settle s where s.execution_id = tree_is_over.execution_id)
      and not exists (select from private.execution_lines l where l.execution_id = tree_is_over.execution_id)
      and not exists (
        select from public.input_requests q
        join public.project_steps s on s.id = q.project_step_id and s.project_id = any (projects)
        where q.status = 'pending'
      )
  );
end;
$$;
comment on function private.tree_is_over(uuid, uuid[], timestamptz) is
  'Whether all projects and tasks of an execution, or of projects, were over before a time, with what hangs below them; and whether nothing above or beside the execution runs, nor is anything left to be settled.';
revoke execute on function private.tree_is_over(uuid, uuid[], timestamptz) from public;

create function private.retain_roots(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_of_executions constant boolean := work.kind = 'workflow_executions';
  v_period constant private.retention_periods := private.retention_period(work.kind, work.organization_slug);
  v_before constant timestamptz := private.leaves_before(v_period);
  v_found record;
  v_root uuid;
  v_projects uuid[];
  v_locked uuid[];
  v_found_any boolean := false;
begin
  if v_before is null then
    return (0, 0, work.cursor_at, true)::private.retention_outcome;
  end if;
  select c.* into v_found from private.next_candidates(work, v_before, least(work.batch_size, 20)) c;
  foreach v_root in array v_found.ids loop
    if v_of_executions then
      perform from public.workflow_executions e where e.id = v_root and e.completed_at < v_before for update skip locked;
      continue when not found;
      v_projects := private.projects_below(array(select p.id from public.projects p where p.execution_id = v_root));
    else
      perform from public.projects p
      where p.id = v_root and p.completed_at < v_before and p.parent_project_id is null and p.execution_id is null for update skip locked;
      continue when not found;
      v_projects := private.projects_below(array[v_root]);
    end if;
    v_locked := array(select p.id from public.projects p where p.id = any (v_projects) order by p.hierarchy_level, p.id for update skip locked);
    continue when cardinality(v_locked) < cardinality(v_projects)
      or not private.tree_is_over(case when v_of_executions then v_root end, v_projects, v_before);
    insert into private.retention_work (kind, organization_slug, root_id, projects, over_before, next_at)
    values (case when v_of_executions then 'execution_tree' else 'project_tree' end, work.organization_slug, v_root, v_projects, v_before, private.clock())
    on conflict do nothing;
    v_found_any := true;
  end loop;
  return (
    0, 0,
    case when v_found_any or v_found.last_at > work.cursor_at then v_found.last_at else v_found.last_at + interval '1 microsecond' end,
    v_found.is_last
  )::private.retention_outcome;
end;
$$;
comment on function private.retain_roots(private.retention_work) is
  'Finds executions, or projects that stand for themselves, that are over with all their tree, and notes each as a tree to be taken out; from then on it cannot be made to go on.';
revoke execute on function private.retain_roots(private.retention_work) from public;

create function private.refuse_going_on() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if exists (select from private.retention_work w where w.root_id is not null and (w.root_id = old.id or old.id = any (w.projects))) then
    raise exception using errcode = 'PT409', message = 'being_archived',
      detail = format('%s has been over for so long that it is being archived.', old.id), hint = 'Start a new one.';
  end if;
  return new;
end;
$$;
comment on function private.refuse_going_on() is 'Before a project or an execution that was over goes on: PT409 being_archived once retention has begun to take it out.';
revoke execute on function private.refuse_going_on() from public;

create trigger refuse_going_on before update of status on public.projects
for each row when (old.status = 'failed' and new.status not in ('failed', 'cancelled')) execute function private.refuse_going_on();
create trigger refuse_going_on before update of status on public.workflow_executions
for each row when (old.status in ('failed', 'timeout') and new.status = 'queued') execute function private.refuse_going_on();

create function private.tree_tasks(work private.retention_work, steps uuid[]) returns uuid[]
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  -- Not in SQL: its plan is kept.
  return (
    with recursive below as (
      (
        select t.id from public.tasks t where t.project_step_id = any (steps)
        union
        select t.id from public.tasks t where steps = '{}' and work.kind = 'execution_tree' and t.execution_id = work.root_id
        union
        select p.task_id from private.plan_tasks p where steps = '{}' and p.project_id = any (work.projects)
      )
      union
      select t.id from below b join public.tasks t on t.parent_task_id = b.id and t.completed_at < work.over_before
    )
    select coalesce(array_agg(f.id), '{}') from (select b.id from below b limit work.batch_size) f
  );
end;
$$;
comment on function private.tree_tasks(private.retention_work, uuid[]) is 'Tasks of these steps with those below them, or, without steps, of the execution and of planning; a batch of them.';
revoke execute on function private.tree_tasks(private.retention_work, uuid[]) from public;

create function private.retain_tree(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_kind constant text := case work.kind when 'execution_tree' then 'workflow_executions' else 'projects' end;
  v_period constant private.retention_periods := private.retention_period(v_kind, work.organization_slug);
  v_steps constant uuid[] := array(select s.id from public.project_steps s where s.project_id = any (work.projects) limit 50);
  v_tasks constant uuid[] := private.tree_tasks(work, v_steps);
  v_projects record;
  v_part record;
  v_archived bigint := 0;
  v_deleted bigint := 0;
  v_move record;
begin
  if v_tasks <> '{}' then
    select r.* into v_part from private.remove_tasks(v_tasks, work.over_before, v_period, work.organization_slug) r;
    return (v_part.archived, v_part.deleted, work.cursor_at, false)::private.retention_outcome;
  end if;
  select coalesce(array_agg(p.id order by p.hierarchy_level desc), '{}') as ids, coalesce(array_agg(p.user_id order by p.hierarchy_level desc), '{}') as users,
    private.delete_times(array_agg(p.completed_at order by p.hierarchy_level desc), v_period) as times
  into v_projects
  from public.projects p
  where p.id = any (work.projects);
  if v_steps <> '{}' then
    -- The projects first, before their numbers of steps change.
    if work.cursor_at = '-infinity' then
      select m.* into v_part from private.archive_projects(v_projects.ids, v_projects.times) m (archived);
      v_archived := v_part.archived;
    end if;
    select coalesce(array_agg(s.id), '{}') as ids, coalesce(array_agg(o.user_id), '{}') as users, coalesce(array_agg(o.delete_at), '{}') as times
    into v_move
    from public.project_steps s
    join unnest(v_projects.ids, v_projects.users, v_projects.times) o (id, user_id, delete_at) on o.id = s.project_id
    where s.id = any (v_steps);
    select m.* into v_part from private.move_rows('input_requests', 'project_step_id', v_move.ids, v_move.users, v_move.times, work.organization_slug, 5000) m;
    v_archived := v_archived + v_part.archived;
    v_deleted := v_deleted + v_part.deleted;
    select m.* into v_part from private.move_rows('project_steps', 'id', v_move.ids, v_move.users, v_move.times, work.organization_slug, 5000) m;
    return (v_archived + v_part.archived, v_deleted + v_part.deleted, clock_timestamp(), false)::private.retention_outcome;
  end if;
  if v_projects.ids <> '{}' then
    if work.cursor_at = '-infinity' then
      select m.* into v_part from private.archive_projects(v_projects.ids, v_projects.times) m (archived);
      v_archived := v_part.archived;
    end if;
    select m.* into v_part
    from private.move_rows('project_plan_versions', 'project_id', v_projects.ids, v_projects.users, v_projects.times, work.organization_slug, 5000) m;
    v_archived := v_archived + v_part.archived;
    -- One by one, those at the bottom first.
    for v_move in select p.id from unnest(v_projects.ids[: 100]) with ordinality p (id, place) order by p.place loop
      delete from public.projects p where p.id = v_move.id;
    end loop;
    return (v_archived, v_part.deleted, clock_timestamp(), false)::private.retention_outcome;
  end if;
  if work.kind = 'execution_tree' then
    select array_agg(e.created_by) as users, private.delete_times(array_agg(e.completed_at), v_period) as times into v_move
    from public.workflow_executions e where e.id = work.root_id;
    select m.* into v_part
    from private.move_rows('workflow_executions', 'id', array[work.root_id], v_move.users, v_move.times, work.organization_slug, 1) m;
    return (v_part.archived, v_part.deleted, work.cursor_at, true)::private.retention_outcome;
  end if;
  return (0, 0, work.cursor_at, true)::private.retention_outcome;
end;
$$;
comment on function private.retain_tree(private.retention_work) is
  'A batch of an execution or project that is being taken out: tasks with what hangs on them, then steps, then projects from the bottom up, then the execution.';
revoke execute on function private.retain_tree(private.retention_work) from public;

create function private.archive_projects(ids uuid[], times timestamptz[]) returns bigint
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_archived bigint;
begin
  insert into archive.records (kind, record_id, organization_slug, user_id, data, delete_at)
  select 'projects', p.id::text, p.organization_slug, p.user_id, to_jsonb(p), o.delete_at
  from public.projects p
  join unnest(archive_projects.ids, archive_projects.times) o (id, delete_at) on o.id = p.id
  where p.id = any (archive_projects.ids) and o.delete_at > private.clock();
  get diagnostics v_archived = row_count;
  return v_archived;
end;
$$;
comment on function private.archive_projects(uuid[], timestamptz[]) is 'Copies projects to the archive, as they are before their steps go.';
revoke execute on function private.archive_projects(uuid[], timestamptz[]) from public;

-- The ledger, logs and the archive itself ------------------------------------------------------------------------------

create function private.retain_usage(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  -- Whole months only, so that a month is either in the ledger or in the totals.
  v_before constant timestamptz := date_trunc(
    'month', private.leaves_before(private.retention_period('usage_events', work.organization_slug)) at time zone 'UTC'
  ) at time zone 'UTC';
  v_deleted bigint;
begin
  with gone as (
    delete from public.usage_events u
    where u.id in (
      select x.id from public.usage_events x
      where x.organization_slug = work.organization_slug and x.created_at < v_before
        and not exists (select from private.live_tasks l where l.task_id = x.task_id)
      order by x.created_at limit work.batch_size * 10 for update skip locked
    )
    returning u.created_at, concat_ws('/', coalesce(u.agent_slug, '-'), u.provider, u.model) as name, u.cost, u.input_tokens + u.output_tokens as tokens
  ),
  counted as (
    insert into private.usage_totals (organization_slug, period_start, kind, name, cost, tokens)
    select work.organization_slug, date_trunc('month', g.created_at at time zone 'UTC') at time zone 'UTC', 'model', g.name, sum(g.cost), sum(g.tokens)
    from gone g
    group by 2, 4
  )
  select count(*) into v_deleted from gone g;
  return (0, v_deleted, work.cursor_at, v_deleted < work.batch_size * 10)::private.retention_outcome;
end;
$$;
comment on function private.retain_usage(private.retention_work) is 'A batch of an organization''s ledger that goes; what it adds up to goes to the totals in the same transaction.';
revoke execute on function private.retain_usage(private.retention_work) from public;

create function private.merge_usage_totals() returns private.retention_outcome
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_merged bigint;
begin
  with twice as (
    select t.organization_slug, t.period_start, t.kind, t.name from private.usage_totals t group by 1, 2, 3, 4 having count(*) > 1 limit 500
  ),
  gone as (
    delete from private.usage_totals t
    where t.id in (
      select x.id from private.usage_totals x join twice w using (organization_slug, period_start, kind, name) order by x.id limit 10000 for update of x skip locked
    )
    returning t.*
  ),
  merged as (
    insert into private.usage_totals (organization_slug, period_start, kind, name, runs, cost, tokens)
    select g.organization_slug, g.period_start, g.kind, g.name, sum(g.runs), sum(g.cost), sum(g.tokens) from gone g group by 1, 2, 3, 4
  )
  select count(*) into v_merged from gone;
  return (0, 0, '-infinity', v_merged < 2)::private.retention_outcome;
end;
$$;
comment on function private.merge_usage_totals() is 'Adds up totals that several deletions left for the same month and name.';
revoke execute on function private.merge_usage_totals() from public;

create function private.retain_logs(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_period constant private.retention_periods := private.retention_period(work.kind, null);
  v_before constant timestamptz := private.leaves_before(v_period);
  v_max constant integer := work.batch_size * 10;
  v_column constant text := (select p.time_column from private.partitioned_tables p where p.name = 'public.' || work.kind);
  v_done record;
begin
  if v_before is null then
    return (0, 0, work.cursor_at, true)::private.retention_outcome;
  end if;
  -- What is kept counts as looked at: somebody's many rows that stay are no reason to look at all of them in one go.
  execute format(
    'with looked as materialized (select r.id, r.%2$I as at, %3$s as goes from public.%1$I r where r.%2$I >= $1 and r.%2$I < $2 order by r.%2$I limit $3),'
    ' picked as (select r.id, l.at from looked l join public.%1$I r on r.id = l.id and r.%2$I = l.at where l.goes for update of r skip locked),'
    ' gone as (delete from public.%1$I r using picked p where r.id = p.id and r.%2$I = p.at returning r.*, p.at),'
    ' kept as (insert into archive.records (kind, record_id, organization_slug, data, delete_at)'
    '  select %1$L, g.id::text, to_jsonb(g) ->> ''organization_slug'', to_jsonb(g) - ''at'', d.delete_at from gone g'
    '  cross join lateral unnest(private.delete_times(array[g.at], $4)) d (delete_at) where $4.archive_days is not null and d.delete_at > private.clock() returning 1)'
    ' select (select count(*) from kept) as archived, (select count(*) from gone) as removed, count(*) as looked, max(l.at) as last_at from looked l',
    work.kind, v_column,
    -- The log of an agent at work is not over.
    case when work.kind in ('agent_logs', 'prompts') then
      'not exists (select from public.agent_instances i where i.id = r.agent_id and not i.archived and i.status in (''executing'', ''waiting'', ''blocked''))'
    else 'true' end
  )
  into v_done using work.cursor_at, v_before, v_max, v_period;
  return (
    v_done.archived, v_done.removed - v_done.archived,
    case when v_done.removed > 0 or v_done.last_at > work.cursor_at then v_done.last_at else coalesce(v_done.last_at, work.cursor_at) + interval '1 microsecond' end,
    v_done.looked < v_max
  )::private.retention_outcome;
end;
$$;
comment on function private.retain_logs(private.retention_work) is 'A batch of a table of logs that is partitioned by month; audit_logs go to the archive. Logs of agents that are at work stay.';
revoke execute on function private.retain_logs(private.retention_work) from public;

create function private.retain_archive(work private.retention_work) returns private.retention_outcome
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_max constant integer := work.batch_size * 20;
  v_before constant timestamptz := private.leaves_before(private.retention_period('agent_versions', null));
  v_deleted bigint;
begin
  if work.kind = 'agent_versions' then
    delete from archive.agent_versions v
    where v.id in (select x.id from archive.agent_versions x where x.archived_at < v_before order by x.archived_at limit v_max for update skip locked);
  else
    delete from archive.records r
    using (
      select x.delete_at, x.id from archive.records x where x.delete_at < private.clock() order by x.delete_at limit v_max for update skip locked
    ) d
    where r.delete_at = d.delete_at and r.id = d.id;
  end if;
  get diagnostics v_deleted = row_count;
  return (0, v_deleted, work.cursor_at, v_deleted < v_max)::private.retention_outcome;
end;
$$;
comment on function private.retain_archive(private.retention_work) is 'A batch of what the archive has kept long enough.';
revoke execute on function private.retain_archive(private.retention_work) from public;

-- Partitions -----------------------------------------------------------------------------------------------------------

create function private.month_may_go(name text, partition regclass, month_end timestamptz) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_kind constant text := split_part(name, '.', 2);
  v_is_in_use boolean;
begin
  if month_end > private.clock() then
    return false;
  end if;
  case
    when name = 'archive.records' then
      return true;
    when v_kind in ('agent_logs', 'prompts', 'system_logs') and month_end <= private.leaves_before(private.retention_period(v_kind, null)) then
      if v_kind = 'system_logs' then
        return true;
      end if;
      execute format(
        'select exists (select from public.agent_instances i join %s r on r.agent_id = i.id'
        ' where not i.archived and i.status in (''executing'', ''waiting'', ''blocked''))', partition
      )
      into v_is_in_use;
    else
      -- Rows that are not archived yet, or that are kept: a month goes once it is empty.
      execute format('select exists (select from %s)', partition) into v_is_in_use;
  end case;
  return not v_is_in_use;
end;
$$;
comment on function private.month_may_go(text, regclass, timestamptz) is 'Whether a month that is over holds nothing that is to be kept or archived.';
revoke execute on function private.month_may_go(text, regclass, timestamptz) from public;

create function private.tend_partitions() returns private.retention_outcome
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_month record;
begin
  perform private.make_months(p.name) from private.partitioned_tables p;
  for v_month in
    select p.name, i.inhrelid::regclass as partition,
      (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month')::timestamp at time zone 'UTC' as month_end
    from private.partitioned_tables p
    join pg_catalog.pg_inherits i on i.inhparent = p.name::regclass
    join pg_catalog.pg_class c on c.oid = i.inhrelid and c.relname ~ '_\d{4}_\d{2}$'
    order by 3
  loop
    if private.month_may_go(v_month.name, v_month.partition, v_month.month_end) then
      execute format('drop table %s', v_month.partition);
      return (0, 0, '-infinity', false)::private.retention_outcome; -- one at a time: its locks last until the end of the transaction
    end if;
  end loop;
  return (0, 0, '-infinity', true)::private.retention_outcome;
end;
$$;
comment on function private.tend_partitions() is 'Makes months ahead, and drops one that is over and of which nothing is to be kept.';
revoke execute on function private.tend_partitions() from public;

-- Maintenance ------------------------------------------------------------------------------------------------------------

create function private.retain(work private.retention_work) returns private.retention_outcome
language sql volatile security definer set search_path = ''
as $$
  select case
    when work.kind = 'tasks' then private.retain_tasks(work)
    when work.kind = 'runs' then private.retain_runs(work)
    when work.kind in ('task_events', 'run_steps') then private.retain_trails(work)
    when work.kind in ('workflow_executions', 'projects') then private.retain_roots(work)
    when work.kind in ('execution_tree', 'project_tree') then private.retain_tree(work)
    when work.kind = 'usage_events' then private.retain_usage(work)
    when work.kind = 'usage_totals' then private.merge_usage_totals()
    when work.kind in ('agent_versions', 'archive') then private.retain_archive(work)
    when work.kind = 'partitions' then private.tend_partitions()
    else private.retain_logs(work)
  end;
$$;
comment on function private.retain(private.retention_work) is 'One batch of a piece of work, whose row is locked.';
revoke execute on function private.retain(private.retention_work) from public;

create function private.note_retention(work private.retention_work, outcome private.retention_outcome, at timestamptz) returns void
language plpgsql volatile security definer set search_path = ''
as $$
begin
  if work.root_id is not null and outcome.is_done then
    -- It is gone, and counts for its kind.
    update private.retention_work w
    set archived = w.archived + work.archived + outcome.archived, deleted = w.deleted + work.deleted + outcome.deleted
    where w.id = (
      select x.id from private.retention_work x
      where x.organization_slug = work.organization_slug and x.root_id is null
        and x.kind = case work.kind when 'execution_tree' then 'workflow_executions' else 'projects' end
      for update skip locked
    );
    if found then
      delete from private.retention_work w where w.id = work.id;
      return;
    end if;
  end if;
  update private.retention_work w
  set cursor_at = case when outcome.is_done then '-infinity' else outcome.cursor_at end,
    removed_in_pass = case when outcome.is_done then 0 else w.removed_in_pass + outcome.archived + outcome.deleted end,
    next_at = case
      when not outcome.is_done and outcome.cursor_at = work.cursor_at and outcome.archived + outcome.deleted = 0 and work.kind <> 'partitions'
        then at + interval '5 seconds'
      when not outcome.is_done then at
      when work.root_id is not null then at + interval '1 second'
      when work.kind in ('partitions', 'archive', 'usage_totals') or w.removed_in_pass + outcome.archived + outcome.deleted > 0 then at + interval '1 hour'
      else at + (5 + 2 * random()) * interval '1 hour'
    end,
    archived = w.archived + outcome.archived, deleted = w.deleted + outcome.deleted, last_run_at = at, last_error = null,
    batch_size = least(w.batch_size * 2, 50)
  where w.id = work.id;
end;
$$;
comment on function private.note_retention(private.retention_work, private.retention_outcome, timestamptz) is
  'Notes what a batch did: where the next one begins, and when. A pass that is done begins again after an hour, or some hours when it found nothing.';
revoke execute on function private.note_retention(private.retention_work, private.retention_outcome, timestamptz) from public;

create function private.keep_retention(seconds double precision default 0.03) returns bigint
language plpgsql volatile security definer set search_path = '' set lock_timeout = '30ms'
as $$
declare
  v_end constant timestamptz := clock_timestamp() + make_interval(secs => seconds);
  v_ahead constant interval := private.clock() - now();
  v_now timestamptz;
  v_from timestamptz := '-infinity';
  v_work private.retention_work;
  v_outcome private.retention_outcome;
  v_removed bigint := 0;
  v_error text;
begin
  -- A clock that went back.
  update private.retention_work w set next_at = private.clock()
  where w.id in (select x.id from private.retention_work x where x.next_at > private.clock() + interval '2 days' for update skip locked);
  loop
    v_now := clock_timestamp() + v_ahead;
    -- What was done in this transaction leaves dead entries behind, before the last one.
    select w.* into v_work from private.retention_work w
    where w.next_at >= v_from and w.next_at <= v_now order by w.next_at limit 1 for update skip locked;
    exit when not found;
    v_from := v_work.next_at;
    begin
      v_outcome := private.retain(v_work);
      perform private.note_retention(v_work, v_outcome, clock_timestamp() + v_ahead);
      v_removed := v_removed + v_outcome.archived + v_outcome.deleted;
    exception
      -- Whoever calls goes on: a locked row, a month in use, or something that an operator has to look at.
      when others then
        get stacked diagnostics v_error = message_text;
        update private.retention_work w
        set batch_size = greatest(w.batch_size / 4, 1), last_error = left(v_error, 1000), last_run_at = clock_timestamp() + v_ahead,
          next_at = clock_timestamp() + v_ahead + case when sqlstate = '55P03' then interval '2 seconds' else interval '1 minute' end
        where w.id = v_work.id;
    end;
    -- What it locks is free again when the transaction ends.
    exit when v_work.kind = 'partitions' or clock_timestamp() >= v_end;
  end loop;
  return v_removed;
end;
$$;
comment on function private.keep_retention(double precision) is
  'Retention, batch after batch until nothing is due or the time is up (one batch at least); returns how many rows left. Called by the reaper, by pg_cron, or by hand; several at once share the work.';
revoke execute on function private.keep_retention(double precision) from public;
grant execute on function private.keep_retention(double precision) to service_role;

create function private.schedule_retention() returns boolean
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if to_regprocedure('cron.schedule(text, text, text)') is null then
    return false;
  end if;
  execute $cron$ select cron.schedule('orchestrator-retention', '10 seconds', 'select private.keep_retention(1)') $cron$;
  return true;
exception
  when insufficient_privilege then
    raise warning 'pg_cron is there, but this role may not use it: %. Workers do it.', sqlerrm;
    return false;
end;
$$;
comment on function private.schedule_retention() is
  'Schedules retention where pg_cron is; false, and nothing done, where it is not. Safe to repeat: call it as postgres when pg_cron came after the migrations. Workers do it in any case.';
revoke execute on function private.schedule_retention() from public;

select private.schedule_retention();

-- For operators and admins ---------------------------------------------------------------------------------------------

create function private.set_retention(kind text, archive_days integer, delete_days integer, organization_slug text) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_period private.retention_periods;
  v_archive integer;
  v_delete integer;
  v_limit constant integer := 36500;
begin
  if private.is_client() then
    perform private.require_role(coalesce(organization_slug, ''), 'admin');
  end if;
  select p.* into v_period from private.retention_periods p where p.kind = set_retention.kind;
  if not found or organization_slug is not null and not v_period.is_per_organization then
    raise exception using errcode = '22023', message = 'retention_kind_unknown',
      detail = format('"%s" is nothing that is kept for a period%s.', left(kind, 100), case when organization_slug is not null then ' of an organization''s own' else '' end),
      hint = 'Use one of: ' || (
        select string_agg(p.kind, ', ' order by p.kind) from private.retention_periods p where p.is_per_organization or set_retention.organization_slug is null
      ) || '.';
  end if;
  if organization_slug is not null and not exists (select from public.organizations o where o.slug = set_retention.organization_slug) then
    raise exception using errcode = 'PT404', message = 'organization_not_found',
      detail = format('There is no organization "%s".', organization_slug), hint = 'Check the slug.';
  end if;
  v_archive := case when organization_slug is null then archive_days else coalesce(archive_days, v_period.archive_days) end;
  v_delete := case when organization_slug is null then delete_days else coalesce(delete_days, v_period.delete_days) end;
  if archive_days is not null and not v_period.can_archive or v_archive >= v_delete
    or archive_days not between v_period.least_days and v_limit or delete_days not between v_period.least_days and v_limit
    or private.is_client() and (archive_days > v_period.archive_days or delete_days > v_period.delete_days) then
    raise exception using errcode = '22023', message = 'retention_out_of_range',
      detail = format('%s: archived after %s and deleted after %s days is not possible.', kind, coalesce(v_archive::text, 'no'), coalesce(v_delete::text, 'no')),
      hint = format(
        'Send %sdelete_days of %s to %s%s.',
        case when v_period.can_archive then 'archive_days below delete_days, and ' else 'no archive_days, and ' end, v_period.least_days, v_limit,
        case when private.is_client() then format('; an organization keeps nothing longer than the operator (archived after %s, deleted after %s)', coalesce(v_period.archive_days::text, '-'), coalesce(v_period.delete_days::text, '-')) else '' end
      );
  end if;
  if organization_slug is null then
    update private.retention_periods p set archive_days = v_archive, delete_days = v_delete where p.kind = v_period.kind;
  elsif archive_days is null and delete_days is null then
    delete from private.organization_retention o where o.organization_slug = set_retention.organization_slug and o.kind = v_period.kind;
  else
    insert into private.organization_retention as o (organization_slug, kind, archive_days, delete_days)
    values (set_retention.organization_slug, v_period.kind, set_retention.archive_days, set_retention.delete_days)
    on conflict on constraint organization_retention_pkey do update set archive_days = excluded.archive_days, delete_days = excluded.delete_days;
  end if;
  return jsonb_build_object('kind', kind, 'organization_slug', organization_slug, 'archive_days', v_archive, 'delete_days', v_delete);
end;
$$;
comment on function private.set_retention(text, integer, integer, text) is 'Body of public.set_retention.';
revoke execute on function private.set_retention(text, integer, integer, text) from public;
grant execute on function private.set_retention(text, integer, integer, text) to authenticated, service_role;

create function public.set_retention(kind text, archive_days integer default null, delete_days integer default null, organization_slug text default null) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
  select private.set_retention(kind, archive_days, delete_days, organization_slug);
$$;
comment on function public.set_retention(text, integer, integer, text) is
  'Sets after how many days rows of a kind are archived and deleted, counted from when they were over: for all organizations (servers only; null is never), or for one (its admins, who may only shorten; null is the operator''s). Returns {kind, organization_slug, archive_days, delete_days} as they hold now. Errors: 22023 retention_kind_unknown, 22023 retention_out_of_range, PT404 organization_not_found, 42501 not_allowed.';
revoke execute on function public.set_retention(text, integer, integer, text) from public, anon, authenticated;
grant execute on function public.set_retention(text, integer, integer, text) to authenticated, service_role;

create function private.archived_records(organization_slug text, kind text, before timestamptz, page_size integer)
returns table (record_id text, archived_at timestamptz, delete_at timestamptz, data jsonb)
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require_role(organization_slug, 'admin');
  return query
  select r.record_id, r.archived_at, r.delete_at, r.data
  from archive.records r
  where r.organization_slug = archived_records.organization_slug and r.kind = archived_records.kind and r.archived_at < before
    -- Not what an earlier organization of the same slug left behind.
    and r.archived_at >= (select o.created_at from public.organizations o where o.slug = archived_records.organization_slug)
    and (r.kind <> 'audit_logs' or (r.data ->> 'created_at')::timestamptz >= (select o.created_at from public.organizations o where o.slug = archived_records.organization_slug))
  order by r.archived_at desc
  limit least(greatest(page_size, 0), 1000);
end;
$$;
comment on function private.archived_records(text, text, timestamptz, integer) is 'Body of public.archived_records.';
revoke execute on function private.archived_records(text, text, timestamptz, integer) from public;
grant execute on function private.archived_records(text, text, timestamptz, integer) to authenticated, service_role;

create function public.archived_records(organization_slug text, kind text, before timestamptz default 'infinity', page_size integer default 100)
returns table (record_id text, archived_at timestamptz, delete_at timestamptz, data jsonb)
language sql stable security invoker set search_path = ''
as $$
  select r.* from private.archived_records(organization_slug, kind, before, page_size) r;
$$;
comment on function public.archived_records(text, text, timestamptz, integer) is
  'What the archive has of an organization, last archived first: rows of the table kind (tasks, runs, run_steps, task_events, projects, …), each whole in data, until delete_at. For its admins and servers. 42501 not_allowed.';
revoke execute on function public.archived_records(text, text, timestamptz, integer) from public, anon, authenticated;
grant execute on function public.archived_records(text, text, timestamptz, integer) to authenticated, service_role;

create function private.oldest_kept(kind text) returns timestamptz
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_sort = off set enable_bitmapscan = off
as $$
declare
  v_column constant text := (select p.time_column from private.partitioned_tables p where p.name = 'public.' || kind);
  v_oldest timestamptz;
begin
  if kind = 'agent_versions' then
    return (select min(v.archived_at) from archive.agent_versions v);
  end if;
  if v_column is not null then
    execute format('select min(r.%I) from public.%I r', v_column, kind) into v_oldest;
    return v_oldest;
  end if;
  execute format(
    'select min(f.at) from public.organizations o cross join lateral ('
    ' select r.created_at as at from public.%I r where r.organization_slug = o.slug%s order by r.created_at limit 1) f',
    case kind when 'task_events' then 'tasks' when 'run_steps' then 'runs' else kind end, case when kind = 'runs' then ' and r.task_id is null' else '' end
  )
  into v_oldest;
  return v_oldest;
end;
$$;
comment on function private.oldest_kept(text) is 'When the oldest row of a kind was made that is still in its table (agent_versions: was archived); of events and steps, what they belong to.';
revoke execute on function private.oldest_kept(text) from public;

create function private.retention_status()
returns table (
  kind text, archive_days integer, delete_days integer, oldest_at timestamptz, last_run_at timestamptz, archived bigint, deleted bigint, behind bigint, last_error text
)
language sql stable security definer set search_path = ''
as $$
  select p.kind, p.archive_days, p.delete_days, private.oldest_kept(p.kind), max(w.last_run_at), coalesce(sum(w.archived), 0)::bigint,
    coalesce(sum(w.deleted), 0)::bigint, count(w.id) filter (where w.next_at < private.clock() - interval '10 minutes'), max(w.last_error)
  from private.retention_periods p
  left join private.retention_work w
    on case w.kind when 'execution_tree' then 'workflow_executions' when 'project_tree' then 'projects' else w.kind end = p.kind
  group by p.kind
  union all
  select w.kind, null, null, case w.kind when 'archive' then (select min(r.archived_at) from archive.records r) end, w.last_run_at, w.archived, w.deleted,
    (w.next_at < private.clock() - interval '10 minutes')::integer, w.last_error
  from private.retention_work w
  where w.kind in ('archive', 'partitions', 'usage_totals');
$$;
comment on function private.retention_status() is 'Body of public.retention_status.';
revoke execute on function private.retention_status() from public;
grant execute on function private.retention_status() to service_role;

create view public.retention_status with (security_invoker = true) as
select s.* from private.retention_status() s;
comment on view public.retention_status is
  'For servers: what retention does, by kind: periods in days, the oldest row that is still in its table, when it last ran, rows archived and deleted so far, pieces of work that wait for over ten minutes, and the last error of one that failed.';
revoke all on public.retention_status from anon, authenticated, service_role;
grant select on public.retention_status to service_role;
