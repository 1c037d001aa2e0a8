import { readFileSync, readdirSync } from "node:fs";
import type { TestDatabase } from "./engine.ts";

const SEED = new URL("fixtures/seed/", import.meta.url);
const ROWS = new URL("fixtures/seed-rows.sql", import.meta.url);

/** Makes the tables as somebody would who has the seed's SQL files alone, on what Supabase starts from. */
export async function makeSeed({ script }: TestDatabase): Promise<void> {
  for (const file of readdirSync(SEED).toSorted()) {
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
