-- Agent cards: an agent as other systems see it, in the A2A protocol's own form (a2a-protocol.org, version 1.0).

create function public.agent_card(slug text) returns jsonb
language plpgsql stable security invoker set search_path = ''
as $$
declare
  v_agent public.agents;
  v_headers constant jsonb := nullif(current_setting('request.headers', true), '')::jsonb;
  v_base text;
begin
  -- As the caller: RLS decides which agents there are.
  select a.* into v_agent from public.agents a where a.slug = agent_card.slug;
  if not found then
    raise exception using errcode = 'PT404', message = 'agent_not_found',
      detail = format('You see no agent "%s".', slug), hint = 'List the agents you can use: GET /rest/v1/agents?select=slug,name.';
  end if;
  v_base := coalesce(
    v_agent.metadata ->> 'a2a_url',
    coalesce(v_headers ->> 'x-forwarded-proto', 'http') || '://' || coalesce(v_headers ->> 'x-forwarded-host', v_headers ->> 'host', 'localhost') || '/a2a/'
      -- As python -m workers a2a has it: of the caller's organizations, of a private agent the one that the caller is in.
      || coalesce(
        (select s.slug from unnest(v_agent.organization_slug) s (slug) order by s.slug in (select private.my_organizations('viewer')) desc, s.slug limit 1),
        (select u.organization_slug from public.users u where u.id = (select auth.uid())), '-'
      ) || '/' || v_agent.slug
  );
  return jsonb_strip_nulls(jsonb_build_object(
    'name', v_agent.name,
    'description', v_agent.description,
    'version', v_agent.version,
    'documentationUrl', v_agent.metadata ->> 'documentation_url',
    'iconUrl', v_agent.metadata ->> 'icon_url',
    'provider', (
      select jsonb_build_object('organization', o.name, 'url', coalesce(o.url, ''))
      from public.organizations o where o.slug = any (v_agent.organization_slug) order by o.slug limit 1
    ),
    'supportedInterfaces', jsonb_build_array(jsonb_build_object('url', v_base, 'protocolBinding', 'JSONRPC', 'protocolVersion', '1.0')),
    'capabilities', jsonb_build_object('streaming', true, 'pushNotifications', false),
    'securitySchemes', jsonb_build_object(
      'bearer', jsonb_build_object('httpAuthSecurityScheme', jsonb_build_object('scheme', 'Bearer', 'bearerFormat', 'JWT'))
    ),
    'securityRequirements', jsonb_build_array(jsonb_build_object('schemes', jsonb_build_object('bearer', jsonb_build_object('list', '[]'::jsonb)))),
    'defaultInputModes', jsonb_build_array('text/plain', 'application/json'),
    'defaultOutputModes', case
      when v_agent.io_schema #>> '{output,type}' = 'object' then jsonb_build_array('application/json')
      else jsonb_build_array('text/markdown', 'text/plain')
    end,
    'skills', (
      select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'id', c.name, 'name', initcap(replace(c.name, '-', ' ')), 'description', v_agent.description,
        'tags', to_jsonb(coalesce(nullif(array_remove(v_agent.tags, null), '{}'), array[v_agent.department])),
        'examples', (
          select jsonb_agg(e.example #>> '{input,prompt}')
          from jsonb_array_elements(case when jsonb_typeof(v_agent.metadata -> 'usage_examples') = 'array' then v_agent.metadata -> 'usage_examples' else '[]' end) e (example)
          where e.example #>> '{input,prompt}' is not null
        )
      )) order by c.position), '[]')
      from unnest(coalesce(nullif(array_remove(v_agent.capabilities, null), '{}'), array[v_agent.slug])) with ordinality as c (name, position)
    )
  ));
end;
$$;
comment on function public.agent_card(text) is
  'The A2A 1.0 agent card of an agent the caller may see; one skill per capability. The address is metadata.a2a_url, else /a2a/<organization>/<slug> of this host. Errors: PT404 agent_not_found.';
revoke execute on function public.agent_card(text) from public, anon, authenticated;
grant execute on function public.agent_card(text) to authenticated, service_role;
