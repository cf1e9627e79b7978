-- The trace of a run (document D): its steps in order, and the data that agents leave for each other.

create table public.run_steps (
  id uuid primary key default gen_random_uuid(),
  run_id uuid not null references public.runs (id) on delete cascade,
  sequence_number integer not null,
  type text not null,
  name text,
  input jsonb,
  output jsonb,
  status text not null default 'running',
  error_message text,
  started_at timestamptz not null default now(),
  completed_at timestamptz,
  input_tokens bigint,
  output_tokens bigint,
  cost numeric(14, 6),
  input_payload uuid,
  output_payload uuid,
  is_cut boolean generated always as (input_payload is not null or output_payload is not null) stored,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- A run's steps in order (also the foreign key).
  constraint sequence_number_is_unique_within_a_run unique (run_id, sequence_number),
  constraint type_is_known check (type in ('llm_call', 'tool_call', 'agent_call', 'http_request', 'input_request', 'transform')),
  constraint status_is_known check (status in ('running', 'completed', 'failed', 'cancelled')),
  constraint running_means_not_completed check ((status = 'running') = (completed_at is null)),
  constraint sequence_number_is_bounded check (sequence_number between 1 and 10000),
  constraint counters_are_not_negative check (input_tokens >= 0 and output_tokens >= 0 and cost >= 0 and cost < 'NaN'),
  constraint name_is_short check (length(name) <= 255),
  constraint metadata_is_an_object check (jsonb_typeof(metadata) = 'object')
);

create table public.workflow_data (
  id uuid primary key default gen_random_uuid(),
  run_id uuid not null references public.runs (id) on delete cascade,
  step_id uuid references public.run_steps (id) on delete cascade,
  key text not null,
  value jsonb not null,
  data_type text,
  tags text[] not null default '{}',
  created_by_agent text,
  scope_id uuid not null,
  created_at timestamptz not null default clock_timestamp(),
  constraint at_most_20_tags check (cardinality(tags) <= 20),
  constraint key_is_short check (btrim(key) <> '' and length(key) <= 255),
  constraint value_is_not_huge check (pg_column_size(value) <= 4194304)
);

-- The latest value of a key in a run (also the foreign key).
create index workflow_data_run_key_idx on public.workflow_data (run_id, key, created_at desc);
-- The latest value of a key where it is shared.
create index workflow_data_scope_idx on public.workflow_data (scope_id, key, created_at desc);
-- tags @> '{draft}'.
create index workflow_data_tags_idx on public.workflow_data using gin (tags);
-- By key over runs.
create index workflow_data_key_idx on public.workflow_data (key);
-- Steps that still run, to be ended with their run.
create index run_steps_running_idx on public.run_steps (run_id) where status = 'running';
-- What is still needed of private.step_payloads.
create index run_steps_input_payload_idx on public.run_steps (input_payload) where input_payload is not null;
create index run_steps_output_payload_idx on public.run_steps (output_payload) where output_payload is not null;
-- Data of a step (foreign key).
create index workflow_data_step_idx on public.workflow_data (step_id) where step_id is not null;

alter table public.input_requests
add constraint input_requests_step_id_fkey foreign key (step_id) references public.run_steps (id) on delete set null;
-- The step that asked (foreign key).
create index input_requests_step_idx on public.input_requests (step_id) where step_id is not null;

create trigger set_updated_at before update on public.run_steps
for each row execute function public.set_updated_at();
create trigger refuse_change before update on public.workflow_data
for each row execute function private.refuse_change();

comment on table public.run_steps is 'What a run did, in order: model calls, tool calls, calls of other agents, HTTP requests, questions, transforms.';
comment on column public.run_steps.input is 'As JSON; of one over 2,000 characters the first 2,000, and run_step_payload gives the whole.';
comment on column public.run_steps.output is 'As input.';
comment on column public.run_steps.cost is 'US dollars; null when the price is not known, or there is none.';
comment on column public.run_steps.input_payload is 'Where the whole is kept (private.step_payloads); null when the column itself holds it.';
comment on column public.run_steps.output_payload is 'As input_payload.';
comment on column public.run_steps.is_cut is 'Whether input or output is only a beginning.';
comment on column public.run_steps.metadata is 'Model and provider of an llm_call, call_id of a tool_call, and so on.';
comment on table public.workflow_data is 'Data that agents leave for later steps; immutable, the latest row of a key counts.';
comment on column public.workflow_data.scope_id is 'What shares it: the project at the top, else the execution, else the first task above (private.data_scope).';
comment on column public.workflow_data.data_type is 'A hint for readers.';

alter table public.run_steps enable row level security;
revoke all on public.run_steps from anon, authenticated, service_role;
grant select on public.run_steps to authenticated;
grant select, insert, update, delete on public.run_steps to service_role;
create policy "Whoever reads a run reads its steps" on public.run_steps
for select to authenticated
using (exists (select from public.runs r where r.id = run_id));

alter table public.workflow_data enable row level security;
revoke all on public.workflow_data from anon, authenticated, service_role;
grant select on public.workflow_data to authenticated;
grant select, insert, delete on public.workflow_data to service_role;
create policy "Whoever reads a run reads its data" on public.workflow_data
for select to authenticated
using (exists (select from public.runs r where r.id = run_id));
