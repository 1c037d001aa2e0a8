import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { TestProject } from "vitest/node";

/**
 * Builds the package as it is installed, once a run: the declarations are what an editor shows, and a process of
 * the command line starts in a third of the time that it takes from TypeScript. BUILT_PACKAGE names one that is built.
 */
export default async function setup(project: TestProject): Promise<(() => void) | undefined> {
  // Each project of the run has this set up, in one process but from a copy of this module.
  const built = process.env["BUILT_PACKAGE"];
  if (built !== undefined) {
    project.provide("built", built);
    return undefined;
  }
  const directory = mkdtempSync(join(tmpdir(), "meta-agent-db-built-"));
  for (const file of ["package.json", ".env.example"]) copyFileSync(file, join(directory, file));
  symlinkSync(resolve("node_modules"), join(directory, "node_modules"), "junction");
  const compile = (config: string, kind: string) => {
    const flags = ["--declarationMap", "false", "--outDir", join(directory, "dist", kind)];
    const words = ["node_modules/typescript/bin/tsc", "-p", config, ...flags];
    return promisify(execFile)(process.execPath, words);
  };
  await Promise.all([compile("tsconfig.build.json", "esm"), compile("tsconfig.cjs.json", "cjs")]);
  writeFileSync(join(directory, "dist", "cjs", "package.json"), '{"type":"commonjs"}');
  process.env["BUILT_PACKAGE"] = directory;
  project.provide("built", directory);
  return () => {
    delete process.env["BUILT_PACKAGE"];
    rmSync(directory, { recursive: true });
  };
}

declare module "vitest" {
  interface ProvidedContext {
    /** The package as it is installed: `dist/esm` is laid out as `src` is. */
    built: string;
  }
}
