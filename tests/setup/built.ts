import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";

/** Has the compiler say what an editor shows: the declarations of every module, once a run. */
export default function setup(project: TestProject): () => void {
  const directory = mkdtempSync(join(tmpdir(), "meta-agent-db-declarations-"));
  const flags = ["--emitDeclarationOnly", "--declarationMap", "false", "--outDir", directory];
  const words = ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json", ...flags];
  execFileSync(process.execPath, words, { stdio: "inherit" });
  project.provide("declarations", directory);
  return () => rmSync(directory, { recursive: true });
}

declare module "vitest" {
  interface ProvidedContext {
    /** Where the `.d.ts` of `src` are, laid out as it is. */
    declarations: string;
  }
}
