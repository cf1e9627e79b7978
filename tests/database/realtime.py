"""What Supabase Realtime puts into a database, and how it asks who may join a topic.

The server itself (Elixir) does not run here: what it does with the rows of realtime.messages is not tested.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.database.kit import Connection, Row, Session, Tenant, World

# The table, its owner, its grants, and the signatures and behaviour of the functions follow supabase/realtime's tenant
# migrations: send is the caller's own insert, sets realtime.topic, and turns every error into a warning.
REALTIME = """
do $$ begin
  if not exists (select from pg_roles where rolname = 'supabase_realtime_admin') then
    create role supabase_realtime_admin noinherit nologin;
  end if;
end $$;
grant supabase_realtime_admin to postgres;
create schema realtime;
create table realtime.messages (
  id uuid not null default gen_random_uuid(), topic text not null, extension text not null, event text, payload jsonb,
  private boolean default false,
  inserted_at timestamp not null default now(), updated_at timestamp not null default now(),
  primary key (id, inserted_at)
) partition by range (inserted_at);
create table realtime.messages_today partition of realtime.messages
for values from (now() - interval '1 day') to (now() + interval '1 day');
alter table realtime.messages enable row level security;
create function realtime.topic() returns text language sql stable
return nullif(current_setting('realtime.topic', true), '');
create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language plpgsql as $$
declare
  new_id constant uuid := gen_random_uuid();
begin
  execute format('set local realtime.topic to %L', topic);
  insert into realtime.messages (id, payload, event, topic, private, extension)
  values (new_id, jsonb_build_object('id', new_id) || payload, event, topic, private, 'broadcast');
exception when others then
  raise warning 'not sent: %', sqlerrm;
end $$;
grant usage on schema realtime to postgres, anon, authenticated, service_role;
grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;
grant usage, create on schema realtime to supabase_realtime_admin;
alter table realtime.messages owner to supabase_realtime_admin;
"""


def sent(world: World) -> list[Row]:
    """Take every broadcast so far, oldest first."""
    return world.admin.rows(
        "with m as (delete from realtime.messages returning *) select * from m order by inserted_at"
    )


def topics(messages: list[Row], table: str) -> set[str]:
    return {message["topic"] for message in messages if message["event"] == table}


def records(messages: list[Row], table: str, topic: str) -> list[Row]:
    chosen = [message for message in messages if (message["event"], message["topic"]) == (table, topic)]
    return [record for message in chosen for record in message["payload"]["records"]]


def hears(session: Session, topic: str) -> bool:
    """Ask as Realtime does when this user joins the topic: is a row of it, just written, to be seen?"""
    with session.connection.transaction(force_rollback=True):
        session.connection.execute(
            "insert into realtime.messages (topic, extension) values (%s, 'broadcast'), (%s, 'presence')",
            [topic, topic],
        )
        with session.transaction() as connection:
            connection.execute("select set_config('realtime.topic', %s, true)", [topic])
            rows = connection.execute("select topic, extension from realtime.messages").fetchall()
    assert all(row == {"topic": topic, "extension": "broadcast"} for row in rows)
    return bool(rows)


def repair(connection: Connection, send: str) -> None:
    """Undo what a test broke; `send` is the definition that the function had."""
    connection.execute("drop function if exists realtime.sent(jsonb, text, text, boolean)")
    connection.execute(send.encode())
    connection.execute(
        """do $$ begin
          if not exists (select from pg_inherits where inhparent = 'realtime.messages'::regclass) then
            alter table realtime.messages attach partition realtime.messages_today
            for values from (now() - interval '1 day') to (now() + interval '1 day');
          end if;
        end $$"""
    )


@dataclass(frozen=True)
class Crowd:
    """Everybody who stands in some relation to one task in a shared conversation, and what is there to read."""

    world: World
    home: Tenant
    people: dict[str, Session]
    project: str
