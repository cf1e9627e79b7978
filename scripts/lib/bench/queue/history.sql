-- A million finished tasks of 1,000 organizations, a run for each, as they stand after a long life: triggers rest meanwhile (nothing
-- finished is in the queue, so nothing follows them), and the secondary indexes are made afterwards. %(tasks)s and %(user)s are given.

set session_replication_role = replica;

create temporary table bench_indexes as
select i.schemaname, i.indexname, i.indexdef
from pg_indexes i
where i.schemaname = 'public' and i.tablename in ('tasks', 'runs')
  and not exists (select from pg_constraint c where c.conindid = format('%%I.%%I', i.schemaname, i.indexname)::regclass);

do $$
declare
  v_index record;
begin
  for v_index in select * from bench_indexes loop
    execute format('drop index %%I.%%I', v_index.schemaname, v_index.indexname);
  end loop;
end;
$$;

insert into public.tasks (
  organization_slug, user_id, method, prompt, status, progress, attempt, worker_id, response, created_at, scheduled_at, started_at, completed_at
)
select 'org-' || lpad((i %% 1000)::text, 4, '0'), %(user)s::uuid, 'bench_noop', 'Nothing.', 'completed', 100, 1, 'worker-' || i %% 10, 'Done.',
  s.at, s.at, s.at, s.at
from generate_series(1, %(tasks)s) i
cross join lateral (select now() - i * interval '5 seconds' as at) s;

insert into public.runs (organization_slug, created_by, task_id, initial_prompt, worker_id, status, created_at, completed_at)
select t.organization_slug, t.user_id, t.id, t.prompt, t.worker_id, 'completed', t.started_at, t.completed_at
from public.tasks t
where t.status = 'completed' and t.worker_id like 'worker-%%';

do $$
declare
  v_index record;
begin
  for v_index in select * from bench_indexes loop
    execute v_index.indexdef;
  end loop;
end;
$$;

drop table bench_indexes;
reset session_replication_role;
