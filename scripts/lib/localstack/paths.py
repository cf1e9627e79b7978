"""Where things are in this checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LIB = ROOT / "scripts" / "lib"
STATE = ROOT / ".stack"
DOTENV = ROOT / ".env"
NODE_MODULES = ROOT / "node_modules"
SUPABASE_CLI = NODE_MODULES / ".bin" / "supabase"
