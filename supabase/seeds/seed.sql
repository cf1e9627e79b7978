-- Demo data: one organization and one agent of each type. Safe to run again; it checks what it seeded.

insert into public.organizations (slug, name, description, url, settings)
values (
  'demo-org', 'Demo Organization', 'Where the demo and new developers begin.', 'https://demo.example.com',
  '{
    "theme": "light",
    "features": ["context-agents", "api-agents", "external-agents"],
    "limits": {"max_agents": 100, "max_conversations": 1000},
    "preferences": {"default_llm_provider": "anthropic", "default_llm_model": "claude-3-5-sonnet-20241022"}
  }'
)
on conflict (slug) do nothing;

insert into public.agents (
  slug, organization_slug, name, description, version, agent_type, department, tags, io_schema, capabilities, context, llm_config, metadata
)
values (
  'blog-post-writer', array['demo-org'], 'Blog Post Writer',
  'Writes a complete, well-structured blog post on any topic, ready to publish.', '1.0.0', 'context', 'marketing',
  array['blog', 'content', 'seo', 'writing'],
  '{
    "input": {
      "type": "object",
      "required": ["prompt"],
      "properties": {
        "prompt": {"type": "string", "minLength": 1, "description": "What to write about"},
        "audience": {"type": "string", "description": "Who will read it"},
        "tone": {"type": "string", "description": "e.g. friendly, factual, playful"},
        "keywords": {"type": "array", "items": {"type": "string"}, "maxItems": 20, "description": "Words the post should contain"},
        "word_count": {"type": "integer", "minimum": 50, "maximum": 5000, "description": "Length to aim for"}
      }
    },
    "output": {"type": "string", "description": "The post, in Markdown, beginning with its title as a heading"}
  }',
  array['blog-writing', 'seo-optimization', 'content-generation'],
  'You are an experienced blog writer. Write one complete post in Markdown on what the user asks for.
Begin with the title as a level-one heading, then a short introduction that says why the reader should care, three to five sections with
level-two headings, and a conclusion with one clear takeaway. Use plain words, short paragraphs and concrete examples. Follow the given
audience, tone, keywords and length where there are any. Do not invent facts, quotes or sources. Answer with the post only.',
  '{"provider": "anthropic", "model": "claude-3-5-sonnet-20241022", "parameters": {"temperature": 0.7, "maxTokens": 4000, "topP": 1.0}}',
  '{"author": "Orchestrator AI", "license": "MIT", "usage_examples": [{"description": "A short post", "input": {"prompt": "Write a post about tide pools"}}]}'
)
on conflict (slug) do nothing;

insert into public.agents (
  slug, organization_slug, name, description, version, agent_type, department, tags, io_schema, capabilities, context, endpoint, status, metadata
)
values
(
  'n8n-blog-post-workflow', array['demo-org'], 'N8n Blog Post Workflow',
  'Example of an api agent: hands the prompt to an n8n webhook. Point endpoint.url at your own n8n and set the status to active.',
  '1.0.0', 'api', 'marketing', array['blog', 'n8n', 'workflow'],
  '{
    "input": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string", "minLength": 1}}},
    "output": {"type": "object", "required": ["content"], "properties": {"content": {"type": "string"}}}
  }',
  array['blog-writing', 'workflow'],
  'An n8n workflow that researches and writes a blog post. Answers with {"content": "…"}.',
  '{"url": "http://localhost:5678/webhook/blog-post", "method": "POST", "headers": {"Content-Type": "application/json"}, "timeout": 600}',
  'draft',
  '{"author": "Orchestrator AI", "license": "MIT"}'
),
(
  'remote-crewai-researcher', array['demo-org'], 'Remote CrewAI Researcher',
  'Example of an external agent: an A2A server run by somebody else. Point endpoint.url at it and set the status to active.',
  '1.0.0', 'external', 'research', array['a2a', 'crewai', 'research'],
  '{
    "input": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string", "minLength": 1}}},
    "output": {"type": "string"}
  }',
  array['research'],
  'A crew of researchers behind an A2A endpoint.',
  '{"url": "http://localhost:9999/", "authentication": {"type": "bearer", "config": {"token": "${CREWAI_TOKEN}", "header": "Authorization"}}}',
  'draft',
  '{"author": "Orchestrator AI", "license": "MIT"}'
)
on conflict (slug) do nothing;

do $$
begin
  assert (select o.settings #>> '{limits,max_agents}' from public.organizations o where o.slug = 'demo-org') is not null,
    'seed: demo-org or its limits are missing';
  assert (select a.llm_config ->> 'provider' from public.agents a where a.slug = 'blog-post-writer' and a.status = 'active') = 'anthropic',
    'seed: blog-post-writer is missing or not active';
  assert (
    select count(distinct a.agent_type) from public.agents a where a.organization_slug @> array['demo-org']
  ) = 3, 'seed: demo-org must have an agent of each type';
end;
$$;
