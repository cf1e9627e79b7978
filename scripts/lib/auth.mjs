// Auth: GoTrue's /auth/v1 by @supabase/lite, on the tables auth.* of the stack's own Postgres.
// Run as: node auth.mjs CONFIG, a JSON file with port, database_url, jwt_secret and site_url.
import { readFileSync } from "node:fs";
import { serve } from "@hono/node-server";
import { App, getAuthSchemaSql } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";

const config = JSON.parse(readFileSync(process.argv[2], "utf8"));

// Lite hands over JSON as text, which the driver would encode once more: auth.users.raw_user_meta_data would be a string
// and a trigger reading it with ->> would find nothing.
const json = {
  serialize: (value) => (typeof value === "string" ? value : JSON.stringify(value)),
  parse: JSON.parse,
};
// RFC 3339, as GoTrue answers; supabase-py refuses Postgres's own "2026-01-02 03:04:05+00".
const timestamps = {
  serialize: (value) => (value instanceof Date ? value.toISOString() : value),
  parse: (text) => text.replace(" ", "T").replace(/\+00$/, "Z"),
};
const connection = createPostgresConnection({
  url: config.database_url,
  postgresOptions: {
    max: 10,
    onnotice: () => {},
    types: {
      json: { to: 114, from: [114], ...json },
      jsonb: { to: 3802, from: [3802], ...json },
      timestamps: { to: 1184, from: [1184], ...timestamps },
    },
  },
});

// The tables are made before the first request, as GoTrue does; `if not exists` makes this repeatable.
await connection.driver.unsafe(getAuthSchemaSql());

const app = new App({
  connection,
  auth: {
    enabled: true,
    jwt_secret: config.jwt_secret,
    jwt_expiry: 3600,
    site_url: config.site_url,
    enable_signup: true,
    email: { enable_signup: true, enable_confirmations: false },
  },
  options: { server: { apiKeys: false, disableStudio: true } }, // the gateway checks the keys
});

async function fetch(request, { incoming }) {
  const { pathname } = new URL(request.url);
  if (pathname === "/health") {
    await connection.driver`select from auth.users limit 0`;
    return Response.json({ status: "ok" });
  }
  if (!pathname.startsWith("/auth/v1/")) return new Response(null, { status: 404 }); // Lite would serve tables too
  if (pathname.startsWith("/auth/v1/admin/")) {
    const msg = "The admin API of Auth is not in the local stack without Docker: use SQL on auth.users";
    return Response.json({ code: 501, error_code: "not_implemented", msg }, { status: 501 });
  }
  return app.fetch(request, { peerAddress: incoming.socket.remoteAddress ?? null });
}

const server = serve({ fetch, hostname: "127.0.0.1", port: config.port });
process.on("SIGTERM", () => server.close(() => process.exit()) && server.closeAllConnections());
