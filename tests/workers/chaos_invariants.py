"""What holds of every task after whatever happened, in SQL over whole organizations.

Each query returns the rows that break its rule. The tasks were run by `chaos_worker`, which signs what it leaves with
the token of its lease, which is the id of its run.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from tests.workers.chaos_worker import INPUT_TOKENS, OUTPUT_TOKENS
from tests.workers.waiting import Row

_TASKS = "select * from public.tasks where organization_slug = any (%(organizations)s)"
_RUNS = "select * from public.runs where organization_slug = any (%(organizations)s)"
# Each event with the state its task was in: how often it had been claimed, and the last status event.
_TRAIL = f"""
  select e.*, t.status as task_status,
    e.data ->> 'to' as moved_to,
    max(case when e.type = 'status' then e.sequence end) over before as status_sequence,
    count(*) filter (where e.data ->> 'to' = 'in_progress' and e.type = 'status') over before as claims
  from public.task_events e
  join ({_TASKS}) t on t.id = e.task_id
  window before as (partition by e.task_id order by e.sequence)
"""

RULES = {
    "every task is in a final state, and nobody holds a lease": f"""
      select t.id, t.status, t.lease_token, t.worker_id from ({_TASKS}) t
      where t.status in ('pending', 'in_progress', 'paused')
        or t.lease_token is not null or t.lease_expires_at is not null
    """,
    "no run goes on": f"select r.id, r.task_id, r.worker_id from ({_RUNS}) r where r.status = 'running'",
    "a completed task has one completed run, any other none": f"""
      select t.id, t.status, count(r.id) as runs
      from ({_TASKS}) t left join public.runs r on r.task_id = t.id and r.status = 'completed'
      group by t.id, t.status having count(r.id) <> (t.status = 'completed')::integer
    """,
    "what a task answers is what its completed run said": f"""
      select t.id, t.response, r.id as run_id
      from ({_TASKS}) t join ({_RUNS}) r on r.task_id = t.id and r.status = 'completed'
      where (t.response, t.worker_id, t.attempt) is distinct from (r.id::text, r.worker_id, r.attempt)
    """,
    "runs match attempts: one for each number, and those given back": f"""
      select t.id, t.attempt, array_agg(r.attempt order by r.attempt) as runs
      from ({_TASKS}) t left join public.runs r on r.task_id = t.id and r.status <> 'released'
      group by t.id, t.attempt
      having array_remove(array_agg(r.attempt order by r.attempt), null) <> array(select generate_series(1, t.attempt))
    """,
    "a completed attempt leaves one version with its text, any other none": f"""
      select t.id, t.status, d.deliverables, d.versions, d.content
      from ({_TASKS}) t
      left join lateral (
        select count(distinct d.id) as deliverables, count(v.id) as versions, min(v.content) as content,
          max(v.version_number) as number
        from public.deliverables d left join public.deliverable_versions v on v.deliverable_id = d.id
        where d.task_id = t.id
      ) d on true
      where (d.deliverables, d.versions, d.content, d.number) is distinct from case t.status
        when 'completed' then (1::bigint, 1::bigint, t.response, 1)
        else (0::bigint, 0::bigint, null::text, null::integer) end
    """,
    "a completed task in a conversation has one answer there, and each its question": f"""
      select t.id, t.status, m.asked, m.answered
      from ({_TASKS}) t
      left join lateral (
        select count(*) filter (where m.sender_type = 'user') as asked,
          count(*) filter (where m.sender_type = 'agent') as answered,
          count(*) filter (where m.sender_type = 'agent' and m.content = t.response) as right_ones
        from public.messages m where m.task_id = t.id
      ) m on true
      where (m.asked, m.answered, m.right_ones) is distinct from (
        (t.agent_conversation_id is not null)::integer::bigint,
        (t.agent_conversation_id is not null and t.status = 'completed')::integer::bigint,
        (t.agent_conversation_id is not null and t.status = 'completed')::integer::bigint
      )
    """,
    "a run that reported is billed once, any other is not": f"""
      select r.id, r.status, r.error_code, r.total_tokens, u.bills, u.tokens
      from ({_RUNS}) r
      left join lateral (
        select count(*) as bills, coalesce(sum(u.input_tokens + u.output_tokens), 0) as tokens
        from public.usage_events u where u.run_id = r.id
      ) u on true
      where (u.bills, u.tokens, r.total_tokens) is distinct from case when r.status in ('completed', 'failed')
        then (1::bigint, %(tokens)s::numeric, %(tokens)s::bigint) else (0::bigint, 0::numeric, 0::bigint) end
    """,
    "events are numbered from 1 without a gap": f"""
      select e.task_id, count(*), min(e.sequence), max(e.sequence)
      from public.task_events e join ({_TASKS}) t on t.id = e.task_id
      group by e.task_id having min(e.sequence) <> 1 or max(e.sequence) <> count(*)
    """,
    "each move goes on from the last one, and the last one says how the task ended": f"""
      select * from (
        select e.task_id, e.sequence, e.data, e.task_status,
          lag(e.moved_to) over (partition by e.task_id order by e.sequence) as moved_from,
          lead(e.sequence) over (partition by e.task_id order by e.sequence) is null as is_last
        from ({_TRAIL}) e where e.type = 'status'
      ) e
      where e.data ->> 'from' is distinct from e.moved_from or e.is_last and e.data ->> 'to' <> e.task_status
    """,
    "nothing is written about a task that nobody runs": f"""
      select e.task_id, e.sequence, e.type, e.message, s.data
      from ({_TRAIL}) e
      join public.task_events s on s.task_id = e.task_id and s.sequence = e.status_sequence
      where e.type <> 'status' and (s.data ->> 'to' <> 'in_progress' or s.attempt <> e.attempt)
    """,
    "what is written during an attempt is all of the one that holds the lease": f"""
      select e.task_id, e.claims, count(distinct e.data ->> 'lease_token') as writers
      from ({_TRAIL}) e
      left join public.runs r
        on r.task_id = e.task_id and r.attempt = e.attempt and r.id::text = e.data ->> 'lease_token'
      where e.data ? 'lease_token'
      group by e.task_id, e.claims
      having count(distinct e.data ->> 'lease_token') > 1 or count(*) filter (where r.id is null) > 0
    """,
    "each claim is one run": f"""
      select e.task_id, e.claims, count(r.id) as runs
      from (select task_id, max(claims) as claims from ({_TRAIL}) e group by task_id) e
      left join public.runs r on r.task_id = e.task_id
      group by e.task_id, e.claims having count(r.id) <> e.claims
    """,
    "a completed attempt said once when it began, and then when it was done": f"""
      select t.id, t.response, e.said
      from ({_TASKS}) t
      left join lateral (
        select array_agg(e.message order by e.sequence) as said
        from public.task_events e where e.task_id = t.id and e.data ->> 'lease_token' = t.response
      ) e on true
      where t.status = 'completed' and e.said is distinct from array['begun', 'done']
    """,
    "a task fails because it must, or has no attempt left": f"""
      select t.id, t.status, t.error_code, t.attempt, t.max_attempts, t.params from ({_TASKS}) t
      where t.status in ('failed', 'timeout') and not (t.params -> 'fatal' = 'true' and t.error_code = 'input_invalid')
        and t.attempt < t.max_attempts
      or t.status = 'completed' and (t.params -> 'fatal' = 'true' or t.attempt <= (t.params ->> 'fails')::integer)
    """,
    "nobody made a mistake": f"""
      select r.task_id, r.error_code, r.error_message from ({_RUNS}) r
      where r.error_code not in ('worker_lost', 'provider_overloaded', 'input_invalid', 'timeout')
    """,
}


def assert_whole(sql: psycopg.Connection[Row], organizations: Sequence[str]) -> None:
    """Fail with the first rows that break each rule."""
    arguments = {"organizations": list(organizations), "tokens": INPUT_TOKENS + OUTPUT_TOKENS}
    broken = {rule: rows for rule, query in RULES.items() if (rows := sql.execute(query, arguments).fetchmany(5))}
    assert not broken, "\n".join(f"{rule}:\n" + "\n".join(f"  {row}" for row in rows) for rule, rows in broken.items())


def count_runs(sql: psycopg.Connection[Row], organizations: Sequence[str]) -> dict[str, int]:
    """Return how many attempts ended in each way."""
    query = "select status, count(*) as runs from public.runs where organization_slug = any (%s) group by status"
    return {row["status"]: row["runs"] for row in sql.execute(query, (list(organizations),)).fetchall()}
