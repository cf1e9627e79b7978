-- Agents: the single source of truth for what can run. A row is an agent; the worker reads it at each claim.
-- Three types: context (a language model), api (an HTTP endpoint), external (an A2A server).

create function private.llm_config_is_valid(llm_config jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(
    jsonb_typeof(llm_config) = 'object'
    and llm_config ->> 'provider' in ('anthropic', 'openai', 'google', 'ollama')
    and jsonb_typeof(llm_config -> 'model') = 'string' and btrim(llm_config ->> 'model') <> ''
    and coalesce(jsonb_typeof(llm_config -> 'parameters') = 'object', true), false);
$$;
comment on function private.llm_config_is_valid(jsonb) is 'True for {provider: anthropic|openai|google|ollama, model: text, parameters?: object}.';
revoke execute on function private.llm_config_is_valid(jsonb) from public;
grant execute on function private.llm_config_is_valid(jsonb) to authenticated, service_role;

create function private.endpoint_is_valid(endpoint jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(
    jsonb_typeof(endpoint) = 'object'
    and endpoint ->> 'url' ~ '^(https?://|\$\{)'
    and coalesce(endpoint ->> 'method' in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE'), endpoint -> 'method' is null)
    and coalesce(jsonb_typeof(endpoint -> 'headers') = 'object', true)
    and coalesce(endpoint #>> '{authentication,type}' in ('bearer', 'api-key', 'basic'), endpoint -> 'authentication' is null), false);
$$;
comment on function private.endpoint_is_valid(jsonb) is
  'True for {url: http(s), method?: GET|POST|PUT|PATCH|DELETE, headers?: object, authentication?: {type: bearer|api-key|basic, config}}.';
revoke execute on function private.endpoint_is_valid(jsonb) from public;
grant execute on function private.endpoint_is_valid(jsonb) to authenticated, service_role;

create function private.api_endpoint_is_valid(endpoint jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select coalesce(
    endpoint - array['url', 'method', 'headers', 'authentication', 'request_transform', 'response_transform', 'status_webhook', 'timeout'] = '{}'
    and coalesce(endpoint ->> 'method' in ('GET', 'POST', 'PUT', 'PATCH'), true)
    and jsonb_path_exists(endpoint, 'strict $.headers.* ? (@.type() != "string")', '{}', true) is not true
    and coalesce(jsonb_typeof(endpoint #> '{authentication,config}') = 'object', endpoint -> 'authentication' is null)
    and coalesce(jsonb_typeof(endpoint -> 'timeout') = 'number' and (endpoint ->> 'timeout')::numeric between 0.001 and 3600, endpoint -> 'timeout' is null)
    and coalesce(jsonb_typeof(endpoint -> 'request_transform') in ('object', 'string'), true)
    and coalesce(jsonb_typeof(endpoint -> 'response_transform') = 'string', true)
    and case jsonb_typeof(endpoint -> 'status_webhook')
      when 'boolean' then true
      when 'object' then jsonb_path_exists(endpoint -> 'status_webhook', 'strict $.ttl_seconds ? (@ >= 1 && @ <= 604800)', '{}', true)
        and (endpoint -> 'status_webhook') - 'ttl_seconds' = '{}'
      else endpoint -> 'status_webhook' is null
    end, false);
$$;
comment on function private.api_endpoint_is_valid(jsonb) is
  'True for {url, method?: GET|POST|PUT|PATCH, headers?: {name: text}, authentication?, request_transform?: object|text, response_transform?: text, status_webhook?: true|{ttl_seconds: 1 to 604800}, timeout?: seconds up to 3600} and nothing else.';
revoke execute on function private.api_endpoint_is_valid(jsonb) from public;
grant execute on function private.api_endpoint_is_valid(jsonb) to authenticated, service_role;

-- Table --------------------------------------------------------------------------------------------------------------

create table public.agents (
  slug text primary key,
  organization_slug text[] not null default array['demo-org'],
  name text not null,
  description text not null,
  version text not null default '1.0.0',
  agent_type text not null,
  department text not null,
  tags text[] default array[]::text[],
  io_schema jsonb not null,
  capabilities text[] not null,
  context text not null,
  endpoint jsonb,
  llm_config jsonb,
  metadata jsonb default '{}',
  status text not null default 'active',
  owner_user_id uuid,
  owner_type text not null generated always as (case when owner_user_id is null then 'organization' else 'user' end) stored,
  framework text,
  build_type text,
  deployed_at timestamptz,
  container_id text,
  resource_limits jsonb,
  max_concurrent_tasks integer,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint agent_type_is_known check (agent_type in ('context', 'api', 'external')),
  constraint context_agents_have_llm_config_and_no_endpoint check (agent_type <> 'context' or (llm_config is not null and endpoint is null)),
  constraint api_and_external_agents_have_endpoint_and_no_llm_config
    check (agent_type not in ('api', 'external') or (endpoint is not null and llm_config is null)),
  constraint llm_config_names_provider_and_model check (llm_config is null or private.llm_config_is_valid(llm_config)),
  constraint endpoint_names_url_and_known_authentication check (endpoint is null or private.endpoint_is_valid(endpoint)),
  constraint api_endpoint_has_known_fields check (agent_type <> 'api' or private.api_endpoint_is_valid(endpoint)),
  constraint io_schema_is_an_object check (
    jsonb_typeof(io_schema) = 'object'
    and coalesce(jsonb_typeof(io_schema -> 'input') in ('object', 'boolean'), true)
    and coalesce(jsonb_typeof(io_schema -> 'output') in ('object', 'boolean'), true)
  ),
  constraint slug_is_lower_case_words check (slug ~ '^[a-z0-9][a-z0-9_-]{1,62}$'),
  constraint name_is_not_blank check (btrim(name) <> '' and length(name) <= 255),
  constraint version_is_semantic check (version ~ '^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})$'),
  constraint organization_slugs_are_not_null_and_at_most_1000 check (
    array_position(organization_slug, null) is null and cardinality(organization_slug) <= 1000
  ),
  constraint owned_by_a_user_or_by_organizations check ((owner_user_id is not null) = (cardinality(organization_slug) = 0)),
  constraint status_is_known check (status in ('draft', 'active', 'inactive', 'error')),
  constraint max_concurrent_tasks_is_positive check (max_concurrent_tasks > 0),
  constraint framework_is_known check (framework in ('langgraph', 'agno', 'crewai', 'n8n')),
  constraint build_type_is_known check (build_type in ('visual', 'code')),
  constraint metadata_is_an_object check (jsonb_typeof(metadata) = 'object'),
  constraint resource_limits_is_an_object check (jsonb_typeof(resource_limits) = 'object'),
  constraint agent_is_not_too_large check (
    octet_length(context) <= 262144
    and pg_column_size(io_schema) <= 262144 and pg_column_size(metadata) <= 262144
    and pg_column_size(endpoint) <= 65536 and pg_column_size(llm_config) <= 65536
  )
);

-- Agents of an organization (policies: organization_slug && my organizations).
create index idx_agents_organization_slug on public.agents using gin (organization_slug);
-- Filter by department.
create index idx_agents_department on public.agents (department);
-- Filter by type.
create index idx_agents_agent_type on public.agents (agent_type);
-- tags @> '{seo}'.
create index idx_agents_tags on public.agents using gin (tags);
-- capabilities @> '{blog-writing}'.
create index idx_agents_capabilities on public.agents using gin (capabilities);
-- io_schema @> '…'.
create index idx_agents_io_schema on public.agents using gin (io_schema);
-- endpoint @> '{"authentication": {"type": "bearer"}}'.
create index idx_agents_endpoint on public.agents using gin (endpoint);
-- llm_config @> '{"provider": "anthropic"}'.
create index idx_agents_llm_config on public.agents using gin (llm_config);
-- metadata @> '{"license": "MIT"}'.
create index idx_agents_metadata on public.agents using gin (metadata);
-- Newest first.
create index idx_agents_created_at on public.agents (created_at);
-- Sorted by name.
create index idx_agents_name on public.agents (name);
-- What can be run.
create index idx_agents_active on public.agents (status) where status = 'active';
-- Private agents of a user (policies, foreign key).
create index idx_agents_owner on public.agents (owner_user_id) where owner_user_id is not null;
-- Filter by framework.
create index idx_agents_framework on public.agents (framework) where framework is not null;

-- Triggers -----------------------------------------------------------------------------------------------------------

create trigger set_updated_at before update on public.agents
for each row execute function public.set_updated_at();

create trigger check_json before insert or update of io_schema, endpoint, llm_config, metadata on public.agents
for each row execute function private.check_json('io_schema', 'endpoint', 'llm_config', 'metadata');

create function private.literal_credential(endpoint jsonb) returns text
language sql immutable set search_path = ''
as $$
  with texts (field, content) as (
    select 'authentication.config.' || c.key, c.value #>> '{}'
    from jsonb_each(case when jsonb_typeof(endpoint #> '{authentication,config}') = 'object' then endpoint #> '{authentication,config}' else '{}' end) c
    where c.key not in ('username', 'header')
    union all
    select 'headers.' || h.key, h.value #>> '{}'
    from jsonb_each(case when jsonb_typeof(endpoint -> 'headers') = 'object' then endpoint -> 'headers' else '{}' end) h
    where h.key ~* '(^|[-_])(authorization|auth|cookie|token|secret|password|key|apikey|credentials?|signature)($|[-_])'
      and h.key !~* '^idempotency-key$'
    union all
    select 'api_key', endpoint ->> 'api_key'
    union all
    select 'url', u.found[1]
    from regexp_matches(endpoint ->> 'url', '^[a-z]+://([^/?#]*)@', 'i') u (found)
    union all
    select 'url', u.found[1]
    from regexp_matches(endpoint ->> 'url', '[?&](?:[^=&#]*[-_])?(?:token|secret|password|key|apikey|sig|signature)=([^&#]+)', 'gi') u (found)
  )
  select t.field from texts t where t.content <> '' and t.content !~ '\$\{[A-Za-z_][A-Za-z0-9_]*\}' order by t.field limit 1;
$$;
comment on function private.literal_credential(jsonb) is
  'Names the first field of an endpoint that holds a credential itself instead of ${NAME}: what authentication.config has besides username and header, api_key, headers and parameters of the url that are named like credentials, user:password@ in the url. Null when there is none.';
revoke execute on function private.literal_credential(jsonb) from public;
grant execute on function private.literal_credential(jsonb) to authenticated, service_role;

create function private.refuse_literal_credentials() returns trigger
language plpgsql volatile security invoker set search_path = ''
as $$
declare
  v_servers constant jsonb := new.llm_config #> '{tools,mcp_servers}';
  v_field constant text := coalesce('endpoint.' || private.literal_credential(new.endpoint), (
    select format('llm_config.tools.mcp_servers.%s.%s', s.place - 1, private.literal_credential(s.server))
    from jsonb_array_elements(case when jsonb_typeof(v_servers) = 'array' then v_servers else '[]' end) with ordinality s (server, place)
    where jsonb_typeof(s.server) = 'object' and private.literal_credential(s.server) is not null
    order by s.place
    limit 1
  ));
begin
  if private.is_client() and v_field is not null then
    raise exception using errcode = '22023', message = 'credential_is_literal',
      detail = format('%s of agent "%s" holds a credential, and everybody who sees the agent reads it.', v_field, new.slug),
      hint = 'Keep it among the organization''s secrets and write its name here, e.g. "${API_TOKEN}".';
  end if;
  return new;
end;
$$;
comment on function private.refuse_literal_credentials() is
  'Before insert or update of endpoint and llm_config, which names MCP servers: viewers, versions and git show an agent whole, so that what a client writes there names secrets and holds none. Servers are trusted to know what they write.';
revoke execute on function private.refuse_literal_credentials() from public;

create trigger refuse_literal_credentials before insert or update of endpoint, llm_config on public.agents
for each row when (new.endpoint is not null or new.llm_config #> '{tools,mcp_servers}' is not null) execute function private.refuse_literal_credentials();

create function private.enforce_limit(organization_slug text, limit_name text) returns void
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_limit numeric;
  v_count bigint;
begin
  select (o.settings #>> array['limits', limit_name])::numeric into v_limit
  from public.organizations o
  where o.slug = enforce_limit.organization_slug;
  if v_limit is null then
    return;
  end if;
  -- One writer at a time counts and inserts; readers and foreign keys are not held up.
  perform from public.organizations o where o.slug = enforce_limit.organization_slug for no key update;
  case limit_name
    when 'max_agents' then
      select count(*) into v_count from public.agents a where a.organization_slug @> array[enforce_limit.organization_slug];
    when 'max_conversations' then
      select count(*) into v_count from public.agent_conversations c where c.organization_slug = enforce_limit.organization_slug;
  end case;
  if v_count >= v_limit then
    raise exception using errcode = 'PT429', message = 'over_limit',
      detail = format('Organization "%s" has %s of at most %s (%s).', organization_slug, v_count, v_limit, limit_name),
      hint = format('Delete what is not needed, or have an owner raise settings.limits.%s.', limit_name);
  end if;
end;
$$;
comment on function private.enforce_limit(text, text) is
  'Called before an insert: raises PT429 over_limit when the organization already has as many as settings.limits allows. Locks the organization''s row only where a limit is set.';
revoke execute on function private.enforce_limit(text, text) from public;
grant execute on function private.enforce_limit(text, text) to authenticated, service_role;

create function private.check_agent_organizations() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_known text[] := case when tg_op = 'UPDATE' then old.organization_slug else array[]::text[] end;
  v_slug text;
  v_is_named boolean := false;
begin
  for v_slug in
    select distinct s from unnest(new.organization_slug) s where s <> all (v_known) order by s
  loop
    -- Whoever speaks to the orchestrator first makes the agent it runs on (private.default_agent_of); the table comes later.
    if tg_op = 'INSERT' and to_regclass('public.orchestrator_agents') is not null then
      v_is_named := exists (select from public.orchestrator_agents o where o.agent_slug = new.slug and o.organization_slug = v_slug and not o.archived);
    end if;
    if not v_is_named then
      perform private.require_role(v_slug, 'developer');
    end if;
    perform from public.organizations o where o.slug = v_slug for key share;
    if not found then
      raise exception using errcode = 'PT404', message = 'organization_not_found',
        detail = format('Agent "%s" names organization "%s", which does not exist.', new.slug, v_slug),
        hint = 'Create the organization first, or correct organization_slug.';
    end if;
    perform private.enforce_limit(v_slug, 'max_agents');
  end loop;
  return new;
end;
$$;
comment on function private.check_agent_organizations() is
  'Stands for the foreign key that Postgres cannot have on an array: every slug added must be an organization where the writer is a developer, and below its limit.';
revoke execute on function private.check_agent_organizations() from public;

create trigger check_organizations before insert or update of organization_slug on public.agents
for each row execute function private.check_agent_organizations();

create function private.remove_organization_from_agents() returns trigger
language plpgsql volatile security definer set search_path = ''
as $$
begin
  delete from public.agents where organization_slug <@ array[old.slug] and organization_slug @> array[old.slug];
  update public.agents set organization_slug = array_remove(organization_slug, old.slug)
  where organization_slug @> array[old.slug];
  return null;
end;
$$;
comment on function private.remove_organization_from_agents() is 'After an organization is deleted: takes its slug out of shared agents and deletes agents that are left with none.';
revoke execute on function private.remove_organization_from_agents() from public;

create trigger remove_from_agents after delete on public.organizations
for each row execute function private.remove_organization_from_agents();

comment on table public.agents is 'Agent definitions of all three types; single source of truth, no files. Shared by the organizations in organization_slug, or private to owner_user_id.';
comment on column public.agents.slug is 'Globally unique key, e.g. blog-post-writer. Never changes.';
comment on column public.agents.organization_slug is 'Organizations that may use the agent; empty for a private agent.';
comment on column public.agents.io_schema is '{"input": JSON Schema, "output": JSON Schema}. Input is params, with the prompt as "prompt" where the schema names that property.';
comment on column public.agents.context is 'System prompt of a context agent; documentation sent along by api agents.';
comment on column public.agents.endpoint is 'api and external agents: {url, method, headers, authentication {type, config}, timeout}; api agents also {request_transform, response_transform, status_webhook}: docs/api-agents.md; external ones {protocol, version, binding, skill, hosts}: docs/external-agents.md. Credentials as ${NAME} of the organization''s secrets: whoever sees the agent reads this.';
comment on column public.agents.llm_config is 'context agents: {provider, model, parameters {temperature, maxTokens, topP}, tools {ask_person {expires_in_seconds, on_expiry, required_role}}}.';
comment on column public.agents.status is 'Only active agents run: draft, inactive and error refuse new tasks.';
comment on column public.agents.max_concurrent_tasks is 'How many tasks may run it at once, over all its organizations; null for any number.';
comment on column public.agents.build_type is 'How it was built: visual or code (document E''s agent_type).';
comment on column public.agents.owner_type is 'user for a private agent, organization for a shared one; follows owner_user_id.';

-- Protection ---------------------------------------------------------------------------------------------------------

alter table public.agents enable row level security;
revoke all on public.agents from anon, authenticated, service_role;
grant select, delete on public.agents to authenticated;
grant insert (
  slug, organization_slug, name, description, version, agent_type, department, tags, io_schema, capabilities,
  context, endpoint, llm_config, metadata, status, owner_user_id, framework, build_type, max_concurrent_tasks
) on public.agents to authenticated;
grant update (
  organization_slug, name, description, version, department, tags, io_schema, capabilities,
  context, endpoint, llm_config, metadata, status, framework, build_type, max_concurrent_tasks
) on public.agents to authenticated;
grant select, insert, update, delete on public.agents to service_role;

create policy "Members read agents of their organizations" on public.agents
for select to authenticated
using (
  organization_slug && array(select private.my_organizations('viewer'))
  or owner_user_id = (select private.my_active_id())
);

create policy "Developers add agents" on public.agents
for insert to authenticated
with check (
  (owner_user_id is null and organization_slug <@ array(select private.my_organizations('developer')))
  or (owner_user_id = (select private.my_active_id()) and organization_slug = '{}')
);

create policy "Developers of all its organizations change an agent" on public.agents
for update to authenticated
using (
  (owner_user_id is null and organization_slug <@ array(select private.my_organizations('developer')))
  or owner_user_id = (select private.my_active_id())
)
with check (
  (owner_user_id is null and organization_slug <@ array(select private.my_organizations('developer')))
  or (owner_user_id = (select private.my_active_id()) and organization_slug = '{}')
);

create policy "Developers of all its organizations delete an agent" on public.agents
for delete to authenticated
using (
  (owner_user_id is null and organization_slug <@ array(select private.my_organizations('developer')))
  or owner_user_id = (select private.my_active_id())
);
