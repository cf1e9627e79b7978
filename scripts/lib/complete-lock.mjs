// Adds to package-lock.json the optional packages of other platforms that npm left out (see scripts/lib/lock).
import { readFileSync, writeFileSync } from "node:fs";

const file = process.argv[2];
const lock = JSON.parse(readFileSync(file, "utf8"));
const platform = /-(?<os>darwin|linux|win32|windows)-(?<cpu>x64|arm64)(?<musl>-musl)?$/;

for (const parent of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`;
    const found = platform.exec(name)?.groups;
    if (path in lock.packages || !found) continue;
    const os = found.os === "windows" ? "win32" : found.os;
    const libc = os === "linux" && name.startsWith("@supabase/") ? { libc: [found.musl ? "musl" : "glibc"] } : {};
    lock.packages[path] = { version, cpu: [found.cpu], ...libc, optional: true, os: [os] };
  }
}
const sorted = Object.entries(lock.packages).sort(([a], [b]) => a.localeCompare(b, "en"));
lock.packages = Object.fromEntries(sorted);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
