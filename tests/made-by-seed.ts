import { readFileSync } from "node:fs";
import type { TestDatabase } from "./engine.ts";
import { SEED_FILES } from "./seed.ts";

const ROWS = new URL("fixtures/seed-rows.sql", import.meta.url);

/** Makes the tables as somebody would who has the seed's SQL files alone, on Supabase or what stands in for it. */
export async function makeSeed(
  { script }: Pick<TestDatabase, "script">,
  { onSupabase = false } = {},
): Promise<void> {
  for (const { text } of onSupabase ? SEED_FILES.slice(1) : SEED_FILES) await script(text);
}

/** Fills them with a fleet. */
export async function fillSeed(
  { script }: TestDatabase,
  { agents, logs }: { agents: number; logs: number },
): Promise<void> {
  const settings = `SET seed.agents = '${agents}'; SET seed.logs = '${logs}';\n`;
  await script(settings + readFileSync(ROWS, "utf8"));
}
