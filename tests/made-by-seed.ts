import { readFileSync, readdirSync } from "node:fs";
import type { TestDatabase } from "./engine.ts";

const SEED = new URL("fixtures/seed/", import.meta.url);
const ROWS = new URL("fixtures/seed-rows.sql", import.meta.url);

/** Makes the tables as somebody would who has the seed's SQL files alone, on Supabase or what stands in for it. */
export async function makeSeed(
  { script }: Pick<TestDatabase, "script">,
  { onSupabase = false } = {},
): Promise<void> {
  const files = readdirSync(SEED).toSorted();
  for (const file of onSupabase ? files.slice(1) : files) {
    await script(readFileSync(new URL(file, SEED), "utf8"));
  }
}

/** Fills them with a fleet. */
export async function fillSeed(
  { script }: TestDatabase,
  { agents, logs }: { agents: number; logs: number },
): Promise<void> {
  const settings = `SET seed.agents = '${agents}'; SET seed.logs = '${logs}';\n`;
  await script(settings + readFileSync(ROWS, "utf8"));
}
