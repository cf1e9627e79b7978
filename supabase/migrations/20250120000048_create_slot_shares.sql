-- Shares of slots: no organization takes all the slots of the workers, however many tasks it has and however long they hang.
--
-- Taking turns at the claim is not enough: a slot that is given to a task which hangs for an hour is gone for that hour, and in
-- time one organization would hold them all. So there is one rule, and it applies to each worker by itself:
--
--   Of the slots of a worker that other organizations leave, an organization takes at most max_share (three quarters unless the
--   operator says otherwise), rounded down, and one at the least.
--
-- Of 100 slots one organization holds 75 at most, the next 18 of the remaining 25, the next 5 of 7: whoever comes finds a slot,
-- until about log(slots) / log(1 / (1 - max_share)) organizations hang at once (4 with 100 slots; with max_share 0.5 it is 7). Two that are
-- always busy get 3 of 7 each, three get 3 of 10; slots that stay free for who comes cost a worker next to nothing.
-- The tasks of the organizations with the fewest slots go first.
--
-- The worker tells with each claim what it holds (report.slots of exchange_work), so that nothing is counted here: a claim pays
-- microseconds whatever runs, no claimer waits for another, old snapshots cost nothing, a worker that is gone counts no more, and an
-- attempt that has lost its lease but still hangs in its slot counts. Every method counts, webhooks and other internal ones too.
-- The rule is exact: the requests that a worker has under way count each free slot once (`free`), and one that counts only a part
-- lets an organization take again what its own tasks have just freed, or a part of its own, but never its first slot.
-- It does not apply where nobody can be starved: with one active organization, or to workers that serve one only; nor to workers
-- that tell nothing (of an older version, or of your own). A worker with a single slot cannot share it: it goes to whoever is next.
--
-- Beside it stands organizations.max_running_tasks, which only servers set: how many tasks of an organization run at once over
-- all workers, internal methods included. It is counted at the claim like settings.limits.max_concurrent_tasks, and as exactly.

alter table public.organizations add column max_running_tasks integer
constraint max_running_tasks_is_positive check (max_running_tasks between 1 and 1000000);
comment on column public.organizations.max_running_tasks is
  'How many of its tasks run at once over all workers, internal methods included; null for as many as max_share leaves it. Only servers set it; settings.limits.max_concurrent_tasks is the organization''s own.';

create table private.slot_rules (
  one boolean primary key default true check (one),
  max_share numeric not null default 0.75,
  constraint max_share_is_a_part check (max_share > 0 and max_share <= 1)
);
comment on table private.slot_rules is 'What operators say about the slots of workers. One row, written by set_max_share.';
comment on column private.slot_rules.max_share is 'The part that an organization takes at most of the slots of a worker that others leave; 1 for no rule.';
revoke all on private.slot_rules from anon, authenticated, service_role;
grant select, update on private.slot_rules to service_role;
insert into private.slot_rules default values;

create function public.set_max_share(max_share numeric default null) returns numeric
language plpgsql volatile security invoker set search_path = ''
as $$
begin
  if max_share <= 0 or max_share > 1 then
    raise exception using errcode = '22023', message = 'argument_out_of_range',
      detail = format('max_share is %s (more than 0, at most 1).', max_share), hint = 'Use e.g. 0.75 for three quarters, or 1 for no rule.';
  end if;
  update private.slot_rules r set max_share = set_max_share.max_share where r.max_share <> set_max_share.max_share;
  return (select r.max_share from private.slot_rules r);
end;
$$;
comment on function public.set_max_share(numeric) is
  'For servers: sets which part of the slots of a worker that others leave one organization takes at most (0.75 unless set; 1 for no rule), from the next claim on, and returns it; without an argument it only returns it. Errors: 22023 argument_out_of_range.';
revoke execute on function public.set_max_share(numeric) from public, anon, authenticated;
grant execute on function public.set_max_share(numeric) to service_role;

create function private.check_slots(slots jsonb) returns void
language plpgsql immutable security invoker set search_path = ''
as $$
declare
  v_counts constant jsonpath := '$.** ? (@.type() != "object" && (@.type() != "number" || @ < 0 || @ > 1000000 || @.floor() != @))';
begin
  if jsonb_typeof(slots) = 'object' and jsonb_typeof(slots -> 'free') = 'number'
    and coalesce(jsonb_typeof(slots -> 'under_way'), 'boolean') = 'boolean'
    and coalesce(jsonb_typeof(slots -> 'held'), 'object') = 'object' and coalesce(jsonb_typeof(slots -> 'freed'), 'object') = 'object'
    and not jsonb_path_exists(slots - 'under_way', v_counts) then
    return;
  end if;
  raise exception using errcode = '22023', message = 'slots_invalid',
    detail = 'slots must be {"free": n, "held"?: {organization: n}, "freed"?: {organization: n}, "under_way"?: true or false}; each n a whole number from 0 to 1000000.',
    hint = 'Count the slots of your worker, or leave slots out; then no organization is kept to a share of them.';
end;
$$;
comment on function private.check_slots(jsonb) is 'Raises 22023 slots_invalid unless this tells the slots of a worker.';
revoke execute on function private.check_slots(jsonb) from public;
grant execute on function private.check_slots(jsonb) to service_role;

create function private.share_slots(slots jsonb, queues text[], inout rooms integer[], out held integer[], out waits boolean)
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_share constant numeric := (select r.max_share from private.slot_rules r);
  v_free constant integer := (slots ->> 'free')::integer;
  v_under_way constant boolean := coalesce((slots ->> 'under_way')::boolean, false);
  v_held constant jsonb := slots -> 'held';
  v_freed constant jsonb := slots -> 'freed';
begin
  select array_agg(r.held), bool_or(r.held = 0 and r.share = 0 and r.room > 0), array_agg(least(r.room, r.share))
  into held, waits, rooms
  from (
    select q.held, q.room,
      greatest(
        floor(v_share * (q.held + v_free))::integer - q.held,
        case when v_under_way then (v_freed ->> q.slug)::integer when q.held = 0 then 1 end, 0
      ) as share
    from (
      select n.slug, n.room, coalesce((v_held ->> n.slug)::integer, 0) as held
      from unnest(queues, rooms) with ordinality n (slug, room, place)
      order by n.place
      offset 0
    ) q
  ) r;
end;
$$;
comment on function private.share_slots(jsonb, text[], integer[]) is
  'How many tasks a claim may give to each organization of these queues beside what it holds on this worker, at most `rooms`; held is that. waits: one that holds nothing gets nothing because other requests of the worker are under way.';
revoke execute on function private.share_slots(jsonb, text[], integer[]) from public;
grant execute on function private.share_slots(jsonb, text[], integer[]) to service_role;

create function private.slots_are_shared(organizations text[]) returns boolean
language plpgsql stable security invoker set search_path = '' set enable_seqscan = off
as $$
begin
  return (select r.max_share < 1 from private.slot_rules r) and (
    select count(*) from (
      select from public.organizations o where o.is_active and (organizations is null or o.slug = any (organizations)) limit 2
    ) several
  ) > 1;
end;
$$;
comment on function private.slots_are_shared(text[]) is 'Whether a claim for these organizations (null for all) could let one of them starve another.';
revoke execute on function private.slots_are_shared(text[]) from public;
grant execute on function private.slots_are_shared(text[]) to service_role;
